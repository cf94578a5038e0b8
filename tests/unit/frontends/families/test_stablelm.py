"""StableLM: LayerNorm, partial rotation, norms on heads, parallel layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {"hidden_size": 64},
    "biases": {"use_qkv_bias": True, "partial_rotary_factor": 0.5},
    "norms on heads": {"qk_layernorm": True, "hidden_size": 64},
    "parallel": {"use_parallel_residual": True, "hidden_size": 64, "tie_word_embeddings": True},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "stablelm", **changes)
