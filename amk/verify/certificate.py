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

from amk.errors import AmkError
from amk.ir.capacity import capacities
from amk.ir.digest import program_digest
from amk.ir.program import Program
from amk.verify import second_step, verify_program
from amk.verify.certificate_file import VERSION
from amk.verify.resolved import Clock


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
    size = np.array([len(queue) for queue in p.queues])
    ranks, order, visible = ([[0] * n for n in size] for _ in range(3))
    rows = _Rows(size)
    for rank, ((sm, i, _), before, seen) in enumerate(second_step(p)):
        kernel = p.queues[sm][i].kernel
        ranks[sm][i] = rank
        order[sm][i] = rows.number(kernel, sm, np.maximum(before - 2 * size, rows.floor))
        known = rows.floor if seen is None else np.maximum(seen - 2 * size, rows.floor)
        visible[sm][i] = rows.number("" if seen is None else kernel, sm, known)
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
