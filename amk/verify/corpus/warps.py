"""What the warps of an SM may do to a program: the oracle's word on docs/IR_SPEC.md, The warps of
an SM.

Sizes are judged by running all executions of a machine with as many of everything (rolemachine.py);
what finishers touch late, element by element, by who may still hold it.
"""

from __future__ import annotations

from functools import cache

from amk.ir.kernels import Attention, Gemv
from amk.ir.program import Program, Ring, Run
from amk.verify.corpus.rolemachine import Machine, Team, turns_fault

BYTES = {"f32": 4, "bf16": 2, "i32": 4}
ENOUGH = 3
"""Row blocks of entries, finishers and buffers beyond which a machine only repeats itself."""


def warps_fault(p: Program, cautious: bool = False) -> str | None:
    """What goes wrong inside an SM; None when nothing can. `cautious`: fewer entries for whole
    gemvs than a ring, a lap and a row block have slots are a fault even where they would do."""
    r = p.ring
    if r is None:
        return None
    if min(r.finishers, r.kv_buffers, r.kv_bytes, r.depth) < 1 or r.entries < 0:
        return "there is nothing to hand over by"
    if r.consumers + 1 + r.finishers > 32:
        return "more warps than a block may have"
    for name, k in p.kernels.items():
        row = 2 * k.head_dim * BYTES[p.caches[k.cache].dtype] if isinstance(k, Attention) else 0
        if row and not by_fragments(p, name) and row > r.kv_bytes:
            return f"a row of @{name} is larger than a buffer"
    if r.kv_bytes % 16:
        return "copies of whole words only"
    if fault := team_fault(r.finishers, r.depth, r.lead, r.kv_buffers):
        return fault
    if (fault := entries_fault(p, r, cautious)) or (fault := numbers_fault(p, r)):
        return fault
    return next((f for sm in range(len(p.queues)) if (f := late_fault(p, r, sm))), None)


@cache
def team_fault(finishers: int, depth: int, lead: int, buffers: int) -> str | None:
    """What goes wrong with two consumers. Of many entries and a long lead it only matters which is
    more."""
    ahead = lead if lead < 1 else min(lead, depth, ENOUGH) + (lead > depth)
    depth = min(depth, ENOUGH)
    for slices in (1, 2, 3):
        team = Team(2, min(finishers, ENOUGH), depth, ahead, min(buffers, ENOUGH), slices)
        for machine in (
            Machine(team, depth + 1, min(buffers, ENOUGH) + 1),
            Machine(team, blocks=1, chunks=1, gemvs=3, steps=1),
        ):
            fault = machine.search()
            assert fault != "too large"
            if fault:
                return fault
    return None


