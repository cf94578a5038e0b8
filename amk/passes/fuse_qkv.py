"""Project queries, keys and values with one matrix.

Three small matrices on one input are one matrix with three blocks of rows: one hop between SMs, and
enough tiles to occupy all of them. The pack makes the rows of each rotary pair
(i, i + head_dim / 2) neighbors, so that the tile that computes one half of a pair has the other
half too and can rotate it on the spot. Queries and keys come out in that order, which no dot
product between them notices; so the fusion is made only where the queries meet nothing but the
keys of this cache.

    %q = model.linear %x, @q, %k = model.linear %x, @k, %v = model.linear %x, @v, model.rope %q, %k
    ->
    model.pack @qkv = concat(rope @q, rope @k, rows @v) head_dim 64 : tensor<960x576xbf16>
    %q, %k, %v = model.qkv %x, @qkv rope @rope at %pos heads 9 kv_heads 3 head_dim 64 : ...
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.dialects import model
from amk.passes.fusing import (
    CacheUser,
    Packer,
    carried,
    producer,
    used_once,
    users_by_cache,
)
from amk.passes.rewrite import programs


@dataclass(frozen=True)
class FuseQkvPass(ModulePass):
    """Replace linear and rope of queries, keys and values by `model.qkv`."""

    name = "fuse-qkv"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, model.ProgramOp):
            packer = Packer(program)
            for users in users_by_cache(program).values():
                fuse(packer, users)
            packer.drop_unused()


def fuse(packer: Packer, users: list[CacheUser]) -> None:
    append, attention = users[0], users[-1]
    if not isinstance(attention, model.AttentionOp) or len(users) > 2:
        return
    if len(users) == 2 and not isinstance(append, model.KvAppendOp):
        return
    rope_q, rope_k = producer(attention.q, model.RopeOp), producer(append.k, model.RopeOp)
    v = producer(append.v, model.LinearOp)
    if not (rope_q and rope_k and v and rotated_alike(rope_q, rope_k, attention)):
        return
    q, k = producer(rope_q.x, model.LinearOp), producer(rope_k.x, model.LinearOp)
    types = [rope_q.out.type, rope_k.out.type, v.out.type]
    one_element_type = len({model.tensor_of(t)[1] for t in types}) == 1
    if not (q and k and one_element_type and packer.packable([q, k, v])):
        return
    dim = attention.head_dim
    pack = packer.pack("qkv", [q, k, v], "concat", ("rope", "rope", "rows"), dim.value.data)
    qkv = model.QkvOp.build(
        operands=[q.x, rope_q.pos],
        properties=pack
        | carried(q, "norm", "eps")
        | {"table": rope_q.table, "head_dim": dim}
        | {"heads": attention.heads, "kv_heads": attention.kv_heads},
        result_types=types,
    )
    packer.block.insert_op_before(qkv, append)
    for old, new in zip((rope_q, rope_k, v), qkv.results, strict=True):
        old.out.replace_all_uses_with(new)
    for op in (rope_q, rope_k, q, k, v):
        packer.block.erase_op(op)


def rotated_alike(q: model.RopeOp, k: model.RopeOp, attention: model.AttentionOp) -> bool:
    """Whether one rotation serves both, and nobody else sees the order of the pairs."""
    return (
        (q.table, q.pos, q.head_dim) == (k.table, k.pos, k.head_dim)
        and q.head_dim == attention.head_dim
        and q.full
        and k.full
        and used_once(q.out)
        and used_once(k.out)
    )
