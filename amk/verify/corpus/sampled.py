"""Programs that are too large for the oracle: many random interleavings, each watched.

Every run of the checked vm interpreter follows what happens before what through the values that
were really observed, so it finds a race even where the data happens to be there in time. It proves
nothing: it is what finds the fault that a verifier has missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from amk.interpreters.shadow import find_fault
from amk.ir.program import Program
from amk.verify.corpus.oracle import positions, rows


def interleavings(p: Program, rng: Random, count: int) -> Iterator[dict[str, Any]]:
    """Greedy first, then some SM far ahead or far behind all others, then any."""
    yield {}
    for _ in range(count):
        sm = rng.randrange(len(p.queues))
        yield rng.choice(({"favor": sm}, {"delay": sm}, {"seed": rng.randrange(1 << 30)}))


def sampled_fault(p: Program, count: int, seed: int = 0, steps: int = 3) -> str | None:
    """What goes wrong in one of `count` random interleavings from each of a few positions."""
    rng = Random(seed)
    starts = positions(p)
    for start in rng.sample(starts, min(len(starts), 3)):
        for how in interleavings(p, rng, count):
            fault = find_fault(p, steps=min(steps, rows(p) - start), pos=start, **how)
            if fault is not None:
                return str(fault)
    return None