def by_fragments(p: Program, name: str) -> bool:
    """Attention whose rows go straight to registers."""
    k = p.kernels[name]
    if not isinstance(k, Attention) or k.k is None or k.v is None:
        return False
    spaces = {(p.buffers[x.buffer].space, p.buffers[x.buffer].dtype) for x in (k.q, k.k, k.v)}
    alone = all(run.hi - run.lo == 1 for queue in p.queues for run in queue if run.kernel == name)
    plain = not (k.window or k.softcap or k.q_norm or k.rope)
    whole = k.splits == 1 or k.chunk % 16 == 0
    if p.ring and p.ring.consumers % 2 and (k.heads // k.kv_heads) % 2:
        return False
    fits = k.head_dim in (64, 128) and k.heads // k.kv_heads <= 8
    half = spaces == {("flagged", "bf16")} and p.caches[k.cache].dtype == "bf16"
    return half and alone and plain and whole and fits


def by_finishers(p: Program, r: Ring, name: str) -> bool:
    """Whether finishers complete the rows of a gemv."""
    k = p.kernels[name]
    if not isinstance(k, Gemv) or p.buffers[k.x.buffer].space != "flagged":
        return False
    if k.res_in and p.buffers[k.res_in.buffer].space != "local":
        return False
    if any(x.waits or x.signals for queue in p.queues for x in queue if x.kernel == name):
        return False
    slices = -(-k.k // r.columns)
    together = 128 if BYTES[p.buffers[k.x.buffer].dtype] == 2 else 64  # columns of one load
    loads = -(-r.columns // together)
    if slices % r.consumers:
        return loads * slices <= 12
    return loads * slices // r.consumers <= 16


def entries_fault(p: Program, r: Ring, cautious: bool) -> str | None:
    whole = [
        -(-k.k // r.columns)
        for name, k in p.kernels.items()
        if isinstance(k, Gemv) and not by_finishers(p, r, name)
    ]
    for slices in sorted(set(whole)) if r.entries else ():
        bound = r.slots + r.consumers + slices - 1
        if r.entries < bound:
            fault = turns_fault(r.slots, r.group, r.consumers, slices, r.entries)
            if fault or cautious:
                return fault or "fewer entries than may be in use"
    return None


def numbers_fault(p: Program, r: Ring) -> str | None:
    steps = min((c.rows for c in p.caches.values()), default=1 << 17)
    copied = any(isinstance(k, Attention) and not by_fragments(p, n) for n, k in p.kernels.items())
    for queue in p.queues:
        blocks = 0
        for run in queue:
            k = p.kernels[run.kernel]
            if isinstance(k, Gemv):
                blocks += -(-(min(run.hi * k.tile, k.n) - run.lo * k.tile) // 8)
        if blocks * steps + r.depth >= 2**32:
            return "two row blocks of a launch have one number"
        if copied and len(queue) >= 2**16:
            return "two instructions have one ticket"
    return None


Holder = tuple[int, int]
"""Instruction and finisher; finishers are numbered from 0, all of them together are -1."""


def late_fault(p: Program, r: Ring, sm: int) -> str | None:
    """Element by element: who may not have left it yet when the next one comes."""
    finished = {name for name in p.kernels if by_finishers(p, r, name)}
    polled: dict[tuple[str, int], set[int]] = {}
    for run in (run for queue in p.queues for run in queue):
        for a in p.accesses(run):
            if getattr(a, "since", 0):
                continue
            if (name := getattr(a, "buffer", "")) and not getattr(a, "write", False):
                polled.setdefault((name, a.use), set()).update(range(a.lo, a.hi))  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    wrote: dict[tuple[str, int], Holder] = {}
    read: dict[tuple[str, int], set[Holder]] = {}
    for i, run in enumerate(p.queues[sm]):
        k = p.kernels[run.kernel]
        names = {getattr(a, "buffer", "") for a in p.accesses(run)} - {""}
        if run.kernel not in finished:
            shares = any(p.buffers[n].space != "flagged" for n in names)
            if shares or run.signals or (isinstance(k, Gemv) and k.cand):
                wrote.clear()
                read.clear()
        if not isinstance(k, Gemv):
            continue
        touched = list(_touched(k, run))
        if k.res_in and p.buffers[k.res_in.buffer].space == "local":
            places = {e: row for name, _, e, row, w in touched if not w and name == k.res_in.buffer}
            for name, _, e, row, writes in touched:
                if writes and name == k.res_in.buffer and places.get(e, row) != row:
                    return f"row {row} is written where row {places[e]} is read"
        for name, use, e, row, writes in touched if run.kernel in finished else ():
            b = p.buffers[name]
            if b.space == "flagged":
                if writes and b.uses > 1 and e not in polled.get((name, use), ()):
                    return f"nobody knows when @{name}[{e}] is there"
                continue
            first = run.lo * k.tile
            who = -1 if row < 0 else (first // 8 + (row - first) // 8) % r.finishers
            before = {wrote[name, e]} if (name, e) in wrote else set[Holder]()
            before |= read.get((name, e), set()) if writes else set()
            if any(j < i and other != who for j, other in before):
                return f"@{name}[{e}] is touched by two finishers"
            if writes:
                wrote[name, e] = (i, who)
                read.pop((name, e), None)
            else:
                read.setdefault((name, e), set()).add((i, who))
    return None


def _touched(k: Gemv, run: Run) -> list[tuple[str, int, int, int, bool]]:
    """Buffer, use, element, row (-1 for a candidate) and whether it is written."""
    out: list[tuple[str, int, int, int, bool]] = []
    for row in range(run.lo * k.tile, min(run.hi * k.tile, k.n)):
        if k.res_in:
            out.append((k.res_in.buffer, k.res_in.use, k.res_in.offset + row, row, False))
        if k.epilogue != "gated":
            out.append((k.out.buffer, k.out.use, k.out.offset + row, row, True))
        elif row % 2 == 0:
            out.append((k.out.buffer, k.out.use, k.out.offset + row // 2, row, True))
        if k.res_out:
            out.append((k.res_out.buffer, k.res_out.use, k.res_out.offset + row, row, True))
    if k.cand:
        ends = range(k.cand.offset + 2 * run.lo, k.cand.offset + 2 * run.hi)
        out += [(k.cand.buffer, k.cand.use, e, -1, True) for e in ends]
    return out
