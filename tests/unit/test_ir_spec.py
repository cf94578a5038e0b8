"""docs/IR_SPEC.md has every op, kernel and constraint, and its examples run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from amk.ir.capacity import MAX_SMS, MIN_STEPS, SHARED_BYTES
from amk.ir.kernels import KERNELS
from amk.ir.program import SLOT_ROWS
from amk.mlir import make_context, parse_module, print_module
from amk.universe import DIALECTS
from amk.verify.ring import COLUMN_STEP

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "IR_SPEC.md").read_text()
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S))
EXAMPLES = re.findall(r"^```mlir\n(.*?)^```", TEXT, re.M | re.S)
OPS = [op for factory in DIALECTS.values() for op in factory().operations]
ATTRIBUTES = [attr for factory in DIALECTS.values() for attr in factory().attributes]
DEFINITIONS = "HO"
"""Letters of numbered statements that are no constraints: hardware, and happens-before."""


def cited_ids() -> dict[str, str]:
    """Constraint ids in the messages of verifiers: the id, and a file that cites it."""
    found: dict[str, str] = {}
    for folder in ("ir", "dialects", "verify", "passes"):
        for path in sorted((ROOT / "amk" / folder).rglob("*.py")):
            if "corpus" in path.parts:
                continue
            for text in literals(path):
                match = re.fullmatch(r"([A-Z]\d)|.* \(([A-Z]\d)\)", text, re.S)
                if match:
                    found[match[1] or match[2]] = path.name
    return found


def literals(path: Path) -> Iterator[str]:
    """String literals of a module, docstrings left out."""
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def defined_ids() -> set[str]:
    """Ids at the head of a list item, or of a sentence in the section of a kernel."""
    items = re.findall(r"^\* \(([A-Z]\d)\) ", TEXT, re.M)
    return {item for item in items if item[0] not in DEFINITIONS}


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_op_has_a_section_with_all_parts(op: type) -> None:
    section = SECTIONS[op.name]
    for part in ("Semantics", "Syntax", "Constraints", "Example"):
        assert f"**{part}.**" in section
    assert op.name in section.split("**Syntax.**")[1].split("**")[0]


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_operand_attribute_and_result_is_in_its_section(op: type) -> None:
    definition = op.get_irdl_definition()  # pyright: ignore[reportAttributeAccessIssue]
    named = [*definition.operands, *definition.properties.items(), *definition.results]
    for name in (entry[0] for entry in named):
        if name != "operandSegmentSizes":
            assert f"`{name}`" in SECTIONS[op.name], name


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_example_shows_its_op(op: type) -> None:
    assert f"{op.name} " in SECTIONS[op.name].split("**Example.**")[1]


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda a: a.name)
def test_every_attribute_is_mentioned(attribute: type) -> None:
    assert f"`{attribute.name}`" in TEXT


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=lambda k: k.mnemonic)
def test_every_kernel_has_a_section_that_names_its_fields(kernel: type) -> None:
    section = SECTIONS[kernel.mnemonic]
    for name in (field.name for field in fields(kernel)):
        assert f"`{name}`" in section, name


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_verifies_and_round_trips(number: int) -> None:
    module = parse_module(make_context(), EXAMPLES[number], f"example {number}")
    module.verify()
    text = print_module(module)
    again = parse_module(make_context(), text, "printed")
    again.verify()
    assert print_module(again) == text
    assert again.is_structurally_equivalent(module)


def test_there_is_an_example_for_every_op() -> None:
    assert len(EXAMPLES) >= len(OPS)


def test_every_constraint_that_a_verifier_cites_is_defined() -> None:
    cited = cited_ids()
    assert len(cited) > 20
    assert {id: file for id, file in cited.items() if id not in defined_ids()} == {}


def test_every_constraint_that_is_defined_can_be_cited() -> None:
    assert defined_ids() - set(cited_ids()) == set()


def test_a_constraint_is_referred_to_only_if_defined() -> None:
    mentioned = set(re.findall(r"\(([A-Z]\d)\)", TEXT))
    assert {m for m in mentioned if m[0] not in DEFINITIONS} <= defined_ids()


def test_numbers_in_the_text_are_those_of_the_verifiers() -> None:
    flat = " ".join(TEXT.split())
    assert f"at most {MAX_SMS} queues" in flat
    assert f"at least 2^{MIN_STEPS.bit_length() - 1} steps" in flat
    assert f"shared memory of an SM, {SHARED_BYTES // 1024} KiB" in flat
    assert f"a multiple of {COLUMN_STEP} columns" in flat
    assert f"*slots* of {SLOT_ROWS} rows" in flat
