"""All accesses of a program as arrays: which instruction touches which elements of which value.

Memory is cut into *pieces* where accesses begin or end; a *cell* is a piece of one value of a
buffer, a *region* what is read at once: a range of cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amk.ir.arrays import Ints, ragged
from amk.ir.kernels import Access, CacheAccess
from amk.ir.program import Program

CacheAccesses = dict[tuple[str, int], list[tuple[int, CacheAccess]]]
"""Per cache and head, the accesses and the numbers of their instructions."""


def flatten(p: Program) -> tuple[NDArray[np.int64], CacheAccesses]:
    """Every access of every instruction.

    The columns of buffer accesses: instruction, buffer, SM of a local buffer, use, first element,
    end, whether it writes, since, whether it reads the step before.
    """
    rows: list[tuple[int, ...]] = []
    cache: CacheAccesses = {}
    ids, n = {name: i for i, name in enumerate(p.buffers)}, -1
    for sm, run in ((sm, run) for sm, queue in enumerate(p.queues) for run in queue):
        n += 1
        for a in p.accesses(run):
            if isinstance(a, Access):
                where = sm if p.buffers[a.buffer].space == "local" else 0
                rows.append((n, ids[a.buffer], where, a.use, a.lo, a.hi, a.write, a.since,
                             a.previous))  # fmt: skip
            elif isinstance(a, CacheAccess):
                for head in range(a.lo, a.hi):
                    cache.setdefault((a.cache, head), []).append((n, a))
    return np.array(rows, dtype=np.int64).reshape(-1, 9).T, cache


class Cells:
    """Memory and values of a program, cut. Instructions are numbered SM after SM."""

    def __init__(self, p: Program):
        self.buffers = list(p.buffers.values())
        table, self.caches = flatten(p)
        n, buffer, where, use, lo, hi, write, since, previous = table
        length = np.array([b.length for b in self.buffers] or [1])
        base = np.cumsum(length) - length
        at = where * length.sum() + base[buffer]
        cuts = np.unique(np.concatenate([at, at + lo, at + hi]))
        places: list[Ints] = [np.searchsorted(cuts, x) for x in (at, at + lo, at + hi)]
        origin, start, end = places
        value = np.unique(np.stack([at, use, buffer]), axis=1, return_inverse=True)
        of = value[1].reshape(-1)
        self.value_buffer: Ints = value[0][2]
        pieces = np.zeros(value[0].shape[1], dtype=np.int64)
        np.maximum.at(pieces, of, end - origin)
        offset = (np.cumsum(pieces) - pieces)[of] - origin
        w, r = write == 1, write == 0
        self.count = int(pieces.sum())
        self.written, which = ragged(start[w] + offset[w], end[w] + offset[w])
        """Cells that are written, one entry a write,"""
        self.written_by: Ints = n[w][which]
        self.written_since: Ints = since[w][which]
        self.written_piece: Ints = self.written - offset[w][which]
        """by whom, from which position on, and where in memory."""
        key: Ints = np.stack([start[r] + offset[r], end[r] + offset[r], buffer[r]])
        found = np.unique(key, axis=1, return_inverse=True)
        self.regions: Ints = found[0]
        """[first cell, end, buffer; region]"""
        flagged = np.array([b.space == "flagged" for b in self.buffers] or [False])
        self.polled: NDArray[np.bool_] = flagged[self.regions[2]]
        """Regions of flagged words."""
        self.region: Ints = found[1].reshape(-1)
        self.reader, self.reads_since, self.previous = n[r], since[r], previous[r]
        """Of each read: region, instruction, position from which on, whether of the step before."""
        self.read_cells, self.of_region = ragged(self.regions[0], self.regions[1])
        """Cells of all regions, and the region of each."""
        self.unread = np.setdiff1d(np.arange(len(pieces)), of[r])
        """Values that nobody reads."""
        self.amount = np.zeros(len(pieces), dtype=np.int64)
        """Elements written, by value."""
        np.add.at(self.amount, of[w], hi[w] - lo[w])


def signals_and_waits(p: Program) -> tuple[Ints, Ints, int]:
    """[signals, 4]: counter, instruction, amount, whether it is a release. [waits, 5]: counter,
    instruction, threshold, whether it is an acquire of arrivals of its own step, whether it is for
    arrivals of its own step. And the number of counters in use, which are numbered anew."""
    runs = [run for queue in p.queues for run in queue]
    told = [
        (s.counter, n, s.amount, s.scope == "gpu")
        for n, run in enumerate(runs)
        for s in run.signals
    ]
    asked = [
        (w.counter, n, w.threshold, w.scaled and w.scope == "gpu", w.scaled)
        for n, run in enumerate(runs)
        for w in run.waits
    ]
    signals: Ints = np.array(told, dtype=np.int64).reshape(-1, 4)
    waits: Ints = np.array(asked, dtype=np.int64).reshape(-1, 5)
    counters = np.unique(np.concatenate([signals[:, 0], waits[:, 0]]))
    for column in (signals[:, 0], waits[:, 0]):
        column[:] = np.searchsorted(counters, column)
    return signals, waits, len(counters)
