"""Mixtral: a mixture of experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_experts

CASES: dict[str, dict[str, Any]] = {
    "plain": {"num_local_experts": 5},
    "all of them": {"num_local_experts": 3, "num_experts_per_tok": 3},
    "one": {"num_local_experts": 4, "num_experts_per_tok": 1, "tie_word_embeddings": True},
    "window": {"num_local_experts": 5, "sliding_window": 6},
    "head_dim": {"num_local_experts": 6, "num_experts_per_tok": 4, "head_dim": 16},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_experts(tmp_path, level, "mixtral", **changes)
