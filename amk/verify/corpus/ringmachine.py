"""Every execution of a weight ring, one state at a time.

The machine is that of docs/IR_SPEC.md, The weight stream and its ring. Copy c of the stream goes to
place c mod places of the ring, where places = slots / group. Each place has two barriers that count
phases: `full` completes one when a copy has landed, `empty` when each of its slots was drained.
Whoever waits gives a parity, and passes if the phase of that parity is over; which lap it belongs
to, nobody can tell. Copies in flight land in any order. Slot i of the stream belongs to warp
i mod consumers.

A step streams a whole number of laps of the consumers, in whole copies, and the streams of the
steps follow each other. A ring is at fault if some execution of a few laps, for some number of laps
a step, lets a warp take another slot than the one it means, lets a copy land on slots that were not
drained, or hangs.
"""

from __future__ import annotations

from functools import cache
from math import lcm

from amk.ir.program import Ring

LAPS = 3
"""Laps of the ring to run, at least."""
STATES = 20_000
"""States that are visited before a ring counts as too large to be explored."""


def ring_fault(r: Ring) -> str | None:
    """What goes wrong in a ring; None when nothing can."""
    return explore(r.slots, r.group, r.consumers, r.window)


@cache
def explore(slots: int, group: int, consumers: int, window: int, take: int = 1) -> str | None:
    """What goes wrong in a ring of `slots` slots. A warp takes `take` slots in a row, which is 1 in
    every program; more is a design that looks too far ahead."""
    if min(slots, group, consumers, window) <= 0:
        return "the ring has an empty dimension"
    if slots % group:
        return f"the last copy would hold {slots % group} slots beyond the ring"
    if window * group > slots:
        return "more copies are in flight than there are places for them"
    for laps in (1, 2, 3):
        stream = laps * consumers * take
        if stream % group:
            return f"a step of {stream} slots is no whole number of copies of {group}"
    # The order in which warps meet slots repeats every lcm of the two periods.
    total = max(LAPS * slots, lcm(slots, consumers * take) + slots)
    total += -total % lcm(group, consumers * take)
    fault = _search(slots, group, consumers, window, take, total)
    if fault == "too large":
        return _by_ownership(slots, consumers, take)
    return fault


def _search(
    slots: int, group: int, consumers: int, window: int, take: int, total: int
) -> str | None:
    """Visits every state. A state: copies issued; the copies in flight; slots taken by each warp.

    What has landed is what was issued and is not in flight, and what was drained follows from the
    warps' progress, so nothing else is to be kept.
    """
    places = slots // group
    copies = total // group
    mine = [[i for i in range(total) if i // take % consumers == warp] for warp in range(consumers)]
    seen = {(0, frozenset[int](), (0,) * consumers)}
    stack = list(seen)
    while stack:
        if len(seen) > STATES:
            return "too large"
        issued, flying, at = state = stack.pop()
        moves: list[tuple[int, frozenset[int], tuple[int, ...]]] = []
        drained = {i for warp in range(consumers) for i in mine[warp][: at[warp]]}
        # The loader: waits for the place to be drained, by parity, and for a gap in its window,
        # which is that the oldest copy that may still fly has landed.
        if issued < copies:
            lap = issued // places
            full = _phases(drained, issued % places, places, group, copies)
            may = lap == 0 or full % 2 != (lap - 1) % 2
            if may and not (issued >= window and issued - window in flying):
                if lap and full < lap:
                    return f"copy {issued} lands on slots that were not drained"
                moves.append((issued + 1, flying | {issued}, at))
        # A copy lands.
        for c in flying:
            moves.append((issued, flying - {c}, at))
        # A warp waits for its slot, by parity; once it has passed, it drains it.
        for warp in range(consumers):
            if at[warp] == len(mine[warp]):
                continue
            slot = mine[warp][at[warp]]
            copy = slot // group
            place, lap = copy % places, copy // places
            landed = sum(1 for c in range(place, issued, places) if c not in flying)
            if landed % 2 == lap % 2:
                continue
            if landed != lap + 1:
                return f"warp {warp} takes slot {slot} for another lap's"
            moves.append((issued, flying, (*at[:warp], at[warp] + 1, *at[warp + 1 :])))
        if not moves and (
            issued < copies or any(n < len(m) for n, m in zip(at, mine, strict=True))
        ):
            return "the loader and the warps wait for each other"
        for move in moves:
            if move not in seen and move != state:
                seen.add(move)
                stack.append(move)
    return None


def _phases(drained: set[int], place: int, places: int, group: int, copies: int) -> int:
    """Phases that the `empty` barrier of a place has completed: one for every `group` arrivals."""
    arrivals = sum(
        1
        for c in range(place, copies, places)
        for i in range(c * group, (c + 1) * group)
        if i in drained
    )
    return arrivals // group


def _by_ownership(slots: int, consumers: int, take: int) -> str | None:
    """For rings too large to visit: where every slot has one warp, each wait is a lap ahead of the
    same warp's drain, and parity tells the two apart; where one has two, copies that land out of
    order let the second pass for the first."""
    owners: dict[int, int] = {}
    for i in range(lcm(slots, consumers * take)):
        warp = i // take % consumers
        if owners.setdefault(i % slots, warp) != warp:
            return f"slot {i % slots} has two consumers"
    return None
