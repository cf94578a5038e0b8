"""Command-R7B: layers without a window do not rotate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {"sliding_window": 6, "num_hidden_layers": 5},
    "every second": {"sliding_window": 5, "sliding_window_pattern": 2, "attention_bias": True},
    "listed": {
        "sliding_window": 9,
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        "logit_scale": 0.5,
        "rope_theta": 100.0,
    },
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "cohere2", **changes)
