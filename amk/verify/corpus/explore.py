"""Every interleaving of a very small program, one state at a time: what checks the oracle.

The oracle reasons about what can happen; this machine does it. Its moves are those of docs/IR_SPEC,
Execution model. An SM issues the reads of its next instruction when its waits hold and its words
have come. Its writes then become visible one by one, whenever they like, but in one place those of
an instruction before those of the next; its signals are performed when all of its writes so far are
visible, or, if they are no release, whenever they like, those on one counter in order. A plain read
must find the value that it means and have acquired it; a counter is read as it was at any moment at
which the wait holds, so what is acquired is as little as may be.

Every order of moves is tried; the only reduction is that a state reached twice is visited once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from amk.ir.kernels import Access, CacheAccess
from amk.ir.program import Program
from amk.verify.corpus.oracle import positions, rows, rows_of
from amk.verify.corpus.wellformed import malformed

STATES = 300_000
"""States that are visited before a program counts as too large."""


class TooLargeError(Exception):
    """The program has too many states."""


Cell = tuple[str, int]
Stamp = tuple[int, int]
"""Step and use of a value."""


@dataclass(frozen=True, slots=True)
class Store:
    """A write on its way: what it writes, and the number of the instruction that does."""

    cells: tuple[Cell, ...]
    stamp: Stamp
    by: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A signal on its way, of instruction `by`, and what a release carries with it."""

    counter: int
    amount: int
    by: int
    view: int
    release: bool


@dataclass(frozen=True, slots=True)
class State:
    """Where all SMs are, what is on its way, and what memory and counters hold."""

    at: tuple[int, ...]
    """Instructions each SM has begun."""
    stores: tuple[tuple[Store, ...], ...]
    """Writes of each SM that are not visible yet."""
    signals: tuple[tuple[Pending, ...], ...]
    """Signals of each SM that are not performed yet."""
    memory: frozenset[tuple[Cell, Stamp, int]]
    """Values in memory, and who wrote them."""
    counters: tuple[tuple[tuple[int, int], ...], ...]
    """History of each counter: its value, and what one acquires with it."""
    views: tuple[int, ...]
    """Instructions whose writes each SM has acquired, as a mask."""
    fenced: tuple[int, ...]
    """Those whose writes its bulk copies see."""


