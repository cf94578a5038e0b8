"""The checked interpreter: one event at a time, over shadow memory.

An instruction is several events: it reads, then each of its writes becomes visible (a flagged write
in pieces, tile by tile), then it signals. Any SM that is not blocked may take the next event; which
one does is the interleaving. Without weights nothing is computed and only the derived accesses are
checked, which takes a program of any size.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from amk.errors import AmkError
from amk.interpreters.clocks import I64, Clocks
from amk.interpreters.faults import Blocked, Deadlock, Fault, FaultError
from amk.interpreters.greedy import (
    Need,
    Words,
    describe_counter,
    describe_words,
    epoch,
    needs,
    target,
)
from amk.interpreters.kernels import execute
from amk.interpreters.storage import Outputs, Storage, Weights
from amk.interpreters.touched import RecordingMemory, Written, cache_rows, declared, mismatch
from amk.ir.kernels import Access, CacheAccess, WeightAccess
from amk.ir.packs import F32
from amk.ir.program import Program, Run, Wait

COUNTER_LIMIT = 2**32
"""Counters are 32-bit words."""


@dataclass(frozen=True)
class Plan:
    """What a run touches, and why that is impossible, if it is."""

    needs: tuple[Need, ...]
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    cache_reads: tuple[CacheAccess, ...]
    cache_writes: tuple[CacheAccess, ...]
    problem: str | None


def plan(program: Program, run: Run) -> Plan:
    accesses = list(program.accesses(run))
    plain = [a for a in accesses if isinstance(a, Access)]
    cached = [a for a in accesses if isinstance(a, CacheAccess)]
    return Plan(
        tuple(needs(program, run)),
        tuple(a for a in plain if not a.write),
        tuple(a for a in plain if a.write),
        tuple(a for a in cached if not a.write),
        tuple(a for a in cached if a.write),
        next((text for a in accesses if (text := outside(program, a))), None),
    )


def outside(program: Program, a: Access | CacheAccess | WeightAccess) -> str | None:
    """Says that an access leaves what it touches."""
    if isinstance(a, Access):
        name, size, kind = a.buffer, program.buffers[a.buffer].length, "elements"
    elif isinstance(a, CacheAccess):
        name, size, kind = a.cache, program.caches[a.cache].heads, "heads"
    else:
        name, kind = a.weight, "rows"
        size = (program.packs.get(name) or program.tensors[name]).shape[0]
    if a.lo < 0 or a.hi > size:
        return f"touches @{name}[{a.lo}:{a.hi}], outside of its {size} {kind}"
    return None


class ShadowEngine:
    """Runs a program event by event. `seed` None is greedy: an SM goes on until it is blocked."""

    def __init__(
        self,
        program: Program,
        weights: Weights | None,
        seed: int | None = None,
        favor: int | None = None,
        delay: int | None = None,
    ) -> None:
        self.program = program
        self.maybe_storage = Storage(program, weights, len(program.queues)) if weights else None
        self.outputs = Outputs(program)
        self.clocks = Clocks(program)
        self.counters = [0] * program.counters
        self.total = program.arrivals()
        self.rng = random.Random(seed) if seed is not None else None
        self.favor, self.delay = favor, delay
        self.fixed = favor is not None or delay is not None
        self.turns = 0
        self.step = 0
        rows = max((c.rows for c in program.caches.values()), default=1)
        self.row_stamp: I64 = np.zeros(rows, np.int64)
        self.plans: dict[tuple[str, int, int, tuple[Wait, ...]], Plan] = {}
        n = len(program.queues)
        self.at = [0] * n
        self.now = [0] * n
        self.pending: list[list[Written] | None] = [None] * n
        self.ready: list[int] = []
        self.place: dict[int, int] = {}
        self.word_waits: dict[str, dict[tuple[int, int, int], list[int]]] = {}
        self.counter_waits: dict[int, list[tuple[int, int]]] = {}
        self.emitted: dict[int, int] = {}
        self.shift = self.end = 0

    @property
    def storage(self) -> Storage:
        if self.maybe_storage is None:
            raise AmkError("values are not computed without weights")
        return self.maybe_storage

    def launch(self, token: int, pos: int, steps: int) -> list[int]:
        """Runs `steps` steps from position `pos` on; the first embeds `token`. Gives the tokens."""
        if self.maybe_storage is not None:
            self.maybe_storage.check_step(token, pos, steps)
        first, self.end = self.step, self.step + steps
        self.shift = pos - first
        if self.program.caches:
            self.row_stamp[pos : pos + steps] = np.arange(first, self.end) + 1
        self.give(token, first)
        self.emitted.clear()
        self.at = [0] * len(self.at)
        self.now = [first] * len(self.now)
        for sm, queue in enumerate(self.program.queues):
            if queue:
                self.wake(sm)
        while self.ready:
            self.advance(self.choose())
        if any(self.word_waits.values()) or any(self.counter_waits.values()):
            raise self.deadlock()
        self.clocks.barrier()
        self.step = self.end
        return [self.emitted[t] for t in range(first, self.end) if t in self.emitted]

    def give(self, token: int, step: int) -> None:
        """The host writes the first token of a launch, as the step before would have."""
        ref = self.outputs.token
        if ref is None:
            return
        stamp = epoch(self.program.buffers[ref.buffer].uses, ref.use, step - 1)
        self.clocks.host_writes(ref.buffer, ref.offset, stamp)
        if self.maybe_storage is not None:
            self.maybe_storage.buffer(ref.buffer, 0)[ref.offset] = token

    # Which SM takes the next event

    def choose(self) -> int:
        if self.rng is None and not self.fixed:
            return self.ready[-1]
        if self.rng is not None and not self.fixed:
            self.lean(self.rng)
        if self.favor in self.place:
            assert self.favor is not None
            return self.favor
        count = len(self.ready)
        index = self.rng.randrange(count) if self.rng else count - 1
        if self.ready[index] == self.delay and count > 1:
            index = (index + 1) % count
        return self.ready[index]

    def lean(self, rng: random.Random) -> None:
        """Now and then another SM runs ahead and another falls behind: races between SMs that are
        far apart in time need that, and uniform choice hardly ever gets there."""
        if self.turns > 0:
            self.turns -= 1
            return
        n = len(self.program.queues)
        self.turns = rng.randrange(1, 40 * n)
        self.favor = rng.randrange(n) if rng.random() < 0.5 else None
        self.delay = rng.randrange(n) if rng.random() < 0.5 else None

    def wake(self, sm: int) -> None:
        self.place[sm] = len(self.ready)
        self.ready.append(sm)

    def sleep(self, sm: int) -> None:
        index, last = self.place.pop(sm), self.ready.pop()
        if last != sm:
            self.ready[index] = last
            self.place[last] = index

    # Events

    def advance(self, sm: int) -> None:
        """The next event of `sm`."""
        run = self.program.queues[sm][self.at[sm]]
        pending = self.pending[sm]
        if pending is None:
            p = self.plan(run)
            if p.problem:
                raise self.fault(sm, p.problem)
            if not self.blocks(sm, p):
                self.pending[sm] = self.read(sm, run, p)
        elif pending:
            self.write(sm, pending.pop())
        else:
            self.pending[sm] = None
            self.signal(sm, run)
            self.at[sm] += 1
            if self.at[sm] == len(self.program.queues[sm]):
                self.at[sm] = 0
                self.now[sm] += 1
                if self.now[sm] == self.end:
                    self.sleep(sm)

    def plan(self, run: Run) -> Plan:
        key = (run.kernel, run.lo, run.hi, run.waits)
        found = self.plans.get(key)
        if found is None:
            found = self.plans[key] = plan(self.program, run)
        return found

    def fault(self, sm: int, message: str) -> FaultError:
        index = self.at[sm]
        kernel = self.program.queues[sm][index].kernel
        return FaultError(Fault(sm, index, kernel, self.now[sm], message))

    def unmet(self, sm: int, p: Plan) -> Need | None:
        """The first thing that the head of `sm` still has to wait for."""
        step = self.now[sm]
        for need in p.needs:
            if isinstance(need, Wait):
                if self.counters[need.counter] < target(need, step, self.total):
                    return need
            elif step + self.shift >= need.since:
                low, _ = self.clocks.cells[need.buffer].bounds(need.lo, need.hi)
                if low < self.wanted(need, step):
                    return need
        return None

    def wanted(self, need: Words, step: int) -> int:
        uses = self.program.buffers[need.buffer].uses
        return epoch(uses, need.use, step - need.previous)

    def blocks(self, sm: int, p: Plan) -> bool:
        """Whether `sm` must wait; if so it sleeps until what it misses changes."""
        need = self.unmet(sm, p)
        if need is None:
            return False
        self.sleep(sm)
        if isinstance(need, Wait):
            goal = target(need, self.now[sm], self.total)
            self.counter_waits.setdefault(need.counter, []).append((goal, sm))
        else:
            words = need.lo, need.hi, self.wanted(need, self.now[sm])
            self.word_waits.setdefault(need.buffer, {}).setdefault(words, []).append(sm)
        return True

    def read(self, sm: int, run: Run, p: Plan) -> list[Written]:
        """The reads of an instruction; gives its writes, the last one first."""
        step, clocks = self.now[sm], self.clocks
        pos = step + self.shift
        clocks.tick(sm)
        for wait in run.waits:
            clocks.acquire(sm, wait.counter, wait.scope)
        if run.fence:
            clocks.fence(sm)
        for a in p.reads:
            if pos >= a.since:
                wrong = clocks.read(sm, a.buffer, a.use, step - a.previous, a.lo, a.hi)
                if wrong:
                    raise self.fault(sm, wrong)
        own = {(a.cache, a.lo) for a in p.cache_writes if len(cache_rows(a, pos))}
        for a in p.cache_reads:
            rows = cache_rows(a, pos)
            if (a.cache, a.lo) in own:
                rows = rows[rows < pos]
            for head in range(a.lo, a.hi):
                wrong = clocks.caches[a.cache].read(
                    clocks, sm, head, rows, self.row_stamp[rows], a.bulk
                )
                if wrong:
                    raise self.fault(sm, wrong)
        writes = self.computed(sm, run, pos) if self.maybe_storage else self.derived(p, pos)
        if self.rng is not None:
            writes = [piece for w in writes for piece in self.pieces(w, run)]
            self.rng.shuffle(writes)
        return writes

    def computed(self, sm: int, run: Run, pos: int) -> list[Written]:
        """Runs the kernel and compares what it touches with its accesses."""
        memory = RecordingMemory(self.storage, sm, pos)
        kernel = self.program.kernels[run.kernel]
        execute(kernel, run.lo, run.hi, memory)
        wrong = mismatch(declared(kernel.accesses(run.lo, run.hi), pos), memory.ranges)
        if wrong:
            raise self.fault(sm, wrong)
        return memory.writes

    def derived(self, p: Plan, pos: int) -> list[Written]:
        """The writes of an instruction by its accesses alone."""
        writes = [Written(a.buffer, a.use, a.lo, a.hi, None) for a in p.writes if pos >= a.since]
        for a in p.cache_writes:
            if len(cache_rows(a, pos)):
                for head in range(a.lo, a.hi):
                    writes.append(Written(a.cache, 0, head, head + 1, None, cache=True))
        return writes

    def pieces(self, w: Written, run: Run) -> list[Written]:
        """A write as several, about one per tile, in whole words."""
        tiles = run.hi - run.lo
        cells = None if w.cache else self.clocks.cells.get(w.name)
        if cells is None or tiles < 2:
            return [w]
        size = -(-(w.hi - w.lo) // tiles)
        size = -(-size // cells.size) * cells.size
        cuts = [*range(w.lo, w.hi, size), w.hi]
        return [
            Written(w.name, w.use, a, b, part(w.values, a - w.lo, b - w.lo))
            for a, b in zip(cuts, cuts[1:], strict=False)
        ]

    def write(self, sm: int, w: Written) -> None:
        """One write becomes visible."""
        step = self.now[sm]
        if w.cache:
            pos = step + self.shift
            wrong = self.clocks.caches[w.name].write(self.clocks, sm, w.lo, pos, step)
        else:
            wrong = self.clocks.write(sm, w.name, w.use, step, w.lo, w.hi)
        if wrong:
            raise self.fault(sm, wrong)
        if w.values is not None:
            if w.cache:
                self.storage.append(w.name, w.lo, step + self.shift, *w.values)
            else:
                self.storage.buffer(w.name, sm)[w.lo : w.hi] = w.values
        if self.outputs.next is not None and w.name == self.outputs.next.buffer:
            self.emitted[step] = int(w.values[0]) if w.values is not None else 0
        waiting = self.word_waits.get(w.name)
        if waiting:
            cells = self.clocks.cells[w.name]
            a, b = cells.range(w.lo, w.hi)
            for words in list(waiting):
                lo, hi, want = words
                if lo < b and a < hi and cells.bounds(lo, hi)[0] >= want:
                    for other in waiting.pop(words):
                        self.wake(other)

    def signal(self, sm: int, run: Run) -> None:
        for s in run.signals:
            self.clocks.release(sm, s.counter, s.scope)
            self.counters[s.counter] += s.amount
            value = self.counters[s.counter]
            if value >= COUNTER_LIMIT:
                raise self.fault(sm, f"takes counter {s.counter} to {value}, beyond 32 bits")
            waiting = self.counter_waits.get(s.counter)
            if waiting:
                self.counter_waits[s.counter] = [item for item in waiting if item[0] > value]
                for goal, other in waiting:
                    if goal <= value:
                        self.wake(other)

    def deadlock(self) -> Deadlock:
        blocked: list[Blocked] = []
        for sm, queue in enumerate(self.program.queues):
            step = self.now[sm]
            if not queue or step == self.end:
                continue
            run = queue[self.at[sm]]
            need = self.unmet(sm, self.plan(run))
            if isinstance(need, Wait):
                text = describe_counter(need, target(need, step, self.total), self.counters)
            else:
                assert need is not None
                stamps = self.clocks.cells[need.buffer].stamp[need.lo : need.hi]
                text = describe_words(need, self.wanted(need, step), stamps)
            blocked.append(Blocked(sm, self.at[sm], run.kernel, step, text))
        return Deadlock(tuple(blocked), tuple(self.counters))


def part(values: F32 | None, lo: int, hi: int) -> F32 | None:
    return None if values is None else values[lo:hi]


def find_fault(
    program: Program,
    *,
    steps: int = 2,
    pos: int = 0,
    seed: int | None = None,
    favor: int | None = None,
    delay: int | None = None,
) -> Fault | Deadlock | None:
    """What goes wrong in `steps` steps from position `pos` on in one interleaving, if anything.

    Nothing is computed: accesses are the derived ones, and rows of the caches before `pos` count as
    written before the launch.
    """
    try:
        ShadowEngine(program, None, seed, favor, delay).launch(0, pos, steps)
    except FaultError as e:
        return e.fault
    except Deadlock as e:
        return e
    return None
