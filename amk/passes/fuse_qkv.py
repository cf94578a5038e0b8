"""Project queries, keys and values with one matrix.

Three small matrices on one input are one matrix with three blocks of rows: one hop between SMs, and
enough tiles to occupy all of them. The pack makes the rows of each rotary pair (i, i + rotary / 2)
neighbors, so that the tile that computes one half of a pair has the other half too and can rotate
it on the spot. Queries and keys come out in that order, which no dot product between them notices;
so the fusion is made only where the queries meet nothing but the keys of this cache.

Norms of heads stand between matrix and rotation. A tile of the matrix has no whole head, a tile of
attention has: so both move there, norm and rotation, and still nothing hops in between.

    %q = model.linear %x, @q, %k = model.linear %x, @k, %v = model.linear %x, @v, model.rope %q, %k
    ->
    model.pack @qkv = concat(rope @q, rope @k, rows @v) head_dim 64 : tensor<960x576xbf16>
    %q, %k, %v = model.qkv %x, @qkv rope @rope at %pos heads 9 kv_heads 3 head_dim 64 : ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, UnitAttr
from xdsl.ir import Attribute, SSAValue
from xdsl.passes import ModulePass

from amk.dialects import model
from amk.dialects.attributes import size, tensor_of
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
    """Replace linear, norm of heads and rope of queries, keys and values by `model.qkv`, and by
    parts of `model.attention`."""

    name = "fuse-qkv"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, model.ProgramOp):
            packer = Packer(program)
            for users in users_by_cache(program).values():
                fuse(packer, users)
            packer.drop_unused()


class Heads(NamedTuple):
    """Where queries or keys come from: a matrix, then maybe a norm of heads, then maybe rope."""

    linear: model.LinearOp
    norm: model.RmsNormOp | None
    rope: model.RopeOp | None


def heads_of(value: SSAValue | None, heads: int) -> Heads | None:
    """The origin of `value`, if nobody else sees what lies on the way."""
    rope = producer(value, model.RopeOp)
    value = rope.x if rope else value
    norm = producer(value, model.RmsNormOp)
    value = norm.x if norm else value
    linear = producer(value, model.LinearOp)
    way = [op for op in (rope, norm, linear) if op]
    if linear is None or not all(used_once(op.out) for op in way):
        return None
    if norm and (norm.residual or norm.groups is None or norm.groups.value.data != heads):
        return None
    return Heads(linear, norm, rope)


def fuse(packer: Packer, users: list[CacheUser]) -> None:
    append, attention = users[0], users[-1]
    if not isinstance(attention, model.AttentionOp) or len(users) > 2:
        return
    if len(users) == 2 and not isinstance(append, model.KvAppendOp):
        return
    if attention.q_norm or attention.table:
        return
    q = heads_of(attention.q, attention.heads.value.data)
    k = heads_of(append.k, attention.kv_heads.value.data)
    v = producer(append.v, model.LinearOp)
    if not (q and k and v and alike(q, k, attention)) or append.k is None:
        return
    norms = [packer.shapes.get(op.weight.string_value()) for op in (q.norm, k.norm) if op]
    if any(shape != (attention.head_dim.value.data,) for shape in norms):
        return
    if q.norm and append is not attention:  # only a tile that appends its row can normalize it
        return
    types = [attention.q.type, append.k.type, v.out.type]
    one_element_type = len({tensor_of(t)[1] for t in types}) == 1
    if not (one_element_type and packer.packable([q.linear, k.linear, v])):
        return
    dim, rope = attention.head_dim, q.rope
    halves = rope is not None and rope.interleaved is None
    rotary = rope.rotary.value.data if rope and rope.rotary and rope.rotary != dim else 0
    turned = "rope" if halves else "rows"
    pack = packer.pack(
        "qkv", [q.linear, k.linear, v], "concat", (turned, turned, "rows"),
        dim.value.data if halves else 0, rotary if halves else 0,
    )  # fmt: skip
    rotation: dict[str, Attribute] = {"table": rope.table} if rope else {}
    rotation |= {"rotary": size(rotary)} if rotary else {}
    qkv = model.QkvOp.build(
        operands=[q.linear.x, attention.pos],
        properties=pack
        | carried(q.linear, "norm", "eps")
        | {"heads": attention.heads, "kv_heads": attention.kv_heads, "head_dim": dim}
        | (rotation if q.norm is None else {}),
        result_types=types,
    )
    packer.block.insert_op_before(qkv, append)
    if q.norm and k.norm:
        attention.properties |= {"q_norm": q.norm.weight, "k_norm": k.norm.weight}
        attention.properties |= {"eps": q.norm.eps} | rotation
        attention.properties |= {"halves": UnitAttr()} if halves else {}
    for old, new in zip((attention.q, append.k, v.out), qkv.results, strict=True):
        old.replace_all_uses_with(new)
    for op in (q.rope, k.rope, q.norm, k.norm, q.linear, k.linear, v):
        if op:
            packer.block.erase_op(op)


def alike(q: Heads, k: Heads, attention: model.AttentionOp) -> bool:
    """Whether one rotation serves both, and one epsilon."""
    if (q.norm is None) != (k.norm is None) or (q.rope is None) != (k.rope is None):
        return False
    if q.norm and k.norm and q.norm.eps != k.norm.eps:
        return False
    if q.rope is None or k.rope is None:
        return True
    turns = [(op.table, op.pos, op.head_dim, op.rotary, op.interleaved) for op in (q.rope, k.rope)]
    return turns[0] == turns[1] and q.rope.head_dim == attention.head_dim
