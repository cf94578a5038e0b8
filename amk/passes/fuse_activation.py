"""Apply the activation where the rows of the matrix are computed.

An MLP without gate is matrix, activation, matrix: the tile that computes a row can send its
activation, which saves a hop.

    %y = model.linear %x, @up, %a = model.activation relu2 %y
    ->
    %a = model.linear %x, @up kind relu2 : tensor<576xbf16> -> tensor<1536xbf16>
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.dialects import model
from amk.passes.fusing import producer, used_once
from amk.passes.rewrite import programs


@dataclass(frozen=True)
class FuseActivationPass(ModulePass):
    """Fold `model.activation` into the `model.linear` that makes its operand."""

    name = "fuse-activation"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, model.ProgramOp):
            for inner in list(program.body.block.ops):
                if isinstance(inner, model.ActivationOp):
                    fuse(inner)


def fuse(activation: model.ActivationOp) -> None:
    linear, block = producer(activation.x, model.LinearOp), activation.parent
    if linear is None or block is None or linear.residual or linear.kind:
        return
    if not used_once(linear.out):
        return
    fused = model.LinearOp.build(
        operands=[linear.x, []],
        properties=linear.properties | {"kind": activation.kind},
        result_types=[activation.out.type],
    )
    block.insert_op_before(fused, activation)
    activation.out.replace_all_uses_with(fused.out)
    block.erase_op(activation)
    block.erase_op(linear)
