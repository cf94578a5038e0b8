"""Rings that hung or lost weights while performance was measured, and how large is large enough."""

from __future__ import annotations

from dataclasses import replace

from amk.ir.kernels import Gemv, Ref, Weight
from amk.ir.program import Program, Ring, Tensor
from amk.verify.corpus.named.sketch import N, Sketch, case, pipeline


def with_ring(ring: Ring) -> Program:
    s = pipeline("flagged")
    s.run(0, "add")
    return replace(s.end(0, "y"), ring=ring)


@case(safe=False)
def ring_slot_with_two_consumers() -> Program:
    """40 slots and 14 warps: a parity wait one lap behind passes early."""
    return with_ring(Ring(40, 16, 1, 14, 10))


@case(safe=False)
def ring_of_less_than_a_lap() -> Program:
    """14 warps that take 4 slots each look 56 slots ahead, in a ring of 40."""
    return with_ring(Ring(40, 16, 4, 56, 10))


@case(safe=False)
def nine_row_blocks_in_entries_for_eight() -> Program:
    """A consumer that runs 9 row blocks ahead of the finishers fills entries that wait."""
    return with_ring(Ring(8, 16, 2, 4, 2, depth=8, lead=9))


@case(safe=True)
def one_row_block_at_a_time() -> Program:
    """Entries for one row block: consumers wait for every finisher, but for nothing else."""
    return with_ring(Ring(8, 16, 2, 4, 2, finishers=1, depth=1, lead=1, kv_buffers=1))


@case(safe=True)
def ring_of_whole_laps() -> Program:
    """42 slots and 14 warps."""
    return with_ring(Ring(42, 16, 7, 14, 3))


@case(safe=True, conservative=True)
def ring_whose_copies_cannot_overtake() -> Program:
    """Slots change hands, but with one copy in flight no lap is missed."""
    return with_ring(Ring(4, 16, 1, 3, 1))


def collected_by_consumers(entries: int) -> Program:
    """A gemv whose x is plain, so that consumers complete its row blocks, of one slot each."""
    s = Sketch(1)
    s.p.tensors |= {"square": Tensor("square", (N, N), "f32")}
    s.vector("x", "plain")
    s.vector("y", "flagged")
    s.begin("x")
    s.kernel("product", Gemv(N, 1, N, Weight("square"), Ref("x"), Ref("y")))
    s.run(0, "product")
    return replace(s.end(0, "y"), ring=Ring(4, 16, 1, 2, 2, entries=entries))


@case(safe=True, conservative=True)
def entries_that_no_warp_fills_twice() -> Program:
    """Every consumer collects what it has left itself, so an entry for each would do."""
    return collected_by_consumers(2)


@case(safe=True)
def entries_for_the_worst_case() -> Program:
    """A ring of slots, a lap of consumers and a row block, less one."""
    return collected_by_consumers(6)
