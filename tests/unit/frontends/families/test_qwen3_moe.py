"""Qwen 3 with experts: a norm on every query and key head, weights that add up to 1 or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_experts

EXPERTS: dict[str, Any] = {
    "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "plain": EXPERTS | {"norm_topk_prob": True},
    "shares": EXPERTS | {"norm_topk_prob": False, "head_dim": 16},
    "biases, tied": EXPERTS | {"attention_bias": True, "tie_word_embeddings": True},
    "windows": EXPERTS | {"use_sliding_window": True, "sliding_window": 5, "head_dim": 8},
    "many": EXPERTS
    | {"num_experts": 9, "num_experts_per_tok": 8, "norm_topk_prob": True}
    | {"moe_intermediate_size": 20},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_experts(tmp_path, level, "qwen3_moe", **changes)
