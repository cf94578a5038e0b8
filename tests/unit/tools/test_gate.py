"""The gate lets through what Hugging Face computes, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from amk.compiler import compile_model
from amk.errors import AmkError
from amk.frontends.hf.decoder import DecoderConfig
from amk.frontends.hf.source import Model, open_model
from amk.tools import gate
from amk.tools.console import Steps
from amk.tools.gate import Verdict
from tests.unit.frontends.against import save_random
from tests.unit.tools.shell import run

LONG = {"max_position_embeddings": 128, "num_hidden_layers": 2}


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sliding windows, caps on scores and logits, a factor of attention that is not the usual."""
    folder = tmp_path_factory.mktemp("gemma2")
    save_random(
        folder, "gemma2", head_dim=8, sliding_window=8, attn_logit_softcapping=5.0,
        final_logit_softcapping=7.0, query_pre_attn_scalar=11, **LONG,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen2")
    save_random(folder, "qwen2", **LONG)
    return folder


def passed(model: Model, dtype: str = "fp32") -> Verdict:
    compiled = compile_model(model.config, num_sms=3, dtype=dtype)
    with Steps().step("comparing") as step:
        return gate.gate(model, compiled, step)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_what_is_right_passes(gemma: Path, dtype: str) -> None:
    verdict = passed(open_model(str(gemma)), dtype)
    assert verdict.positions > 100 and verdict.past_windows
    assert verdict.errors is not None and set(verdict.errors) == {"fp32", dtype}
    assert verdict.report()["passed"] is True


def wider(c: DecoderConfig) -> DecoderConfig:
    plan = tuple(replace(x, window=x.window + 1 if x.window else None) for x in c.plan)
    return replace(c, plan=plan)


BROKEN = {
    "rope base": lambda c: replace(c, inv_freq=tuple(f**1.02 for f in c.inv_freq)),
    "attention scale": lambda c: replace(c, attention_factor=c.attention_scale * 1.01),
    "window": wider,
    "softcap": lambda c: replace(c, softcap=c.softcap * 1.01),
    "logits softcap": lambda c: replace(c, logits_softcap=c.logits_softcap * 1.01),
    "epsilon": lambda c: replace(c, eps=c.eps * 100),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_wrong_does_not(gemma: Path, what: str) -> None:
    model = open_model(str(gemma))
    model.config = BROKEN[what](model.config)
    with pytest.raises(AmkError, match="gate: logits of .* nothing was written"):
        passed(model)


def test_a_lost_bias_does_not(qwen: Path) -> None:
    model = open_model(str(qwen))
    assert model.config.qkv_bias
    model.config = replace(model.config, qkv_bias=False)
    with pytest.raises(AmkError, match="gate: logits of .* in fp32"):
        passed(model)


def test_nothing_is_emitted_for_wrong_numbers(
    qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from amk.tools.compile import compile_to

    monkeypatch.setitem(gate.LIMITS, "fp32", 0.0)
    with pytest.raises(AmkError, match="nothing was written"):
        compile_to(
            str(qwen), tmp_path / "out", arch="sm_90a", num_sms=3, dtype="fp32",
            max_context=None, sync="flags", dump_ir=False, gated=True, sampling=False,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_the_report_says_what_was_compared(qwen: Path, tmp_path: Path) -> None:
    options = ["--num-sms", "3", "--json"]
    done = run("amk", "compile", qwen, "-o", tmp_path / "a", *options)
    told = json.loads(done.stdout.splitlines()[-1])["gate"]
    assert told["passed"] and told["positions"] > 100
    done = run("amk", "compile", qwen, "-o", tmp_path / "b", "--no-gate", *options)
    assert json.loads(done.stdout.splitlines()[-1])["gate"] == {"passed": None, "why": "--no-gate"}
    assert "--no-gate" in (tmp_path / "b" / "report.md").read_text()


def test_too_little_memory_is_said(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate.os, "sysconf", lambda name: 1)
    with pytest.raises(AmkError, match="memory"):
        passed(open_model(str(qwen)))
