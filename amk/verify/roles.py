"""Rules on what the warps of an SM hand over to each other, beside the ring of weights.

(K1) there are warps of every role, at most 32 in a block, and a buffer for rows of caches holds one
(K2) the entries of a row block are used again only when all finishers have got beyond it: consumers
     run at least one block ahead of them and at most as many as there are entries for
(K3) entries that take turns outlast the farthest that a warp gets ahead of another
(K4) numbers of row blocks and of instructions do not recur while a word still holds them
(K5) what finishers touch late, long after their instruction has begun, nobody else touches at the
     wrong time: a gemv writes no row of local memory where it reads another, where two instructions
     touch the same element the same finisher does, and somebody reads what they leave in words

Why these suffice: docs/VERIFICATION.md, The warps of an SM.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from amk.ir.arrays import Ints
from amk.ir.capacity import MIN_STEPS
from amk.ir.kernels import Access, AnyAccess, Attention, Gemv
from amk.ir.program import SLOT_ROWS, Program
from amk.ir.roles import MOST_WARPS, TICKET_BITS, WORD_BITS, Roles, places
from amk.verify.violation import Place, Violation

COPY_STEP = 16
"""Bytes; a bulk copy is a multiple."""


def check_sizes(p: Program) -> Iterator[Violation]:
    """(K1) to (K4), for a program whose kernels fit what they name."""
    r = p.ring
    if r is None:
        return
    if min(r.finishers, r.depth, r.kv_buffers, r.kv_bytes) <= 0 or r.entries < 0:
        yield Violation("K1", f"the warps of an SM have nothing to hand over by: {r}")
        return
    warps = r.consumers + 1 + r.finishers
    if warps > MOST_WARPS:
        yield Violation("K1", f"a block of {warps} warps exceeds the {MOST_WARPS} of an SM")
    roles = Roles(p, r)
    if r.kv_bytes % COPY_STEP:
        yield Violation("K1", f"buffers of {r.kv_bytes} bytes are no multiple of {COPY_STEP}")
    for name, k in p.kernels.items():
        if isinstance(k, Attention) and not roles.matrix(name) and roles.row_bytes(k) > r.kv_bytes:
            row = f"a row of {roles.row_bytes(k)} bytes"
            yield Violation("K1", f"kernel @{name} reads {row} into buffers of {r.kv_bytes} bytes")
    if not 1 <= r.lead <= r.depth:
        message = f"consumers run {r.lead} row blocks ahead, there are entries for {r.depth}"
        yield Violation("K2", message)
    if 0 < r.entries < roles.entries_needed:
        need = f"consumers that complete row blocks need {roles.entries_needed}"
        yield Violation("K3", f"there are {r.entries} entries, {need}")
    yield from _widths(roles)


def launch_steps(p: Program) -> int:
    """Steps of a launch, at most: positions end with the caches."""
    return min((c.rows for c in p.caches.values()), default=MIN_STEPS)


def _widths(roles: Roles) -> Iterator[Violation]:
    """(K4)."""
    p = roles.p
    copied = any(isinstance(k, Attention) and not roles.matrix(n) for n, k in p.kernels.items())
    for sm, queue in enumerate(p.queues):
        blocks, steps = sum(map(roles.blocks, queue)), launch_steps(p)
        if blocks * steps + roles.ring.depth >= 1 << WORD_BITS:
            message = f"SM {sm} numbers {blocks} row blocks a step: numbers recur within a launch"
            yield Violation("K4", f"{message} of {steps} steps", (Place(sm, 0),))
        if copied and len(queue) >= 1 << TICKET_BITS:
            message = (
                f"SM {sm} has {len(queue)} instructions, tickets tell {1 << TICKET_BITS} apart"
            )
            yield Violation("K4", message, (Place(sm, 0),))


def check_late(p: Program, accesses: dict[Place, list[AnyAccess]]) -> Iterator[Violation]:
    """(K5)."""
    if p.ring is None:
        return
    roles = Roles(p, p.ring)
    found = [*_of_kernels(roles)]
    yield from found
    if not found:
        yield from _unread(roles, accesses)
        for sm in range(0 if _one_way(roles) else len(p.queues)):
            yield from _between(roles, sm)


def _of_kernels(roles: Roles) -> Iterator[Violation]:
    """What each gemv adds to its rows, and where it writes them."""
    p = roles.p
    longest: dict[str, int] = {}
    for run in (run for queue in p.queues for run in queue):
        if isinstance(k := p.kernels[run.kernel], Gemv):
            lo, hi = k.rows(run.lo, run.hi)
            longest[run.kernel] = max(longest.get(run.kernel, 0), hi - lo)
    for name, k in p.kernels.items():
        if not isinstance(k, Gemv) or k.res_in is None:
            continue
        if p.buffers[k.res_in.buffer].space != "local":
            continue  # it is read ahead of everything that is written
        for out in (k.out, k.res_out):
            if out is None or out.buffer != k.res_in.buffer:
                continue
            apart = abs(out.offset - k.res_in.offset)
            if 0 < apart < longest.get(name, 0):
                where = f"{apart} elements from where it reads that row"
                yield Violation("K5", f"kernel @{name} writes a row of @{out.buffer} {where}")


def _unread(roles: Roles, accesses: dict[Place, list[AnyAccess]]) -> Iterator[Violation]:
    """A word that nobody polls proves nothing to who overwrites it in the same step."""
    p = roles.p
    values: dict[tuple[str, int], set[tuple[int, int]]] = {}
    for name in roles.splits:
        for b, a in ((p.buffers[a.buffer], a) for a in places(p.kernels[name])):
            if b.space == "flagged" and b.uses > 1:
                values.setdefault((a.buffer, a.use), set())
    for items in accesses.values() if values else ():
        for a in items:
            if not isinstance(a, Access) or a.write or a.since:
                continue  # what is read from some position on proves nothing ahead of it
            if (a.buffer, a.use) in values:
                values[a.buffer, a.use].add((a.lo, a.hi))
    for sm, queue in enumerate(p.queues):
        for i, run in enumerate(queue):
            for a in accesses[Place(sm, i)] if run.kernel in roles.splits else ():
                if not isinstance(a, Access) or not a.write or (a.buffer, a.use) not in values:
                    continue
                if not _covered(a.lo, a.hi, values[a.buffer, a.use]):
                    where, words = Place(sm, i), f"@{a.buffer}[{a.lo}:{a.hi}]"
                    message = f"{where} leaves words of {words} late that nobody reads"
                    yield Violation("K5", message, (where,))


def _covered(lo: int, hi: int, reads: set[tuple[int, int]]) -> bool:
    if any(a <= lo and hi <= b for a, b in reads):
        return True
    for a, b in sorted(reads):
        if a <= lo < b:
            lo = b
    return hi <= lo


NOBODY = -1


def _between(roles: Roles, sm: int) -> Iterator[Violation]:
    """No two finishers touch an element of which one writes it, unless consumers have awaited the
    first in between."""
    p = roles.p
    held: dict[str, tuple[Ints, Ints]] = {}
    for i, run in enumerate(p.queues[sm]):
        if roles.joins(run.kernel) or run.signals:
            held.clear()
        for ref, writes, at, who in roles.late(run) if run.kernel in roles.splits else ():
            if p.buffers[ref.buffer].space == "flagged":
                continue
            if ref.buffer not in held:
                length = p.buffers[ref.buffer].length
                held[ref.buffer] = (np.full(length, NOBODY), np.zeros(length, dtype=np.int64))
            writer, readers = held[ref.buffer]
            clash = (writer[at] != NOBODY) & (writer[at] != who)
            if writes:
                clash |= (readers[at] & ~(1 << who)) != 0
            if clash.any():
                e, place = int(at[clash][0]), Place(sm, i)
                message = f"{place} touches @{ref.buffer}[{e}:{e + 1}], which another finisher"
                yield Violation("K5", f"{message} may not have left yet", (place,))
                return
            if writes:
                writer[at], readers[at] = who, 0
            else:
                readers[at] |= 1 << who


def _one_way(roles: Roles) -> bool:
    """Whether every finisher has the same elements in all instructions, whatever their rows."""
    ways: dict[str, set[int]] = {}
    for name in roles.splits:
        k = roles.p.kernels[name]
        assert isinstance(k, Gemv)
        for ref in (k.res_in, k.out, k.res_out, k.cand):
            if ref is None or roles.p.buffers[ref.buffer].space == "flagged":
                continue
            if k.tile % SLOT_ROWS or k.epilogue == "gated" or ref == k.cand:
                return False
            offsets = ways.setdefault(ref.buffer, set())
            offsets.add(ref.offset % (SLOT_ROWS * roles.ring.finishers))
    return all(len(offsets) == 1 for offsets in ways.values())
