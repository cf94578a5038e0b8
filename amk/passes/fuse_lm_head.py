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
from amk.dialects.attributes import number, real
from amk.passes.fusing import carried, producer, used_once
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
    """Logits may be scaled and capped between the matrix and the choice."""
    cap = producer(argmax.x, model.SoftcapOp)
    scaled = cap.x if cap else argmax.x
    scale = producer(scaled, model.ScaleOp)
    linear = producer(scale.x if scale else scaled, model.LinearOp)
    if linear is None or argmax.parent is None or linear.residual or linear.kind:
        return
    chain = [op for op in (cap, scale, linear) if op]
    if not all(used_once(op.out) for op in chain):
        return
    factor = number(linear.scale, 1.0) * (scale.factor.value.data if scale else 1.0)
    block = argmax.parent
    head = model.LmHeadOp.build(
        operands=[linear.x],
        properties=carried(linear, "weight", "bias", "norm", "eps")
        | ({"scale": real(factor)} if factor != 1.0 else {})
        | ({"softcap": cap.cap} if cap else {}),
        result_types=[model.TOKEN],
    )
    block.insert_op_before(head, argmax)
    argmax.out.replace_all_uses_with(head.out)
    for op in (argmax, *chain):
        block.erase_op(op)
