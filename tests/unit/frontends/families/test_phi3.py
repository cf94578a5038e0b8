"""Phi 3 and 4: fused matrices, partial rotation, LongRoPE, a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

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


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "phi3", **changes)
