"""OLMoE: norms over all queries and over all keys, weights that add up to 1 or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_experts

EXPERTS: dict[str, Any] = {"num_experts": 5, "num_experts_per_tok": 3}
CASES: dict[str, dict[str, Any]] = {
    "plain": EXPERTS,
    "normalized": EXPERTS | {"norm_topk_prob": True, "num_key_value_heads": 1},
    "no grouping": EXPERTS | {"num_key_value_heads": None, "attention_bias": True},
    "tied": EXPERTS | {"tie_word_embeddings": True, "num_experts_per_tok": 4},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_experts(tmp_path, level, "olmoe", **changes)
