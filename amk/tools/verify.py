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
from amk.verify import verify_program
from amk.verify.model import verify_model
from amk.verify.sched import verify_sched
from amk.verify.task import verify_task

PROGRAMS = {
    model.ProgramOp: "model",
    task.ProgramOp: "task",
    sched.ProgramOp: "sched",
    vm.ProgramOp: "vm",
}


def verify_file(file: Path) -> Result:
    """`safe`, `level`, and `violations`, one text each. Raises MalformedError when the file holds no program."""
    steps = Steps()
    with steps.step(f"reading {file}"):
        module = load_module(make_context(), file)
    program = program_in(module, str(file))
    with steps.step("verifying"):
        try:
            _check_ops(program)
            violations = _violations(program)
        except DiagnosticException as error:
            raise MalformedError(f"{file}: {one_line(error)}") from error
    return {
        "safe": not violations,
        "level": PROGRAMS[type(program)],
        "file": str(file),
        "violations": violations,
    }


def program_in(module: ModuleOp, name: str) -> Operation:
    """The one program of a module, of whatever level; `name` is its file in messages. Raises MalformedError."""
    found = [op for op in module.ops if type(op) in PROGRAMS]
    if len(found) != 1 or len(list(module.ops)) != 1:
        raise MalformedError(f"{name}: expected one program of amk, found {len(found)}")
    return found[0]


def _check_ops(program: Operation) -> None:
    """Every op by itself; the program as a whole is what the proofs are about."""
    for op in program.walk():
        if op is not program:
            op.verify(verify_nested_ops=False)


def _violations(program: Operation) -> list[str]:
    match program:
        case task.ProgramOp():
            found = list(verify_task(task.program_of(program)))
        case sched.ProgramOp():
            found = list(verify_sched(sched.program_of(program)))
        case vm.ProgramOp():
            found = list(verify_program(vm.program_op_of(program)))
        case _:
            assert isinstance(program, model.ProgramOp)
            found = list(verify_model(program))
    return [str(violation) for violation in found]


def show(result: Result, console: Console) -> None:
    """Print the verdict for a person."""
    if result["safe"]:
        console.print(f"SAFE: {result['file']} ({result['level']} level)", markup=False)
        return
    console.print(f"REJECTED: {result['file']} ({result['level']} level)", markup=False)
    for violation in result["violations"]:
        console.print(f"  {violation}", markup=False)
