"""Rules on the weight ring, each of which broke a real kernel that ignored it.

(L1) slots, columns, copies and warps are positive, and a copy is a whole part of the ring
(L2) a slot has one consumer: slots % consumers == 0. Copies complete out of order and a parity wait
     cannot tell the lap it wants from the lap before, so only the warp that drained a slot may wait
     for it to fill again
(L3) no consumer looks further ahead than the ring is deep: a copy is never wider than a lap of the
     consumers, and copies in flight fit the ring
(L4) ring, partial sums and barriers fit the shared memory of an SM
(L5) columns are what the matrix instructions can take, and all matrices have one element type
"""

from __future__ import annotations

from collections.abc import Iterator

from amk.ir.capacity import SHARED_BYTES, ring_bytes
from amk.ir.kernels import Gemv
from amk.ir.program import DTYPES, Declarations, Ring
from amk.verify.violation import Violation

COLUMN_STEP = 16


def check_ring(p: Declarations, ring: Ring | None) -> Iterator[Violation]:
    """(L1) to (L5)."""
    matrices = [k for k in p.kernels.values() if isinstance(k, Gemv)]
    if ring is None:
        return
    r = ring
    if min(r.slots, r.columns, r.group, r.consumers, r.window) <= 0:
        yield Violation("L1", f"the ring has an empty dimension: {r}")
        return
    if r.slots % r.group:
        yield Violation("L1", f"{r.slots} slots are no whole number of copies of {r.group} slots")
    if r.slots % r.consumers:
        yield Violation("L2", f"{r.slots} slots are no whole number of laps of {r.consumers} warps")
    if r.consumers % r.group:
        message = f"a copy of {r.group} slots does not divide a lap of {r.consumers} warps"
        yield Violation("L3", message)
    if r.window * r.group > r.slots:
        message = (
            f"{r.window} copies of {r.group} slots in flight exceed the {r.slots} slots of the ring"
        )
        yield Violation("L3", message)
    if r.columns % COLUMN_STEP:
        yield Violation("L5", f"{r.columns} columns are no multiple of {COLUMN_STEP}")
    widths = {DTYPES[w.dtype] for k in matrices if (w := p.weight(k.weight))}
    if len(widths) > 1:
        yield Violation("L5", "matrices of different element types share one ring")
    size = ring_bytes(p, r)
    if size > SHARED_BYTES:
        yield Violation("L4", f"the ring takes {size} bytes, an SM has {SHARED_BYTES}")
