"""Command-R: parallel layers with one norm, neighbors rotate, scaled logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {"rope_theta": 100.0},
    "norms on heads": {"use_qk_norm": True, "attention_bias": True, "logit_scale": 0.5},
    "untied": {"tie_word_embeddings": False, "num_key_value_heads": 4},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "cohere", **changes)
