"""Prove the vm programs of a module; changes nothing.

Runs what the `vm.program` op's own verifier runs, at the point of a pipeline where it must hold,
and reports all problems instead of the first.

    vm.program @decode { ... }   ->   the same, or an error
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.dialects import vm
from amk.passes.rewrite import programs, report
from amk.verify import verify_program


@dataclass(frozen=True)
class VerifyVmPass(ModulePass):
    """Fail with every problem of the module's vm programs."""

    name = "verify-vm"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, vm.ProgramOp):
            report(verify_program(vm.program_op_of(program)))
