"""Resolve a schedule to instructions: every operand a place in a physical buffer, every dependence
a counter number.

sched.sm 17 { @l0.qkv[15 to 16] ... }
->
vm.kernel @l0.qkv gemv n 960 ... x @h out @qkv.y ...
vm.queue 17 { vm.run @l0.qkv[15 to 16] ... }
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.dialects import sched, vm
from amk.ir.lowering import to_vm
from amk.passes.rewrite import declarations, programs, replace_program


@dataclass(frozen=True)
class ConvertSchedToVmPass(ModulePass):
    """Lower every sched program of the module."""

    name = "convert-sched-to-vm"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, sched.ProgramOp):
            plain = to_vm(sched.program_of(program))
            ops = declarations(program) + vm.vm_ops(plain)
            replace_program(op, program, vm.ProgramOp(plain.name, ops))
