"""Prove the sched programs of a module; changes nothing.

Runs what the `sched.program` op's own verifier runs, at the point of a pipeline where it must hold,
and reports all problems instead of the first.

    sched.program @decode { ... }   ->   the same, or an error
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.dialects import sched
from amk.passes.rewrite import programs, report
from amk.verify.sched import verify_sched


@dataclass(frozen=True)
class VerifySchedPass(ModulePass):
    """Fail with every problem of the module's sched programs."""

    name = "verify-sched"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, sched.ProgramOp):
            report(verify_sched(sched.program_of(program)))
