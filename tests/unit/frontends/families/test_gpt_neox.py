"""GPT-NeoX and Pythia: one matrix with the rows of each head together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from amk.frontends.hf.source import open_model
from tests.unit.frontends.against import LEVELS, check_family, save_random

ALL: dict[str, Any] = {"num_key_value_heads": None}
"""It has no KV heads of their own."""

CASES: dict[str, dict[str, Any]] = {
    "plain": ALL | {"hidden_size": 64},
    "all of each head": ALL
    | {"rotary_pct": 1.0, "rotary_emb_base": 100.0, "attention_bias": False},
    "one after the other": ALL
    | {
        "use_parallel_residual": False,
        "hidden_act": "gelu_fast",
        "rotary_pct": 0.5,
    },
    "tied": ALL | {"tie_word_embeddings": True, "hidden_act": "relu", "hidden_size": 64},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_family(tmp_path, level, "gpt_neox", **changes)


def test_checkpoints_of_old(tmp_path: Path) -> None:
    """Pythia's: another name of the head, masks among the weights, older fields of rotation."""
    save_random(tmp_path, "gpt_neox", **ALL)
    today = open_model(str(tmp_path))
    held: dict[str, Any] = {name: today.weight(name) for name in today.tensors}
    held["embed_out.weight"] = held.pop("lm_head.weight")
    layer = "gpt_neox.layers.0.attention"
    held |= {f"{layer}.bias": np.ones((1, 1, 8, 8), np.float32)}
    held |= {"gpt_neox.layers.1.attention.bias": np.ones((1, 1, 8, 8), np.bool_)}
    held |= {f"{layer}.masked_bias": np.array([-1e9], np.float32)}
    held |= {f"{layer}.rotary_emb.inv_freq": np.ones(1, np.float32)}
    save_file(held, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rotary_pct": rope["partial_rotary_factor"], "rotary_emb_base": rope["rope_theta"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    old = open_model(str(tmp_path))
    assert old.config == today.config
    for name in today.tensors:
        np.testing.assert_array_equal(old.weight(name), held.get(name, held["embed_out.weight"]))
