"""Normalize inside the matrix that reads the normalized value.

A hop between SMs costs about a microsecond; the norm of a few thousand numbers, which every SM has
to read anyway, costs far less. So each SM normalizes for itself, and the hop goes away. Done only
when every reader can do it: otherwise the normalized value has to be sent all the same.

    %n = model.rms_norm %x, @g eps 1.0e-05, %y = model.linear %n, @w
    ->
    %y = model.linear %x, @w norm @g eps 1.0e-05 : tensor<576xbf16> -> tensor<576xbf16>
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Use
from xdsl.passes import ModulePass

from amk.dialects import model
from amk.passes.rewrite import programs

READERS = (model.LinearOp, model.QkvOp, model.GateUpOp, model.LmHeadOp, model.MoeGateUpOp)
"""The operators that can normalize their first operand."""


@dataclass(frozen=True)
class FuseNormPass(ModulePass):
    """Fold `model.rms_norm` into the matrix operators that read it."""

    name = "fuse-norm"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, model.ProgramOp):
            for inner in list(program.body.block.ops):
                if isinstance(inner, model.RmsNormOp):
                    fuse(inner)


def fuse(norm: model.RmsNormOp) -> None:
    uses = list(norm.out.uses)
    if norm.groups is not None or norm.residual or norm.parent is None or not uses:
        return
    if not all(normalizes(use) for use in uses):
        return
    for use in uses:
        use.operation.properties |= {"norm": norm.weight, "eps": norm.eps}
        use.operation.operands[use.index] = norm.x
    norm.parent.erase_op(norm)


def normalizes(use: Use) -> bool:
    """Whether the operator can take over: it reads the value as its x and has no norm yet."""
    return isinstance(use.operation, READERS) and use.index == 0 and use.operation.norm is None
