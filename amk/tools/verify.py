"""`amk verify`: the proofs of a file's level, with every violation."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.utils.exceptions import DiagnosticException

from amk.dialects import model, sched, task, vm
from amk.mlir import MalformedError, load_module, make_context, one_line
from amk.tools.console import Result, Steps
from amk.tools.proof import explain, write_certificate, write_trace
from amk.verify import Violation, verify_program
from amk.verify.model import verify_model
from amk.verify.sched import verify_sched
from amk.verify.task import verify_task

PROGRAMS: dict[type[Operation], str] = {
    model.ProgramOp: "model",
    task.ProgramOp: "task",
    sched.ProgramOp: "sched",
    vm.ProgramOp: "vm",
}


MALFORMED = {"E1", "E5", "E7", "E9"}
"""Rules whose violation means that an instruction is none at all: it names what is not there."""


def verify_file(file: Path, certificate: Path | None = None, trace: Path | None = None) -> Result:
    """`safe`, `level`, `violations`, one text each, and `counterexamples`, interleavings by
    violation.

    Writes the certificate of a safe program, and the interleavings as a trace, where asked to.
    Raises MalformedError when the file holds no program.
    """
    steps = Steps()
    with steps.step(f"reading {file}"):
        module = load_module(make_context(), file)
    program = program_in(module, str(file))
    with steps.step("verifying"):
        violations = found_in(program, str(file))
    for violation in violations:
        if violation.rule in MALFORMED:
            raise MalformedError(f"{file}: {violation}")
    explained = explain(program, violations)
    if certificate and not violations:
        with steps.step("writing the certificate"):
            write_certificate(certificate, program)
    if trace:
        write_trace(trace, explained)
    result: Result = {
        "safe": not violations,
        "level": PROGRAMS[type(program)],
        "file": str(file),
        "violations": [str(violation) for violation in violations],
    }
    return result | ({"counterexamples": explained.lines()} if explained else {})


def program_in(module: ModuleOp, name: str) -> Operation:
    """The one program of a module, of whatever level; `name` is its file in messages.

    Raises MalformedError when there is not exactly one, or something beside it.
    """
    ops = list(module.ops)
    if len(ops) != 1 or type(ops[0]) not in PROGRAMS:
        raise MalformedError(
            f"{name}: expected one model, task, sched or vm program and nothing else"
        )
    return ops[0]


def violations_of(program: Operation, name: str) -> list[str]:
    """The texts of all violations of a program."""
    return [str(violation) for violation in found_in(program, name)]


def found_in(program: Operation, name: str) -> list[Violation]:
    """All violations of a program, of whatever level. Raises MalformedError when an op contradicts
    its definition.
    """
    try:
        for op in program.walk():
            if op is not program:
                op.verify(verify_nested_ops=False)
        match program:
            case task.ProgramOp():
                return verify_task(task.program_of(program))
            case sched.ProgramOp():
                return verify_sched(sched.program_of(program))
            case vm.ProgramOp():
                return verify_program(vm.program_op_of(program))
            case _:
                assert isinstance(program, model.ProgramOp)
                split = (text.removesuffix(")").rpartition(" (") for text in verify_model(program))
                return [Violation(rule, message) for message, _, rule in split]
    except DiagnosticException as error:
        raise MalformedError(f"{name}: {one_line(error)}") from error


def show(result: Result, console: Console) -> None:
    """Print the verdict for a person."""
    if result["safe"]:
        console.print(f"SAFE: {result['file']} ({result['level']} level)", markup=False)
        return
    console.print(f"REJECTED: {result['file']} ({result['level']} level)", markup=False)
    for violation in result["violations"]:
        console.print(f"  {violation}", markup=False)
        for line in result.get("counterexamples", {}).get(violation, ()):
            console.print(f"    {line}", markup=False)
