"""What is no program: the definitions of docs/IR_SPEC.md, read once more and written down apart.

Nothing here runs anything. A program that passes has a meaning, safe or not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from amk.ir.kernels import (
    Access,
    Append,
    Argmax,
    Attention,
    Binary,
    CacheAccess,
    Embed,
    Gemv,
    Kernel,
    LayerNorm,
    MoeDown,
    MoeGateUp,
    Ref,
    RmsNorm,
    Rope,
    Sample,
    Topk,
    Unary,
    WeightAccess,
)
from amk.ir.program import Pack, Program

STEPS = 2**17
"""Steps that epochs and counters of 32 bits must last."""
SHARED = 227 * 1024
BYTES = {"f32": 4, "bf16": 2, "i32": 4}


def malformed(p: Program) -> str | None:
    """The first thing that makes a program meaningless; None when it has a meaning."""
    return next(_problems(p), None)


def _problems(p: Program) -> Iterator[str]:
    if len(p.queues) > 188:
        yield "more blocks than any machine has SMs"
    if not p.queues or not all(p.queues):
        yield "an SM has nothing to run"
    for pack in p.packs.values():
        yield from _pack(p, pack)
    for name, k in p.kernels.items():
        for problem in (*k.problems(), *_operands(p, k)):
            yield f"@{name}: {problem}"
            return
        yield from (f"@{name} {problem}" for problem in _reach(p, k, 0, k.grid))
    arrivals: Counter[int] = Counter()
    for queue in p.queues:
        for run in queue:
            k = p.kernels.get(run.kernel)
            if k is None:
                yield f"@{run.kernel} is no kernel"
                return
            if run.lo < 0 or run.hi > k.grid or run.lo >= run.hi:
                yield f"@{run.kernel} has no tiles [{run.lo}:{run.hi}]"
            yield from (f"@{run.kernel} {problem}" for problem in _reach(p, k, run.lo, run.hi))
            for w in run.waits:
                if w.scope not in ("gpu", "cta", "relaxed"):
                    yield "a wait of no scope that there is"
                if w.counter not in range(p.counters) or not 0 < w.threshold < 2**32:
                    yield f"{w} is no wait"
            for s in run.signals:
                arrivals[s.counter] += s.amount
                if s.counter not in range(p.counters) or not 0 < s.amount < 2**32:
                    yield f"{s} is no signal"
    if any(n * STEPS > 2**32 for n in arrivals.values()):
        yield "a counter overflows"
    if any(b.uses * STEPS > 2**32 for b in p.buffers.values()):
        yield "an epoch recurs"
    yield from _chosen(p)
    yield from _tokens(p)
    yield from _ring(p)


def _pack(p: Program, pack: Pack) -> Iterator[str]:
    """Its sources, by the rows that are taken of each, are its rows."""
    rows = 0
    for source, layout, taken in pack.parts():
        t = p.tensors.get(source)
        if t is None:
            yield f"@{pack.name} is made of @{source}, which is no tensor"
            return
        picked = range(t.shape[0])
        if taken:
            period = taken.every or t.shape[0]
            if t.shape[0] % period or not 0 <= taken.lo < taken.hi <= period:
                yield f"@{pack.name} takes rows that @{source} does not have"
                return
            picked = [r for r in picked if taken.lo <= r % period < taken.hi]
        columns = t.shape[1:]
        if layout == "flat":
            rows, columns = rows + len(picked) * math.prod(columns), ()
        else:
            rows += len(picked)
        types = {t.dtype, "f32"} if layout == "plus_one" else {t.dtype}
        if columns != pack.shape[1:] or pack.dtype not in types:
            yield f"@{pack.name} differs from one of its sources"
    if rows != pack.shape[0]:
        yield f"@{pack.name} is not what its sources are"


def _chosen(p: Program) -> Iterator[str]:
    """Nobody but a choice among few enough experts writes what is read as the id of one."""
    run = {run.kernel for queue in p.queues for run in queue}
    ids: dict[tuple[str, int, int], int] = {}
    for k in (p.kernels[name] for name in run):
        if isinstance(k, MoeGateUp | MoeDown):
            for e in range(k.ids.offset, k.ids.offset + k.choices):
                at = k.ids.buffer, k.ids.use, e
                ids[at] = min(ids.get(at, k.experts), k.experts)
    for name in run if ids else ():
        k = p.kernels[name]
        for a in k.accesses(0, k.grid):
            if isinstance(a, Access) and a.write:
                for e in range(a.lo, a.hi):
                    experts = ids.get((a.buffer, a.use, e))
                    if experts is not None and not (isinstance(k, Topk) and k.n <= experts):
                        yield f"@{name} leaves @{a.buffer}[{e}], which is no expert of {experts}"


def _tokens(p: Program) -> Iterator[str]:
    """What is looked up in a table is the number of one of its rows."""
    run = [p.kernels[name] for name in {run.kernel for queue in p.queues for run in queue}]
    below: dict[tuple[str, int, int], int] = {}
    """Of an element that holds a number, what it may be at most, and 1."""
    for k in run:
        for a in k.accesses(0, k.grid) if not isinstance(k, Argmax | Sample) else ():
            if isinstance(a, Access) and a.write:
                for e in range(a.lo, a.hi):
                    below[a.buffer, a.use, e] = 2**32
    for k in run:
        if isinstance(k, Gemv) and k.cand:
            for tile in range(k.grid):
                below[k.cand.buffer, k.cand.use, k.cand.offset + 2 * tile + 1] = k.n
    for k in run:
        if isinstance(k, Argmax | Sample):
            most = k.n
            if isinstance(k, Argmax) and k.pairs:
                odd = range(k.x.offset + 1, k.x.offset + 2 * k.n, 2)
                most = max(below.get((k.x.buffer, k.x.use, e), 0) for e in odd)
            at = k.out.buffer, k.out.use, k.out.offset
            below[at] = max(below.get(at, 0), most)
    for k in run:
        if isinstance(k, Embed) and (table := p.weight(k.table)):
            most = below.get((k.token.buffer, k.token.use, k.token.offset), 0)
            if most > table.shape[0]:
                yield f"@{k.token.buffer} may hold no row of @{k.table}"


def _operands(p: Program, k: Kernel) -> Iterator[str]:
    """Names, element types and shapes."""
    real = ("f32", "bf16")
    refs: list[tuple[Ref | None, tuple[str, ...]]] = []
    shapes: list[tuple[str | None, tuple[int | None, ...]]] = []
    tables: list[tuple[str | None, int]] = []
    match k:
        case Embed():
            refs = [(k.token, ("i32",)), (k.out, real), (k.res, ("f32",))]
            shapes = [(k.table, (None, k.n))]
        case Gemv():
            refs = [(k.x, real), (k.out, real), (k.res_in, ("f32",))]
            refs += [(k.res_out, ("f32",)), (k.cand, ("f32",))]
            shapes = [(k.weight, (k.n, k.k)), (k.norm, (k.k,)), (k.bias, (k.n,))]
            tables = [(k.rope, k.rotary or k.head_dim)]
        case Attention():
            refs = [(k.q, real), (k.k, real), (k.v, real), (k.out, real), (k.part, ("f32",))]
            shapes = [(k.sinks, (k.heads,))]
            shapes += [(name, (k.head_dim,)) for name in (k.q_norm, k.k_norm)]
            tables = [(k.rope, k.rotary or k.head_dim)]
        case Append():
            refs = [(k.k, real), (k.v, real)]
        case RmsNorm() | LayerNorm():
            refs = [(k.x, real), (k.out, real), (k.res_in, ("f32",)), (k.res_out, ("f32",))]
            each = (k.n // k.groups if k.shared else k.n,)
            shapes = [(k.weight, each)]
            if isinstance(k, LayerNorm):
                shapes.append((k.bias, each))
        case Rope():
            refs, tables = [(k.x, real), (k.out, real)], [(k.rope, k.rotary or k.head_dim)]
        case Unary():
            refs = [(k.x, real), (k.out, real)]
        case Binary():
            refs = [(k.a, real), (k.b, real), (k.out, real)]
        case Argmax() | Sample():
            refs = [(k.x, ("f32",)), (k.out, ("i32",))]
        case Topk():
            refs = [(k.x, ("f32",)), (k.ids, ("i32",)), (k.weights, ("f32",))]
        case MoeGateUp():
            refs = [(k.ids, ("i32",)), (k.x, real), (k.out, real)]
            each = 2 * k.n // k.choices
            shapes = [(k.weight, (k.experts * each, k.k)), (k.norm, (k.k,))]
            shapes += [(k.bias, (k.experts * each,))]
        case MoeDown():
            refs = [(k.ids, ("i32",)), (k.weights, ("f32",)), (k.x, real), (k.out, real)]
            refs += [(k.res_in, ("f32",)), (k.res_out, ("f32",))]
            shapes = [(k.weight, (k.experts * k.n, k.k)), (k.bias, (k.experts * k.n,))]
        case _:
            yield "is of no known kind"
    for ref, types in refs:
        if ref is None:
            continue
        b = p.buffers.get(ref.buffer)
        if b is None:
            yield f"@{ref.buffer} is no buffer"
        elif b.dtype not in types:
            yield f"@{ref.buffer} has elements of {b.dtype}"
        elif ref.use not in range(b.uses):
            yield f"@{ref.buffer} has no use {ref.use}"
    for name, shape in shapes:
        if name is None:
            continue
        t = p.packs.get(name) or p.tensors.get(name)
        if t is None:
            yield f"@{name} is no weight"
        elif len(t.shape) != len(shape) or any(
            want not in (None, got) for want, got in zip(shape, t.shape, strict=True)
        ):
            yield f"@{name} has shape {t.shape}, not {shape}"
    for name, dim in tables:
        if name is not None and (name not in p.ropes or 2 * len(p.ropes[name].inv_freq) != dim):
            yield f"@{name} is no table for heads of {dim}"
    if isinstance(k, Attention | Append):
        c = p.caches.get(k.cache)
        if c is None or (c.heads, c.head_dim) != (k.kv_heads, k.head_dim):
            yield f"@{k.cache} is no cache of {k.kv_heads} heads of {k.head_dim}"


def _reach(p: Program, k: Kernel, lo: int, hi: int) -> Iterator[str]:
    """Every access stays inside what it touches, and takes flagged words as they are."""
    for a in k.accesses(lo, hi):
        match a:
            case Access():
                b = p.buffers[a.buffer]
                if a.lo < 0 or a.hi > b.length or a.lo >= a.hi:
                    yield f"leaves @{a.buffer}"
                per_word = 4 // BYTES[b.dtype]
                if a.write and b.space == "flagged" and (a.lo % per_word or a.hi % per_word):
                    yield f"writes part of a word of @{a.buffer}"
            case CacheAccess():
                if a.lo < 0 or a.hi > p.caches[a.cache].heads or a.lo >= a.hi:
                    yield f"leaves @{a.cache}"
            case WeightAccess():
                t = p.packs.get(a.weight) or p.tensors[a.weight]
                if a.lo < 0 or a.hi > t.shape[0]:
                    yield f"leaves @{a.weight}"


def _ring(p: Program) -> Iterator[str]:
    """The ring holds the one element type that is streamed, in shared memory."""
    r = p.ring
    if r is None:
        return
    matrices = [k.weight for k in p.kernels.values() if isinstance(k, Gemv)]
    types = {(p.packs.get(w) or p.tensors[w]).dtype for w in matrices}
    if len(types) > 1:
        yield "two element types share the ring"
    if r.columns % 16:
        yield f"a slot has {r.columns} columns"
    if r.slots * 8 * r.columns * max((BYTES[t] for t in types), default=0) > SHARED:
        yield "the ring is larger than the shared memory"
