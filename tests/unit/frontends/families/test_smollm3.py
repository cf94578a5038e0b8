"""SmolLM 3: layers that do not rotate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.frontends.against import LEVELS, check_family

CASES: dict[str, dict[str, Any]] = {
    "every fourth": {"num_hidden_layers": 5, "rope_theta": 10000.0},
    "every second": {"no_rope_layer_interval": 2, "tie_word_embeddings": False},
    "listed": {"no_rope_layers": [0, 1, 0], "attention_bias": True, "mlp_bias": True},
    "windows": {"no_rope_layers": [0, 1, 0], "use_sliding_window": True, "sliding_window": 6},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "smollm3", **changes)
