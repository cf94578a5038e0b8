"""Nemotron: LayerNorm by 1 + weight, squared ReLU, partial rotation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "biases": {"attention_bias": True, "mlp_bias": True, "head_dim": 16, "hidden_act": "silu"},
    "tied": {"tie_word_embeddings": True, "partial_rotary_factor": 1.0},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "nemotron", **changes)
