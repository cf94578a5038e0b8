"""Ranges, groups and joins of rows, for those who check all instructions at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
LOW = -(1 << 60)
"""Below every number that occurs."""


def ragged(start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """All integers of the ranges [start, end), and the number of the range each comes from."""
    length = end - start
    which = np.repeat(np.arange(len(start)), length)
    return np.arange(len(which)) - (np.cumsum(length) - length - start)[which], which


def unique_pairs(a: Ints, b: Ints) -> tuple[Ints, Ints]:
    """The different pairs (a[i], b[i]), sorted."""
    span = int(b.max()) + 1 if len(b) else 1
    key = np.unique(a * span + b)
    return key // span, key % span


def group(pick: np.ufunc, clocks: Ints, rows: Ints, of: Ints, count: int) -> Ints:
    """[count, SMs]: for each group the least or largest of the clocks `rows`, whose groups `of` are
    sorted."""
    out = np.full((count, clocks.shape[1]), -LOW if pick is np.minimum else LOW)
    starts = np.flatnonzero(np.append(True, of[1:] != of[:-1])) if len(of) else of
    if len(starts):
        out[of[starts]] = pick.reduceat(clocks[rows], starts, axis=0)
    return out


def join(into: Ints, rows: Ints, events: Ints, which: Ints, back: Ints) -> None:
    """into[rows[i]] = the larger of itself and events[which[i]] - back, for all i."""
    by = np.argsort(rows, kind="stable")
    rows, which = rows[by], which[by]
    starts = np.flatnonzero(np.append(True, rows[1:] != rows[:-1])) if len(rows) else rows
    if len(starts):
        most = np.maximum.reduceat(events[which], starts, axis=0) - back
        into[rows[starts]] = np.maximum(into[rows[starts]], most)
