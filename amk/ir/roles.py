"""How the warps of one SM share the work of its queue: who does what, and by which words they hand
it over. docs/IR_SPEC.md, The warps of an SM, says what these numbers mean.

Rules are checked on them, and code is generated from them: there are no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import cached_property

import numpy as np

from amk.ir.arrays import Ints
from amk.ir.kernels import Attention, Gemv, Kernel, Ref, ceil_div
from amk.ir.program import DTYPES, SLOT_ROWS, Program, Ring, Run

WARP = 32
MOST_WARPS = 32
"""Warps of a block; as many have words of their own in one load of a warp."""
ENTRY_BYTES = 80
"""8 sums, and the sum of squares of the columns' inputs, each with the number of its block."""
TICKET_BITS = 16
"""A ticket names an instruction: the step of the launch above, its place in the queue below."""
WORD_BITS = 32
"""Width of block numbers and tickets."""
LOADS, ROTATING_LOADS = 16, 12
"""Loads by which the lanes of a warp get the columns of x that the warp works on, at most: where it
has the same ones in every block of a gemv, and where it needs all of x."""
MATRIX_GROUP, MATRIX_ROWS, MATRIX_HEADS = 8, 16, (64, 128)
"""Query heads, cache rows and head sizes of attention by matrix instructions."""


