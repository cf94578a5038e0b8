"""From a violation to an interleaving that shows it: what runs before, who comes too early.

The program is run as little as possible. For a race, one instruction of the pair is held back, the
others run until the other one can, and what that did not need is left out again. Where neither can
run without the other, memory is to blame: both run, and what the first has written need not have
come to the second. For a deadlock, everything runs until nothing can.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from amk.ir.kernels import Access, CacheAccess
from amk.ir.program import Program, Wait
from amk.verify.violation import Place, Violation

LINES = 16
"""Lines of an interleaving that are printed; a trace has all of it."""


@dataclass(frozen=True)
class Counterexample:
    """An interleaving: what runs, in order, and the instructions that the violation is about."""

    violation: Violation
    runs: tuple[Place, ...]
    """Instructions that run; of a race, the first of `pair` comes last."""
    pair: tuple[Place, ...]
    """Of a race, who comes first although it should not, and who comes too late; of a deadlock,
    the instructions that wait for each other."""
    unseen: bool
    """Of a race: the second has run, but what it wrote need not have come to the first."""
    notes: tuple[str, ...]
    """What each of `pair` does or waits for."""

    def lines(self, p: Program) -> list[str]:
        """The interleaving for a person, a line for what an SM does in one go."""
        # The last to run in a race has a note of its own.
        runs = self.runs if self.violation.rule == "D1" else self.runs[:-1]
        out = [_stretch(p, first, last) for first, last in _stretches(runs)]
        hidden = len(out) - LINES
        if hidden > 1:
            out[LINES // 2 : LINES // 2 + hidden] = [f"... {hidden} more lines, all in a trace"]
        return [*out, *self.notes]


def counterexample(p: Program, violation: Violation) -> Counterexample | None:
    """An interleaving that shows a race or deadlock; None for other violations, whose instructions
    are wrong by themselves."""
    if violation.rule == "D1":
        return _deadlock(p, violation)
    if violation.rule[0] != "R" or len(violation.places) != 2:
        return None
    a, b = violation.places
    # A read that finds a value of another use comes behind the write of that value.
    orders = {"R2": ((a, b), (b, a)), "R4": ((b, a), (a, b)), "R5": ()}
    for early, late in orders.get(violation.rule, ((a, b),)):
        run = _Run(p)
        if not run.until(early, held=late):
            continue
        runs = (*run.needed(early), early)
        state = _Run(p)
        for place in runs[:-1]:
            state.execute(place.sm)
        notes = (
            f"{_what(p, early)} {_verb(p, early, late)}; it {_waits(state, early)}",
            f"{_what(p, late)} has not run yet: it {_verb(p, late, early)}",
        )
        return Counterexample(violation, runs, (early, late), False, notes)
    return _unseen(p, violation)


def _unseen(p: Program, violation: Violation) -> Counterexample | None:
    """Both run, in the right order, without what would make memory follow it."""
    a, b = violation.places
    run = _Run(p)
    if not run.until(a, held=None):
        return None
    runs = run.needed(a)
    state = _Run(p)
    for place in runs:
        state.execute(place.sm)
    missing = (
        f"no fence of SM {a.sm} comes behind that"
        if violation.rule == "R5"
        else f"SM {a.sm} acquires no release from behind that"
    )
    notes = (
        f"{_what(p, a)} {_verb(p, a, b)}; it {_waits(state, a)}",
        f"{_what(p, b)} {_verb(p, b, a)}; {missing}",
    )
    return Counterexample(violation, (*runs, a), (a, b), True, notes)


def _deadlock(p: Program, violation: Violation) -> Counterexample:
    run = _Run(p)
    steps = max((place.step for place in violation.places), default=0) + 1
    run.all(steps)
    notes = [f"{_what(p, place)} {_waits(run, place)}" for place in violation.places]
    return Counterexample(violation, tuple(run.done), violation.places, False, tuple(notes))


class _Run:
    """The execution model: queues, counters, and which instructions have written which words."""

    def __init__(self, p: Program):
        self.p = p
        self.at = [0] * len(p.queues)
        self.counts: dict[int, int] = defaultdict(int)
        self.done: list[Place] = []
        self.totals: dict[int, int] = defaultdict(int)
        self.writers: dict[tuple[str, int], list[tuple[int, int, int, int]]] = defaultdict(list)
        for sm, queue in enumerate(p.queues):
            for i, run in enumerate(queue):
                for s in run.signals:
                    self.totals[s.counter] += s.amount
                for a in p.accesses(run):
                    if isinstance(a, Access) and a.write and p.buffers[a.buffer].space == "flagged":
                        self.writers[a.buffer, a.use].append((a.lo, a.hi, sm, i))

    def next(self, sm: int) -> Place:
        step, index = divmod(self.at[sm], len(self.p.queues[sm]))
        return Place(sm, index, step)

    def has_run(self, place: Place) -> bool:
        return self.at[place.sm] > place.step * len(self.p.queues[place.sm]) + place.index

    def threshold(self, w: Wait, step: int) -> int:
        return w.threshold + (self.totals[w.counter] * step if w.scaled else 0)

    def polled(self, place: Place) -> Iterator[tuple[Access, list[Place]]]:
        """The flagged reads of an instruction and who writes their words."""
        run = self.p.queues[place.sm][place.index]
        for a in self.p.accesses(run):
            if not isinstance(a, Access) or a.write:
                continue
            step = place.step - a.previous
            if step >= 0 and self.p.buffers[a.buffer].space == "flagged":
                written = self.writers.get((a.buffer, a.use), [])
                makers = [
                    Place(sm, i, step) for lo, hi, sm, i in written if lo < a.hi and a.lo < hi
                ]
                yield a, makers

    def enabled(self, place: Place) -> bool:
        run = self.p.queues[place.sm][place.index]
        return all(
            self.counts[w.counter] >= self.threshold(w, place.step) for w in run.waits
        ) and all(self.has_run(maker) for _, makers in self.polled(place) for maker in makers)

    def execute(self, sm: int) -> None:
        place = self.next(sm)
        self.done.append(place)
        self.at[sm] += 1
        for s in self.p.queues[sm][place.index].signals:
            self.counts[s.counter] += s.amount

    def until(self, goal: Place, held: Place | None) -> bool:
        """Runs until `goal` can, without `held`; False if that never comes."""
        moved = True
        while moved:
            moved = False
            for sm in sorted(range(len(self.at)), key=lambda sm: sm != goal.sm):
                while (place := self.next(sm)) != held and place.step < 2 and self.enabled(place):
                    if place == goal:
                        return True
                    self.execute(sm)
                    moved = True
        return False

    def all(self, steps: int) -> None:
        moved = True
        while moved:
            moved = False
            for sm in range(len(self.at)):
                while (place := self.next(sm)).step < steps and self.enabled(place):
                    self.execute(sm)
                    moved = True

    def needed(self, goal: Place) -> list[Place]:
        """Of what has run, what `goal` could not do without, in an order that leaves an SM as
        seldom as it can."""
        need = {goal}
        order = {place: i for i, place in enumerate(self.done)}
        signals: dict[int, list[tuple[Place, int]]] = defaultdict(list)
        for place in self.done:
            for s in self.p.queues[place.sm][place.index].signals:
                signals[s.counter].append((place, s.amount))
        for place in [goal, *reversed(self.done)]:
            if place not in need:
                continue
            before = self.before(place)
            if before:
                need.add(before)
            for _, makers in self.polled(place):
                need.update(makers)
            for w in self.p.queues[place.sm][place.index].waits:
                left = self.threshold(w, place.step)
                left -= sum(n for x, n in signals[w.counter] if x in need)
                for x, n in signals[w.counter]:
                    if left > 0 and x not in need and order[x] < order.get(place, len(order)):
                        need.add(x)
                        left -= n
        again = _Run(self.p)
        todo = need - {goal}
        moved = True
        while moved:
            moved = False
            for sm in range(len(self.at)):
                while (place := again.next(sm)) in todo and again.enabled(place):
                    again.execute(sm)
                    moved = True
        return again.done

    def before(self, place: Place) -> Place | None:
        if place.index:
            return Place(place.sm, place.index - 1, place.step)
        if place.step:
            return Place(place.sm, len(self.p.queues[place.sm]) - 1, place.step - 1)
        return None


# Text


def _stretches(runs: tuple[Place, ...]) -> list[tuple[Place, Place]]:
    """First and last of what runs on one SM in one step without another SM between."""
    out: list[tuple[Place, Place]] = []
    for place in runs:
        if out and (out[-1][1].sm, out[-1][1].step) == (place.sm, place.step):
            out[-1] = out[-1][0], place
        else:
            out.append((place, place))
    return out


def _step(place: Place) -> str:
    return f"SM {place.sm}, step {place.step}:"


def _name(p: Program, place: Place) -> str:
    run = p.queues[place.sm][place.index]
    return f"@{run.kernel}[{run.lo} to {run.hi}]"


def _what(p: Program, place: Place) -> str:
    return f"{_step(place)} instruction {place.index} {_name(p, place)}"


def _stretch(p: Program, first: Place, last: Place) -> str:
    if first == last:
        return f"{_what(p, first)} runs"
    return (
        f"{_step(first)} instructions {first.index} to {last.index}, {_name(p, first)} to "
        f"{_name(p, last)}, run"
    )


def _verb(p: Program, one: Place, other: Place) -> str:
    """What `one` does to the memory that `other` touches too."""
    mine, theirs = (list(p.accesses(p.queues[x.sm][x.index])) for x in (one, other))
    for a in mine:
        for b in theirs:
            if isinstance(a, Access) and isinstance(b, Access) and (a.write or b.write):
                lo, hi = max(a.lo, b.lo), min(a.hi, b.hi)
                if a.buffer == b.buffer and lo < hi:
                    uses = p.buffers[a.buffer].uses
                    epoch = (one.step - a.previous) * uses + a.use + 1
                    verb = "writes" if a.write else "reads"
                    value = f"the value of epoch {epoch}" if epoch > 0 else "the host's value"
                    return f"{verb} @{a.buffer}[{lo}:{hi}], {value}"
            if isinstance(a, CacheAccess) and isinstance(b, CacheAccess) and a.write != b.write:
                lo, hi = max(a.lo, b.lo), min(a.hi, b.hi)
                if a.cache == b.cache and lo < hi:
                    rows = "row pos" if a.write else "rows 0 to pos"
                    return f"{'writes' if a.write else 'reads'} {rows} of @{a.cache}[{lo}:{hi}]"
    return "runs"


def _waits(run: _Run, place: Place) -> str:
    """What an instruction waits for, and how far that has come."""
    p, texts = run.p, list[str]()
    for a, makers in run.polled(place):
        left = [x for x in makers if not run.has_run(x)]
        region = f"@{a.buffer}[{a.lo}:{a.hi}]"
        epoch = (place.step - a.previous) * p.buffers[a.buffer].uses + a.use + 1
        if left:
            x = left[0]
            owner = f"instruction {x.index} of SM {x.sm} {_name(p, x)} has not written it"
            texts.append(f"epoch {epoch} in {region}: {owner}")
        else:
            texts.append(f"epoch {epoch} in {region}, which is there")
    for w in p.queues[place.sm][place.index].waits:
        count, threshold = run.counts[w.counter], run.threshold(w, place.step)
        state = "reached" if count >= threshold else f"it is {count}"
        scope = "" if w.scope == "gpu" else f" ({w.scope}: no acquire)"
        texts.append(f"counter {w.counter} >= {threshold}{scope}, {state}")
    return f"waits for {'; '.join(dict.fromkeys(texts))}" if texts else "waits for nothing"
