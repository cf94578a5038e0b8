"""How much of a machine a program takes, and how long its 32-bit words last."""

from __future__ import annotations

from amk.ir.kernels import Gemv
from amk.ir.program import DTYPES, SLOT_ROWS, Declarations, Program, Ring

MIN_STEPS = 1 << 17
"""Steps that a program must be able to run before its host has to zero epochs and counters."""
MAX_SMS = 188
"""SMs of the largest target. The ring leaves no room for a second block on an SM, so one block more
cannot be resident; for smaller targets the launcher asks the device."""
SHARED_BYTES = 227 * 1024
"""Shared memory of a block on the largest target; smaller targets are checked when code is
generated for them."""


def ring_bytes(p: Declarations, ring: Ring | None) -> int:
    """Shared memory of the ring, whose slots have the widest element type of the matrices."""
    matrices = (p.weight(k.weight) for k in p.kernels.values() if isinstance(k, Gemv))
    width = max((DTYPES[w.dtype] for w in matrices if w), default=0)
    return ring.slots * SLOT_ROWS * ring.columns * width if ring else 0


def capacities(p: Program) -> dict[str, int]:
    """Bytes of the ring, and steps until the first counter or epoch exceeds 32 bits."""
    per_step = [b.uses for b in p.buffers.values()]
    steps = (1 << 32) // max([1, *per_step, *p.arrivals().values()])
    return {"ring_bytes": ring_bytes(p, p.ring), "steps": steps}
