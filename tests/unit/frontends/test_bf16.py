"""Every family in bf16, on both interpreters, beside Hugging Face with weights rounded to bf16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amk.frontends.hf.build import build_model
from amk.frontends.hf.families import FAMILIES
from amk.frontends.hf.reference import reference_logits
from amk.frontends.hf.source import open_model
from amk.interpreters.load import load_interpreter
from amk.ir.packs import F32
from amk.tools.models import random_module, small_config
from tests.unit.frontends.against import POSITIONS, lowered, prompt

TOLERANCE = 0.05
"""Error of all logits together, relative to them: every rounding to 8 bits is a relative error of
up to 0.4 %, and there are a dozen in each of four layers."""
ALL_EXPERTS = {"num_experts_per_tok": 4}
SOFTER = {
    "granite": {"attention_multiplier": 0.25},
    **dict.fromkeys(("gpt_oss", "mixtral", "olmoe", "qwen3_moe"), ALL_EXPERTS),
}
"""Where rounding would choose between rows or experts of almost equal scores: Granite's default
factor of 1, and routers."""


def error(found: F32, expected: F32) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("name", FAMILIES)
def test_logits(name: str, tmp_path: Path) -> None:
    random_module(small_config(name, **SOFTER.get(name, {}))).save_pretrained(tmp_path)
    model = open_model(str(tmp_path))
    ids = prompt(model)
    expected = reference_logits(model, ids, "bf16")
    program = build_model(model.config, "bf16", POSITIONS)
    found = load_interpreter(program, model.weight).logits(ids)
    assert error(found, expected) < TOLERANCE
    found = load_interpreter(lowered(program), model.weight).logits(ids)
    assert error(found, expected) < TOLERANCE
