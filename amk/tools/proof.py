"""`amk verify --certificate`, `--trace`, and `amk check-certificate`: proofs and counterexamples of
files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.utils.exceptions import DiagnosticException

from amk.dialects import sched, vm
from amk.errors import AmkError
from amk.files import write_whole
from amk.ir.lowering import to_vm
from amk.ir.program import Program
from amk.mlir import MalformedError, load_module, make_context, one_line, read_text
from amk.tools.console import Result, Steps
from amk.verify import Violation
from amk.verify.certificate import certificate_text
from amk.verify.certificate_file import MalformedCertificateError, RefusedError
from amk.verify.checker import check_certificate
from amk.verify.counterexample import Counterexample, counterexample
from amk.verify.trace import trace

EXAMPLES = 3
"""Violations whose interleaving is shown."""


@dataclass(frozen=True)
class Explained:
    """Counterexamples of the first violations, and the vm program that they run."""

    program: Program
    found: tuple[Counterexample, ...]

    def lines(self) -> dict[str, list[str]]:
        return {str(c.violation): c.lines(self.program) for c in self.found}


def explain(program: Operation, violations: list[Violation]) -> Explained | None:
    """Counterexamples of a vm program, or of the vm program that a sched program lowers to."""
    if not any(v.rule[0] in "DR" for v in violations):
        return None
    match program:
        case vm.ProgramOp():
            p = vm.program_op_of(program)
        case sched.ProgramOp():
            p = to_vm(sched.program_of(program))
        case _:
            return None
    found: list[Counterexample] = []
    seen: set[tuple[str, tuple[tuple[int, int], ...]]] = set()
    for violation in violations:
        # The same fault shows in both steps that the verifier looks at.
        key = violation.rule, tuple((place.sm, place.index) for place in violation.places)
        if len(found) < EXAMPLES and key not in seen:
            seen.add(key)
            example = counterexample(p, violation)
            found += [example] if example else []
    return Explained(p, tuple(found))


def write_trace(path: Path, explained: Explained | None) -> None:
    """Write the interleavings as trace events; without any, an empty trace. Raises AmkError."""
    events = trace(explained.program, explained.found) if explained else trace(Program(""), ())
    write_whole(path, json.dumps(events))


def write_certificate(path: Path, program: Operation) -> None:
    """Write the certificate of a safe vm program. Raises AmkError."""
    if not isinstance(program, vm.ProgramOp):
        raise AmkError(f"--certificate: only a vm program has one, this is {program.name}")
    write_whole(path, certificate_text(vm.program_op_of(program)))


def check_files(file: Path, proof: Path) -> Result:
    """`valid`, and the `reason` if not. Raises MalformedError when a file is no program or no
    certificate."""
    steps = Steps()
    with steps.step(f"reading {file}"):
        program = vm_program(load_module(make_context(), file), str(file))
        text = read_text(proof)
        try:
            claimed: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"{proof}: no JSON ({one_line(error)})") from error
    result: Result = {"valid": True, "file": str(file), "certificate": str(proof)}
    with steps.step("checking"):
        try:
            check_certificate(program, claimed)
        except MalformedCertificateError as error:
            raise MalformedError(f"{proof}: {error}") from error
        except RefusedError as error:
            result |= {"valid": False, "reason": str(error)}
    return result


def vm_program(module: ModuleOp, name: str) -> Program:
    """The vm program of a module, not verified. Raises MalformedError."""
    ops = list(module.ops)
    if len(ops) != 1 or not isinstance(ops[0], vm.ProgramOp):
        raise MalformedError(f"{name}: expected one vm program and nothing else")
    try:
        for op in ops[0].body.walk():
            op.verify(verify_nested_ops=False)
        return vm.program_op_of(ops[0])
    except DiagnosticException as error:
        raise MalformedError(f"{name}: {one_line(error)}") from error


def show(result: Result, console: Console) -> None:
    """Print the verdict for a person."""
    if result["valid"]:
        console.print(f"VALID: {result['certificate']} proves {result['file']} safe", markup=False)
    else:
        console.print(f"REFUSED: {result['certificate']}: {result['reason']}", markup=False)
