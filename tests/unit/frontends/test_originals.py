"""The ten models that the first megakernel compilers ran: their shapes, computed as Hugging Face
computes them. Layers and vocabularies are cut, because each layer is alike; nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from amk.frontends.hf.build import build_model
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.presets import LLAMA, preset, shape
from amk.frontends.hf.random_weights import RandomWeights
from amk.frontends.hf.reference import reference_logits
from amk.frontends.hf.source import Model
from amk.interpreters.load import load_interpreter
from tests.unit.frontends.against import LEVELS, errors, lowered


def llama(layers: int, hidden: int, heads: int, kv_heads: int, intermediate: int) -> dict[str, Any]:
    return {
        **LLAMA,
        **shape(layers, hidden, heads, kv_heads, hidden // heads, intermediate),
        "vocab_size": 640,
        "max_position_embeddings": 512,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    }


def cut(name: str, **changes: object) -> dict[str, Any]:
    return preset(name) | {"num_hidden_layers": 2, "vocab_size": 640} | changes


MODELS: dict[str, dict[str, Any]] = {
    "SmolLM2-135M": cut("smollm2-135m"),
    "SmolLM2-135M-Instruct": cut("smollm2-135m", rope_theta=100000, pad_token_id=2),
    "SmolLM2-360M": cut("smollm2-360m"),
    "SmolLM2-360M-Instruct": cut("smollm2-360m", rope_theta=100000, pad_token_id=2),
    "TinyLlama-1.1B-Chat": cut("tinyllama-1.1b"),
    "Llama of hidden 512": llama(2, 512, 8, 8, 1376),
    "Llama of hidden 1024": llama(2, 1024, 16, 4, 2816),
    "Llama of hidden 2048": llama(1, 2048, 16, 8, 5632),
    "two layers": llama(2, 64, 4, 2, 160),
    "two layers, all heads alike": llama(2, 128, 4, 4, 256),
}
IDS = np.random.default_rng(2).integers(0, 640, 10).tolist()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", MODELS)
def test_logits(name: str, level: str) -> None:
    raw = MODELS[name]
    opened = Model(name, raw, RandomWeights(parse_config(raw), 1))
    program = build_model(opened.config, "fp32", 16)
    program = lowered(program) if level == "vm" else program
    found = load_interpreter(program, opened.weight).logits(IDS)
    assert errors(found, reference_logits(opened, IDS)).max() < 1e-5
