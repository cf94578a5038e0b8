"""Other tiles than those that are meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from amk.ir.kernels import (
    RowKernel,
)
from amk.ir.program import Program, Run
from amk.verify.corpus.mutants.edits import (
    at,
    edited,
    mutant,
    some,
    some_kernel,
    some_operand,
    with_buffer,
    with_kernel,
)


def changed_range(
    p: Program, rng: Random, lo: int, hi: int, good: Callable[[Run], object]
) -> Program | None:
    where = some(p, rng, good)
    if where is None:
        return None
    run = at(p, where)
    return edited(p, where, lo=run.lo + lo, hi=run.hi + hi)


@mutant
def tile_shifted(p: Program, rng: Random) -> Program | None:
    by = rng.choice((-1, 1))
    return changed_range(p, rng, by, by, lambda r: r.lo + by >= 0 and r.hi + by <= grid(p, r))


def grid(p: Program, run: Run) -> int:
    return p.kernels[run.kernel].grid


@mutant
def tile_enlarged(p: Program, rng: Random) -> Program | None:
    return changed_range(p, rng, 0, 1, lambda r: r.hi < grid(p, r))


@mutant
def tile_out_of_bounds(p: Program, rng: Random) -> Program | None:
    if rng.random() < 0.3:
        return changed_range(p, rng, -1, 0, lambda r: r.lo == 0)
    return changed_range(p, rng, 0, rng.choice((1, 1, 5)), lambda r: r.hi == grid(p, r))


@mutant
def tile_missing(p: Program, rng: Random) -> Program | None:
    """The last tile of an instruction is not run; with one tile, none is left."""
    return changed_range(p, rng, 0, -1, lambda r: True)


@mutant
def tile_size_changed(p: Program, rng: Random) -> Program | None:
    """Of a kernel, whose instructions keep their numbers of tiles."""
    name = some_kernel(p, rng, RowKernel)
    if name is None:
        return None
    kernel = p.kernels[name]
    assert isinstance(kernel, RowKernel)
    return with_kernel(p, name, tile=max(1, kernel.tile + rng.choice((-1, 1, -2, 2))))


@mutant
def rows_changed(p: Program, rng: Random) -> Program | None:
    """A kernel has a row more or less than its weights and buffers."""
    name = some_kernel(p, rng, RowKernel)
    if name is None:
        return None
    kernel = p.kernels[name]
    assert isinstance(kernel, RowKernel)
    return with_kernel(p, name, n=max(1, kernel.n + rng.choice((-2, -1, 1, 2))))


@mutant
def operand_shifted(p: Program, rng: Random) -> Program | None:
    """An operand begins some elements further on, in a buffer that may be large enough."""
    found = some_operand(p, rng)
    if found is None:
        return None
    name, of, ref = found
    by = rng.choice((1, 2, 4, -1))
    if rng.random() < 0.5:
        p = with_buffer(p, ref.buffer, length=p.buffers[ref.buffer].length + abs(by))
    return with_kernel(p, name, **{of: replace(ref, offset=ref.offset + by)})
