"""ERNIE 4.5: neighbors rotate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {"head_dim": 8},
    "biases, untied": {"head_dim": 16, "use_bias": True, "tie_word_embeddings": False},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "ernie4_5", **changes)
