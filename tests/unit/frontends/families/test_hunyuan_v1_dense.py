"""Hunyuan: norms on heads behind the rotation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {"head_dim": 8},
    "biases": {"head_dim": 16, "attention_bias": True, "tie_word_embeddings": True},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "hunyuan_v1_dense", **changes)
