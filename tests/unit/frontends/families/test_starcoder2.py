"""StarCoder 2: LayerNorm, biases, an MLP of two matrices, a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "window": {"sliding_window": 6, "tie_word_embeddings": False},
    "no biases": {"use_bias": False, "hidden_act": "gelu", "num_key_value_heads": 1},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "starcoder2", **changes)
