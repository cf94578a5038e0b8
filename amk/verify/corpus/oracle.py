"""The ground truth: whether any execution of a program goes wrong, worked out from what it does.

The verifier follows vector clocks through one greedy run. The oracle asks another question, and
shares no code with it: *what can happen without x?* A program is unrolled for a few steps from a
concrete position. Everything in it is monotone: a counter that is high enough stays so, a word that
has come stays until it is overwritten, and an overwriting that comes too early is itself the fault
that is looked for. So the instructions that can run while x is held back forever are found by
running whatever can run, and x comes before y in *every* execution exactly if y is not among them.
All x are held back at once, one bit of an integer each.

Two answers per instruction y, each the largest solution of its equations:

  before  the instructions whose reads are done whenever those of y are. y needs the instruction
          ahead of it on its SM, the writers of the flagged words that it polls, and for each wait
          so many arrivals that the others do not suffice, whatever step they are from
  known   the instructions whose writes y can see: those ahead of it on its SM, and what a wait must
          have acquired, because the arrivals that do not carry it do not suffice. Flagged words
          carry nothing but themselves; signals that are no release, nothing; and a wait that is no
          acquire sees nothing. Bulk copies see what was known at the last fence

Faults follow from the definition of memory: a read must find the value that it means. Guarded
accesses are simply there or not, since the position is known; every position where that changes is
tried.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from amk.ir.kernels import Access, CacheAccess
from amk.ir.program import Program
from amk.verify.corpus.ringmachine import ring_fault
from amk.verify.corpus.unrolled import Spot, Unrolled, Value
from amk.verify.corpus.warps import warps_fault
from amk.verify.corpus.wellformed import malformed

STEPS = 3
"""Steps of the unrolled launch: one more than the verifier takes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong; `kind` is one of malformed, ring, warps, deadlock, coverage,
    race."""

    kind: str
    text: str


CAUTIONS = ("guarded", "arrivals", "landed", "relaxed", "ring", "entries")
"""Where the verifier is deliberately conservative: docs/IR_SPEC.md says why."""


def judge(p: Program, cautions: tuple[str, ...] = ()) -> Fault | None:
    """What goes wrong in some execution of a program; None when it is safe.

    With `cautions`, what cannot be excluded by reasoning that is restricted so:
    guarded   a poll that happens from a position on only orders nothing
    arrivals  a wait orders only arrivals that it could not do without if all others of its step
              came and none of any other step; and none of an SM if one of the next step may come
              ahead of it, not carrying it, and ahead of a wait on the same counter
    landed    a write is in memory before another only if that one has acquired it, or comes after a
              read of it
    relaxed   a wait or signal that is not at GPU scope orders nothing
    ring      a slot with two consumers is a fault even where copies cannot overtake each other
    entries   fewer entries than a ring, a lap and a row block have slots are a fault
    """
    problem = malformed(p)
    if problem:
        return Fault("malformed", problem)
    if p.ring and (problem := ring_fault(p.ring)):
        return Fault("ring", problem)
    if p.ring and "ring" in cautions and p.ring.slots % p.ring.consumers:
        return Fault("ring", "a slot has two consumers")
    if problem := warps_fault(p, "entries" in cautions):
        return Fault("warps", problem)
    for start in positions(p):
        alone = Execution(p, 1, start).deadlock()
        fault = alone or Execution(p, min(STEPS, rows(p) - start), start, cautions).fault()
        if fault:
            return fault
    return None


def rows(p: Program) -> int:
    """Positions that there are."""
    return min((c.rows for c in p.caches.values()), default=1 << 30)


def positions(p: Program) -> list[int]:
    """First positions of launches that together see every guarded access come and go."""
    starts = {0}
    for queue in p.queues:
        for run in queue:
            for a in p.accesses(run):
                if isinstance(a, Access) and a.since > 0:
                    starts.add(a.since - 1)
                elif isinstance(a, CacheAccess) and a.splits > 1:
                    starts |= {a.split * a.chunk - 1, a.splits * a.chunk - 1}
    return sorted(s for s in starts if 0 <= s < rows(p))


class Execution(Unrolled):
    """What goes wrong in an execution of `steps` steps from position `start`."""

    def deadlock(self) -> Fault | None:
        ran = set(self.run())
        stuck = next((x for n, x in enumerate(self.all) if n not in ran), None)
        return stuck and Fault("deadlock", f"{stuck} never runs")

    def fault(self) -> Fault | None:
        if self.twice:
            return Fault("coverage", self.twice)
        fault = self.deadlock()
        if fault:
            return fault
        self.before, self.released = self.solve(self.run())
        self.known = [
            released | self.own(n) & ~(1 << n) for n, released in enumerate(self.released)
        ]
        self.landings: dict[int, int] = {}
        return self.locals() or self.outputs() or self.shared() or self.caches()

    def locals(self) -> Fault | None:
        """Local memory holds what its SM's queue has left there."""
        for sm, queue in enumerate(self.p.queues):
            holds: dict[tuple[str, int], Value] = {}
            for step in range(self.steps):
                for index in range(len(queue)):
                    n = self.at[sm, step, index]
                    touched = [
                        a
                        for a in self.active(n)
                        if isinstance(a, Access) and self.p.buffers[a.buffer].space == "local"
                    ]
                    for a in touched:
                        value = (step - a.previous, a.use)
                        for e in range(a.lo, a.hi):
                            if not a.write and value[0] >= 0 and holds.get((a.buffer, e)) != value:
                                what = f"{self.all[n]} reads @{a.buffer}[{e}]"
                                return Fault("coverage", f"{what}, which does not hold that value")
                    mine: set[tuple[str, int]] = set()
                    for a in touched:
                        if a.write:
                            places = {(a.buffer, e) for e in range(a.lo, a.hi)}
                            if places & mine:
                                what = f"{self.all[n]} writes @{a.buffer} for two values"
                                return Fault("coverage", what)
                            mine |= places
                            for e in range(a.lo, a.hi):
                                if holds.get((a.buffer, e)) == (step, a.use):
                                    what = f"{self.all[n]} writes @{a.buffer}[{e}]"
                                    return Fault("coverage", f"{what} a second time")
                                holds[a.buffer, e] = (step, a.use)
        return None

    def outputs(self) -> Fault | None:
        """A value that no instruction reads is for the host, who takes all of it."""
        read: set[tuple[str, int]] = set()
        written: dict[tuple[str, int], int] = defaultdict(int)
        for accesses in self.accesses.values():
            for a in accesses:
                if isinstance(a, Access) and not a.write:
                    read.add((a.buffer, a.use))
        for buffer, spots in self.spots.items():
            for lo, hi, spot in spots:
                for value in spot.writers:
                    if value[0] == 0:
                        written[buffer, value[1]] += hi - lo
        for (buffer, use), size in written.items():
            if (buffer, use) not in read and size < self.p.buffers[buffer].length:
                return Fault("coverage", f"only {size} elements of output @{buffer} are written")
        return None

    def shared(self) -> Fault | None:
        for buffer, spots in self.spots.items():
            flagged = self.p.buffers[buffer].space == "flagged"
            done: set[tuple[tuple[tuple[Value, int], ...], ...]] = set()
            for _, _, spot in spots:
                key = (tuple(spot.writers.items()), tuple(spot.readers.items()))
                if key not in done:
                    done.add(key)
                    fault = self.spot(spot, flagged)
                    if fault:
                        return fault
        return None

    def spot(self, spot: Spot, flagged: bool) -> Fault | None:
        """Every read of these elements finds what it means, and writes come one after another."""
        behind = self.writes_behind(spot, flagged)
        for value, readers in spot.readers.items():
            writer = spot.writers.get(value)
            if value[0] >= 0 and not flagged:
                for n in self.members(readers):
                    if writer is None:
                        what = f"{self.all[n]} reads {spot.name}, which nobody writes"
                        return Fault("coverage", what)
                    if not self.known[n] >> writer & 1:
                        what = f"{self.all[n]} reads {spot.name}, written by {self.all[writer]}"
                        return Fault("race", f"{what}, without having acquired that")
            for other, overwriter in spot.writers.items():
                if other == value or (writer is not None and behind[overwriter] >> writer & 1):
                    continue
                late = readers & ~self.before[overwriter]
                if late:
                    reader = self.all[next(self.members(late))]
                    what = f"{self.all[overwriter]} may overwrite {spot.name} before {reader}"
                    return Fault("race", f"{what} has read it")
        writers = list(spot.writers.values())
        for i, a in enumerate(writers):
            for b in writers[i + 1 :]:
                if not (behind[a] >> b & 1 or behind[b] >> a & 1):
                    what = f"{self.all[a]} and {self.all[b]} write {spot.name} in either order"
                    return Fault("race", what)
        return None

    def writes_behind(self, spot: Spot, flagged: bool) -> dict[int, int]:
        """For each write, the writes that come to memory after it: those behind it on its SM, those
        that come after something proves that it is in memory, and so on from these.

        A read proves it if another SM makes it. An SM's own plain read may be answered before; its
        own poll may not, nor any read after it has acquired its own release.
        """
        behind = dict.fromkeys(spot.writers.values(), 0)
        for value, a in spot.writers.items():
            x = self.all[a]
            readers = spot.readers.get(value, 0)
            if not flagged:
                for n in self.members(readers):
                    if self.all[n].sm == x.sm and not self.released[n] >> a & 1:
                        readers &= ~(1 << n)
            for b in behind:
                y = self.all[b]
                if a != b and (
                    (x.sm == y.sm and a < b)
                    or readers & self.before[b]
                    or self.landed_before(b) >> a & 1
                ):
                    behind[a] |= 1 << b
        for b in behind:
            for a in behind:
                if behind[a] >> b & 1:
                    behind[a] |= behind[b]
        return behind

    def landed_before(self, n: int) -> int:
        """The instructions whose writes are in memory before those of this one come there: they
        were released to it, or to something before it."""
        if "landed" in self.cautions:
            return self.released[n]
        if n not in self.landings:
            mask = 0
            for m in self.members(self.before[n]):
                mask |= self.released[m]
                for counter, target, acquires in self.needs[m][1]:
                    if not acquires:
                        arrivals = self.carried(m, counter, self.before, self.released)
                        mask |= self.gained("released", m, counter, target, self.full, arrivals)
            self.landings[n] = mask
        return self.landings[n]

    def caches(self) -> Fault | None:
        """Row `pos` is written once a step, and read by those who know of it."""
        written: dict[tuple[str, int, int], int] = {}
        for n, x in enumerate(self.all):
            row = self.start + x.step
            for a in self.active(n):
                if isinstance(a, CacheAccess) and a.write and row in rows_of(a, row):
                    for head in range(a.lo, a.hi):
                        if written.setdefault((a.cache, head, row), n) != n:
                            what = f"row {row} of head {head} of @{a.cache}"
                            return Fault("coverage", f"{x} writes {what}, which is written already")
        for n, x in enumerate(self.all):
            for a in self.active(n):
                if not isinstance(a, CacheAccess) or a.write:
                    continue
                for row in rows_of(a, self.start + x.step):
                    for head in range(a.lo, a.hi):
                        if row < self.start:
                            continue
                        writer = written.get((a.cache, head, row))
                        what = f"{x} reads row {row} of head {head} of @{a.cache}"
                        if writer is None:
                            return Fault("coverage", f"{what}, which nobody writes")
                        text = f"{what}, written by {self.all[writer]}"
                        if writer != n and not self.known[n] >> writer & 1:
                            return Fault("race", f"{text}, without having acquired that")
                        if a.bulk and writer != n and not self.fenced(n) >> writer & 1:
                            return Fault("race", f"{text}, without a fence")
        return None

    def fenced(self, n: int) -> int:
        """The instructions whose writes the bulk copies of this one see."""
        at: int | None = n
        while at is not None:
            x = self.all[at]
            if self.p.queues[x.sm][x.index].fence:
                return self.known[at]
            at = self.ahead(at)
        return 0


def rows_of(a: CacheAccess, pos: int) -> list[int]:
    """The rows up to `pos` that an access takes."""
    if a.splits <= 1:
        return list(range(pos + 1))
    return [r for r in range(pos + 1) if r // a.chunk % a.splits == a.split]
