"""Immutable tensors that are made at load time: fused weights and rotary tables, as numpy.

Whoever needs the values of a fused weight (interpreters, the CUDA packer, tests) asks here, so that
there is one definition of what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from amk.errors import AmkError
from amk.ir.program import Pack, Range, RopeTable, Tensor

F32 = NDArray[np.float32]


def round_bf16(values: F32) -> F32:
    """`values` rounded to bfloat16, nearest even, kept as float32; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(
        0xFFFF0000
    )
    result = rounded.view(np.float32)
    if np.isnan(values).any():
        result[np.isnan(values)] = np.nan
    return result


def round_to(values: F32, dtype: str) -> F32:
    """`values` as a buffer or tensor of element type `dtype` would hold them, kept as float32."""
    return round_bf16(values) if dtype == "bf16" else values


def rope_order(rows: int, head_dim: int, rotary: int = 0) -> NDArray[np.intp]:
    """Source row of each row in layout `rope`: of a head, i and i + rotary / 2 are neighbors."""
    if head_dim <= 0 or head_dim % 2 or rows % head_dim:
        raise AmkError(
            f"layout rope needs whole heads of even size, got {rows} rows of head_dim {head_dim}"
        )
    turned = rotary or head_dim
    if turned % 2 or not 0 < turned <= head_dim:
        raise AmkError(f"layout rope turns an even part of {head_dim} rows, got {turned}")
    head = np.arange(head_dim)
    head[:turned] = head[:turned].reshape(2, turned // 2).T.reshape(-1)
    return (np.arange(0, rows, head_dim)[:, None] + head).reshape(-1)


LAYOUTS = ("rows", "rope", "plus_one", "flat")
"""How a pack may hold the rows of a source."""


def taken_rows(taken: Range | None, rows: int) -> NDArray[np.intp]:
    """The rows of a tensor of `rows` rows that a range takes, in order."""
    every = np.arange(rows)
    if taken is None:
        return every
    if not taken.fits(rows):
        raise AmkError(f"rows {taken.lo} to {taken.hi} are not in a tensor of {rows} rows")
    place = every % taken.every if taken.every else every
    return every[(place >= taken.lo) & (place < taken.hi)]


def row_order(
    layout: str, taken: Range | None, rows: int, head_dim: int, rotary: int = 0
) -> NDArray[np.intp]:
    """Which row of a source of `rows` rows each row of its part is."""
    if layout not in LAYOUTS:
        raise AmkError(f"layout must be one of {', '.join(LAYOUTS)}, got '{layout}'")
    own = taken_rows(taken, rows)
    return own[rope_order(len(own), head_dim, rotary)] if layout == "rope" else own


def part_shape(layout: str, taken: Range | None, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Shape of what a source of `shape` becomes in a pack; None if it lacks the rows taken."""
    if taken is not None and not taken.fits(shape[0]):
        return None
    rows = taken.count(shape[0]) if taken else shape[0]
    return (rows * math.prod(shape[1:]),) if layout == "flat" else (rows, *shape[1:])


def part_type(layout: str, dtype: str) -> tuple[str, ...]:
    """Element types that a pack may have for a source of `dtype`: sums are kept in f32 too."""
    return (dtype, "f32") if layout == "plus_one" else (dtype,)


def part_values(
    values: F32, layout: str, taken: Range | None, head_dim: int, rotary: int = 0
) -> F32:
    """What a source becomes in a pack: its rows picked and ordered, in its layout."""
    if layout != "rows" or taken is not None:
        values = values[row_order(layout, taken, values.shape[0], head_dim, rotary)]
    if layout == "plus_one":
        return values + np.float32(1)
    return values.reshape(-1) if layout == "flat" else values


def materialize(pack: Pack, get: Callable[[str], F32]) -> F32:
    """The values of `pack` in float32, C-contiguous, rounded to `pack.dtype`.

    `get(name)` gives a source of shape [rows] or [rows, columns]. Raises AmkError when the sources
    do not make up `pack.shape`.
    """
    parts = [
        part_values(np.asarray(get(name), np.float32), layout, taken, pack.head_dim, pack.rotary)
        for name, layout, taken in pack.parts()
    ]
    if pack.mode == "concat":
        if len({part.shape[1:] for part in parts}) > 1:
            raise AmkError(f"sources of pack '{pack.name}' have different columns")
        result = np.concatenate(parts)
    elif pack.mode == "interleave":
        if len({part.shape for part in parts}) > 1:
            raise AmkError(f"sources of pack '{pack.name}' have different shapes")
        result = np.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])
    else:
        raise AmkError(
            f"mode of pack '{pack.name}' must be concat or interleave, got '{pack.mode}'"
        )
    if result.shape != pack.shape:
        raise AmkError(
            f"pack '{pack.name}' has shape {pack.shape}, its sources make {result.shape}"
        )
    return np.ascontiguousarray(round_to(result, pack.dtype))


def rope_table(table: RopeTable, rows: int) -> F32:
    """cos and sin for positions [0, rows): float32 of shape [rows, 2, len(inv_freq)].

    The angle is a float32 product, as in Hugging Face transformers; its cos and sin are correctly
    rounded.
    """
    angles = np.arange(rows, dtype=np.float32)[:, None] * np.asarray(table.inv_freq, np.float32)
    wide = angles.astype(np.float64)
    both = np.stack([np.cos(wide), np.sin(wide)], axis=1).astype(np.float32)
    return both * np.float32(table.scale)


class Immutables:
    """Every immutable tensor of a program by name: checkpoint tensors, packs and rotary tables,
    made on first use.

    `weights(name)` gives a checkpoint tensor; `rows` is how many positions rotary tables cover.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        packs: Mapping[str, Pack],
        ropes: Mapping[str, RopeTable],
        weights: Callable[[str], F32],
        rows: int,
    ) -> None:
        self.tensors, self.packs, self.ropes = tensors, packs, ropes
        self.weights, self.rows = weights, rows
        self.made: dict[str, F32] = {}

    def __getitem__(self, name: str) -> F32:
        found = self.made.get(name)
        if found is None:
            found = self.made[name] = self.make(name)
        return found

    def make(self, name: str) -> F32:
        """Builds `name`. Raises AmkError for a name or shape that the program does not declare."""
        if name in self.packs:
            return materialize(self.packs[name], self.checkpoint)
        if name in self.ropes:
            return rope_table(self.ropes[name], self.rows)
        return self.checkpoint(name)

    def checkpoint(self, name: str) -> F32:
        """A checkpoint tensor, checked against its declaration and rounded to its declared type."""
        if name not in self.tensors:
            raise AmkError(f"tensor '{name}' is not declared")
        tensor = self.tensors[name]
        values = np.asarray(self.weights(name), np.float32)
        if values.shape != tensor.shape:
            raise AmkError(f"tensor '{name}' must have shape {tensor.shape}, got {values.shape}")
        return np.ascontiguousarray(round_to(values, tensor.dtype))
