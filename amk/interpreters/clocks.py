"""Shadow memory: who wrote every element when, and which instructions are ordered.

Two orders, each a vector clock per SM (entry w of SM s: the last instruction of SM w that is known
to come before what SM s does next). `strong` is happens-before: queue order and counters, a release
and an acquire; only this publishes plain data. `weak` adds the flagged words that were read: a word
that carries the expected epoch proves that the reads of its writer's instruction and of everything
before it in that queue are done, because an instruction writes after it has read. It is what makes
it safe to overwrite.

A read of a plain element needs the strong order; any write needs the weak order with every reader
of what it overwrites, and with the writer: by the strong order, or because somebody who is ordered
has seen the old value. So a race is found from the orders of one interleaving, without having to
hit the moment.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amk.interpreters.greedy import epoch
from amk.ir.program import Buffer, KvCache, Program

I64 = NDArray[np.int64]


class Readers:
    """Who read one range of a buffer, by epoch: the last instruction of each SM that did. Epochs
    older than one step are dropped: each word was written since, and that was checked."""

    def __init__(self, epochs: int, sms: int) -> None:
        self.epoch = np.zeros(epochs, np.int64)
        self.last = np.zeros((epochs, sms), np.int64)

    def note(self, epoch: int, sm: int, time: int) -> None:
        row = epoch % len(self.epoch)
        if self.epoch[row] != epoch:
            self.epoch[row] = epoch
            self.last[row] = 0
        self.last[row, sm] = time


class Cells:
    """Shadow of a shared buffer, one cell per flagged word or plain element."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.size = buffer.word if buffer.space == "flagged" else 1
        n = -(-buffer.length // self.size)
        self.stamp = np.zeros(n, np.int64)
        self.writer = np.zeros(n, np.int64)
        self.time = np.zeros(n, np.int64)
        self.seen = np.ones(n, np.bool_)
        self.readers: dict[tuple[int, int], Readers] = {}
        self.version = 0
        self.known: dict[tuple[int, int], tuple[int, int, int]] = {}
        self.joins: dict[tuple[int, int], tuple[int, I64]] = {}

    def range(self, lo: int, hi: int) -> tuple[int, int]:
        """Cells of elements [lo, hi)."""
        return lo // self.size, -(-hi // self.size)

    def bounds(self, lo: int, hi: int) -> tuple[int, int]:
        """Lowest and highest stamp of cells [lo, hi)."""
        found = self.known.get((lo, hi))
        if found is None or found[0] != self.version:
            stamps = self.stamp[lo:hi]
            found = self.version, int(stamps.min()), int(stamps.max())
            self.known[lo, hi] = found
        return found[1], found[2]


class Clocks:
    """The two orders, and the shadow of everything that is not local."""

    def __init__(self, program: Program) -> None:
        n = len(program.queues)
        self.program = program
        self.sms = n
        self.now = np.zeros(n, np.int64)
        self.strong = np.zeros((n, n), np.int64)
        self.weak = np.zeros((n, n), np.int64)
        self.fenced = np.zeros((n, n), np.int64)
        self.released = np.zeros((program.counters, n), np.int64)
        self.released_weak = np.zeros((program.counters, n), np.int64)
        self.at_write: dict[tuple[int, int], I64] = {}
        self.cells = {b.name: Cells(b) for b in program.buffers.values() if b.space != "local"}
        self.local = {
            b.name: np.zeros((n, b.length), np.int64)
            for b in program.buffers.values()
            if b.space == "local"
        }
        self.caches = {c.name: CacheCells(c) for c in program.caches.values()}

    def tick(self, sm: int) -> None:
        """The next instruction of `sm` starts."""
        self.now[sm] += 1
        self.strong[sm, sm] = self.weak[sm, sm] = self.now[sm]

    def acquire(self, sm: int, counter: int, scope: str) -> None:
        if scope == "gpu":
            np.maximum(self.strong[sm], self.released[counter], out=self.strong[sm])
        np.maximum(self.weak[sm], self.released_weak[counter], out=self.weak[sm])

    def release(self, sm: int, counter: int, scope: str) -> None:
        if scope == "gpu":
            np.maximum(self.released[counter], self.strong[sm], out=self.released[counter])
        np.maximum(self.released_weak[counter], self.weak[sm], out=self.released_weak[counter])

    def fence(self, sm: int) -> None:
        """Bulk copies of `sm` see what it has written and acquired so far."""
        self.fenced[sm] = self.strong[sm]
        self.fenced[sm, sm] -= 1

    def barrier(self) -> None:
        """A launch has ended: everything so far is before everything to come."""
        for order in (self.strong, self.weak, self.released, self.released_weak, self.fenced):
            order[:] = self.now
        self.at_write.clear()
        for cells in self.cells.values():
            cells.readers.clear()
            cells.joins.clear()

    def name(self, sm: int, time: int) -> str:
        """The instruction that SM `sm` ran at its time `time`."""
        index = (time - 1) % len(self.program.queues[sm])
        return f"instruction {index} of SM {sm} ({self.program.queues[sm][index].kernel})"

    def read(self, sm: int, buffer: str, use: int, step: int, lo: int, hi: int) -> str | None:
        """SM `sm` reads elements [lo, hi) of value `use` of step `step`; says what is wrong."""
        cells = self.cells.get(buffer)
        want = epoch(self.program.buffers[buffer].uses, use, step)
        where = f"reads @{buffer}[{lo}:{hi}]"
        if cells is None:
            stamps = self.local[buffer][sm, lo:hi]
            wrong = stamps[stamps != want]
            return stale(where, int(wrong[0]), want) if len(wrong) else None
        a, b = cells.range(lo, hi)
        low, high = cells.bounds(a, b)
        if low != want or high != want:
            stamps = cells.stamp[a:b]
            at = a + int(np.argmax(stamps != want))
            text = stale(where, int(cells.stamp[at]), want)
            if cells.stamp[at]:
                text += f"; written by {self.name(int(cells.writer[at]), int(cells.time[at]))}"
            return text
        join = self.join(cells, a, b)
        if cells.buffer.space == "flagged":
            np.maximum(self.weak[sm], join, out=self.weak[sm])
        elif (self.strong[sm] < join).any():
            other = int(np.argmax(self.strong[sm] < join))
            writer = self.name(other, int(join[other]))
            return f"{where}; written by {writer}; no wait orders them"
        readers = cells.readers.get((a, b))
        if readers is None:
            readers = cells.readers[a, b] = Readers(cells.buffer.uses + 1, self.sms)
        readers.note(want, sm, int(self.now[sm]))
        cells.seen[a:b] = True
        return None

    def join(self, cells: Cells, a: int, b: int) -> I64:
        """For flagged cells: what their writers knew. For plain cells: their writers' times."""
        found = cells.joins.get((a, b))
        if found is not None and found[0] == cells.version:
            return found[1]
        join = np.zeros(self.sms, np.int64)
        if cells.buffer.space == "plain":
            np.maximum.at(join, cells.writer[a:b], cells.time[a:b])
        else:
            pairs = set(zip(cells.writer[a:b].tolist(), cells.time[a:b].tolist(), strict=True))
            for pair in pairs:
                if pair in self.at_write:
                    np.maximum(join, self.at_write[pair], out=join)
        cells.joins[a, b] = cells.version, join
        return join

    def write(self, sm: int, buffer: str, use: int, step: int, lo: int, hi: int) -> str | None:
        """SM `sm` writes elements [lo, hi) as value `use` of step `step`; says what is wrong."""
        cells = self.cells.get(buffer)
        mine = epoch(self.program.buffers[buffer].uses, use, step)
        where = f"writes @{buffer}[{lo}:{hi}]"
        if cells is None:
            stamps = self.local[buffer][sm, lo:hi]
            if (stamps >= mine).any():
                return f"{where} twice in one use"
            stamps[:] = mine
            return None
        a, b = cells.range(lo, hi)
        if lo % cells.size or (hi % cells.size and hi != cells.buffer.length):
            return f"{where}, which is not whole words of {cells.size} elements"
        wrong = self.overwrites(sm, cells, mine, a, b)
        if wrong:
            return f"{where}; {wrong}"
        time = int(self.now[sm])
        cells.stamp[a:b] = mine
        cells.writer[a:b] = sm
        cells.time[a:b] = time
        cells.seen[a:b] = False
        cells.version += 1
        if cells.buffer.space == "flagged" and (sm, time) not in self.at_write:
            self.at_write[sm, time] = self.weak[sm].copy()
        return None

    def overwrites(self, sm: int, cells: Cells, mine: int, a: int, b: int) -> str | None:
        """Whether the old value of cells [a, b) may be overwritten with epoch `mine`."""
        stamps = cells.stamp[a:b]
        if (stamps >= mine).any():
            at = a + int(np.argmax(stamps >= mine))
            other = self.name(int(cells.writer[at]), int(cells.time[at]))
            if cells.stamp[at] == mine:
                return f"already written in this use by {other}"
            return f"{other} has written the newer epoch {int(cells.stamp[at])}"
        for (lo, hi), readers in cells.readers.items():
            if lo < b and a < hi and (readers.last > self.weak[sm]).any():
                row, other = (int(i[0]) for i in np.nonzero(readers.last > self.weak[sm]))
                reader = self.name(other, int(readers.last[row, other]))
                return f"the old value is read by {reader}; no wait orders them"
        writer, time = cells.writer[a:b], cells.time[a:b]
        loose = (writer != sm) & ~cells.seen[a:b] & (time > self.strong[sm][writer])
        if loose.any():
            at = a + int(np.argmax(loose))
            other = self.name(int(cells.writer[at]), int(cells.time[at]))
            return f"the old value is written by {other}; no wait orders them"
        return None

    def host_writes(self, buffer: str, at: int, stamp: int) -> None:
        """The host writes one element before a launch."""
        cells = self.cells[buffer]
        a, b = cells.range(at, at + 1)
        cells.stamp[a:b] = stamp
        cells.writer[a:b] = cells.time[a:b] = 0
        cells.seen[a:b] = True
        cells.version += 1


def stale(where: str, found: int, want: int) -> str:
    if found == 0:
        return f"{where}, which is not initialized"
    kind = "a stale value" if found < want else "a value that is too new"
    return f"{where} and finds {kind}: epoch {found}, expected {want}"


class CacheCells:
    """Shadow of a KV cache: the step that wrote each row of each head, and who."""

    def __init__(self, cache: KvCache) -> None:
        self.cache = cache
        self.stamp = np.zeros((cache.rows, cache.heads), np.int64)
        self.writer = np.zeros((cache.rows, cache.heads), np.int64)
        self.time = np.zeros((cache.rows, cache.heads), np.int64)

    def read(
        self,
        clocks: Clocks,
        sm: int,
        head: int,
        rows: NDArray[np.intp],
        expected: I64,
        bulk: bool,
    ) -> str | None:
        """SM `sm` reads `rows` of `head`, or copies them in bulk; `expected` has the step + 1 that
        owns each row."""
        where = f"reads @{self.cache.name} head {head}"
        wrong = self.stamp[rows, head] != expected
        if wrong.any():
            at = int(np.argmax(wrong))
            row, found = int(rows[at]), int(self.stamp[rows[at], head])
            return stale(f"{where} row {row}", found, int(expected[at]))
        writer, time = self.writer[rows, head], self.time[rows, head]
        loose = time > clocks.strong[sm][writer]
        if loose.any():
            at = int(np.argmax(loose))
            other = clocks.name(int(writer[at]), int(time[at]))
            return f"{where} row {int(rows[at])}; written by {other}; no wait orders them"
        loose = time > clocks.fenced[sm][writer]
        if bulk and loose.any():
            at = int(np.argmax(loose))
            other = clocks.name(int(writer[at]), int(time[at]))
            return f"{where} row {int(rows[at])}; written by {other}; no fence is between them"
        return None

    def write(self, clocks: Clocks, sm: int, head: int, row: int, step: int) -> str | None:
        if self.stamp[row, head] == step + 1:
            return f"writes @{self.cache.name} head {head} row {row} twice in one step"
        self.stamp[row, head] = step + 1
        self.writer[row, head] = sm
        self.time[row, head] = clocks.now[sm]
        return None
