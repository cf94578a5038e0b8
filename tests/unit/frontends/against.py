"""A family against Hugging Face: a random checkpoint that transformers writes, opened and executed.

Every parameter is random, norms and biases too. Sequences are longer than any window, and every
position is compared.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from xdsl.dialects.builtin import ModuleOp

from amk.dialects.model import TopkOp
from amk.frontends.hf.build import build_model
from amk.frontends.hf.reference import reference_greedy, reference_logits
from amk.frontends.hf.source import Model, open_model
from amk.interpreters.load import load_interpreter
from amk.interpreters.model import ModelInterpreter
from amk.ir.packs import F32
from amk.mlir import run_passes
from amk.tools.models import random_module

TINY: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 61, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
POSITIONS = 24
TOKENS = 8
TOLERANCE = 2e-5
"""Largest error of fp32 logits, relative to the largest logit of the position."""
LEVELS = ("model", "vm")
PIPELINE = "fuse,to-task{num-sms=3 splits=2 chunk=3},to-sched{num-sms=3},to-vm"


def save_random(folder: Path, model_type: str, **changes: object) -> Any:
    """A checkpoint of a small model in `folder`, and transformers' module of it. A size of None is
    left out."""
    make: Any = transformers.AutoConfig.for_model
    fields = {k: v for k, v in {**TINY, **changes}.items() if k not in TINY or v is not None}
    config = make(model_type, **deepcopy(fields))
    module = random_module(config)
    module.save_pretrained(folder)
    return module


def lowered(module: ModuleOp) -> ModuleOp:
    return run_passes(PIPELINE, module)


def prompt(model: Model) -> list[int]:
    return np.random.default_rng(5).integers(3, model.config.vocab, POSITIONS).tolist()


def errors(found: F32, expected: F32) -> F32:
    """The largest error at each position, relative to the largest logit there."""
    return np.abs(found - expected).max(axis=1) / np.abs(expected).max(axis=1)


def check_family(folder: Path, level: str, model_type: str, **changes: object) -> Model:
    """Save, open, compile, execute and compare."""
    module = save_random(folder, model_type, **changes)
    model = open_model(str(folder))
    ids = prompt(model)
    with torch.inference_mode():
        expected = module(torch.tensor([ids]), use_cache=False).logits[0].numpy()
    np.testing.assert_allclose(reference_logits(model, ids), expected, rtol=1e-4, atol=1e-5)
    program = build_model(model.config, "fp32", POSITIONS + TOKENS)
    program.verify()
    if level == "vm":
        program = lowered(program)
    interpreter = load_interpreter(program, model.weight)
    worst = errors(interpreter.logits(ids), expected)
    assert (worst < TOLERANCE).all(), (int(worst.argmax()), float(worst.max()))
    assert interpreter.generate(ids, TOKENS) == reference_greedy(model, ids, TOKENS)
    return model


def check_experts(folder: Path, level: str, model_type: str, **changes: object) -> Model:
    """`check_family`, and that the sequence leads some layer to every expert."""
    model = check_family(folder, level, model_type, **changes)
    program = build_model(model.config, "fp32", POSITIONS)
    used = experts_used(load_interpreter(program, model.weight), prompt(model))
    assert model.config.experts and len(used) == model.config.layers
    assert len(set[int]().union(*used)) == model.config.experts.count, used
    return model


def experts_used(decoder: object, ids: list[int]) -> list[set[int]]:
    """The experts that each layer of a model program chooses along a sequence."""
    assert isinstance(decoder, ModelInterpreter)
    routers = [op for op in decoder.ops if isinstance(op, TopkOp)]
    used: list[set[int]] = [set() for _ in routers]
    for pos, token in enumerate(ids):
        decoder.step(token, pos)
        for router, seen in zip(routers, used, strict=True):
            seen.update(decoder.values[router.ids].astype(int).tolist())
    return used
