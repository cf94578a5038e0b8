"""Choose the next token where the logits are computed.

Every tile of the head's matrix leaves its largest logit and that one's row, so that the SM which
chooses the token reads a hundred pairs instead of a hundred thousand logits.

    %l = model.linear %x, @head, %t = model.argmax %l
    ->
    %t = model.lm_head %x, @head : tensor<576xbf16>
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
class FuseLmHeadPass(ModulePass):
    """Replace `model.argmax` of a `model.linear` by `model.lm_head`."""

    name = "fuse-lm-head"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, model.ProgramOp):
            for inner in list(program.body.block.ops):
                if isinstance(inner, model.ArgmaxOp):
                    fuse(inner)


def fuse(argmax: model.ArgmaxOp) -> None:
    linear = producer(argmax.x, model.LinearOp)
    if linear is None or argmax.parent is None or not used_once(linear.out):
        return
    if linear.residual is not None or linear.scale is not None:
        return
    block = argmax.parent
    head = model.LmHeadOp.build(
        operands=[linear.x], properties=linear.properties, result_types=[model.TOKEN]
    )
    block.insert_op_before(head, argmax)
    argmax.out.replace_all_uses_with(head.out)
    block.erase_op(argmax)
    block.erase_op(linear)
