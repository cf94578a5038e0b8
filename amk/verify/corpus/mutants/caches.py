"""KV caches: rows that nobody writes, or two, or that are taken otherwise."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from amk.ir.kernels import (
    Append,
    Attention,
    Cache,
)
from amk.ir.program import Program, Run
from amk.verify.corpus.mutants.edits import (
    at,
    edited,
    inserted,
    mutant,
    renamed,
    some,
    with_buffer,
    with_kernel,
    without,
)


@mutant
def cache_of_another_layer(p: Program, rng: Random) -> Program | None:
    names = [n for n, k in p.kernels.items() if isinstance(k, Attention | Append)]
    if not names or len(p.caches) < 2:
        return None
    return with_kernel(p, rng.choice(names), cache=Cache(rng.choice(list(p.caches))))


@mutant
def chunk_changed(p: Program, rng: Random) -> Program | None:
    """Splits take other rows than before: all of them together, or those of one kernel."""
    names = [n for n, k in p.kernels.items() if isinstance(k, Attention) and k.splits > 1]
    if not names:
        return None
    name = rng.choice(names)
    kernel = p.kernels[name]
    assert isinstance(kernel, Attention)
    return with_kernel(p, name, chunk=max(1, kernel.chunk + rng.choice((-1, 1, 2))))


@mutant
def one_tile_chunked_otherwise(p: Program, rng: Random) -> Program | None:
    """One attention tile takes its rows by another chunk: right at some positions only."""
    where = some(
        p, rng, lambda r: isinstance(k := p.kernels.get(r.kernel), Attention) and k.splits > 1
    )
    if where is None:
        return None
    run = at(p, where)
    kernel = p.kernels[run.kernel]
    assert isinstance(kernel, Attention)
    other = replace(kernel, chunk=kernel.chunk + rng.choice((1, 2)))
    kernels = p.kernels | {f"{run.kernel}.odd": other}
    return edited(replace(p, kernels=kernels), where, kernel=f"{run.kernel}.odd")


@mutant
def append_left_to_nobody(p: Program, rng: Random) -> Program | None:
    """One attention tile does not append its row, or an append is gone."""
    where = some(
        p,
        rng,
        lambda r: (
            isinstance(k := p.kernels.get(r.kernel), Append)
            or (isinstance(k, Attention) and k.k is not None)
        ),
    )
    if where is None:
        return None
    run = at(p, where)
    kernel = p.kernels[run.kernel]
    if isinstance(kernel, Append):
        return without(p, where)
    kernels = p.kernels | {f"{run.kernel}.mute": replace(kernel, k=None, v=None)}  # pyright: ignore[reportCallIssue]
    return edited(replace(p, kernels=kernels), where, kernel=f"{run.kernel}.mute")


@mutant
def row_appended_twice(p: Program, rng: Random) -> Program | None:
    """An append of its own, beside the one in attention; or the same one twice."""
    names = [n for n, k in p.kernels.items() if isinstance(k, Attention) and k.k and k.v]
    if not names:
        return None
    k = p.kernels[rng.choice(names)]
    assert isinstance(k, Attention) and k.k and k.v
    kernels = p.kernels | {"again": Append(k.kv_heads, k.head_dim, k.k, k.v, k.cache)}
    sm = rng.randrange(len(p.queues))
    tile = rng.randrange(k.kv_heads)
    place = (sm, rng.randint(len(p.queues[sm]) // 2, len(p.queues[sm])))
    return inserted(replace(p, kernels=kernels), place, Run("again", tile, tile + 1))


@mutant
def cache_shortened(p: Program, rng: Random) -> Program | None:
    """Fewer heads, or heads of another size."""
    if not p.caches:
        return None
    c = rng.choice(list(p.caches.values()))
    new = (
        replace(c, heads=c.heads - 1) if rng.random() < 0.5 else replace(c, head_dim=c.head_dim + 2)
    )
    return replace(p, caches=p.caches | {c.name: new})


@mutant
def part_read_by_position(p: Program, rng: Random) -> Program | None:
    """Partial results are plain memory without counters, or live where another value does."""
    names = [n for n, k in p.kernels.items() if isinstance(k, Attention) and k.part]
    if not names:
        return None
    name = rng.choice(names)
    kernel = p.kernels[name]
    assert isinstance(kernel, Attention) and kernel.part
    part = p.buffers[kernel.part.buffer]
    if rng.random() < 0.3:
        return with_buffer(p, part.name, space="plain" if part.space == "flagged" else "flagged")
    other = [
        b.name
        for b in p.buffers.values()
        if b.dtype == "f32" and b.length >= part.length and b.name != part.name
    ]
    if not other:
        return None
    host = rng.choice(other)
    b = p.buffers[host]
    out = with_buffer(p, host, uses=b.uses + part.uses)
    return renamed(out, {part.name: host}, lambda ref: ref.use + b.uses)
