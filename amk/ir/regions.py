"""Which tiles produce what: the overlap of written and read regions, tile by tile."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from amk.ir.kernels import Access, CacheAccess, Kernel
from amk.ir.program import CounterArray, TaskProgram

ROWS = 1 << 32


class Region(NamedTuple):
    """Elements [lo, hi) of a buffer, or of a KV cache ROWS units a head, shared out among the row
    classes."""

    memory: str
    lo: int
    hi: int


def regions(kernel: Kernel, lo: int, hi: int, write: bool) -> Iterator[Region]:
    """What tiles [lo, hi) write, or read of what was written in the same step."""
    for a in kernel.accesses(lo, hi):
        if isinstance(a, Access) and a.write == write and not a.previous:
            yield Region(a.buffer, a.lo, a.hi)
        elif isinstance(a, CacheAccess) and a.write == write:
            for head in range(a.lo, a.hi):
                at = head * ROWS
                end = at + (a.split + 1) * ROWS // a.splits
                yield Region(a.cache, at + a.split * ROWS // a.splits, end)


@dataclass
class Producers:
    """The tiles that write one memory, sorted by region. Regions of different tiles do not
    overlap."""

    family: str
    lo: list[int] = field(default_factory=list[int])
    hi: list[int] = field(default_factory=list[int])
    tile: list[int] = field(default_factory=list[int])

    def overlapping(self, lo: int, hi: int) -> list[int]:
        """The tiles whose writes overlap [lo, hi)."""
        return self.tile[bisect_right(self.hi, lo) : bisect_left(self.lo, hi)]


def producers(p: TaskProgram) -> dict[str, Producers]:
    """For each memory written in a step, its producing tiles."""
    found: dict[str, Producers] = {}
    for name, kernel in p.kernels.items():
        rows: dict[str, list[tuple[int, int, int]]] = {}
        for tile in range(kernel.grid):
            for r in regions(kernel, tile, tile + 1, write=True):
                rows.setdefault(r.memory, []).append((r.lo, r.hi, tile))
        for memory, entries in rows.items():
            entries.sort()
            found[memory] = Producers(
                name, *(list(column) for column in zip(*entries, strict=True))
            )
    return found


def needs_counters(p: TaskProgram, memory: str) -> bool:
    """Plain memory is ordered by counters; flagged words order themselves, local memory its SM's
    queue."""
    return memory not in p.buffers or p.buffers[memory].space == "plain"


def counter_arrays(p: TaskProgram) -> Iterator[CounterArray]:
    """The coarsest counters that let every consumer tile wait for just the tiles it reads.

    Neighboring tiles of a producer share a counter when the same reads need them.
    """
    reads = sorted(_reads(p))
    if not reads:
        return
    made = producers(p)
    needed: dict[str, list[list[int]]] = {}
    for number, (memory, lo, hi, reader, own) in enumerate(reads):
        producer = made.get(memory)
        tiles = producer.overlapping(lo, hi) if producer else []
        if producer is None or (producer.family == reader and tiles == [own]):
            continue
        grid = p.kernels[producer.family].grid
        labels = needed.setdefault(producer.family, [[] for _ in range(grid)])
        for tile in tiles:
            if producer.family != reader or tile != own:
                labels[tile].append(number)
    for family, labels in needed.items():
        cuts = [j for j in range(1, len(labels)) if labels[j] != labels[j - 1]]
        yield CounterArray(f"{family}.ready", family, (0, *cuts, len(labels)))


def _reads(p: TaskProgram) -> set[tuple[str, int, int, str, int]]:
    """Distinct regions of counter-ordered memory that some tile reads, with the reading family, and
    with the tile where the family itself writes that memory."""
    out: set[tuple[str, int, int, str, int]] = set()
    for name, kernel in p.kernels.items():
        whole = {r.memory for r in regions(kernel, 0, kernel.grid, write=False)}
        if not any(needs_counters(p, memory) for memory in whole):
            continue
        own = {r.memory for r in regions(kernel, 0, kernel.grid, write=True)}
        for tile in range(kernel.grid):
            for r in regions(kernel, tile, tile + 1, write=False):
                if needs_counters(p, r.memory):
                    out.add((r.memory, r.lo, r.hi, name, tile if r.memory in own else -1))
    return out
