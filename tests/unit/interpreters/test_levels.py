"""Every level of one program computes the same, fused or not, in both modes of synchronization."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp

from amk.dialects.model import MODEL as MODEL_DIALECT
from amk.dialects.model import ModelOp
from amk.errors import AmkError
from amk.frontends.hf.build import build_model
from amk.frontends.hf.source import open_model
from amk.interpreters.load import load_interpreter
from amk.ir.packs import F32
from amk.mlir import make_context, parse_module, run_passes
from tests.unit.stages import stages

INPUTS = Path(__file__).parents[2] / "filecheck" / "Inputs"
WRITTEN = ("families", "moe")
IDS = [3, 7, 1, 30, 22, 5]
MODEL = open_model("random:tiny")


def built(dtype: str = "fp32") -> ModuleOp:
    return build_model(MODEL.config, dtype, 32)


def parsed(name: str) -> ModuleOp:
    """A program of tests/filecheck/Inputs."""
    path = INPUTS / f"{name}.mlir"
    return parse_module(make_context(), path.read_text(), path.name)


def test_every_operator_of_the_model_dialect_runs_here() -> None:
    """What the two pipelines below start from holds every operator there is."""
    modules = [*stages(built(), ["fuse"]), *(parsed(name) for name in WRITTEN)]
    modules += [run_passes("fuse", parsed("moe"))]
    used = {type(op) for module in modules for op in module.walk()}
    operators = {op for op in MODEL_DIALECT.operations if issubclass(op, ModelOp)}
    assert operators <= used


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("sync", ["flags", "counters"])
def test_levels_agree(fuse: bool, sync: str) -> None:
    pipeline = [f"to-task{{sync={sync}}}", "to-sched{num-sms=5}", "to-vm"]
    model, *lowered = stages(built(), (["fuse"] if fuse else []) + pipeline)
    reference = load_interpreter(model, MODEL.weight)
    expected, tokens = reference.logits(IDS), reference.generate(IDS, 5)
    others = [load_interpreter(module, MODEL.weight) for module in lowered]
    others += [load_interpreter(lowered[-1], MODEL.weight, seed=seed) for seed in range(2)]
    others += [load_interpreter(lowered[-2], MODEL.weight, check=True)]
    for other in others:
        np.testing.assert_allclose(other.logits(IDS), expected, rtol=1e-4, atol=1e-5)
        assert other.generate(IDS, 5, steps=2) == tokens


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("sync", ["flags", "counters"])
@pytest.mark.parametrize("name", WRITTEN)
def test_levels_of_other_families_agree(name: str, fuse: bool, sync: str) -> None:
    """Past the window of the first layer, with splits of it, through all verifiers."""
    module = parsed(name)
    expected = load_interpreter(module).logits(IDS)
    first = ["fuse"] if fuse else []
    task = f"to-task{{sync={sync} splits=2 chunk=2}}"
    for end in (first, [*first, task], [*first, task, "to-sched{num-sms=4}", "to-vm"]):
        other = load_interpreter(run_passes(",".join(end), module.clone()) if end else module)
        np.testing.assert_allclose(other.logits(IDS), expected, rtol=1e-4, atol=1e-5)


def test_bf16_levels_are_close() -> None:
    logits = [
        load_interpreter(module, MODEL.weight).logits(IDS)
        for module in stages(built("bf16"), ["fuse", "to-task", "to-sched{num-sms=5}", "to-vm"])
    ]
    for other in logits[1:]:
        np.testing.assert_allclose(other, logits[0], atol=0.05)
    np.testing.assert_array_equal(logits[-1], logits[-2])


def test_random_weights_are_a_function_of_name_and_seed() -> None:
    module = built()
    first = load_interpreter(module).logits(IDS)
    np.testing.assert_array_equal(load_interpreter(module).logits(IDS), first)
    assert (load_interpreter(module, weight_seed=1).logits(IDS) != first).any()


def test_a_module_without_a_program_is_refused() -> None:
    with pytest.raises(AmkError, match="it holds 0"):
        load_interpreter(ModuleOp([]))


@pytest.mark.parametrize("sampling", ["false", "true"])
def test_what_exceeds_fp32_is_told(sampling: str) -> None:
    def weight(name: str) -> F32:
        return MODEL.weight(name) * np.float32(3e38 if name == "model.norm.weight" else 8)

    pipeline = ["fuse", f"to-task{{sampling={sampling}}}", "to-sched{num-sms=5}", "to-vm"]
    for module in stages(built(), pipeline):
        with pytest.raises(AmkError, match="logits are no numbers: the model's values exceed fp32"):
            load_interpreter(module, weight).generate(IDS, 2)
