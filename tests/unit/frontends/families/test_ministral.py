"""Ministral: windows in all or in listed layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "all": {"sliding_window": 7, "head_dim": 8},
    "none": {"sliding_window": 7, "head_dim": 12, "layer_types": ["full_attention"] * 3},
    "listed": {
        "sliding_window": 5,
        "head_dim": 8,
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
    },
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "ministral", **changes)
