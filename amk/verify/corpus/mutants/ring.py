"""The ring of the weight stream."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from amk.ir.kernels import (
    Gemv,
)
from amk.ir.program import Program, Ring
from amk.verify.corpus.mutants.edits import mutant, some_kernel


def some_ring(p: Program, rng: Random) -> Ring | None:
    """A ring small enough to be explored, which is safe for the program."""
    if p.ring is None:
        return None
    slots, group, consumers, window = rng.choice(
        (
            (4, 1, 2, 2),
            (4, 2, 2, 2),
            (6, 1, 3, 3),
            (6, 3, 3, 1),
            (8, 2, 4, 2),
            (4, 1, 4, 3),
            (4, 2, 4, 1),
        )
    )
    return Ring(slots, 16, group, consumers, window)


@mutant
def ring_without_one_consumer_a_slot(p: Program, rng: Random) -> Program | None:
    """MEASURED: 40 slots and 14 warps. Slots change hands from lap to lap."""
    ring = some_ring(p, rng)
    if ring is None:
        return None
    return replace(
        p, ring=replace(ring, consumers=rng.choice((2, 3, 4, 5)), group=rng.choice((1, 2)))
    )


@mutant
def ring_looks_too_far_ahead(p: Program, rng: Random) -> Program | None:
    """Copies in flight exceed the ring, or consumers do."""
    ring = some_ring(p, rng)
    if ring is None:
        return None
    if rng.random() < 0.5:
        return replace(p, ring=replace(ring, window=ring.window + rng.randint(1, 6)))
    return replace(p, ring=replace(ring, consumers=ring.slots + rng.randint(0, 4)))


@mutant
def ring_resized(p: Program, rng: Random) -> Program | None:
    ring = some_ring(p, rng)
    return ring and replace(p, ring=replace(ring, slots=rng.randint(0, 12), window=1))


@mutant
def ring_copies_cut(p: Program, rng: Random) -> Program | None:
    """Copies that are no part of the ring, or of a lap of the warps."""
    ring = some_ring(p, rng)
    return ring and replace(p, ring=replace(ring, group=rng.randint(0, 6), window=1))


@mutant
def ring_larger_than_an_sm(p: Program, rng: Random) -> Program | None:
    ring = some_ring(p, rng)
    if ring is None:
        return None
    return replace(p, ring=replace(ring, columns=rng.choice((24, 250, 512, 2048, 4096))))


@mutant
def ring_of_mixed_weights(p: Program, rng: Random) -> Program | None:
    """One matrix has another element type than the rest."""
    name = some_kernel(p, rng, Gemv)
    if name is None:
        return None
    kernel = p.kernels[name]
    assert isinstance(kernel, Gemv)
    for table in ("tensors", "packs"):
        held = getattr(p, table)
        t = held.get(kernel.weight)
        if t is not None:
            other = "bf16" if t.dtype == "f32" else "f32"
            return replace(p, **{table: held | {t.name: replace(t, dtype=other)}})
    return None
