"""GLM 4 (0414): norms before and behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {"head_dim": 8},
    "no biases": {"head_dim": 16, "attention_bias": False, "num_key_value_heads": 4},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "glm4", **changes)
