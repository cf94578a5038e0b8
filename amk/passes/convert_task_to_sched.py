"""Give every SM a queue: each family's tiles in equal contiguous ranges, families in program order.

This is the plainest valid schedule; `assign-sms` and `order-queues` improve it. Attention tiles
become segments of one tile each, split 0 of a head last on its SM, because it waits for the others.

    task.family @l0.o gemv n 64 tile 8 ...
    ->  (4 SMs)
    sched.sm 0 { ... @l0.o[0 to 2] ... }
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import PassFailedException

from amk.dialects import sched, task
from amk.ir.program import SchedProgram
from amk.ir.schedule import even_shares, queues_of
from amk.passes.rewrite import declarations, programs, replace_program


@dataclass(frozen=True)
class ConvertTaskToSchedPass(ModulePass):
    """Schedule every task program on `num_sms` SMs."""

    name = "convert-task-to-sched"
    num_sms: int = 132

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if self.num_sms <= 0:
            raise PassFailedException(f"num-sms must be positive, got {self.num_sms}")
        for program in programs(op, task.ProgramOp):
            t = task.program_of(program)
            most = max((k.grid for k in t.kernels.values()), default=0)
            if self.num_sms > most:
                raise PassFailedException(
                    f"num-sms {self.num_sms} exceeds the {most} tiles of the largest family, "
                    f"choose at most {most}"
                )
            shares = {name: even_shares(k.grid, self.num_sms) for name, k in t.kernels.items()}
            new = SchedProgram(**vars(t), segments=queues_of(t, shares))
            ops = declarations(program) + sched.sched_ops(new)
            replace_program(op, program, sched.ProgramOp(t.name, ops))
