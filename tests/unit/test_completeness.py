"""Nothing arrives without its documentation and its tests: passes, operators and rules."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest
from xdsl.passes import ModulePass

from amk.dialects import model
from amk.interpreters.kernels import EXECUTE
from amk.interpreters.model import ModelInterpreter
from amk.ir.kernels import KERNELS
from amk.pipelines import PIPELINES
from amk.universe import DIALECTS, PASSES

ROOT = Path(__file__).parents[2]
LIT = ROOT / "tests" / "filecheck"
SPEC = (ROOT / "docs" / "IR_SPEC.md").read_text()
TESTS = {
    path: path.read_text() for path in sorted(LIT.rglob("*.mlir")) if "Output" not in str(path)
}
OPERATORS = [
    op
    for op in DIALECTS["model"]().operations
    if issubclass(op, model.ModelOp) and op is not model.ReturnOp
]


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_says_what_and_why_and_shows_before_and_after(name: str) -> None:
    cls = PASSES[name]()
    assert issubclass(cls, ModulePass) and cls.name == name and cls.__doc__
    module = inspect.getmodule(cls)
    assert module is not None
    doc = module.__doc__ or ""
    assert len(doc.splitlines()) > 4 and "->" in doc


@pytest.mark.parametrize("name", PASSES)
def test_every_option_of_a_pass_is_explained(name: str) -> None:
    cls = PASSES[name]()
    for option in fields(cls):
        assert not option.init or f"`{option.name}`" in (cls.__doc__ or ""), option.name


def runs(name: str) -> list[str]:
    """RUN lines of lit tests whose pipeline names a pass or pipeline."""
    lines = [line for text in TESTS.values() for line in re.findall(r"// RUN: (.*)", text)]
    named = re.compile(rf"-p '?([^']*,)?{name}(?![\w-])")
    return [line for line in lines if named.search(line)]


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_has_a_lit_test_and_a_refusal(name: str) -> None:
    refused = [line for line in runs(name) if line.startswith("not ")]
    assert refused and len(refused) < len(runs(name))


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_has_a_lit_test(name: str) -> None:
    assert runs(name)


@pytest.mark.parametrize("rule", sorted(set(re.findall(r"^\* \(([A-GI-NP-Z]\d)\) ", SPEC, re.M))))
def test_a_rule_has_a_lit_test_that_breaks_it(rule: str) -> None:
    breaking = [text for text in TESTS.values() if "RUN: not " in text]
    assert any(re.search(rf"CHECK: error: .*\({rule}\)", text) for text in breaking)


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_an_operator_has_an_interpreter(op: type) -> None:
    assert f"model.{op.__name__}" in inspect.getsource(ModelInterpreter.operator)


def test_a_kernel_has_an_interpreter() -> None:
    assert set(EXECUTE) == set(KERNELS.values())


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(LIT)))
def test_a_lit_test_is_short_and_says_what_it_pins_down(path: Path) -> None:
    lines = TESTS[path].splitlines()
    assert len(lines) <= 60
    if path.parent.name != "Inputs":
        assert lines[0].startswith("// RUN: ")
        comments = [line for line in lines if line.startswith("// ") and "RUN:" not in line]
        assert comments and "CHECK" not in comments[0]