class Machine:
    """All executions of some steps of a program from a position on."""

    def __init__(self, p: Program, steps: int, start: int = 0):
        self.p, self.steps, self.start = p, steps, start
        self.size = [len(q) for q in p.queues]
        self.first = [sum(self.size[:sm]) * steps for sm in range(len(p.queues))]
        self.cuts = self.cells_of()
        self.totals = [0] * p.counters
        for queue in p.queues:
            for run in queue:
                for s in run.signals:
                    self.totals[s.counter] += s.amount

    def cells_of(self) -> dict[str, list[int]]:
        """Buffers, cut where accesses begin or end; a piece is one cell."""
        cuts: dict[str, set[int]] = {}
        for queue in self.p.queues:
            for run in queue:
                for a in self.p.accesses(run):
                    if isinstance(a, Access):
                        cuts.setdefault(a.buffer, set()).update((a.lo, a.hi))
        return {b: sorted(c) for b, c in cuts.items()}

    def cells(self, a: Access, sm: int) -> tuple[Cell, ...]:
        local = self.p.buffers[a.buffer].space == "local"
        name = f"{a.buffer} of {sm}" if local else a.buffer
        return tuple((name, c) for c in self.cuts[a.buffer] if a.lo <= c < a.hi)

    def fault(self) -> str | None:
        """What goes wrong in some execution. Raises TooLargeError."""
        n = len(self.p.queues)
        empty: tuple[tuple[tuple[int, int], ...], ...] = (((0, 0),),) * self.p.counters
        none = (0,) * n
        start = State(none, ((),) * n, ((),) * n, frozenset(), empty, none, none)
        seen, stack = {start}, [start]
        while stack:
            state = stack.pop()
            moves: list[State] = []
            for sm in range(n):
                found = self.moves(state, sm)
                if isinstance(found, str):
                    return found
                moves += found
            if not moves and any(
                at < size * self.steps for at, size in zip(state.at, self.size, strict=True)
            ):
                return f"deadlock at {state.at}"
            for move in moves:
                if move not in seen:
                    seen.add(move)
                    stack.append(move)
            if len(seen) > STATES:
                raise TooLargeError
        return None

    def moves(self, state: State, sm: int) -> list[State] | str:
        """What one SM, or its writes on the way, may do next; or what goes wrong."""
        out: list[State] = []
        stores, signals = state.stores[sm], state.signals[sm]
        first: dict[Cell, int] = {}  # of each place, the instruction whose writes come next
        for i, store in enumerate(stores):
            for cell in store.cells:
                first.setdefault(cell, store.by)
            if all(first[cell] == store.by for cell in store.cells):
                out.append(self.land(state, sm, i))
        for i, signal in enumerate(signals):
            ahead = signals[:i]
            if signal.release:
                free = not ahead and not any(s.by <= signal.by for s in stores)
            else:
                free = not any(a.counter == signal.counter for a in ahead)
            if free:
                out.append(self.signal(state, sm, i))
        if state.at[sm] < self.size[sm] * self.steps:
            begun = self.begin(state, sm)
            if isinstance(begun, str):
                return begun
            if begun is not None:
                out.append(begun)
        return out

    def land(self, state: State, sm: int, i: int) -> State:
        """A write becomes visible."""
        store = state.stores[sm][i]
        cells = set(store.cells)
        memory = frozenset(m for m in state.memory if m[0] not in cells)
        memory |= {(cell, store.stamp, store.by) for cell in cells}
        rest = state.stores[sm][:i] + state.stores[sm][i + 1 :]
        return State(
            state.at,
            put(state.stores, sm, rest),
            state.signals,
            memory,
            state.counters,
            state.views,
            state.fenced,
        )

    def signal(self, state: State, sm: int, i: int) -> State:
        """A signal is performed. What a release carries stays with the counter: whoever reads a
        later value acquires that too."""
        s, rest = state.signals[sm][i], state.signals[sm][:i] + state.signals[sm][i + 1 :]
        history = state.counters[s.counter]
        value, carried = history[-1]
        new = (*history, (value + s.amount, carried | (s.view if s.release else 0)))
        return State(
            state.at, state.stores, put(state.signals, sm, rest), state.memory,
            put(state.counters, s.counter, new), state.views, state.fenced,
        )  # fmt: skip

    def begin(self, state: State, sm: int) -> State | str | None:
        """The reads of the next instruction; None while it is blocked."""
        step, index = divmod(state.at[sm], self.size[sm])
        number, run = self.first[sm] + state.at[sm], self.p.queues[sm][index]
        view = state.views[sm]
        for w in run.waits:
            target = w.threshold + (self.totals[w.counter] * step if w.scaled else 0)
            enough = next((h for h in state.counters[w.counter] if h[0] >= target), None)
            if enough is None:
                return None
            view |= enough[1] if w.scope == "gpu" else 0
        fenced = view if run.fence else state.fenced[sm]
        pos = self.start + step
        accesses = [a for a in self.p.accesses(run) if not isinstance(a, Access) or pos >= a.since]
        holds = {cell: (stamp, by) for cell, stamp, by in state.memory}
        reads = [a for a in accesses if isinstance(a, Access) and not a.write]
        for a in reads:
            if self.p.buffers[a.buffer].space == "flagged" and step >= a.previous:
                want = (step - a.previous, a.use)
                if any(holds.get(c, (None, 0))[0] != want for c in self.cells(a, sm)):
                    return self.lost(state, sm, a, want, holds)
        # A poll asks memory; a plain read sees first what its own SM has written last.
        for store in state.stores[sm]:
            for cell in store.cells:
                holds[cell] = (store.stamp, store.by)
        for a in reads:
            want = (step - a.previous, a.use)
            if self.p.buffers[a.buffer].space != "flagged" and want[0] >= 0:
                for cell in self.cells(a, sm):
                    stamp, by = holds.get(cell, (None, -1))
                    if stamp != want or not self.sees(sm, number, view, by):
                        return f"instruction {index} of SM {sm} reads {cell} in step {step}"
        appended: list[tuple[Cell, ...]] = []
        for a in accesses:
            if isinstance(a, CacheAccess):
                taken = [r for r in rows_of(a, pos) if r >= self.start]
                mine = [(f"{a.cache} {head}", row) for head in range(a.lo, a.hi) for row in taken]
                if a.write:
                    appended.append(tuple(c for c in mine if c[1] == pos))
                    continue
                own = any(isinstance(b, CacheAccess) and b.write for b in accesses)
                for cell in mine:
                    by = holds.get(cell, (None, -1))[1]
                    if own and cell[1] == pos:
                        continue
                    fit = by >= 0 and (fenced >> by & 1 or not a.bulk)
                    if not fit or not self.sees(sm, number, view, by):
                        return f"instruction {index} of SM {sm} reads {cell} in step {step}"
        stores = list(state.stores[sm])
        for a in accesses:
            if isinstance(a, Access) and a.write:
                for cell in self.cells(a, sm):
                    stores.append(Store((cell,), (step, a.use), number))
        stores += [Store((cell,), (step, 0), number) for cells in appended for cell in cells]
        memory = state.memory
        local = [s for s in stores if s.cells[0][0].endswith(f" of {sm}")]
        if local:
            gone = {s.cells[0] for s in local}
            memory = frozenset(m for m in memory if m[0] not in gone)
            memory |= {(s.cells[0], s.stamp, s.by) for s in local}
            stores = [s for s in stores if s not in local]
        pending = state.signals[sm] + tuple(
            Pending(s.counter, s.amount, number, view | 1 << number, s.scope == "gpu")
            for s in run.signals
        )
        return State(
            put(state.at, sm, state.at[sm] + 1), put(state.stores, sm, tuple(stores)),
            put(state.signals, sm, pending), memory, state.counters,
            put(state.views, sm, view | 1 << number), put(state.fenced, sm, fenced),
        )  # fmt: skip

    def lost(
        self, state: State, sm: int, a: Access, want: Stamp, holds: dict[Cell, tuple[Stamp, int]]
    ) -> str | None:
        """A poll that does not hold: a fault if a word that it wants was written and is gone."""
        for cell in self.cells(a, sm):
            found = holds.get(cell)
            if found and found[0] != want and self.has_been(state, cell, want):
                return f"SM {sm} polls {cell} for {want}, which is overwritten"
        return None

    def has_been(self, state: State, cell: Cell, want: Stamp) -> bool:
        """Whether the value that is wanted has been in a cell, and is not any more."""
        step, use = want
        for sm, queue in enumerate(self.p.queues):
            for index, run in enumerate(queue):
                for a in self.p.accesses(run):
                    if (
                        isinstance(a, Access)
                        and a.write
                        and a.use == use
                        and cell in self.cells(a, sm)
                    ):
                        begun = state.at[sm] > step * self.size[sm] + index
                        waiting = any(cell in s.cells and s.stamp == want for s in state.stores[sm])
                        return begun and not waiting
        return False

    def sees(self, sm: int, number: int, view: int, by: int) -> bool:
        mine = self.first[sm] <= by < number
        return by >= 0 and (mine or bool(view >> by & 1))


T = TypeVar("T")


def put(items: tuple[T, ...], i: int, item: T) -> tuple[T, ...]:
    return (*items[:i], item, *items[i + 1 :])


def explore(p: Program, steps: int = 2) -> str | None:
    """What goes wrong in some interleaving of a few steps; None when nothing does.

    Raises TooLargeError. The ring is left to `ringmachine`.
    """
    problem = malformed(p)
    for start in [] if problem else positions(p):
        problem = problem or Machine(p, min(steps, rows(p) - start), start).fault()
    return problem
