"""The part of the checker (checker.py) that looks inside an SM: the ring, and what warps hand over.

This file imports nothing from the verifier. It takes from `amk.ir.roles` who does what, and
compares all late accesses at once: between two joins an element that is written has one finisher.
"""

from __future__ import annotations

import numpy as np

from amk.ir.arrays import Ints
from amk.ir.capacity import MIN_STEPS, SHARED_BYTES, capacities
from amk.ir.kernels import Access, Attention, Gemv
from amk.ir.program import DTYPES, Program, Ring
from amk.ir.roles import Roles, places
from amk.verify.certificate_file import require


def check_ring(p: Program, r: Ring) -> None:
    require(min(r.slots, r.columns, r.group, r.consumers, r.window) > 0, "ring: empty dimension")
    require(r.slots % r.group == 0, "ring: slots are no whole number of copies")
    require(r.slots % r.consumers == 0, "ring: a slot has more than one consumer")
    require(r.consumers % r.group == 0, "ring: a copy does not divide a lap of the consumers")
    require(r.window * r.group <= r.slots, "ring: copies in flight exceed the slots")
    require(r.columns % 16 == 0, "ring: columns are no multiple of 16")
    matrices = [p.weight(k.weight) for k in p.kernels.values() if isinstance(k, Gemv)]
    require(len({DTYPES[w.dtype] for w in matrices if w}) <= 1, "ring: mixed element types")
    require(capacities(p)["ring_bytes"] <= SHARED_BYTES, "ring: exceeds the shared memory of an SM")


def check_roles(p: Program, r: Ring) -> None:
    sizes = (r.finishers, r.depth, r.kv_buffers, r.kv_bytes, r.lead, r.entries + 1)
    require(min(sizes) > 0, "warps: an empty dimension")
    require(r.finishers + r.consumers + 1 <= 32, "warps: more than a block has")
    require(r.lead <= r.depth, "warps: consumers overtake the finishers")
    roles = Roles(p, r)
    copied = {
        n: k
        for n, k in p.kernels.items()
        if isinstance(k, Attention) and not roles.matrix(n)
    }  # fmt: skip
    fits = r.kv_bytes % 16 == 0 and all(roles.row_bytes(k) <= r.kv_bytes for k in copied.values())
    require(fits, "warps: a row of a cache does not fit its buffer")
    whole = [k for n, k in p.kernels.items() if isinstance(k, Gemv) and n not in roles.splits]
    widest = max((-(-k.k // r.columns) for k in whole), default=0)
    enough = not whole or not r.entries or r.entries >= r.slots + r.consumers + widest - 1
    require(enough, "warps: too few entries")
    steps = min((c.rows for c in p.caches.values()), default=MIN_STEPS)
    for queue in p.queues:
        blocks = sum(roles.blocks(run) for run in queue)
        require(blocks * steps + r.depth < 1 << 32, "warps: numbers of row blocks recur")
        require(not copied or len(queue) < 1 << 16, "warps: numbers of instructions recur")
    check_late(p, roles)


def check_late(p: Program, roles: Roles) -> None:
    split, number = frozenset(roles.splits), {name: i for i, name in enumerate(p.buffers)}
    read = {
        (b.name, ref.use): np.zeros(b.length, dtype=bool)
        for name in split
        for ref in places(p.kernels[name])
        if (b := p.buffers[ref.buffer]).space == "flagged" and b.uses > 1
    }
    runs = [(sm, run) for sm, queue in enumerate(p.queues) for run in queue]
    touched = [
        (run.kernel in split, [a for a in p.accesses(run) if isinstance(a, Access)])
        for _, run in runs
    ] if split else []  # fmt: skip
    for _, items in touched:
        for a in items:
            if not a.write and a.since == 0 and (a.buffer, a.use) in read:
                read[a.buffer, a.use][a.lo : a.hi] = True
    late: list[Ints] = []
    segment = last = 0
    for (sm, run), (by_finishers, items) in zip(runs, touched, strict=False):
        k = p.kernels[run.kernel]
        segment += sm != last or roles.joins(run.kernel) or bool(run.signals)
        last = sm
        if isinstance(k, Gemv) and k.res_in and p.buffers[k.res_in.buffer].space == "local":
            lo, hi = k.rows(run.lo, run.hi)
            for out in (o for o in (k.out, k.res_out) if o and o.buffer == k.res_in.buffer):
                apart = abs(out.offset - k.res_in.offset)
                require(not 0 < apart < hi - lo, "warps: a row leaves its place")
        for a in items if by_finishers else ():
            if a.write and (a.buffer, a.use) in read:
                require(read[a.buffer, a.use][a.lo : a.hi].all(), "warps: a late word is unread")
        for ref, writes, at, who in roles.late(run) if by_finishers else ():
            if p.buffers[ref.buffer].space != "flagged":
                same = np.ones_like(at)
                at = at | number[ref.buffer] << 32
                late.append(np.stack([segment * same, at, who, writes * same]))
    if late:
        all_late = np.concatenate(late, axis=1)
        segments, at, who, writes = all_late[:, np.lexsort((all_late[1], all_late[0]))]
        new = (segments[1:] != segments[:-1]) | (at[1:] != at[:-1])
        starts = np.flatnonzero(np.append(True, new))
        one = np.maximum.reduceat(who, starts) == np.minimum.reduceat(who, starts)
        require((one | (np.maximum.reduceat(writes, starts) == 0)).all(), "warps: two finishers")
