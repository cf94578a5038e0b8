"""OLMo 2: norms behind, and on all queries and all keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "biases, one kv head": {"attention_bias": True, "num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True, "rope_theta": 500000.0},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "olmo2", **changes)
