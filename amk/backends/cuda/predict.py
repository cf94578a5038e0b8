"""A simple model of how long a step takes: what a measured timeline is held against.

Each SM runs its queue in order. An instruction begins when the one before it has ended, its
operands have come from other SMs (`hop` after they were written), and its counters are there; it
ends when the last byte of its weights has arrived and been multiplied. Weights stream at an equal
share of the measured DRAM rate, ahead of the instructions by as much as the ring holds. Rows of the
KV caches and of chosen experts are read at the same rate, but not ahead. There is no contention, no
cache, no clock but this one, so what a measured step takes longer is what the kernel loses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amk.errors import AmkError
from amk.ir.capacity import ring_bytes
from amk.ir.kernels import Access, CacheAccess, Gemv
from amk.ir.program import DTYPES, Program, Run
from amk.ir.schedule import tile_bytes

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Costs:
    """`rate` is the DRAM rate in bytes per microsecond of all SMs together. Microseconds: `hop`
    from the last write on one SM to the first use on another, `fixed` what every instruction takes.
    `catch_up` is how much faster than its share of `rate` an SM multiplies what lies in the ring.
    """

    rate: float
    hop: float = 1.0
    fixed: float = 0.3
    catch_up: float = 4.0


def streamed_bytes(program: Program, run: Run) -> int:
    """Bytes of weights that an instruction takes from its SM's stream."""
    kernel = program.kernels[run.kernel]
    if not isinstance(kernel, Gemv):
        return 0
    lo, hi = kernel.rows(run.lo, run.hi)
    w = program.tensors.get(kernel.weight) or program.packs[kernel.weight]
    return (hi - lo) * kernel.k * DTYPES[w.dtype]


def direct_bytes(program: Program, run: Run) -> float:
    """Bytes of weights that an instruction reads in place: rows of the experts that were chosen."""
    kernel = program.kernels[run.kernel]
    if isinstance(kernel, Gemv):
        return 0
    return tile_bytes(program, kernel) * (run.hi - run.lo)


def cached_bytes(program: Program, run: Run, pos: int) -> int:
    """Bytes of keys and values that an instruction reads at position `pos`."""
    size = 0
    for a in program.accesses(run):
        if isinstance(a, CacheAccess) and not a.write:
            c = program.caches[a.cache]
            rows = np.arange(pos + 1)
            if a.chunk:
                rows = rows[(rows // a.chunk) % a.splits == a.split]
            if a.window:
                rows = rows[rows > pos - a.window]
            size += 2 * len(rows) * (a.hi - a.lo) * c.head_dim * DTYPES[c.dtype]
    return size


def predict(program: Program, pos: int, steps: int, costs: Costs) -> F64:
    """Begin, operands there, and end of every instruction in microseconds: [SM, step, instruction,
    3], NaN behind the end of a queue. The first step is at position `pos`. Raises AmkError for a
    program that deadlocks."""
    return _Run(program, pos, steps, costs).run()


def token_us(program: Program, pos: int, ceiling: float) -> float:
    """Microseconds from one token to the next at position `pos`, if DRAM gives `ceiling` GB/s."""
    ends = np.nanmax(predict(program, pos, 3, Costs(ceiling * 1e3))[..., 2], axis=(0, 2))
    return float(ends[2] - ends[1])


class _Run:
    def __init__(self, program: Program, pos: int, steps: int, costs: Costs) -> None:
        self.program, self.pos, self.steps, self.costs = program, pos, steps, costs
        self.share = costs.rate / len(program.queues)
        self.ahead = ring_bytes(program, program.ring) / self.share
        """How long the loader streams until the ring is full."""
        self.arrivals = [list[float]() for _ in range(program.counters)]
        self.total = program.arrivals()
        self.written: dict[tuple[str, int], F64] = {}
        """When each element of a value was written, by step: [steps, length]."""
        for kernel in program.kernels.values():
            for a in kernel.accesses(0, kernel.grid):
                if isinstance(a, Access) and not a.write and self.crosses(a):
                    shape = (steps, program.buffers[a.buffer].length)
                    self.written.setdefault((a.buffer, a.use), np.full(shape, np.nan))

    def crosses(self, a: Access) -> bool:
        return self.program.buffers[a.buffer].space != "local"

    def run(self) -> F64:
        queues = self.program.queues
        out = np.full((len(queues), self.steps, max(map(len, queues)), 3), np.nan)
        clock, loaded = [0.0] * len(queues), [0.0] * len(queues)
        at = [0] * len(queues)
        waiting = True
        while waiting:
            waiting = False
            for s, queue in enumerate(queues):
                while at[s] < self.steps * len(queue):
                    step, i = divmod(at[s], len(queue))
                    ready = self.ready(queue[i], step)
                    if np.isnan(ready):
                        break
                    begin, there = clock[s], max(clock[s], ready)
                    streamed, took = self.work(queue[i], step)
                    loaded[s] = max(loaded[s], begin - self.ahead) + streamed
                    clock[s] = max(there + took, loaded[s])
                    out[s, step, i] = begin, there, clock[s]
                    self.finish(queue[i], step, clock[s])
                    at[s] += 1
                    waiting = True
        if any(n < self.steps * len(queue) for n, queue in zip(at, queues, strict=True)):
            raise AmkError(f"program '{self.program.name}' deadlocks")
        return out

    def work(self, run: Run, step: int) -> tuple[float, float]:
        """How long an instruction's weights stream, and how long it works when they are there."""
        streamed = streamed_bytes(self.program, run) / self.share
        rows = cached_bytes(self.program, run, self.pos + step) / self.share
        rows += direct_bytes(self.program, run) / self.share
        return streamed, self.costs.fixed + streamed / self.costs.catch_up + rows

    def ready(self, run: Run, step: int) -> float:
        """When the operands of an instruction are there; NaN if that is not known yet."""
        times = [0.0]
        for a in self.program.accesses(run):
            if not isinstance(a, Access) or a.write or not self.crosses(a):
                continue
            if self.pos + step >= a.since and step >= a.previous:
                when = self.written[a.buffer, a.use][step - a.previous, a.lo : a.hi].max()
                times.append(float(when) + self.costs.hop)
        for w in run.waits:
            want = w.threshold + (self.total[w.counter] * step if w.scaled else 0)
            done = self.arrivals[w.counter]
            times.append(sorted(done)[want - 1] + self.costs.hop if len(done) >= want else np.nan)
        return float(np.max(times))

    def finish(self, run: Run, step: int, end: float) -> None:
        for a in self.program.accesses(run):
            if isinstance(a, Access) and a.write and (a.buffer, a.use) in self.written:
                self.written[a.buffer, a.use][step, a.lo : a.hi] = end
        for signal in run.signals:
            self.arrivals[signal.counter] += [end] * signal.amount
