"""Immutable tensors that are made at load time: fused weights and rotary tables, as numpy.

Whoever needs the values of a fused weight (interpreters, the CUDA packer, tests) asks here, so that
there is one definition of what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from amk.errors import AmkError
from amk.ir.program import Pack, RopeTable, Tensor

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


def rope_order(rows: int, head_dim: int) -> NDArray[np.intp]:
    """Source row of each row in layout `rope`: of a head, i and i + head_dim / 2 are neighbors."""
    if head_dim <= 0 or head_dim % 2 or rows % head_dim:
        raise AmkError(
            f"layout rope needs whole heads of even size, got {rows} rows of head_dim {head_dim}"
        )
    head = np.arange(head_dim).reshape(2, head_dim // 2).T.reshape(-1)
    return (np.arange(0, rows, head_dim)[:, None] + head).reshape(-1)


def row_order(layout: str, rows: int, head_dim: int) -> NDArray[np.intp]:
    """Source row of each of `rows` rows in `layout` (`rows` or `rope`)."""
    if layout == "rows":
        return np.arange(rows)
    if layout == "rope":
        return rope_order(rows, head_dim)
    raise AmkError(f"layout must be rows or rope, got '{layout}'")


def materialize(pack: Pack, get: Callable[[str], F32]) -> F32:
    """The values of `pack` in float32, C-contiguous, rounded to `pack.dtype`.

    `get(name)` gives a source of shape [rows] or [rows, columns]. Raises AmkError when the sources
    do not make up `pack.shape`.
    """
    parts = [np.asarray(get(name), np.float32) for name in pack.sources]
    if pack.mode == "concat":
        ordered = [
            part[row_order(layout, part.shape[0], pack.head_dim)] if layout != "rows" else part
            for part, layout in zip(parts, pack.layouts, strict=True)
        ]
        if len({part.shape[1:] for part in ordered}) > 1:
            raise AmkError(f"sources of pack '{pack.name}' have different columns")
        result = np.concatenate(ordered)
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
