"""Shape the shared-memory ring through which each SM's weights arrive.

A slot holds 8 rows of `columns` weights. The pass picks the columns that waste the least on padding
over all matrices of the program, of those of which `ring_kb` holds a lap of the consumer warps (a
slot must always meet the same warp), then as many slots as fit, in whole laps and whole copies: two
or more copies, or nothing would arrive while a copy is consumed. `window_kb` bounds the bytes in
flight: a longer queue does not stream faster, but every small access on the SM waits behind it.

    sched.program @decode { ... }
    ->
    sched.program @decode { ... sched.ring slots 48 columns 256 group 4 consumers 8 window 3 ... }
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import PassFailedException

from amk.ir.kernels import Gemv, ceil_div
from amk.ir.program import DTYPES, SLOT_ROWS, Ring, SchedProgram
from amk.passes.rewrite import rewrite_scheds

MAX_COLUMNS, COLUMN_STEP = 256, 32
"""A warp consumes a slot in up to 16 matrix instructions of 16 columns, two per 16-byte load."""


@dataclass(frozen=True)
class PlanStreamPass(ModulePass):
    """Plan the ring of every sched program for `consumers` warps.

    `ring_kb` is its size and `window_kb` what is in flight at most, in KiB per SM; `copy_kb` is the
    size of one bulk copy, in KiB.
    """

    name = "plan-stream"
    ring_kb: int = 192
    window_kb: int = 64
    copy_kb: int = 16
    consumers: int = 8

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for field in ("ring_kb", "window_kb", "copy_kb", "consumers"):
            if getattr(self, field) <= 0:
                raise PassFailedException(
                    f"{field.replace('_', '-')} must be positive, got {getattr(self, field)}"
                )
        rewrite_scheds(op, self.plan)

    def plan(self, p: SchedProgram) -> None:
        matrices = [k for k in p.kernels.values() if isinstance(k, Gemv)]
        if not matrices:
            return
        first = p.weight(matrices[0].weight)
        element = DTYPES[first.dtype if first else "f32"]
        lap = self.consumers  # in whole copies, as a copy divides it
        ring = self.ring_kb * 1024
        slot = SLOT_ROWS * COLUMN_STEP * element
        if ring < lap * slot:
            raise PassFailedException(
                f"ring-kb {self.ring_kb} holds no lap of {lap} slots of {slot} bytes, "
                f"choose at least {ceil_div(lap * slot, 1024)}"
            )
        columns = best_columns(matrices, ring // (SLOT_ROWS * element * lap))
        slot = SLOT_ROWS * columns * element
        slots = ring // slot // lap * lap
        group = max(1, min(self.copy_kb * 1024 // slot, slots // 2))
        while lap % group:
            group -= 1
        window = min(max(1, self.window_kb * 1024 // (slot * group)), slots // group)
        p.ring = Ring(slots, columns, group, self.consumers, window)


def best_columns(matrices: list[Gemv], most: int = MAX_COLUMNS) -> int:
    """The slot width, at most `most` columns, that streams the fewest bytes over all matrices, the
    widest such width."""

    def streamed(columns: int) -> int:
        return sum(m.n * ceil_div(m.k, columns) * columns for m in matrices)

    widths = range(COLUMN_STEP, min(most, MAX_COLUMNS) + 1, COLUMN_STEP)
    return min(widths, key=lambda c: (streamed(c), -c))
