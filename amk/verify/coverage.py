"""Every value is written once and whole, and nothing is read that nobody wrote.

(C1) no element is written twice in one value of a buffer, nor by one instruction in two of them
(C2) every element read is written, by an instruction that is active whenever the reader is
(C3) a value that nobody reads is an output: it is written whole
(C4) row pos of a KV cache is written once in each step, for every head
(C5) every row that a reader of a KV cache takes is one that is written in its step

Local buffers have one instance per SM: what is read there must be written there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from amk.ir.kernels import Access, AnyAccess, CacheAccess
from amk.ir.program import Declarations
from amk.verify.violation import Place, Violation


class Item(NamedTuple):
    """An access and who makes it."""

    lo: int
    hi: int
    since: int
    place: Place


class CacheItem(NamedTuple):
    access: CacheAccess
    place: Place


Value = tuple[str, int, int]
"""Buffer, use, and the SM of a local buffer (-1 for a shared one)."""


def check_coverage(
    p: Declarations, accesses: dict[Place, list[AnyAccess]], *, local: bool = True
) -> Iterator[Violation]:
    """(C1) to (C5) for the accesses of one step. `local` False treats local buffers as shared (no
    SMs yet)."""
    writes: dict[Value, list[Item]] = defaultdict(list)
    reads: dict[Value, set[Item]] = defaultdict(set)
    seen: set[tuple[Value, int, int, int]] = set()
    caches: dict[tuple[str, bool], list[CacheItem]] = defaultdict(list)
    for place, items in accesses.items():
        yield from _at_once(place, items)
        for a in items:
            if isinstance(a, Access):
                sm = place.sm if local and p.buffers[a.buffer].space == "local" else -1
                value = (a.buffer, a.use, sm)
                if a.write:
                    writes[value].append(Item(a.lo, a.hi, a.since, place))
                elif (value, a.lo, a.hi, a.since) not in seen:
                    seen.add((value, a.lo, a.hi, a.since))
                    reads[value].add(Item(a.lo, a.hi, a.since, place))
            elif isinstance(a, CacheAccess):
                caches[a.cache, a.write].append(CacheItem(a, place))
    for value, items in writes.items():
        items.sort()
        yield from _disjoint(value, items)
        if value not in reads and value[2] < 0:
            whole = Item(0, p.buffers[value[0]].length, 0, items[0].place)
            yield from _covered(value, whole, items, "C3")
    for value, items in reads.items():
        for item in sorted(items):
            yield from _covered(value, item, writes.get(value, []), "C2")
    for cache in p.caches.values():
        for head in range(cache.heads):
            yield from _cache(cache.name, head, caches[cache.name, True], caches[cache.name, False])


def _name(value: Value) -> str:
    use = f"#{value[1]}" if value[1] else ""
    return f"@{value[0]}{use}" + (f" of SM {value[2]}" if value[2] >= 0 else "")


def _disjoint(value: Value, items: list[Item]) -> Iterator[Violation]:
    for before, after in zip(items, items[1:], strict=False):
        if after.lo < before.hi:
            region = f"{_name(value)}[{after.lo}:{min(before.hi, after.hi)}]"
            message = f"{after.place} writes {region}, which {before.place} writes in the same step"
            yield Violation("C1", message, (after.place, before.place))


def _at_once(place: Place, items: list[AnyAccess]) -> Iterator[Violation]:
    """What one instruction writes comes in no order, so the last of two values is unknown."""
    writes = [a for a in items if isinstance(a, Access) and a.write]
    for a, b in combinations(writes, 2) if len({a.use for a in writes}) > 1 else ():
        lo, hi = max(a.lo, b.lo), min(a.hi, b.hi)
        if a.buffer == b.buffer and a.use != b.use and lo < hi:
            region = f"@{a.buffer}[{lo}:{hi}]"
            message = f"{place} writes {region} as use {a.use} and as use {b.use} at once"
            yield Violation("C1", message, (place,))


def _covered(value: Value, read: Item, writes: list[Item], rule: str) -> Iterator[Violation]:
    """Whether sorted, disjoint `writes` cover a read whenever it is active."""
    at = read.lo
    for w in writes:
        if w.hi <= at:
            continue
        if w.lo > at or at >= read.hi:
            break
        if w.since > read.since:
            region = f"{_name(value)}[{max(w.lo, read.lo)}:{min(w.hi, read.hi)}]"
            message = (
                f"{read.place} reads {region} from position {read.since} on, {w.place} writes it "
                f"only from position {w.since} on"
            )
            yield Violation(rule, message, (read.place, w.place))
        at = w.hi
    if at < read.hi:
        until = min((w.lo for w in writes if w.lo > at), default=read.hi)
        region = f"{_name(value)}[{at}:{min(until, read.hi)}]"
        if rule == "C3":
            message = f"output {region} is written by no instruction"
        else:
            message = f"{read.place} reads {region}, which no instruction writes"
        yield Violation(rule, message, (read.place,))


def _cache(
    name: str, head: int, writes: list[CacheItem], reads: list[CacheItem]
) -> Iterator[Violation]:
    """(C4) and (C5) for one head: the writers' row classes partition all rows."""
    mine = [w for w in writes if w.access.lo <= head < w.access.hi]
    kinds = {(w.access.chunk, w.access.splits) for w in mine}
    splits = next(iter(kinds))[1] if len(kinds) == 1 else 0
    by_split = {w.access.split: w for w in mine}
    if len(kinds) > 1 or len(by_split) < len(mine):
        a, b = mine[0].place, mine[-1].place
        message = f"{b} writes row pos of head {head} of @{name}, which {a} writes in the same step"
        yield Violation("C4", message, (b, a))
        return
    missing = set(range(splits)) - set(by_split)
    if not mine or missing:
        rows = f"rows of split {min(missing)}" if mine else "row pos"
        reader = next((r.place for r in reads if r.access.lo <= head < r.access.hi), None)
        if reader or mine:
            message = f"no instruction writes {rows} of head {head} of @{name}"
            yield Violation("C5" if reader else "C4", message, (reader,) if reader else ())