class Roles:
    """What follows for the warps of an SM from a program and its ring."""

    def __init__(self, p: Program, ring: Ring):
        self.p, self.ring = p, ring

    # Gemvs

    def slices(self, k: int) -> int:
        """Slots of one row block of a matrix of k columns."""
        return ceil_div(k, self.ring.columns)

    @cached_property
    def synchronized(self) -> frozenset[str]:
        """Kernels of which an instruction waits for counters or signals them."""
        runs = (run for queue in self.p.queues for run in queue)
        return frozenset(run.kernel for run in runs if run.waits or run.signals)

    def split(self, name: str) -> bool:
        """Whether consumers only multiply, and finishers complete the row blocks. Every warp then
        polls the columns of x that it works on; if these are others in every row block, all of
        them poll x together."""
        k = self.p.kernels[name]
        if not isinstance(k, Gemv) or name in self.synchronized:
            return False
        if k.res_in and self.p.buffers[k.res_in.buffer].space != "local":
            return False  # finishers would read it late, when others may overwrite it
        x, slices, warps = self.p.buffers[k.x.buffer], self.slices(k.k), self.ring.consumers
        unit = 2 * x.word
        units = ceil_div(self.ring.columns // unit, WARP)
        loads = units * (slices if slices % warps else slices // warps)
        most = ROTATING_LOADS if slices % warps else LOADS
        return x.space == "flagged" and loads <= most

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Kernels whose row blocks finishers complete."""
        return tuple(name for name in self.p.kernels if self.split(name))

    def rotating(self, k: Gemv) -> bool:
        """Whether a warp has other columns in every row block."""
        return self.slices(k.k) % self.ring.consumers != 0

    def parts(self, k: Gemv) -> int:
        """Partial sums of a row block that finishers complete."""
        return self.slices(k.k) if self.rotating(k) else self.ring.consumers

    @cached_property
    def most_parts(self) -> int:
        """Most partial sums of a row block that finishers complete."""
        named = (self.p.kernels[name] for name in self.splits)
        return max([1, *(self.parts(k) for k in named if isinstance(k, Gemv))])

    @cached_property
    def entries_needed(self) -> int:
        """Entries that gemvs completed by consumers need, 0 where there are none (K3): a warp that
        fills an entry is less than a ring, a lap and a row block ahead of any entry that is still
        to be read."""
        gemvs = (k for name, k in self.p.kernels.items() if name not in self.splits)
        widest = max((self.slices(k.k) for k in gemvs if isinstance(k, Gemv)), default=0)
        return widest and self.ring.slots + self.ring.consumers + widest - 1

    @property
    def entries(self) -> int:
        """Entries that such gemvs have."""
        return self.entries_needed and (self.ring.entries or self.entries_needed)

    def blocks(self, run: Run) -> int:
        """Row blocks of an instruction."""
        k = self.p.kernels[run.kernel]
        if not isinstance(k, Gemv):
            return 0
        lo, hi = k.rows(run.lo, run.hi)
        return ceil_div(hi - lo, SLOT_ROWS)

    def late(self, run: Run) -> Iterator[tuple[Ref, bool, Ints, Ints]]:
        """What finishers touch of a split gemv: a place, whether it is written, its elements, and
        which finisher touches each. Candidates are any finisher's, behind a barrier of all: they
        count as one more."""
        k = self.p.kernels[run.kernel]
        assert isinstance(k, Gemv)
        first, end = k.rows(run.lo, run.hi)
        rows: Ints = np.arange(first, end)
        who = (first // SLOT_ROWS + (rows - first) // SLOT_ROWS) % self.ring.finishers
        if k.res_in:
            yield k.res_in, False, k.res_in.offset + rows, who
        if k.res_out:
            yield k.res_out, True, k.res_out.offset + rows, who
        pairs = k.epilogue == "gated"
        yield k.out, True, k.out.offset + (rows[::2] // 2 if pairs else rows), who[:: 1 + pairs]
        if k.cand:
            ends: Ints = np.arange(2 * run.lo, 2 * run.hi)
            yield k.cand, True, k.cand.offset + ends, np.full(len(ends), self.ring.finishers)

    # Attention

    @cached_property
    def tiles(self) -> dict[str, int]:
        """Most tiles of an instruction, by kernel."""
        most = dict.fromkeys(self.p.kernels, 1)
        for run in (run for queue in self.p.queues for run in queue):
            most[run.kernel] = max(most[run.kernel], run.hi - run.lo)
        return most

    def matrix(self, name: str) -> bool:
        """Whether attention is by matrix instructions, with rows straight to registers: what fits
        their fragments, and needs nothing done to q and to scores."""
        k = self.p.kernels[name]
        if not isinstance(k, Attention):
            return False
        at = [self.p.buffers[ref.buffer] for ref in (k.q, k.k, k.v) if ref]
        return (
            len(at) == 3
            and all((b.space, b.dtype) == ("flagged", "bf16") for b in at)
            and self.p.caches[k.cache].dtype == "bf16"
            and k.head_dim in MATRIX_HEADS
            and k.group <= MATRIX_GROUP
            and k.group * self.ring.consumers % 2 == 0  # the row behind their sums is aligned
            and self.tiles[name] == 1
            and (k.splits == 1 or k.chunk % MATRIX_ROWS == 0)
            and not (k.window or k.softcap or k.q_norm or k.rope)
        )

    def row_bytes(self, k: Attention) -> int:
        """Bytes of a row of a head's keys and values."""
        return 2 * k.head_dim * DTYPES[self.p.caches[k.cache].dtype]

    def chunk_rows(self, k: Attention) -> int:
        """Rows of a chunk, which a buffer holds. They are contiguous: a chunk ends where the
        split's own chunk ends."""
        fits = max(1, self.ring.kv_bytes // self.row_bytes(k))
        if k.splits == 1:
            return fits
        return max(r for r in range(1, min(fits, k.chunk) + 1) if k.chunk % r == 0)

    # Order between finishers and consumers

    def joins(self, name: str) -> bool:
        """Whether consumers await all row blocks so far before they run the kernel: it may touch
        what finishers touch, in memory that does not poll, or their candidates."""
        k = self.p.kernels[name]
        if name in self.splits or not self.splits:
            return False
        spaces = {self.p.buffers[ref.buffer].space for ref in places(k)}
        return bool(spaces & {"local", "plain"}) or (isinstance(k, Gemv) and k.cand is not None)

    @cached_property
    def leaves_plain(self) -> bool:
        """Whether finishers write plain memory that any kernel touches besides."""
        written: set[str] = set()
        touched: set[str] = set()
        for name, k in self.p.kernels.items():
            mine = (k.out, k.res_out, k.cand) if isinstance(k, Gemv) and name in self.splits else ()
            written |= {ref.buffer for ref in mine if ref}
            touched |= {ref.buffer for ref in places(k) if ref not in mine}
        return any(self.p.buffers[name].space == "plain" for name in written & touched)


def places(k: Kernel) -> list[Ref]:
    """The places that a kernel names."""
    values = (getattr(k, f.name) for f in fields(k))
    return [value for value in values if isinstance(value, Ref)]
