"""Rotary frequencies and tables against transformers, bit for bit where the CPU allows it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from amk.frontends.hf.config import parse_config
from amk.frontends.hf.families import FAMILIES
from amk.frontends.hf.powf import BLOCK, powf
from amk.frontends.hf.presets import PRESETS, preset
from amk.ir.packs import rope_table
from amk.ir.program import RopeTable

EXACT = torch.backends.cpu.get_cpu_capability() == "AVX512"
"""The CPU whose rounding `powf` reproduces; others differ from it in single last bits."""

SCALINGS: list[dict[str, Any] | None] = [
    None,
    {"rope_type": "default"},
    {"type": "linear", "factor": 4.0},
    {"rope_type": "linear", "factor": 3},
    {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 8192},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    {"rope_type": "dynamic", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 1.1},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
    {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096,
     "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.5},
    {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16384,
     "attention_factor": 1.5, "truncate": False},
]  # fmt: skip


def llama_config(raw: dict[str, Any]) -> Any:
    """transformers' own config; it gets a copy, because it writes into what it is given."""
    make: Any = transformers.LlamaConfig
    return make(**{k: v for k, v in deepcopy(raw).items() if k != "model_type"})


def ulps(a: NDArray[np.float32], b: NDArray[np.float32]) -> int:
    """The largest distance of two arrays of equal signs, in units of the last place."""
    return int(np.abs(a.view(np.int32).astype(np.int64) - b.view(np.int32)).max())


def assert_same(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    if EXACT:
        assert ours.tobytes() == theirs.tobytes()
    else:
        assert ulps(ours, theirs) <= 4


@pytest.mark.parametrize("base", [1.0, 1.5, 10000.0, 100000.0, 500000.0, 1e6, 12345.678, 1e8])
def test_powf_is_torch_pow(base: float) -> None:
    x = torch.rand(200 * BLOCK, generator=torch.Generator().manual_seed(7))
    x[:3] = torch.tensor([0.0, 1.0, 0.5])
    assert_same(powf(base, x.numpy()), (base**x).numpy())


@pytest.mark.parametrize("n", [0, 1, 7, 31, 33, 63])
def test_powf_of_partial_blocks_is_correctly_rounded(n: int) -> None:
    """Within an ulp of float64, which is all that two implementations of the tail share."""
    x = np.linspace(0, 1, n, dtype=np.float32)
    exact = np.power(np.float64(10000), x.astype(np.float64)).astype(np.float32)
    got = powf(10000.0, x)
    assert got.dtype == np.float32 and got.shape == (n,)
    assert n == 0 or ulps(got, exact) <= 1


@pytest.mark.parametrize("head_dim", [64, 128, 256])
@pytest.mark.parametrize("theta", [10000.0, 100000.0, 500000.0, 1000000.0])
@pytest.mark.parametrize("scaling", SCALINGS, ids=range(len(SCALINGS)))
def test_frequencies(head_dim: int, theta: float, scaling: dict[str, Any] | None) -> None:
    old = preset("tiny") | {
        "head_dim": head_dim, "rope_theta": theta, "rope_scaling": scaling,
        "max_position_embeddings": 131072,
    }  # fmt: skip
    theirs = llama_config(old)
    inv = LlamaRotaryEmbedding(theirs).inv_freq.numpy()
    config = parse_config(old)
    assert_same(np.array(config.inv_freq, np.float32), inv)
    assert config.rope_scale == LlamaRotaryEmbedding(theirs).attention_scaling

    new = {k: v for k, v in old.items() if not k.startswith("rope_")}
    new["rope_parameters"] = theirs.rope_parameters
    assert parse_config(new) == config, "transformers 5 spells the same"


def whole_heads(name: str) -> bool:
    """Whether Llama's module makes the family's table: one for all layers, of whole heads."""
    rope = FAMILIES[str(PRESETS[name]["model_type"])].rope
    return not rope.partial and not rope.local_theta


@pytest.mark.parametrize("name", list(filter(whole_heads, PRESETS)))
def test_presets(name: str) -> None:
    make: Any = transformers.AutoConfig.for_model
    theirs = make(**deepcopy(preset(name)))
    inv = LlamaRotaryEmbedding(theirs).inv_freq.numpy()
    assert_same(np.array(parse_config(preset(name)).inv_freq, np.float32), inv)


def test_tables_are_those_of_transformers() -> None:
    """Same float32 angles; cos and sin of them within the last bit of PyTorch's."""
    raw = preset("llama-3.2-1b")
    rope = LlamaRotaryEmbedding(llama_config(raw))
    rows = 4096
    cos, sin = rope(torch.zeros(1), torch.arange(rows)[None])
    config = parse_config(raw)
    ours = rope_table(RopeTable("rope", config.inv_freq, config.rope_scale), rows)
    half = config.head_dim // 2
    for i, theirs in enumerate((cos, sin)):
        theirs = theirs[0].numpy()
        assert np.array_equal(theirs[:, :half], theirs[:, half:])
        assert np.abs(ours[:, i] - theirs[:, :half]).max() <= 2**-24 * 2
