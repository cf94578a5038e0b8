"""VaultGemma: Gemma 2 without norms behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "plain": {"head_dim": 16, "sliding_window": 7},
    "tight caps": {
        "head_dim": 8,
        "sliding_window": 5,
        "attn_logit_softcapping": 0.5,
        "final_logit_softcapping": 2.0,
        "query_pre_attn_scalar": 16,
    },
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "vaultgemma", **changes)
