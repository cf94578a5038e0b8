"""Add the residual where the rows of the matrix, or of the norm behind it, are computed.

The SM that owns the rows keeps the residual stream in fp32 beside it, so the sum costs no hop and
is not rounded on the way.

    %y = model.linear %x, @o, %s = model.add %y, %r
    ->
    %s = model.linear %x, @o residual %r : tensor<576xf32> : tensor<576xbf16> -> tensor<576xf32>
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from amk.dialects import model
from amk.passes.fusing import used_once
from amk.passes.rewrite import programs

ADDING = (model.LinearOp, model.MoeDownOp, model.RmsNormOp, model.LayerNormOp)
"""The operators that can add a residual to what they make."""


@dataclass(frozen=True)
class FuseResidualPass(ModulePass):
    """Fold `model.add` into the `model.linear`, `model.moe_down` or norm that makes one of its
    operands."""

    name = "fuse-residual"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, model.ProgramOp):
            for inner in list(program.body.block.ops):
                if isinstance(inner, model.AddOp) and not fuse(inner, inner.a, inner.b):
                    fuse(inner, inner.b, inner.a)


def fuse(add: model.AddOp, product: SSAValue, residual: SSAValue) -> bool:
    matrix, block = product.owner, add.parent
    if not isinstance(matrix, ADDING) or block is None or matrix.residual:
        return False
    if not used_once(matrix.out) or (isinstance(matrix, model.LinearOp) and matrix.kind):
        return False
    fused = type(matrix).build(
        operands=[*matrix.operands, [residual]],
        properties=matrix.properties,
        result_types=[add.out.type],
    )
    block.insert_op_before(fused, add)
    add.out.replace_all_uses_with(fused.out)
    block.erase_op(add)
    block.erase_op(matrix)
    return True
