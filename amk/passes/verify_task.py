"""Prove the task programs of a module; changes nothing.

Runs what the `task.program` op's own verifier runs, at the point of a pipeline where it must hold,
and reports all problems instead of the first.

    task.program @decode { ... }   ->   the same, or an error
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.dialects import task
from amk.passes.rewrite import programs, report
from amk.verify.task import verify_task


@dataclass(frozen=True)
class VerifyTaskPass(ModulePass):
    """Fail with every problem of the module's task programs."""

    name = "verify-task"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, task.ProgramOp):
            report(verify_task(task.program_of(program)))
