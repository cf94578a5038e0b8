"""The part of the certificate checker that looks at one kernel, instruction or number at a time.

Like `checker.py`, it imports nothing from the verifier.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from amk.ir.kernels import (
    Access,
    AnyAccess,
    Append,
    Argmax,
    Attention,
    Cache,
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
    Weight,
)
from amk.ir.program import DTYPES, SCOPES, SLOT_ROWS, Program
from amk.verify.certificate_file import LARGE, require

STEPS = 1 << 17
"""Steps that a program must last before a counter or an epoch exceeds 32 bits."""
SHARED_BYTES = 227 * 1024
TYPES = {"token": {"i32"}, "res": {"f32"}, "res_in": {"f32"}, "res_out": {"f32"}, "cand": {"f32"},
         "part": {"f32"}, "ids": {"i32"}, "weights": {"f32"}}  # fmt: skip
"""Element types of the operands that are not simply floating point."""


def capacities(p: Program) -> dict[str, int]:
    """Bytes of the ring, and steps until the first counter or epoch exceeds 32 bits."""
    arrivals = Counter[int]()
    for s in (s for queue in p.queues for run in queue for s in run.signals):
        arrivals[s.counter] += s.amount
    per_step = [b.uses for b in p.buffers.values()]
    widths = [DTYPES[w.dtype] for k in p.kernels.values() if isinstance(k, Gemv)
              if (w := p.weight(k.weight))]  # fmt: skip
    r = p.ring
    ring = r.slots * SLOT_ROWS * r.columns * max(widths, default=0) if r else 0
    return {"ring_bytes": ring, "steps": (1 << 32) // max([1, *per_step, *arrivals.values()])}


def check_declarations(p: Program) -> None:
    """Kernels fit what they name, waits and signals name counters, and the ring keeps its rules."""
    for b in p.buffers.values():
        require(0 < b.length < LARGE, f"@{b.name}: length out of range")
    for pack in p.packs.values():
        require(all(x in p.tensors for x in pack.sources), f"pack @{pack.name}: no such tensor")
        rows = 0
        for source, layout, taken in pack.parts():
            t = p.tensors[source]
            height, *columns = t.shape
            if taken:
                period = taken.every or height
                inside = 0 <= taken.lo < taken.hi <= period and height % period == 0
                require(inside, f"pack @{pack.name}: takes rows that @{source} does not have")
                height = height // period * (taken.hi - taken.lo)
            if layout == "flat":
                height, columns = height * int(np.prod(columns)), []
            rows += height
            widened = layout == "plus_one" and pack.dtype == "f32"
            fits = (*columns,) == pack.shape[1:] and (widened or t.dtype == pack.dtype)
            require(fits, f"pack @{pack.name}: is not made of its sources")
        require(rows == pack.shape[0], f"pack @{pack.name}: is not made of its sources")
    for name, k in p.kernels.items():
        for f in fields(k):
            value = getattr(k, f.name)
            large = isinstance(value, int) and abs(value) >= LARGE
            require(not large, f"kernel @{name}: {f.name} is too large")
            if isinstance(value, Ref):
                b = p.buffers.get(value.buffer)
                allowed = TYPES.get(f.name, {"f32", "bf16"})
                if isinstance(k, Argmax | Sample):
                    allowed = {"f32"} if f.name == "x" else {"i32"}
                elif isinstance(k, Topk) and f.name == "x":
                    allowed = {"f32"}
                require(b and 0 <= value.use < b.uses, f"kernel @{name}: no such value {value}")
                require(b and b.dtype in allowed, f"kernel @{name}: wrong element type of {value}")
            elif isinstance(value, Weight):
                known = value in p.ropes if f.name == "rope" else p.weight(value)
                require(known, f"kernel @{name}: no such tensor @{value}")
            elif isinstance(value, Cache):
                require(value in p.caches, f"kernel @{name}: no such cache @{value}")
        require(not list(k.problems()), f"kernel @{name}: malformed")
        require(_shapes_agree(p, k), f"kernel @{name}: shapes do not agree")
        for a in k.accesses(0, k.grid):
            check_bounds(p, a)
    require(p.queues and all(p.queues), "a queue is empty")
    for run in (run for queue in p.queues for run in queue):
        k = p.kernels.get(run.kernel)
        require(k and 0 <= run.lo < run.hi <= k.grid, f"no such tiles: @{run.kernel}")
        require(all(x.scope in SCOPES for x in (*run.waits, *run.signals)), "no such scope")
        for counter, n in [(w.counter, w.threshold) for w in run.waits] + [
            (s.counter, s.amount) for s in run.signals
        ]:
            require(0 <= counter < p.counters and 0 < n < 1 << 32, f"no such counter: {counter}")
    _ids_name_experts(p)
    limits = capacities(p)
    require(limits["steps"] >= STEPS, "an epoch or counter exceeds 32 bits too early")
    r = p.ring
    if r is None:
        return
    require(min(r.slots, r.columns, r.group, r.consumers, r.window) > 0, "ring: empty dimension")
    require(r.slots % r.group == 0, "ring: slots are no whole number of copies")
    require(r.slots % r.consumers == 0, "ring: a slot has more than one consumer")
    require(r.consumers % r.group == 0, "ring: a copy does not divide a lap of the consumers")
    require(r.window * r.group <= r.slots, "ring: copies in flight exceed the slots")
    require(r.columns % 16 == 0, "ring: columns are no multiple of 16")
    matrices = [p.weight(k.weight) for k in p.kernels.values() if isinstance(k, Gemv)]
    require(len({DTYPES[w.dtype] for w in matrices if w}) <= 1, "ring: mixed element types")
    require(limits["ring_bytes"] <= SHARED_BYTES, "ring: exceeds the shared memory of an SM")


def _shapes_agree(p: Program, k: Kernel) -> bool:
    expected: dict[str, tuple[int, ...]] = {}
    if isinstance(k, Embed):
        table = p.weight(k.table)
        expected[k.table] = (table.shape[0] if table else 0, k.n)
    elif isinstance(k, Gemv):
        expected[k.weight] = (k.n, k.k)
        expected |= {v: (n,) for v, n in ((k.norm, k.k), (k.bias, k.n)) if v}
    elif isinstance(k, RmsNorm | LayerNorm):
        each = k.n // k.groups if k.shared else k.n
        expected[k.weight] = (each,)
        if isinstance(k, LayerNorm) and k.bias:
            expected[k.bias] = (each,)
    elif isinstance(k, MoeGateUp):
        expected[k.weight] = (2 * k.experts * (k.n // k.choices), k.k)
        expected |= {k.norm: (k.k,)} if k.norm else {}
    elif isinstance(k, MoeDown):
        expected[k.weight] = (k.experts * k.n, k.k)
    elif isinstance(k, Attention | Append):
        cache = p.caches[k.cache]
        if (cache.heads, cache.head_dim) != (k.kv_heads, k.head_dim):
            return False
        if isinstance(k, Attention) and k.sinks:
            expected[k.sinks] = (k.heads,)
    if isinstance(k, Gemv | Rope) and k.rope:
        turned = k.rotary or k.head_dim
        if 2 * len(p.ropes[k.rope].inv_freq) != turned:
            return False
    return all(w.shape == shape for n, shape in expected.items() if (w := p.weight(n)))


def _ids_name_experts(p: Program) -> None:
    """Of each element that some kernel takes an expert id from, every writer chooses among at most
    as many experts."""
    fewest: dict[tuple[str, int], NDArray[np.int64]] = {}
    kernels = [p.kernels[name] for name in {run.kernel for queue in p.queues for run in queue}]
    for k in kernels:
        if isinstance(k, MoeGateUp | MoeDown):
            end = k.ids.offset + k.choices
            value = k.ids.buffer, k.ids.use
            most = fewest.setdefault(value, np.full(p.buffers[value[0]].length, LARGE))
            most[k.ids.offset : end] = np.minimum(most[k.ids.offset : end], k.experts)
    for k in kernels if fewest else ():
        for a in k.accesses(0, k.grid):
            if isinstance(a, Access) and a.write and (a.buffer, a.use) in fewest:
                most = int(fewest[a.buffer, a.use][a.lo : a.hi].min())
                chooses = isinstance(k, Topk) and k.n <= most
                require(chooses or most == LARGE, "an expert id may name no expert")


CacheAccesses = dict[tuple[str, int], list[tuple[int, CacheAccess]]]
"""Per cache and head, the accesses and the numbers of their instructions."""


def flatten(p: Program) -> tuple[NDArray[np.int64], CacheAccesses]:
    """Every access of every instruction, in bounds.

    The columns of buffer accesses: instruction, buffer, SM of a local buffer, use, first element,
    end, whether it writes, since, whether it reads the step before.
    """
    rows: list[tuple[int, ...]] = []
    cache: CacheAccesses = {}
    ids, n = {name: i for i, name in enumerate(p.buffers)}, -1
    for sm, run in ((sm, run) for sm, queue in enumerate(p.queues) for run in queue):
        n += 1
        for a in p.accesses(run):
            check_bounds(p, a)
            if isinstance(a, Access):
                where = sm if p.buffers[a.buffer].space == "local" else 0
                rows.append((n, ids[a.buffer], where, a.use, a.lo, a.hi, a.write, a.since,
                             a.previous))  # fmt: skip
            elif isinstance(a, CacheAccess):
                for head in range(a.lo, a.hi):
                    cache.setdefault((a.cache, head), []).append((n, a))
    return np.array(rows, dtype=np.int64).reshape(-1, 9).T, cache


def check_bounds(p: Program, a: AnyAccess) -> None:
    """An access lies inside what it touches, and a flagged write covers whole words."""
    if isinstance(a, Access):
        b = p.buffers[a.buffer]
        require(0 <= a.lo < a.hi <= b.length, f"@{b.name}: access out of bounds")
        cut = b.space == "flagged" and a.write and (a.lo % b.word or a.hi % b.word)
        require(not cut, f"@{b.name}: a write cuts a word")
    elif isinstance(a, CacheAccess):
        require(0 <= a.lo < a.hi <= p.caches[a.cache].heads, f"@{a.cache}: access out of bounds")
    else:
        w = p.weight(a.weight)
        require(w and 0 <= a.lo < a.hi <= w.shape[0], f"@{a.weight}: access out of bounds")
