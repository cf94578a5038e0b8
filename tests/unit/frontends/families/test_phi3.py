"""Phi 3 and 4: fused matrices, partial rotation, LongRoPE, a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from amk.errors import AmkError
from amk.frontends.hf.build import build_model
from amk.frontends.hf.reference import reference_greedy
from amk.frontends.hf.source import open_model
from amk.interpreters.load import load_interpreter
from tests.unit.frontends.against import (
    LEVELS,
    TOLERANCE,
    check_family,
    errors,
    lowered,
    prompt,
    save_random,
)

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "one kv head": {"num_key_value_heads": 1, "hidden_act": "gelu"},
    "window": {"sliding_window": 6, "tie_word_embeddings": True},
    "part of each head": {"partial_rotary_factor": 0.75},
    "longrope": {
        "partial_rotary_factor": 0.5,
        "original_max_position_embeddings": 32,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.1, 1.7],
            "long_factor": [2.0, 4.0],
        },
    },
}


LONG: dict[str, Any] = CASES["longrope"] | {"original_max_position_embeddings": 16}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "phi3", **changes)


def test_longrope_up_to_its_original_context(tmp_path: Path) -> None:
    """Greedy tokens are those of `generate` in transformers until the sequence has as many tokens
    as frequencies are short for; one more is refused, since there they are others for all."""
    module = save_random(tmp_path, "phi3", **LONG)
    model = open_model(str(tmp_path))
    ids, most = prompt(model)[:6], 16
    assert model.config.max_context == most
    assert model.config.inv_freq == pytest.approx((1 / 1.1, 0.01 / 1.7))
    program = build_model(model.config, "fp32", most)
    tokens = load_interpreter(program, model.weight).generate(ids, most - len(ids))
    with torch.inference_mode():
        theirs = module.generate(
            torch.tensor([ids]), max_new_tokens=most - len(ids), do_sample=False, eos_token_id=None
        )
        ends = [
            module(torch.tensor([prompt(model)[:length]]), use_cache=False).logits[0, :most].numpy()
            for length in (most, most + 1)
        ]
    assert ids + tokens == theirs[0].tolist()
    assert errors(*ends).min() < 1e-3 < errors(*ends).max(), "else there would be no need"
    end = r"16 \(longrope: a sequence that grows longer changes the frequencies of its first "
    end += r"tokens\)$"
    with pytest.raises(AmkError, match=f"context of 17 tokens is outside the model's 1 to {end}"):
        build_model(model.config, "fp32", most + 1)
    with pytest.raises(AmkError, match=f"context of 17 tokens exceeds the limit of {end}"):
        reference_greedy(model, ids, most + 1 - len(ids))


@pytest.mark.parametrize("level", LEVELS)
def test_longrope_of_a_prompt_beyond_its_original_context(tmp_path: Path, level: str) -> None:
    module = save_random(tmp_path, "phi3", **LONG)
    model = open_model(str(tmp_path))
    ids, count = prompt(model), 8
    assert model.config.for_prompt(16) is model.config
    model.config = model.config.for_prompt(len(ids))
    assert model.config.inv_freq == pytest.approx((1 / 2.0, 0.01 / 4.0))
    assert (model.config.max_context, model.config.limit) == (64, "64")
    program = build_model(model.config, "fp32", len(ids) + count)
    interpreter = load_interpreter(lowered(program) if level == "vm" else program, model.weight)
    with torch.inference_mode():
        expected = module(torch.tensor([ids]), use_cache=False).logits[0].numpy()
        theirs = module.generate(
            torch.tensor([ids]), max_new_tokens=count, do_sample=False, eos_token_id=None
        )
    assert errors(interpreter.logits(ids), expected).max() < TOLERANCE
    tokens = interpreter.generate(ids, count)
    assert ids + tokens == theirs[0].tolist()
    assert tokens == reference_greedy(model, ids, count)
