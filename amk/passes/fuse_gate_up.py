"""Compute the gated half of an MLP with one matrix.

The rows of gate and up are interleaved, so that the tile that computes gate[j] computes up[j] too
and can send kind(gate[j]) * up[j]: one hop instead of two, and half as many values to send.

    %g = model.linear %x, @gate, %u = model.linear %x, @up, %y = model.glu silu %g, %u
    ->
    model.pack @gate_up = interleave(rows @gate, rows @up) : tensor<3072x576xbf16>
    %y = model.gate_up %x, @gate_up kind silu : tensor<576xbf16> -> tensor<1536xbf16>
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.dialects import model
from amk.passes.fusing import Packer, carried, producer
from amk.passes.rewrite import programs


@dataclass(frozen=True)
class FuseGateUpPass(ModulePass):
    """Replace the two linears below a `model.glu` by `model.gate_up`."""

    name = "fuse-gate-up"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, model.ProgramOp):
            packer = Packer(program)
            for inner in list(program.body.block.ops):
                if isinstance(inner, model.GluOp):
                    fuse(packer, inner)
            packer.drop_unused()


def fuse(packer: Packer, product: model.GluOp) -> None:
    gate, up = producer(product.gate, model.LinearOp), producer(product.up, model.LinearOp)
    if not (gate and up and packer.packable([gate, up])):
        return
    fused = model.GateUpOp.build(
        operands=[gate.x],
        properties=packer.pack("gate_up", [gate, up], "interleave", ("rows", "rows"))
        | carried(gate, "norm", "eps")
        | {"kind": product.kind},
        result_types=[product.out.type],
    )
    packer.block.insert_op_before(fused, product)
    product.out.replace_all_uses_with(fused.out)
    for op in (product, gate, up):
        packer.block.erase_op(op)
