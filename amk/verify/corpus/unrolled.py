"""A program unrolled for a few steps: what each instruction needs, and what comes before it. The
docstring of `oracle` says how."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from amk.ir.kernels import Access, CacheAccess
from amk.ir.program import Program


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction in one step of the unrolled launch."""

    sm: int
    index: int
    step: int
    kernel: str

    def __str__(self) -> str:
        return f"instruction {self.index} of SM {self.sm} (@{self.kernel}) in step {self.step}"


Value = tuple[int, int]
"""Step and use. The step is -1 for what the host wrote."""


@dataclass(slots=True)
class Spot:
    """Elements of a buffer that are always touched together: who writes and reads which value."""

    name: str
    writers: dict[Value, int]
    readers: dict[Value, int]
    """Masks of instructions."""


class Unrolled:
    """All executions of `steps` steps from position `start`."""

    def __init__(self, p: Program, steps: int, start: int, cautions: tuple[str, ...] = ()):
        self.p, self.steps, self.start, self.cautions = p, steps, start, cautions
        self.twice: str | None = None
        self.guarded: dict[int, set[int]] = {}
        """Instruction -> those whose words it polls from some position on only."""
        self.mixed: set[tuple[str, int, int]] = set()
        """Relation, counter and SM whose arrivals order nothing, to a cautious eye."""
        self.all: list[Instruction] = []
        self.at: dict[tuple[int, int, int], int] = {}
        for sm, queue in enumerate(p.queues):
            for step in range(steps):
                for index, run in enumerate(queue):
                    self.at[sm, step, index] = len(self.all)
                    self.all.append(Instruction(sm, index, step, run.kernel))
        self.full = (1 << len(self.all)) - 1
        self.accesses = {
            (run.kernel, run.lo, run.hi): list(p.accesses(run))
            for queue in p.queues
            for run in queue
        }
        self.arrivals: dict[int, list[tuple[int, int, bool]]] = defaultdict(list)
        """Counter -> (instruction, amount, whether it is a release)."""
        for n, x in enumerate(self.all):
            for s in p.queues[x.sm][x.index].signals:
                self.arrivals[s.counter].append((n, s.amount, s.scope == "gpu"))
        self.spots = {
            b.name: self.spots_of(b.name) for b in p.buffers.values() if b.space != "local"
        }
        self.needs = [self.needed(n) for n in range(len(self.all))]

    def active(self, n: int) -> Iterator[Access | CacheAccess]:
        """What an instruction really touches, at its position."""
        x = self.all[n]
        run = self.p.queues[x.sm][x.index]
        for a in self.accesses[run.kernel, run.lo, run.hi]:
            if isinstance(a, CacheAccess) or (
                isinstance(a, Access) and self.start + x.step >= a.since
            ):
                yield a

    def spots_of(self, buffer: str) -> list[tuple[int, int, Spot]]:
        """The shared buffer cut where accesses begin or end: (first element, end, who)."""
        touched = [
            (n, a)
            for n in range(len(self.all))
            for a in self.active(n)
            if isinstance(a, Access) and a.buffer == buffer
        ]
        cuts = sorted({end for _, a in touched for end in (a.lo, a.hi)})
        number = {cut: i for i, cut in enumerate(cuts)}
        spots = [
            (lo, hi, Spot(f"@{buffer}[{lo}:{hi}]", {}, defaultdict(int)))
            for lo, hi in zip(cuts, cuts[1:], strict=False)
        ]
        for n, a in touched:
            value = (self.all[n].step - a.previous, a.use)
            for _, _, spot in spots[number[a.lo] : number[a.hi]]:
                if not a.write:
                    spot.readers[value] |= 1 << n
                elif value in spot.writers:
                    other = self.all[spot.writers[value]]
                    self.twice = f"{self.all[n]} writes {spot.name}, which {other} writes too"
                else:
                    if n in spot.writers.values():
                        self.twice = f"{self.all[n]} writes {spot.name} for two values"
                    spot.writers[value] = n
        return spots

    def needed(self, n: int) -> tuple[list[int], list[tuple[int, int, bool]]]:
        """What an instruction cannot do without: other instructions (-1: one that there is not),
        and counters with their targets, and whether it acquires."""
        x = self.all[n]
        run = self.p.queues[x.sm][x.index]
        others, guarded, sure = set[int](), set[int](), set[int]()
        ahead = self.ahead(n)
        if ahead is not None:
            others.add(ahead)
            sure.add(ahead)
        for a in self.active(n):
            if not isinstance(a, Access) or a.write:
                continue
            step = x.step - a.previous
            if self.p.buffers[a.buffer].space == "flagged" and step >= 0:
                covered = a.lo
                polled: set[int] = set()
                for lo, hi, spot in self.spots[a.buffer]:
                    if a.lo <= lo and hi <= a.hi:
                        polled.add(spot.writers.get((step, a.use), -1))
                        covered = hi
                if covered < a.hi:
                    polled.add(-1)
                others |= polled
                (guarded if a.since > 0 else sure).update(polled)
        targets: list[tuple[int, int, bool]] = []
        for w in run.waits:
            total = sum(amount for _, amount, _ in self.arrivals[w.counter]) // self.steps
            target = w.threshold + (total * x.step if w.scaled else 0)
            targets.append((w.counter, target, w.scope == "gpu"))
        if "guarded" in self.cautions:
            self.guarded[n] = guarded - sure
        return sorted(others), targets

    def own(self, n: int) -> int:
        """The instructions of the same SM up to this one."""
        x = self.all[n]
        first = self.at[x.sm, 0, 0]
        return (1 << n + 1) - (1 << first)

    def ahead(self, n: int) -> int | None:
        """The instruction before this one on its SM."""
        return n - 1 if n and self.all[n - 1].sm == self.all[n].sm else None

    # What can happen at all

    def run(self) -> list[int]:
        """The instructions that can run, in an order in which they can."""
        done: list[int] = []
        ran = [False] * len(self.all)
        counts: dict[int, int] = defaultdict(int)
        more = True
        while more:
            more = False
            for n, x in enumerate(self.all):
                others, targets = self.needs[n]
                if (
                    not ran[n]
                    and all(m >= 0 and ran[m] for m in others)
                    and all(counts[c] >= target for c, target, _ in targets)
                ):
                    ran[n] = more = True
                    done.append(n)
                    for s in self.p.queues[x.sm][x.index].signals:
                        counts[s.counter] += s.amount
        return done

    # What happens before what

    def necessary(self, arrivals: Iterable[tuple[int, int]], target: int, among: int) -> int:
        """Which of the instructions `among` block so many arrivals that the others miss the target.

        An arrival is the mask of what it cannot come without, and its amount.
        """
        spare, rest = -target, list[tuple[int, int]]()
        union = 0
        for mask, amount in arrivals:
            if mask & among != among:
                spare += amount
                rest.append((mask & among, amount))
                union |= mask
        if spare < 0:
            return among
        if spare == 0 or all(amount > spare for _, amount in rest):
            return union & among
        blocked = [among] + [0] * (spare + 1)
        for mask, amount in rest:
            for j in range(spare + 1, 0, -1):
                blocked[j] |= blocked[max(j - amount, 0)] & mask
        return blocked[spare + 1]

    def solve(self, order: list[int]) -> tuple[list[int], list[int]]:
        """`before` and `released` of each instruction, as masks. An instruction has acquired what
        is released to it; it knows that, and what is ahead of it on its SM."""
        before = [self.full] * len(self.all)
        changed = True
        while changed:
            changed = False
            for n in order:
                others, targets = self.needs[n]
                mask = 1 << n
                for m in others:
                    if m not in self.guarded.get(n, ()):
                        mask |= before[m]
                for counter, target, acquires in targets:
                    if acquires or "relaxed" not in self.cautions:
                        arrivals = [
                            (before[m] if releases or "relaxed" not in self.cautions else 0, amount)
                            for m, amount, releases in self.arrivals[counter]
                        ]
                        mask |= self.gained("before", n, counter, target, before[n], arrivals)
                if mask != before[n]:
                    before[n], changed = mask, True
        released = [self.full] * len(self.all)
        own = [self.own(n) for n in range(len(self.all))]
        changed = True
        while changed:
            changed = False
            for n in order:
                ahead = self.ahead(n)
                mask = 0 if ahead is None else released[ahead]
                for counter, target, acquires in self.needs[n][1]:
                    if acquires:
                        arrivals = self.carried(n, counter, before, released)
                        mask |= self.gained("released", n, counter, target, released[n], arrivals)
                if mask != released[n]:
                    released[n], changed = mask, True
        if "arrivals" in self.cautions:
            known = [r | o for r, o in zip(released, own, strict=True)]
            early = self.early(before)
            mixed = self.mixes("before", before, early) | self.mixes("released", known, early)
            if not mixed <= self.mixed:
                self.mixed |= mixed
                return self.solve(order)
        return before, released

    def carried(
        self, n: int, counter: int, before: list[int], released: list[int]
    ) -> list[tuple[int, int]]:
        """What the arrivals on a counter release, and their amounts; one that comes after n itself
        carries everything, since it is no help to it."""
        return [
            (
                self.full if before[m] >> n & 1 else released[m] | self.own(m) if releases else 0,
                amount,
            )
            for m, amount, releases in self.arrivals[counter]
        ]

    def gained(
        self,
        relation: str,
        n: int,
        counter: int,
        target: int,
        among: int,
        arrivals: list[tuple[int, int]],
    ) -> int:
        """What a wait cannot be over without. `arrivals` are those of the counter, in order."""
        if "arrivals" not in self.cautions:
            return self.necessary(arrivals, target, among)
        total = sum(amount for _, amount, _ in self.arrivals[counter]) // self.steps
        # A wait that is not scaled speaks of the first step; in a later one it orders nothing
        # unless it needs all of that.
        step, rest = divmod(target - 1, total) if total else (0, 0)
        if step < self.all[n].step and rest + 1 < total:
            return 0
        mask, mine = 0, self.arrivals[counter]
        for (m, _, _), (carried, _) in zip(mine, arrivals, strict=True):
            x = self.all[m]
            behind = sum(
                amount
                for other, amount, _ in mine
                if other >= m and (self.all[other].sm, self.all[other].step) == (x.sm, x.step)
            )
            sure = (relation, counter, x.sm) not in self.mixed
            if sure and x.step == step and total - behind < rest + 1:
                mask |= carried
        return mask & among

    def early(self, before: list[int]) -> list[tuple[int, int]]:
        """Counters, and arrivals that may come ahead of a wait there of the step before."""
        waits = [
            (w.counter, n)
            for n, x in enumerate(self.all)
            for w in self.p.queues[x.sm][x.index].waits
            if w.scaled
        ]
        return [
            (counter, b)
            for counter, arrivals in self.arrivals.items()
            for b, _, _ in arrivals
            if any(
                c == counter and self.all[n].step + 1 == self.all[b].step and not before[b] >> n & 1
                for c, n in waits
            )
        ]

    def mixes(
        self, relation: str, carried: list[int], early: list[tuple[int, int]]
    ) -> set[tuple[str, int, int]]:
        """The SMs of arrivals that such an early one may come ahead of, not carrying them."""
        weak = {(c, m) for c, arrivals in self.arrivals.items() for m, _, r in arrivals if not r}
        return {
            (relation, counter, self.all[a].sm)
            for counter, b in early
            for a, _, _ in self.arrivals[counter]
            if self.all[a].step + 1 == self.all[b].step
            and ((counter, b) in weak or not carried[b] >> a & 1)
        }

    @staticmethod
    def members(mask: int) -> Iterator[int]:
        while mask:
            low = mask & -mask
            yield low.bit_length() - 1
            mask ^= low
