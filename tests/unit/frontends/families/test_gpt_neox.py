"""GPT-NeoX and Pythia: one matrix with the rows of each head together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {"hidden_size": 64},
    "all of each head": {"rotary_pct": 1.0, "rotary_emb_base": 100.0, "attention_bias": False},
    "one after the other": {
        "use_parallel_residual": False,
        "hidden_act": "gelu_fast",
        "rotary_pct": 0.5,
    },
    "tied": {"tie_word_embeddings": True, "hidden_act": "relu", "hidden_size": 64},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "gpt_neox", num_key_value_heads=None, **changes)
