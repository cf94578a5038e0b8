"""The proof of a program, written down so that `checker.py` can follow it without searching.

A certificate holds a rank and two clocks per instruction; `checker.py` says what they mean. Most
instructions of a kernel know the same when they start, so clocks are written once, as a table of
rows, and an instruction names its row. What an SM knows of itself follows from the queue, so that
component of a row is free, and is chosen so that SMs can share rows.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amk.errors import AmkError
from amk.ir.capacity import capacities
from amk.ir.digest import program_digest
from amk.ir.program import Program
from amk.verify import accesses_of, verify_program
from amk.verify.certificate_file import VERSION
from amk.verify.order import GreedyRun, Op, settled
from amk.verify.violation import Place

Clock = NDArray[np.int64]


class _Recorder(GreedyRun):
    """Keeps the clocks of the second step, which has a step before it as all later ones have."""

    def start(self, op: Op, place: Place) -> bool:
        started = super().start(op, place)
        if started and place.step == 1:
            if not hasattr(self, "taken"):
                self.taken: list[Place] = []
                self.clocks: list[tuple[Clock, Clock | None]] = []
            self.taken.append(place)
            seen = self.visible[place.sm].copy() if self.visible is not None else None
            self.clocks.append((self.order[place.sm].copy(), seen))
        return started


class _Rows:
    """A table of clocks in which one component of a row may still be open."""

    def __init__(self, size: Clock):
        self.floor = -2 * size
        self.rows: list[Clock] = []
        self.open: list[int] = []
        self.recent: dict[str, tuple[list[int], Clock]] = {}

    def number(self, kernel: str, sm: int, clock: Clock) -> int:
        """The row that says what `clock` says, except of `sm` itself."""
        numbers, seen = self.recent.get(kernel, ([], np.zeros((0, len(clock)), dtype=np.int64)))
        differ = seen != clock
        differ[:, sm] = False
        count = np.count_nonzero(differ, axis=1)
        for i in map(int, np.flatnonzero(count <= 1)):
            hole = self.open[numbers[i]]
            if count[i] == 0 or (hole >= 0 and differ[i, hole]):
                if hole >= 0 and hole != sm:
                    seen[i, hole] = self.rows[numbers[i]][hole] = clock[hole]
                    self.open[numbers[i]] = -1
                return numbers[i]
        row = np.maximum(clock, self.floor)
        row[sm] = self.floor[sm]
        self.rows.append(row)
        self.open.append(sm)
        numbers.append(len(self.rows) - 1)
        self.recent[kernel] = numbers, np.vstack([seen, row])
        return numbers[-1]


def certificate(p: Program) -> dict[str, Any]:
    """The certificate of a safe program, ready for JSON. Raises AmkError for an unsafe one."""
    if verify_program(p):
        raise AmkError("an unsafe program has no certificate")
    return claims(p)


def certificate_text(p: Program) -> str:
    """The certificate of a safe program as JSON. Raises AmkError for an unsafe one."""
    return json.dumps(certificate(p), separators=(",", ":")) + "\n"


def claims(p: Program) -> dict[str, Any]:
    """What a certificate of `p` would have to say, whether or not that proves it safe.

    `p` has no violation of structure and no deadlock.
    """
    run = settled(_Recorder, p, accesses_of(p))
    size = np.array(run.size)
    ranks, order, visible = ([[0] * n for n in run.size] for _ in range(3))
    rows = _Rows(size)
    for rank, (place, clocks) in enumerate(zip(run.taken, run.clocks, strict=True)):
        sm, i, _ = place
        kernel = p.queues[sm][i].kernel
        ranks[sm][i] = rank
        order[sm][i] = rows.number(kernel, sm, np.maximum(clocks[0] - 2 * size, rows.floor))
        seen = rows.floor if clocks[1] is None else np.maximum(clocks[1] - 2 * size, rows.floor)
        visible[sm][i] = rows.number("" if clocks[1] is None else kernel, sm, seen)
    return {
        "version": VERSION,
        "program": p.name,
        "program_sha256": program_digest(p),
        "capacities": capacities(p),
        "ranks": [n for queue in ranks for n in queue],
        "clocks": [row.tolist() for row in rows.rows],
        "order": [n for queue in order for n in queue],
        "visible": [n for queue in visible for n in queue],
    }
