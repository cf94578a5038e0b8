"""Every execution of the warps of one SM, one state at a time.

The machine is that of docs/IR_SPEC.md, The warps of an SM: consumers and finishers, each with the
list of what it does in a few steps of a short queue, in order. What a role does is an *act*, which
may wait; words are what the acts so far have left. The loader is left out where slots do not
matter, and is all that matters where consumers complete row blocks themselves (`turns_fault`).

The machine is at fault if in some execution roles wait for each other forever, a word is taken for
another than was meant, an entry, buffer or the stage is overwritten before all who want it have
read it, or a result is published before all consumers have read x.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

STATES = 60_000
"""States that are visited before a machine counts as too large to be explored."""


@dataclass(frozen=True, slots=True)
class Team:
    """Sizes of a machine, and what a design may lack."""

    consumers: int
    finishers: int
    depth: int
    lead: int
    buffers: int
    slices: int = 2
    """Slots of a row block; a multiple of the consumers or not."""
    numbers: int = 0
    """Different numbers of row blocks, 0 for as many as there are blocks."""
    sides: int = 2
    """Stages that gemvs take in turn where slices are no multiple of the consumers."""
    together: bool = True
    """There, consumers meet when they have read x."""
    norm: bool = True
    """There, finishers scale by the squares of x."""
    settles: bool = True
    """There, they await finishers before they leave the sums of squares of x again."""
    meets: bool = True
    """Consumers meet before they use the stage in another way."""
    joins: bool = True
    """Consumers await finishers where they touch the same rows."""
    ticket: bool = True
    """The finisher that copies rows awaits the consumers."""
    reached: int = 1
    """Block that consumers take finishers to have reached when a launch begins."""
    turn: int = 0
    """Steps that tickets count from: those of the launch, or of earlier ones too."""
    wraps: int = 0
    """Chunks after which their count begins anew, 0 for never."""


TICKETS = 8
"""Tickets are compared modulo this, as numbers with a sign."""


class Act(NamedTuple):
    """`what` with numbers that its name explains."""

    what: str
    a: int = 0
    b: int = 0
    c: int = 0


State = tuple[tuple[int, ...], tuple[tuple[int, int], ...]]
"""Acts done by each role; and of each entry the block that it holds, and how many have read it."""

FREE: tuple[int, int] = (0, 1)
"""An entry that nobody has filled."""


class Machine:
    """Queue of a step: a whole instruction that touches rows of finishers, `gemvs` split gemvs of
    `blocks` row blocks, behind them attention over `chunks` chunks, and their rows again."""

    def __init__(self, t: Team, blocks: int, chunks: int, gemvs: int = 2, steps: int = 2):
        self.t, self.blocks, self.chunks, self.gemvs, self.steps = t, blocks, chunks, gemvs, steps
        self.roles = [*(self.consumer(w) for w in range(t.consumers))]
        self.roles += [self.finisher(f) for f in range(t.finishers)]
        # How far a role has come in each thing that others look at, after so many acts.
        self.count = [
            {what: _running(acts, what) for what in {a.what for a in acts}} for acts in self.roles
        ]

    def parts(self) -> int:
        t = self.t
        return t.slices if t.slices % t.consumers else t.consumers

    def consumer(self, w: int) -> list[Act]:
        t, acts, block, buffer, slot, apart = self.t, list[Act](), 1, 0, 0, False
        for step in range(self.steps):
            acts.append(Act("step"))
            if t.joins:
                acts.append(Act("join", block))
            acts.append(Act("rows", block))
            acts.append(Act("meet"))
            for half in range(self.gemvs):
                rotating = t.slices % t.consumers
                apart = not rotating
                gemv = self.gemvs * step + half
                if not rotating:
                    acts.append(Act("stage", gemv))
                acts.append(Act("read", gemv, block))
                if rotating:
                    if t.settles and gemv >= t.sides:
                        acts.append(Act("join", 1 + (gemv - t.sides + 1) * self.blocks))
                    acts.append(Act("spread", gemv))
                    if t.together:
                        acts.append(Act("meet"))
                for i in range(self.blocks * t.slices):
                    if (slot + i) % t.consumers != w:
                        continue
                    part = i % t.slices if rotating else w
                    if rotating or i % t.slices // t.consumers == t.slices // t.consumers - 1:
                        acts.append(Act("fill", block + i // t.slices, part))
                acts.append(Act("multiplied" if rotating else "unstage", gemv))
                block += self.blocks
                slot += self.blocks * t.slices
                if half == self.gemvs - 1:
                    if apart and t.meets:
                        acts.append(Act("meet"))
                        apart = False
                    if w == 0:
                        acts.append(Act("ticket", t.turn + step + 1))
                    for _ in range(self.chunks):
                        acts.append(Act("drain", buffer))
                        buffer += 1
                    acts.append(Act("meet"))
                    apart = False
            if t.joins:
                acts.append(Act("join", block))
            acts.append(Act("rows", block))
            acts.append(Act("meet"))
            acts.append(Act("step"))
            slot = 0
        return acts

    def finisher(self, f: int) -> list[Act]:
        t, acts, block, buffer = self.t, list[Act](), 1, 0
        for step in range(self.steps):
            acts.append(Act("step"))
            for half in range(self.gemvs):
                gemv = self.gemvs * step + half
                if t.slices % t.consumers and t.norm and f < self.blocks:
                    acts.append(Act("scale", gemv))
                for b in range(f, self.blocks, t.finishers):
                    acts.append(Act("reach", block + b))
                    acts += [Act("take", block + b, part) for part in range(self.parts())]
                    acts.append(Act("publish", gemv, block + b))
                block += self.blocks
                acts.append(Act("reach", block))
                if half == self.gemvs - 1 and f == t.finishers - 1:
                    if t.ticket:
                        acts.append(Act("go", t.turn + step + 1))
                    for _ in range(self.chunks):
                        acts.append(Act("copy", buffer))
                        buffer += 1
            acts.append(Act("step"))
        return acts

    # What an act needs, and what is wrong with it

    def done(self, at: tuple[int, ...], role: int, what: str) -> int:
        counts = self.count[role].get(what)
        return counts[at[role]] if counts else 0

    def consumers(self) -> range:
        return range(self.t.consumers)

    def number(self, block: int) -> int:
        return block % self.t.numbers if self.t.numbers else block

    def entry(self, block: int, part: int) -> int:
        return block % self.t.depth * self.parts() + part

    def reached(self, at: tuple[int, ...]) -> int:
        """The progress of the slowest finisher. Before its first row block, a consumer takes all to
        have reached that one."""
        least = min(self.last(at, f, "reach") for f in range(self.t.consumers, len(at)))
        return max(self.t.reached, least)

    def last(self, at: tuple[int, ...], role: int, what: str) -> int:
        """The number of the role's last act of a kind, 0 before the first."""
        for act in reversed(self.roles[role][: at[role]]):
            if act.what == what:
                return act.a
        return 0

    def may(self, at: tuple[int, ...], held: tuple[tuple[int, int], ...], role: int) -> bool:
        """Whether the role's next act need not wait."""
        act, t = self.roles[role][at[role]], self.t
        others = range(t.consumers if act.what == "meet" else len(at))
        match act.what:
            case "step" | "meet":
                mine = self.done(at, role, act.what)
                # A role that stands before the same barrier has arrived at it.
                return all(
                    self.done(at, o, act.what) > mine
                    or (at[o] < len(self.roles[o]) and self.roles[o][at[o]].what == act.what)
                    and self.done(at, o, act.what) == mine
                    for o in others
                )
            case "fill":
                return act.a - self.reached(at) < t.lead
            case "take":
                return self.number(held[self.entry(act.a, act.b)][0]) == self.number(act.a)
            case "scale":
                return all(self.done(at, w, "spread") > act.a for w in self.consumers())
            case "join":
                return self.reached(at) >= act.a
            case "go":
                return (self.last(at, 0, "ticket") - act.a) % TICKETS < TICKETS // 2
            case "drain":  # by the parity of the lap: it tells a phase from the next alone
                return self.copied(at, act.a) % 2 != self.lap(act.a) % 2
            case "copy":
                return self.drained(at, act.a) % 2 == self.lap(act.a) % 2
            case _:
                return True

    def buffer(self, chunk: int) -> int:
        return (chunk % self.t.wraps if self.t.wraps else chunk) % self.t.buffers

    def lap(self, chunk: int) -> int:
        return (chunk % self.t.wraps if self.t.wraps else chunk) // self.t.buffers

    def among(self, count: int, chunk: int) -> int:
        """How many of the first chunks share a chunk's buffer."""
        return sum(1 for c in range(count) if self.buffer(c) == self.buffer(chunk))

    def copied(self, at: tuple[int, ...], chunk: int) -> int:
        """Copies that the chunk's buffer has had."""
        return self.among(self.done(at, len(at) - 1, "copy"), chunk)

    def drained(self, at: tuple[int, ...], chunk: int) -> int:
        """Chunks in the chunk's buffer that all consumers have read."""
        return self.among(min(self.done(at, w, "drain") for w in self.consumers()), chunk)

    def fault(
        self, at: tuple[int, ...], held: tuple[tuple[int, int], ...], role: int
    ) -> str | None:
        """What goes wrong when a role does its next act."""
        act, t = self.roles[role][at[role]], self.t
        match act.what:
            case "fill":
                old, readers = held[self.entry(act.a, act.b)]
                if not readers:
                    return f"block {act.a} overwrites the sums of block {old}, which wait"
            case "take":
                if held[self.entry(act.a, act.b)][0] != act.a:
                    return f"a finisher takes the sums of another block for those of {act.a}"
            case "spread":
                before = act.a - t.sides  # the gemv that had this stage, and its squares, last
                if any(self.done(at, w, "multiplied") <= before for w in self.consumers()):
                    return f"x of gemv {act.a} overwrites that of gemv {before}, which is in use"
                finishers = range(t.consumers, min(len(at), t.consumers + self.blocks))
                if t.norm and any(self.done(at, f, "scale") <= before for f in finishers):
                    return f"squares of gemv {act.a} overwrite those of gemv {before}, which wait"
            case "publish":
                if any(self.done(at, w, "read") <= act.a for w in self.consumers()):
                    return f"block {act.b} is published before all consumers have read x"
            case "drain":
                if self.copied(at, act.a) != self.among(act.a, act.a) + 1:
                    return f"a consumer takes another chunk for chunk {act.a}"
            case "copy":
                if self.drained(at, act.a) < self.among(act.a, act.a):
                    return f"chunk {act.a} overwrites rows that wait"
                if any(
                    self.done(at, w, "stage") > self.done(at, w, "unstage")
                    for w in self.consumers()
                ):
                    return "rows are copied to a stage that is in use"
            case "rows":
                if any(
                    self.done(at, f, "publish") < self.all_blocks(f, act.a)
                    for f in range(t.consumers, len(at))
                ):
                    return "rows are touched that a finisher has not left yet"
            case _:
                return None
        return None

    def all_blocks(self, role: int, block: int) -> int:
        """Row blocks below `block` that a finisher completes."""
        return sum(1 for a in self.roles[role] if a.what == "publish" and a.b < block)

    def moved(self, held: tuple[tuple[int, int], ...], act: Act) -> tuple[tuple[int, int], ...]:
        if act.what not in ("fill", "take"):
            return held
        i = self.entry(act.a, act.b)
        return (*held[:i], (act.a, int(act.what == "take")), *held[i + 1 :])

    def search(self) -> str | None:
        """Visits every state."""
        ends = tuple(map(len, self.roles))
        first: State = (tuple([0] * len(ends)), tuple([FREE] * self.t.depth * self.parts()))
        seen, stack = {first}, [first]
        while stack:
            if len(seen) > STATES:
                return "too large"
            at, held = stack.pop()
            free = [r for r in range(len(ends)) if at[r] < ends[r] and self.may(at, held, r)]
            if not free and at != ends:
                return "the warps of an SM wait for each other"
            for r in free:
                if problem := self.fault(at, held, r):
                    return problem
            # An act that no other role looks at may as well come first.
            alone = [r for r in free if self.roles[r][at[r]].what in ("join", "go")]
            for r in alone[:1] or free:
                act = self.roles[r][at[r]]
                move = ((*at[:r], at[r] + 1, *at[r + 1 :]), self.moved(held, act))
                if move not in seen:
                    seen.add(move)
                    stack.append(move)
        return None


