"""Deadlocks and races: one greedy run of two steps with vector clocks.

Counters and epochs only grow and queues are in order, so an instruction that may start stays so: if
one run finishes, every run does, and if one gets stuck, every run does. That run also visits each
instruction after everything that happens before it, so one pass with vector clocks decides every
conflicting pair. Two steps are enough: the program is the same in each, an SM's own queue orders
step t before t + 1, and every edge goes to the same step or the next.

An instruction n of an SM has two ticks, 2n + 1 when its reads are done and 2n + 2 when its writes
are. Two clocks:

  order    everything that must come first. Edges: the SM's queue, counters, and flagged words (a
  reader that has seen
           a word knows that the writer's reads, and all before them on that SM, are done)
  visible  everything whose plain writes can be seen. Edges: the SM's queue and counters (release
  and acquire)

(D1) no deadlock: both steps finish
(R1) a plain read comes visibly after the write it wants          (R3) a write comes after the write
     before it
(R2) a write comes after every read of the value before it        (R4) what is read is the value
     that was meant
(R5) a bulk copy comes behind a fence that comes visibly after the write it wants

A wait orders what it cannot pass without. In place of an arrival of its step it could pass with one
of the next, unless that comes after the wait; and it may, if the later one carries the earlier:
comes after it in the same relation. Where a program guarantees neither, waits on the counter do not
order the SM whose arrival may be replaced.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from amk.ir.kernels import Access, AnyAccess, CacheAccess
from amk.ir.program import Program, Signal, Wait
from amk.verify.resolved import Clock, Op, Pieces, Resolved, Touch
from amk.verify.violation import Place, Violation

STEPS = 2
ENOUGH = 100
"""Races found before the run is given up."""


@dataclass
class Event:
    """Something an instruction waits for in one step: words of a flagged value, or a counter at a
    threshold."""

    label: str
    missing: int
    """Arrivals still to come."""
    order: Clock
    visible: Clock | None
    waiting: list[int] = field(default_factory=list[int])


Loose = tuple[str, int, int]
"""Relation, counter and SM: the SM's arrivals may be replaced by later ones that do not carry
them."""


class Start(NamedTuple):
    """An instruction of the second step, and the clocks that it starts with."""

    place: Place
    order: Clock
    visible: Clock | None


class GreedyRun:
    """One run of a program. What it finds is in `found`; `starts` has the second step, which has a
    step before it as all later ones have, in the order of this run."""

    def __init__(self, p: Program, accesses: dict[Place, list[AnyAccess]], loose: frozenset[Loose]):
        self.p = p
        self.loose = loose
        self.sms = len(p.queues)
        self.size = [len(q) for q in p.queues]
        self.found: list[Violation] = []
        self.loosened: set[Loose] = set()
        self.time = 0
        resolved = Resolved(p, accesses)
        self.queues = resolved.queues
        self.flags, self.producers = resolved.flags, resolved.producers
        self.starts: list[Start] = []
        self.total: dict[int, int] = defaultdict(int)
        self.by_sm: dict[int, dict[int, list[tuple[int, int]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for sm, queue in enumerate(self.queues):
            for i, op in enumerate(queue):
                for s in op.signals:
                    self.total[s.counter] += s.amount
                    self.by_sm[s.counter][sm].append((i, s.amount))
        self.zero = np.zeros(self.sms, dtype=np.int64)
        self.order = [self.zero.copy() for _ in range(self.sms)]
        self.visible = [self.zero.copy() for _ in range(self.sms)] if p.counters else None
        self.fenced: list[tuple[int, Clock | None]] = [(0, None)] * self.sms
        """When an SM last had a fence, and what it could see then."""
        self.landed = [0] * self.sms
        """Tick up to which an SM has acquired its own releases: those writes are in memory."""
        self.flag_events: list[list[Event | None]] = [
            [None] * len(self.flags) for _ in range(STEPS)
        ]
        self.counts: dict[int, int] = defaultdict(int)
        self.arrived: dict[tuple[int, int], list[tuple[int, int, Clock, Clock]]] = defaultdict(list)
        self.joined: dict[tuple[int, int], tuple[Clock, Clock]] = {}
        self.last_signal: dict[int, Clock] = defaultdict(self.zero.copy)
        self.last_wait: dict[int, Clock] = defaultdict(self.zero.copy)
        """Per counter, [SM] tick of the reads of the last that signals or waits in the first
        step."""
        self.counter_waiting: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self.appends: dict[tuple[str, int], list[tuple[int, int, CacheAccess]]] = defaultdict(list)
        for sm, queue in enumerate(self.queues):
            for i, op in enumerate(queue):
                for w in op.waits:
                    if w.scaled:
                        self.last_wait[w.counter][sm] = 2 * i + 1
                for s in op.signals:
                    self.last_signal[s.counter][sm] = 2 * i + 1
                for c in op.cache:
                    if c.write:
                        for head in range(c.lo, c.hi):
                            self.appends[c.cache, head].append((sm, i, c))

    # The run

    def run(self) -> None:
        """Runs the first step to its end, then the second: a launch may have just one step, so no
        SM may need what another does in the next."""
        self.at = [0] * self.sms
        for step in range(STEPS):
            end = [(step + 1) * size for size in self.size]
            ready = list(range(self.sms - 1, -1, -1))
            while ready and len(self.found) < ENOUGH:
                sm = ready.pop()
                while self.at[sm] < end[sm]:
                    op, place = self.here(sm)
                    if not self.start(op, place):
                        break
                    if step:
                        self.starts.append(self.clocks(place))
                    ready += self.finish(op, place)
            stuck = [sm for sm in range(self.sms) if self.at[sm] < end[sm]]
            if stuck:
                if not ready:
                    self.found.append(self.deadlock(stuck))
                break

    def clocks(self, place: Place) -> Start:
        seen = self.visible[place.sm].copy() if self.visible is not None else None
        return Start(place, self.order[place.sm].copy(), seen)

    def here(self, sm: int) -> tuple[Op, Place]:
        step, index = divmod(self.at[sm], self.size[sm])
        return self.queues[sm][index], Place(sm, index, step)

    def flag_event(self, number: int, step: int) -> Event:
        event = self.flag_events[step][number]
        if event is None:
            buffer, _, lo, hi = self.flags[number]
            label = f"@{buffer}[{lo}:{hi}]"
            event = Event(label, self.producers[number], np.zeros(self.sms, dtype=np.int64), None)
            self.flag_events[step][number] = event
        return event

    def start(self, op: Op, place: Place) -> bool:
        """Joins what the next instruction of an SM waits for; False, and enlisted there, if it must
        wait."""
        sm = place.sm
        events: list[Event] = []
        for t in op.reads:
            step = place.step - t.access.previous
            if t.event < 0 or step < 0:
                continue
            event = self.flag_event(t.event, step)
            if event.missing:
                event.waiting.append(sm)
                return False
            if not t.access.since:
                events.append(event)
        for w in op.waits:
            threshold = self.threshold(w, place.step)
            if self.counts[w.counter] < threshold:
                self.counter_waiting[w.counter].append((threshold, sm))
                return False
        order = self.order[sm]
        for event in events:
            np.maximum(order, event.order, out=order)
        for w in op.waits:
            self.acquire(sm, w, place.step)
        return True

    def threshold(self, w: Wait, step: int) -> int:
        return w.threshold + (self.total[w.counter] * step if w.scaled else 0)

    def acquire(self, sm: int, w: Wait, step: int) -> None:
        """Joins the clocks of the signals that a wait cannot pass without.

        Within a step a signal is necessary if the threshold is out of reach without it and what
        follows it on its SM. A wait that is not scaled by the step holds for good once it has held,
        so it orders nothing in later steps.
        """
        total = self.total[w.counter]
        if not w.scaled or w.scope != "gpu":
            return
        assert self.visible is not None
        order, visible = self.order[sm], self.visible[sm]
        if w.threshold == total:
            its_order, its_visible = self.joined[w.counter, step]
            self.landed[sm] = max(self.landed[sm], int(its_visible[sm]))
            np.maximum(order, its_order, out=order)
            np.maximum(visible, its_visible, out=visible)
            return
        for from_sm, index, its_order, its_visible in self.arrived[w.counter, step]:
            held = sum(n for i, n in self.by_sm[w.counter][from_sm] if i >= index)
            if total - held < w.threshold:
                self.landed[sm] = max(self.landed[sm], int(its_visible[sm]))
                np.maximum(order, its_order, out=order)
                np.maximum(visible, its_visible, out=visible)

    def finish(self, op: Op, place: Place) -> list[int]:
        """Executes the next instruction of an SM; returns the SMs that may go on because of it."""
        sm = place.sm
        order = self.order[sm]
        n = self.at[sm]
        order[sm] = 2 * n + 1
        seen = self.visible[sm] if self.visible is not None else None
        if seen is not None:
            seen[sm] = 2 * n + 1
        if op.fence:
            self.fenced[sm] = n, None if seen is None else seen.copy()
        for t in op.reads:
            self.read(place, t)
        for c in op.cache:
            if not c.write:
                self.read_rows(place, c)
        for t in op.writes:
            self.write(place, t)
        self.time += 1
        self.at[sm] = n + 1
        woken: list[int] = []
        for number in op.feeds:
            event = self.flag_event(number, place.step)
            np.maximum(event.order, order, out=event.order)
            event.missing -= 1
            if event.missing == 0:
                woken += event.waiting
                event.waiting = []
        order[sm] = 2 * n + 2
        if seen is not None:
            seen[sm] = 2 * n + 2
        for s in op.signals:
            woken += self.signal(sm, place, s)
        return woken

    def signal(self, sm: int, place: Place, s: Signal) -> list[int]:
        assert self.visible is not None
        counter, released = s.counter, s.scope == "gpu"
        # What it carries to a wait; nothing that a later arrival might come without.
        order, visible = (
            clock[sm].copy()
            if released and (relation, counter, sm) not in self.loose
            else self.zero
            for relation, clock in (("order", self.order), ("visible", self.visible))
        )
        self.arrived[counter, place.step].append((sm, place.index, order, visible))
        joined = self.joined.get((counter, place.step))
        if joined is None:
            self.joined[counter, place.step] = order.copy(), visible.copy()
        else:
            np.maximum(joined[0], order, out=joined[0])
            np.maximum(joined[1], visible, out=joined[1])
        self.counts[counter] += s.amount
        if place.step > 0 and (self.order[sm] < self.last_wait[counter]).any():
            for relation, clock in (("order", self.order), ("visible", self.visible)):
                missing = np.flatnonzero(clock[sm] * released < self.last_signal[counter])
                self.loosened.update((relation, counter, int(other)) for other in missing)
        waiting, count = self.counter_waiting[counter], self.counts[counter]
        woken = [other for threshold, other in waiting if threshold <= count]
        if woken:
            self.counter_waiting[counter] = [w for w in waiting if w[0] > count]
        return woken

    # Accesses

    def region(self, buffer: str, lo: int, hi: int, use: int | None = None) -> str:
        return f"@{buffer}{f'#{use}' if use else ''}[{lo}:{hi}]"

    def read(self, place: Place, t: Touch) -> None:
        m, a, b, since = t.memory, t.first, t.last, t.access.since
        epoch = t.epoch(place.step)
        if epoch > 0:
            right = m.epoch[a:b] == epoch
            if not right.all():
                self.wrong_value(place, t, a + int(right.argmin()), epoch)
            elif t.shared:
                self.check_visible(place, t)
        tick = 2 * self.at[place.sm] + 1
        column = place.sm if m.reads.shape[1] > 1 else 0
        m.any_reads[column] = tick
        if t.whole:
            m.all_reads[column] = tick
        else:
            m.reads[a:b, column] = tick
        # A read that may be skipped has seen only what may be skipped with it.
        proves = m.since[a:b] >= since
        if t.shared:
            # An SM's own plain read may be answered before its write is in memory.
            proves &= (m.writer[a:b] != place.sm) | (m.tick[a:b] <= self.landed[place.sm])
        if t.whole and proves.all():
            m.all_time = self.time
        else:
            m.read_time[a:b] = np.where(proves, self.time, m.read_time[a:b])

    def wrong_value(self, place: Place, t: Touch, piece: int, epoch: int) -> None:
        m, found = t.memory, int(t.memory.epoch[piece])
        region = self.region(t.access.buffer, m.cuts[piece], m.cuts[piece + 1], t.access.use)
        if found < 0:
            maker = next(
                Place(sm, i, place.step)
                for sm, queue in enumerate(self.queues)
                for i, op in enumerate(queue)
                if any(
                    w.memory is m and w.access.use == t.access.use and w.first <= piece < w.last
                    for w in op.writes
                )
            )
            text = f"{place} reads {region} before {maker} writes it; no wait orders them"
            self.found.append(Violation("R1", text, (place, maker)))
            return
        writer = self.writer(m, piece)
        what = "an older value" if found < epoch else "a later value"
        text = f"{place} reads {region}, but {writer} has left {what} there; no wait orders them"
        self.found.append(Violation("R4", text, (place, writer)))

    def check_visible(self, place: Place, t: Touch) -> None:
        m = t.memory
        seen = self.visible[place.sm] if self.visible is not None else None
        writers = m.writer[t.first : t.last]
        hidden = writers != place.sm
        if seen is not None:
            hidden &= seen[writers] < m.tick[t.first : t.last]
        if hidden.any():
            piece = t.first + int(hidden.argmax())
            region = self.region(t.access.buffer, m.cuts[piece], m.cuts[piece + 1])
            writer = self.writer(m, piece)
            text = f"{place} reads {region}, written by {writer}; no wait orders them"
            self.found.append(Violation("R1", text, (place, writer)))

    def place_of(self, sm: int, tick: int) -> Place:
        step, index = divmod((tick - 1) // 2, self.size[sm])
        return Place(sm, index, step)

    def writer(self, m: Pieces, piece: int) -> Place:
        return self.place_of(int(m.writer[piece]), int(m.tick[piece]))

    def write(self, place: Place, t: Touch) -> None:
        m, i, j = t.memory, t.first, t.last
        if m.reads.shape[1] > 1:
            self.check_write(place, t.access, m, i, j)
        m.epoch[i:j] = t.epoch(place.step)
        m.writer[i:j] = place.sm
        m.tick[i:j] = 2 * self.at[place.sm] + 2
        m.write_time[i:j] = self.time
        m.since[i:j] = t.access.since

    def check_write(self, place: Place, a: Access, m: Pieces, i: int, j: int) -> None:
        order = self.order[place.sm]
        late = m.any_reads > order
        if late.any():
            late = np.maximum(m.reads[i:j].max(axis=0), m.all_reads) > order
        if late.any():
            sm = int(late.argmax())
            tick = max(int(m.reads[i:j, sm].max()), int(m.all_reads[sm]))
            reader = self.place_of(sm, tick)
            region = self.region(a.buffer, a.lo, a.hi, a.use)
            text = (
                f"{place} overwrites {region}, which {reader} may still read; no wait orders them"
            )
            self.found.append(Violation("R2", text, (place, reader)))
        seen = self.visible[place.sm] if self.visible is not None else None
        writers = m.writer[i:j]
        for piece in map(int, np.flatnonzero((writers >= 0) & (writers != place.sm)) + i):
            sm = int(m.writer[piece])
            observed = max(int(m.read_time[piece]), m.all_time) > m.write_time[piece]
            if not observed and (seen is None or seen[sm] < m.tick[piece]):
                region = self.region(a.buffer, m.cuts[piece], m.cuts[piece + 1], a.use)
                writer = self.writer(m, piece)
                text = f"{place} overwrites {region}, which {writer} may still write"
                text += "; no wait orders them"
                self.found.append(Violation("R3", text, (place, writer)))
                return

    def read_rows(self, place: Place, c: CacheAccess) -> None:
        """A reader of rows [0, pos] comes visibly after this step's write of row pos.

        Then it also comes after the writes of the older rows: each was visible to this same
        instruction in the step that wrote it. Rows are written once in a sequence, so nothing
        overwrites what is read.
        """
        seen = self.visible[place.sm] if self.visible is not None else None
        for head in range(c.lo, c.hi):
            for sm, index, w in self.appends[c.cache, head]:
                apart = (w.chunk, w.splits) == (c.chunk, c.splits) and w.split != c.split
                if apart or (sm, index) == (place.sm, place.index):
                    continue
                n = place.step * self.size[sm] + index
                done = (
                    self.at[sm] > n
                    if sm == place.sm
                    else seen is not None and seen[sm] >= 2 * n + 2
                )
                if not done:
                    writer = Place(sm, index, place.step)
                    text = f"{place} reads row pos of @{c.cache}[{head}], written by {writer}"
                    self.found.append(
                        Violation("R1", f"{text}; no wait orders them", (place, writer))
                    )
                    return
        if c.bulk:
            self.copy_rows(place, c)

    def copy_rows(self, place: Place, c: CacheAccess) -> None:
        """Bulk copies read what the SM could see at its last fence: the row of this step, unless
        the same instruction writes it, and that of the step before, and so all older ones."""
        since, seen = self.fenced[place.sm]
        for head in range(c.lo, c.hi):
            for sm, index, w in self.appends[c.cache, head]:
                if (w.chunk, w.splits) == (c.chunk, c.splits) and w.split != c.split:
                    continue
                step = place.step - ((sm, index) == (place.sm, place.index))
                n = step * self.size[sm] + index
                done = since > n if sm == place.sm else seen is not None and seen[sm] >= 2 * n + 2
                if step >= 0 and not done:
                    writer, row = Place(sm, index, step), "pos" if step == place.step else "pos - 1"
                    text = f"{place} copies row {row} of @{c.cache}[{head}], written by {writer}"
                    self.found.append(
                        Violation("R5", f"{text}; no fence is between them", (place, writer))
                    )
                    return

    # Deadlock

    def deadlock(self, stuck: list[int]) -> Violation:
        """The cycle of instructions that wait for each other, or the chain that ends in what never
        comes."""
        sm, chain, seen = stuck[0], list[Place](), dict[int, int]()
        texts: list[str] = []
        while sm not in seen:
            seen[sm] = len(chain)
            place = self.here(sm)[1]
            chain.append(place)
            text, other = self.blocked_on(sm)
            texts.append(f"{place} (@{self.p.queues[sm][place.index].kernel}) waits for {text}")
            if other is None:
                break
            sm = other.sm
        else:
            chain, texts = chain[seen[sm] :], texts[seen[sm] :]
            texts.append(f"which is behind {chain[0]}")
        return Violation("D1", "deadlock: " + ", ".join(texts), tuple(chain))

    def blocked_on(self, sm: int) -> tuple[str, Place | None]:
        """What the next instruction of a stuck SM waits for, and an instruction that would bring it
        nearer."""
        op, place = self.here(sm)
        for t in op.reads:
            step, number = place.step - t.access.previous, t.event
            if number < 0 or step < 0 or not self.flag_event(number, step).missing:
                continue
            makers = (
                Place(other, i, step)
                for other, queue in enumerate(self.queues)
                for i, o in enumerate(queue)
                if number in o.feeds and self.at[other] <= step * self.size[other] + i
            )
            maker = next(makers, None)
            region = self.region(t.access.buffer, t.access.lo, t.access.hi, t.access.use)
            return (
                f"{region}, written by {maker}" if maker else f"{region}, written by nobody"
            ), maker
        for w in op.waits:
            threshold = self.threshold(w, place.step)
            if self.counts[w.counter] < threshold:
                count = self.counts[w.counter]
                text = f"counter {w.counter} to reach {threshold}, it stays at {count}"
                left = (
                    Place(other, i, place.step)
                    for other, ops in self.by_sm[w.counter].items()
                    for i, _ in ops
                    if self.at[other] <= place.step * self.size[other] + i
                )
                return text, next(left, None)
        raise AssertionError(f"{place} is not blocked")


def settled(p: Program, accesses: dict[Place, list[AnyAccess]]) -> GreedyRun:
    """A finished run in which no wait orders an arrival that a later one may replace: (D1) and (R1)
    to (R5)."""
    loose: frozenset[Loose] = frozenset()
    while True:
        run = GreedyRun(p, accesses, loose)
        run.run()
        if run.loosened <= loose:
            return run
        loose |= run.loosened
