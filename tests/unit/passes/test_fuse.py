"""Fusions keep what a program computes, in any order, and make one operator of each chain."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from amk.dialects import model
from amk.frontends.hf.build import build_model
from amk.frontends.hf.decoder import DecoderConfig
from amk.frontends.hf.source import open_model
from amk.interpreters.load import load_interpreter
from amk.mlir import run_passes
from amk.passes.fusing import pack_name

FUSIONS = (
    "fuse-qkv",
    "fuse-append",
    "fuse-gate-up",
    "fuse-norm",
    "fuse-residual",
    "fuse-lm-head",
)
CONFIG = open_model("random:tiny").config
CONFIGS = {
    "plain": replace(CONFIG, tied=False),
    "tied": replace(CONFIG, tied=True),
    "qkv bias": replace(CONFIG, qkv_bias=True),
    "all biases": replace(CONFIG, qkv_bias=True, o_bias=True, mlp_bias=True),
}
IDS = [3, 7, 1, 30, 22, 5]


def fused(config: DecoderConfig, passes: tuple[str, ...], dtype: str = "fp32") -> ModuleOp:
    """The model after `passes`, verified behind each."""
    module = build_model(config, dtype, 16)
    for name in passes:
        run_passes(name, module).verify()
    return module


def counts(module: ModuleOp) -> Counter[str]:
    return Counter(op.name.removeprefix("model.") for op in module.walk())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_fused_model_computes_the_same(config: DecoderConfig, dtype: str) -> None:
    expected = load_interpreter(fused(config, (), dtype)).logits(IDS)
    found = load_interpreter(fused(config, FUSIONS, dtype)).logits(IDS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 if dtype == "fp32" else 0.05)


@settings(max_examples=25)
@given(st.permutations(FUSIONS), st.integers(0, len(FUSIONS)), st.sampled_from(list(CONFIGS)))
def test_any_fusions_in_any_order_compute_the_same(
    order: list[str], count: int, config: str
) -> None:
    expected = load_interpreter(fused(CONFIGS[config], ())).logits(IDS[:3])
    found = load_interpreter(fused(CONFIGS[config], tuple(order[:count]))).logits(IDS[:3])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_layer_becomes_five_operators(config: DecoderConfig) -> None:
    found = counts(fused(config, FUSIONS))
    assert found["qkv"] == found["attention"] == found["gate_up"] == config.layers
    assert found["linear"] == 2 * config.layers
    assert found["embed"] == found["lm_head"] == 1
    gone = ("rope", "rms_norm", "kv_append", "glu", "add", "argmax")
    assert {name: found[name] for name in gone} == dict.fromkeys(gone, 0)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_second_run_changes_nothing(name: str) -> None:
    once = fused(CONFIGS["all biases"], (name,))
    twice = fused(CONFIGS["all biases"], (name, name))
    assert str(once) == str(twice)


def test_norms_and_residuals_may_be_fused_before_packs() -> None:
    late = fused(CONFIGS["plain"], (*FUSIONS[3:], *FUSIONS[:3]))
    early = fused(CONFIGS["plain"], FUSIONS)
    assert counts(late) == counts(early)


def test_packs_are_declared_once_and_named_after_their_layer() -> None:
    module = fused(CONFIGS["all biases"], FUSIONS)
    names = [op.symbol() for op in module.walk() if isinstance(op, model.PackOp)]
    assert len(set(names)) == len(names)
    expected = ("qkv", "qkv_bias", "gate_up", "gate_up_bias")
    layers = range(CONFIG.layers)
    assert set(names) == {f"layers.{i}.{what}" for i in layers for what in expected}


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        (["model.layers.3.self_attn.q_proj.weight", "model.layers.3.self_attn.k_proj.weight"],
         "layers.3.qkv"),
        (["model.text.layers.3.attn.q.weight", "model.text.layers.3.attn.k.weight"],
         "text.layers.3.attn.qkv"),
        (["model.q", "model.k"], "qkv"),
        (["a.q", "b.k"], "qkv"),
    ],
)  # fmt: skip
def test_pack_names(sources: list[str], name: str) -> None:
    assert pack_name(sources, "qkv") == name


def test_a_taken_name_is_not_taken_again() -> None:
    module = build_model(CONFIGS["plain"], "fp32", 16)
    program = next(op for op in module.walk() if isinstance(op, model.ProgramOp))
    first = next(op for op in program.walk() if isinstance(op, model.WeightOp))
    program.body.block.insert_op_before(model.WeightOp("layers.0.qkv", first.type), first)
    run_passes("fuse-qkv", module).verify()
    names = [op.symbol() for op in module.walk() if isinstance(op, model.PackOp)]
    assert names[0] == "layers.0.qkv.2"


def test_fusing_a_large_model_takes_less_than_half_a_second() -> None:
    module = build_model(open_model("random:llama-3-8b").config, "bf16", 8192)
    start = time.process_time()
    run_passes(",".join(FUSIONS), module)
    assert time.process_time() - start < 0.5
    assert counts(module)["qkv"] == 32
