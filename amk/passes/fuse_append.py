"""Let attention append the new row of its cache itself.

The tile of attention that owns row pos of a head can write it as well: then every row of the cache
is read by the SM that wrote it, and no other SM ever has to wait for one.

    model.kv_append %k, %v, @kv at %pos : ...
    %y = model.attention %q, @kv at %pos ...
    ->
    %y = model.attention %q append %k, %v : ..., @kv at %pos ...
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.dialects import model
from amk.passes.fusing import users_by_cache
from amk.passes.rewrite import programs


@dataclass(frozen=True)
class FuseAppendPass(ModulePass):
    """Fold `model.kv_append` into the one `model.attention` on its cache."""

    name = "fuse-append"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, model.ProgramOp):
            for users in users_by_cache(program).values():
                match users:
                    case [model.KvAppendOp() as append, model.AttentionOp() as attention]:
                        fuse(append, attention)
                    case _:
                        pass


def fuse(append: model.KvAppendOp, attention: model.AttentionOp) -> None:
    block = append.parent
    if block is None or append.pos is not attention.pos or attention.k or attention.v:
        return
    fused = model.AttentionOp.build(
        operands=[attention.q, [append.k], [append.v], attention.pos],
        properties={k: v for k, v in attention.properties.items() if k != "operandSegmentSizes"},
        result_types=[attention.out.type],
    )
    block.insert_op_before(fused, attention)
    attention.out.replace_all_uses_with(fused.out)
    block.erase_op(attention)
    block.erase_op(append)
