"""How a pass below the model level works: take the plain program, change it, write it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.utils.exceptions import PassFailedException

from amk.dialects import model, sched, task
from amk.ir.program import SchedProgram, TaskProgram

P = TypeVar("P", bound=Operation)


def replace_program(module: ModuleOp, old: Operation, new: Operation) -> None:
    module.body.block.insert_op_before(new, old)
    old.detach()
    old.erase()


def declarations(program: Operation) -> list[Operation]:
    """Copies of the declarations of a program, for the program that replaces it."""
    return [d.clone() for d in model.declarations(program)]


def rewrite_tasks(module: ModuleOp, change: Callable[[TaskProgram], None]) -> None:
    """Apply `change` to the plain form of every task program."""
    for op in programs(module, task.ProgramOp):
        plain = task.program_of(op)
        change(plain)
        replace_program(
            module, op, task.ProgramOp(plain.name, declarations(op) + task.task_ops(plain))
        )


def rewrite_scheds(module: ModuleOp, change: Callable[[SchedProgram], None]) -> None:
    """Apply `change` to the plain form of every sched program."""
    for op in programs(module, sched.ProgramOp):
        plain = sched.program_of(op)
        change(plain)
        replace_program(
            module, op, sched.ProgramOp(plain.name, declarations(op) + sched.sched_ops(plain))
        )


def programs(module: ModuleOp, kind: type[P]) -> list[P]:
    """The programs of a level. Raises PassFailedException when there is none."""
    found = [op for op in module.ops if isinstance(op, kind)]
    if not found:
        raise PassFailedException(f"the module has no {kind.name}")
    return found


REPORTED = 20


def report(problems: Sequence[object]) -> None:
    """Raise PassFailedException with the first problems, one a line."""
    if problems:
        lines = [str(problem) for problem in problems[:REPORTED]]
        if len(problems) > REPORTED:
            lines.append(f"and {len(problems) - REPORTED} more")
        raise PassFailedException("\n".join(lines))
