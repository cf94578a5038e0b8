"""From a scheduled program to instructions: resolve buffers, epochs, counters and thresholds."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import fields, replace
from typing import NamedTuple

from amk.ir.kernels import CacheAccess, Kernel, Ref
from amk.ir.program import (
    Buffer,
    CounterArray,
    Program,
    Run,
    SchedProgram,
    Segment,
    Signal,
    TaskProgram,
    Wait,
)
from amk.ir.regions import Producers, Region, needs_counters, producers, regions


def physical_buffers(p: TaskProgram) -> dict[str, Buffer]:
    """The buffers that homes name, with as many uses as logical buffers live there, and those
    without a home."""
    out: dict[str, Buffer] = {}
    for b in p.buffers.values():
        home, use = p.homes.get(b.name, (b.name, 0))
        old = out.get(home)
        uses = max(use + 1, old.uses if old else 1)
        out[home] = replace(b, name=home, uses=uses)
    return out


def resolve(kernel: Kernel, homes: dict[str, tuple[str, int]]) -> Kernel:
    """The kernel with its operands placed."""
    changes = {
        f.name: Ref(homes[ref.buffer][0], ref.offset, homes[ref.buffer][1])
        for f in fields(kernel)
        if isinstance(ref := getattr(kernel, f.name), Ref) and ref.buffer in homes
    }
    return replace(kernel, **changes) if changes else kernel


class _Counters:
    """Counter numbers and the waits and signals of a segment."""

    def __init__(self, p: SchedProgram):
        self.p = p
        self.first: dict[str, int] = {}
        self.count = 0
        self.of_family = {c.family: c for c in p.counters.values()}
        for c in p.counters.values():
            self.first[c.family] = self.count
            self.count += len(c.bounds) - 1
        self.made: dict[str, Producers] = producers(p) if p.counters else {}
        self.known: dict[tuple[Region, Segment | None], dict[int, int]] = {}

    def waits(self, s: Segment) -> tuple[Wait, ...]:
        if not self.made:
            return ()
        thresholds: dict[int, int] = {}
        for r in regions(self.p.kernels[s.family], s.lo, s.hi, write=False):
            producer = self.made.get(r.memory)
            if producer is None or not needs_counters(self.p, r.memory):
                continue
            own = s if producer.family == s.family else None
            # many segments read the same region: all of x
            if (r, own) not in self.known:
                self.known[r, own] = self.thresholds(r, producer, own)
            thresholds |= self.known[r, own]
        return tuple(Wait(c, t) for c, t in sorted(thresholds.items()))

    def thresholds(self, r: Region, producer: Producers, own: Segment | None) -> dict[int, int]:
        """The counters of the tiles that make a region, all but those of `own`, and what they are
        when these are done."""
        array = self.of_family.get(producer.family)
        if array is None:
            return {}
        bounds, first = array.bounds, self.first[producer.family]
        tiles = (t for t in producer.overlapping(r.lo, r.hi) if not own or not own.lo <= t < own.hi)
        counters = {bisect_right(bounds, tile) - 1 for tile in tiles}
        return {first + j: bounds[j + 1] - bounds[j] for j in counters}

    def signals(self, s: Segment) -> tuple[Signal, ...]:
        array = self.of_family.get(s.family)
        if array is None:
            return ()
        bounds, first = array.bounds, self.first[s.family]
        overlap = (
            (j, min(s.hi, bounds[j + 1]) - max(s.lo, bounds[j])) for j in range(len(bounds) - 1)
        )
        return tuple(Signal(first + j, n) for j, n in overlap if n > 0)


class _Lowered(NamedTuple):
    """What the instructions of a scheduled program follow from: all but where its buffers live."""

    kernels: dict[str, Kernel]
    buffers: dict[str, Buffer]
    counters: dict[str, CounterArray]
    segments: list[list[Segment]]


_last: list[tuple[_Lowered, list[list[Run]], int]] = []
"""The last instructions, so that a pass or a proof does not make again what has not changed."""


def _instructions(p: SchedProgram) -> tuple[list[list[Run]], int]:
    """The queues of a scheduled program, and the number of their counters."""
    # A copy: who changes `p` in place afterwards must not be given what it was before.
    segments = [list(queue) for queue in p.segments]
    wanted = _Lowered(dict(p.kernels), dict(p.buffers), dict(p.counters), segments)
    if not _last or _last[0][0] != wanted:
        counters = _Counters(p)
        fenced = {
            name
            for name, k in p.kernels.items()
            if any(isinstance(a, CacheAccess) and a.bulk for a in k.accesses(0, min(k.grid, 1)))
        }
        queues = [
            [
                Run(
                    s.family, s.lo, s.hi,
                    counters.waits(s), counters.signals(s), s.family in fenced,
                )
                for s in queue
            ]
            for queue in p.segments
        ]  # fmt: skip
        _last[:] = [(wanted, queues, counters.count)]
    _, queues, count = _last[0]
    return [list(queue) for queue in queues], count


def to_vm(p: SchedProgram) -> Program:
    """The vm program of a scheduled program. Whatever reads a cache by bulk copies has a fence."""
    queues, counters = _instructions(p)
    return Program(
        p.name, physical_buffers(p), p.caches, p.tensors, p.packs, p.ropes,
        {name: resolve(k, p.homes) for name, k in p.kernels.items()},
        counters, p.ring, queues,
    )  # fmt: skip
