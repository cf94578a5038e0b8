"""What an instruction really touched, against what `Kernel.accesses` derives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from amk.interpreters.kernels import Rows
from amk.interpreters.storage import Storage
from amk.ir.kernels import Access, AnyAccess, CacheAccess, Ref, WeightAccess
from amk.ir.packs import F32, round_to
from amk.ir.sampling import Sampling

Key = tuple[str, ...]

CHOSEN = "chosen weight"
"""Kind of the rows that data chooses: those touched are some of the derived ones, not all."""
Ranges = dict[Key, list[tuple[int, int]]]


@dataclass
class Written:
    """A write that an instruction has computed and not made visible: elements [lo, hi) of value
    `use` of a buffer, or row pos of head `lo` of a cache with `values` = keys then values."""

    name: str
    use: int
    lo: int
    hi: int
    values: F32 | None
    cache: bool = False


@dataclass
class RecordingMemory:
    """Memory of one instruction that notes every access and holds back every write."""

    storage: Storage
    sm: int
    pos: int
    ranges: Ranges = field(default_factory=dict[Key, list[tuple[int, int]]])
    writes: list[Written] = field(default_factory=list[Written])

    @property
    def sampling(self) -> Sampling:
        return self.storage.sampling

    def note(self, key: Key, lo: int, hi: int) -> None:
        self.ranges.setdefault(key, []).append((lo, hi))

    def read(self, ref: Ref, lo: int, hi: int, previous: bool = False) -> F32:
        a, b = ref.offset + lo, ref.offset + hi
        self.note(read_key(ref.buffer, ref.use, previous), a, b)
        return self.storage.buffer(ref.buffer, self.sm)[a:b].copy()

    def write(self, ref: Ref, lo: int, hi: int, values: F32) -> None:
        a, b = ref.offset + lo, ref.offset + hi
        self.note(write_key(ref.buffer, ref.use), a, b)
        kept = round_to(np.array(values, np.float32), self.storage.dtype[ref.buffer])
        self.writes.append(Written(ref.buffer, ref.use, a, b, kept))

    def weight(self, name: str, lo: int, hi: int) -> F32:
        self.note(("weight", name), lo, hi)
        return self.storage.immutable[name][lo:hi]

    def chosen(self, name: str, lo: int, hi: int) -> F32:
        self.note((CHOSEN, name), lo, hi)
        return self.storage.immutable[name][lo:hi]

    def lookup(self, name: str, row: int) -> F32:
        return self.storage.immutable[name][row]

    def cached(self, cache: str, head: int, rows: Rows) -> tuple[F32, F32]:
        if isinstance(rows, slice):
            self.note(("cache read", cache, str(head)), rows.start, rows.stop)
        else:
            for row in rows.tolist():
                self.note(("cache read", cache, str(head)), row, row + 1)
        return self.storage.cached(cache, head, rows)

    def append(self, cache: str, head: int, k: F32, v: F32) -> tuple[F32, F32]:
        self.note(("cache write", cache, str(head)), self.pos, self.pos + 1)
        k, v = self.storage.rounded(cache, k), self.storage.rounded(cache, v)
        self.writes.append(Written(cache, 0, head, head + 1, np.stack([k, v]), cache=True))
        return k, v


def read_key(buffer: str, use: int, previous: bool) -> Key:
    return ("read", buffer, str(use), "previous" if previous else "")


def write_key(buffer: str, use: int) -> Key:
    return ("write", buffer, str(use))


def cache_rows(a: CacheAccess, pos: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Rows that a cache access touches in a step at position `pos`."""
    rows = np.arange(pos, pos + 1) if a.write else np.arange(pos + 1)
    if a.chunk:
        rows = rows[(rows // a.chunk) % a.splits == a.split]
    if a.window and not a.write:
        rows = rows[rows > pos - a.window]
    return rows


def declared(accesses: Iterable[AnyAccess], pos: int) -> Ranges:
    """The ranges of the accesses that happen at position `pos`. A row that the instruction appends
    itself counts as written only: it may keep the values instead of reading them back."""
    ranges: Ranges = {}

    def note(key: Key, lo: int, hi: int) -> None:
        ranges.setdefault(key, []).append((lo, hi))

    known = list(accesses)
    own: set[tuple[str, int]] = set()
    for a in known:
        if isinstance(a, CacheAccess) and a.write and len(cache_rows(a, pos)):
            own.update((a.cache, head) for head in range(a.lo, a.hi))
    for a in known:
        if isinstance(a, Access):
            if pos >= a.since:
                key = write_key(a.buffer, a.use)
                note(key if a.write else read_key(a.buffer, a.use, a.previous), a.lo, a.hi)
        elif isinstance(a, WeightAccess):
            if pos >= a.since:
                note((CHOSEN if a.by_data else "weight", a.weight), a.lo, a.hi)
        else:
            for head in range(a.lo, a.hi):
                kind = "cache write" if a.write else "cache read"
                for row in cache_rows(a, pos).tolist():
                    if a.write or row < pos or (a.cache, head) not in own:
                        note((kind, a.cache, str(head)), row, row + 1)
    return ranges


def union(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Disjoint, sorted, maximal ranges that cover the same elements."""
    result: list[tuple[int, int]] = []
    for lo, hi in sorted(r for r in ranges if r[0] < r[1]):
        if result and lo <= result[-1][1]:
            result[-1] = (result[-1][0], max(hi, result[-1][1]))
        else:
            result.append((lo, hi))
    return result


def mismatch(derived: Ranges, touched: Ranges) -> str | None:
    """How two sets of ranges differ, or None when they cover the same elements; of what data
    chooses, any of the derived ones."""
    for key in sorted(derived.keys() | touched.keys()):
        expected, found = union(derived.get(key, [])), union(touched.get(key, []))
        if expected != (union(expected + found) if key[0] == CHOSEN else found):
            return f"touches {' '.join(key).strip()} {found}, its accesses say {expected}"
    return None
