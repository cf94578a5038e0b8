"""What each instruction touches, resolved once for all steps: pieces of memory, and the flagged
words that it waits for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amk.ir.kernels import Access, AnyAccess, CacheAccess
from amk.ir.program import Program, Signal, Wait
from amk.verify.violation import Place

Clock = npt.NDArray[np.int64]
FlagKey = tuple[str, int, int, int]
"""Buffer, use, and the elements [lo, hi) that a read of flagged words waits for."""


@dataclass
class Pieces:
    """A buffer, cut where accesses begin or end; per piece the last write and the last read of each
    SM."""

    cuts: list[int]
    place: dict[int, int]
    """Number of the piece that begins at an element."""
    epoch: npt.NDArray[np.int64]
    writer: npt.NDArray[np.int64]
    tick: npt.NDArray[np.int64]
    write_time: npt.NDArray[np.int64]
    reads: Clock
    """[piece, SM] tick of the SM's last read."""
    read_time: npt.NDArray[np.int64]
    """When a read last saw the last write, whenever that write is active."""
    since: npt.NDArray[np.int64]
    """Position from which the last write is active."""
    all_reads: Clock
    """[SM] tick of the SM's last read of the whole buffer."""
    any_reads: Clock
    """[SM] tick of the SM's last read of any piece."""
    all_time: int = -1


@dataclass(slots=True)
class Touch:
    """An access of an instruction, resolved once for all steps: pieces [first, last) of
    `memory`."""

    access: Access
    memory: Pieces
    first: int
    last: int
    whole: bool
    uses: int
    event: int
    """Flag event that a flagged read waits for, -1 for other accesses."""
    shared: bool
    """Plain memory of all SMs, which only release and acquire make visible."""

    def epoch(self, step: int) -> int:
        return (step - self.access.previous) * self.uses + self.access.use + 1


@dataclass(slots=True)
class Op:
    """An instruction."""

    reads: list[Touch]
    writes: list[Touch]
    cache: list[CacheAccess]
    waits: tuple[Wait, ...]
    signals: tuple[Signal, ...]
    fence: bool
    feeds: list[int]
    """Flag events (within a step) that a write of this instruction contributes to."""


class Resolved:
    """The queues of a program with their accesses resolved, and its memory, still untouched."""

    def __init__(self, p: Program, accesses: dict[Place, list[AnyAccess]]):
        self.p = p
        self.numbers: dict[FlagKey, int] = {}
        self.flags: list[FlagKey] = []
        """Flag events by their numbers."""
        self.producers: list[int] = []
        """Instructions that write words of each flag event, in one step."""
        self.pieces: dict[tuple[str, int], Pieces] = {}
        self.cuts = self.cut(accesses)
        self.queues = [
            [self.op(Place(sm, i), accesses) for i in range(len(q))]
            for sm, q in enumerate(p.queues)
        ]
        self.link()

    def op(self, place: Place, accesses: dict[Place, list[AnyAccess]]) -> Op:
        run = self.p.queues[place.sm][place.index]
        out = Op([], [], [], run.waits, run.signals, run.fence, [])
        for a in accesses[place]:
            if isinstance(a, Access):
                (out.writes if a.write else out.reads).append(self.touch(a, place.sm))
            elif isinstance(a, CacheAccess):
                out.cache.append(a)
        return out

    def touch(self, a: Access, sm: int) -> Touch:
        buffer = self.p.buffers[a.buffer]
        m = self.memory(a.buffer, sm)
        event = -1
        if not a.write and buffer.space == "flagged":
            event = self.numbers.setdefault((a.buffer, a.use, a.lo, a.hi), len(self.numbers))
            if event == len(self.flags):
                self.flags.append((a.buffer, a.use, a.lo, a.hi))
        first, last = m.place[a.lo], m.place[a.hi]
        whole = first == 0 and last == len(m.cuts) - 1
        return Touch(a, m, first, last, whole, buffer.uses, event, buffer.space == "plain")

    def link(self) -> None:
        """Count and mark the instructions that write the words of each flag event."""
        by_value: dict[tuple[str, int], list[int]] = defaultdict(list)
        for number, key in enumerate(self.flags):
            by_value[key[:2]].append(number)
        self.producers = [0] * len(self.flags)
        for queue in self.queues:
            for op in queue:
                for w in (touch.access for touch in op.writes):
                    for number in by_value.get((w.buffer, w.use), ()):
                        _, _, lo, hi = self.flags[number]
                        if w.lo < hi and lo < w.hi:
                            op.feeds.append(number)
                            self.producers[number] += 1

    def cut(self, accesses: dict[Place, list[AnyAccess]]) -> dict[str, list[int]]:
        """Where accesses of each buffer begin or end."""
        ends: dict[str, set[int]] = defaultdict(set)
        for items in accesses.values():
            for a in items:
                if isinstance(a, Access):
                    ends[a.buffer].update((a.lo, a.hi))
        return {b: sorted(e) for b, e in ends.items()}

    def memory(self, buffer: str, sm: int) -> Pieces:
        key = (buffer, sm if self.p.buffers[buffer].space == "local" else -1)
        found = self.pieces.get(key)
        if found is None:
            cuts = self.cuts[buffer]
            n = len(cuts) - 1
            none, zero = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.int64)
            reads = np.zeros((n, len(self.p.queues) if key[1] < 0 else 1), dtype=np.int64)
            found = Pieces(
                cuts,
                place={cut: i for i, cut in enumerate(cuts)},
                epoch=none.copy(),
                writer=none.copy(),
                tick=zero.copy(),
                write_time=none.copy(),
                reads=reads,
                read_time=none.copy(),
                since=zero.copy(),
                all_reads=np.zeros(reads.shape[1], dtype=np.int64),
                any_reads=np.zeros(reads.shape[1], dtype=np.int64),
            )
            self.pieces[key] = found
        return found