def _running(acts: list[Act], what: str) -> list[int]:
    """How many of the first n acts are of a kind, for each n."""
    counts = [0]
    for act in acts:
        counts.append(counts[-1] + (act.what == what))
    return counts


@cache
def turns_fault(slots: int, group: int, consumers: int, slices: int, entries: int) -> str | None:
    """What goes wrong where consumers complete row blocks of `slices` slots: each takes its slots
    in turn, as far as the ring has them, leaves a sum of each in the next of `entries` entries, and
    whoever has the last slice of a block collects them.

    Slots arrive as early as they can: later ones only keep everybody back.
    """
    total = (entries + slots) // slices * slices + 2 * slices * consumers
    acts = [
        [
            act
            for i in range(w, total, consumers)
            for act in (("take", i), ("fill", i), ("collect", i))
            if act[0] != "collect" or i % slices == slices - 1
        ]
        for w in range(consumers)
    ]
    start = tuple([0] * consumers)
    seen, stack = {start}, [start]
    while stack:
        if len(seen) > STATES:
            return "too large"
        at = stack.pop()
        done = {act for w in range(consumers) for act in acts[w][: at[w]]}
        moves: list[tuple[int, ...]] = []
        for w in range(consumers):
            if at[w] == len(acts[w]):
                continue
            what, i = acts[w][at[w]]
            first = i // slices * slices
            if what == "take":
                # copies come in order, each when those that lay there before are drained
                if not all(("take", j) in done for j in range(i // group * group + group - slots)):
                    continue
            elif what == "collect":
                if not all(("fill", j) in done for j in range(first, first + slices)):
                    continue
            elif i >= entries:
                old = i - entries
                if ("collect", old // slices * slices + slices - 1) not in done:
                    return f"the sum of slot {i} overwrites that of slot {old}, which waits"
            moves.append((*at[:w], at[w] + 1, *at[w + 1 :]))
        if not moves and any(n < len(acts[w]) for w, n in enumerate(at)):
            return "the warps of an SM wait for each other"
        for move in moves:
            if move not in seen:
                seen.add(move)
                stack.append(move)
    return None
