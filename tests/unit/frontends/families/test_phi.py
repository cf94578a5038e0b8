"""Phi 1 and 2: parallel layers, biases on everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "all of each head": {"partial_rotary_factor": 1.0, "hidden_act": "gelu"},
    "one kv head": {"num_key_value_heads": 1, "hidden_size": 64},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "phi", **changes)
