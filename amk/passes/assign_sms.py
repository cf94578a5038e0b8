"""Share tiles among SMs so that every SM streams equal bytes of weights.

Equal shares of each family leave the same SMs ahead in every one (24 rows against 23.3). Here each
family makes up for what the families before it left uneven. Families that meet in local buffers
(the residual stream) keep one split of the rows, in which the SMs that complete attention have
fewer: what follows attention begins there last.

    sched.sm 0 { @l0.qkv[0 to 3] @l0.gate_up[0 to 16] }
    ->
    sched.sm 0 { @l0.qkv[0 to 2] @l0.gate_up[0 to 17] }
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.ir.program import SchedProgram
from amk.ir.schedule import balanced_shares, queues_of
from amk.passes.rewrite import rewrite_scheds


@dataclass(frozen=True)
class AssignSmsPass(ModulePass):
    """Balance the queues of every sched program by bytes."""

    name = "assign-sms"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite_scheds(op, self.assign)

    def assign(self, p: SchedProgram) -> None:
        p.segments = queues_of(p, balanced_shares(p, len(p.segments)))
