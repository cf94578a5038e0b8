"""Sharing tiles among SMs: shares, queues and their order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from amk.ir.kernels import Access, Attention, Gemv, Kernel, MoeDown, MoeGateUp
from amk.ir.program import DTYPES, Declarations, Segment, TaskProgram

Shares = npt.NDArray[np.int64]
"""First tile of each SM, and behind them the grid: SM s runs tiles [shares[s], shares[s + 1])."""


def even_shares(grid: int, sms: int) -> Shares:
    """Equal shares, remainders spread over the SMs."""
    return np.arange(sms + 1, dtype=np.int64) * grid // sms


def segments_of(p: Declarations, family: str, lo: int, hi: int) -> list[Segment]:
    """Tiles [lo, hi) as instructions: one, or for attention one a tile, with merging tiles (split
    0) last."""
    kernel = p.kernels[family]
    if lo >= hi:
        return []
    if isinstance(kernel, Attention):
        tiles = sorted(range(lo, hi), key=lambda t: (t % kernel.splits == 0, t))
        return [Segment(family, t, t + 1) for t in tiles]
    return [Segment(family, lo, hi)]


def queues_of(p: TaskProgram, shares: dict[str, Shares]) -> list[list[Segment]]:
    """Queues in program order."""
    sms = len(next(iter(shares.values()))) - 1
    return [
        [
            s
            for f, share in shares.items()
            for s in segments_of(p, f, int(share[sm]), int(share[sm + 1]))
        ]
        for sm in range(sms)
    ]


def tile_bytes(p: Declarations, kernel: Kernel) -> float:
    """Bytes that one tile of a kernel reads of weight matrices once a step: its rows, of the
    experts that were chosen where there are several."""
    match kernel:
        case Gemv():
            rows = kernel.tile
        case MoeGateUp():
            rows = 2 * kernel.tile
        case MoeDown():
            rows = kernel.choices * kernel.tile
        case _:
            return 0.0
    weight = p.weight(kernel.weight)
    return float(rows * kernel.k * DTYPES[weight.dtype if weight else "f32"])


def local_groups(p: TaskProgram) -> dict[str, str]:
    """Families that must share their rows among SMs alike, because they meet in local buffers:
    family -> first one."""
    owner: dict[str, str] = {}
    leader: dict[str, str] = {}
    for name, kernel in p.kernels.items():
        local = {
            a.buffer
            for a in kernel.accesses(0, kernel.grid)
            if isinstance(a, Access) and p.buffers[a.buffer].space == "local"
        }
        first = next((leader[owner[b]] for b in local if b in owner), name)
        leader[name] = first
        for b in local:
            owner.setdefault(b, name)
    return leader


def late_sms(p: TaskProgram, sms: int) -> npt.NDArray[np.bool_]:
    """Per SM whether it completes attention tiles: whoever waits for their result, that SM begins
    with it last. None, where that were more than a quarter of all."""
    late = np.zeros(sms, dtype=np.bool_)
    for kernel in p.kernels.values():
        if isinstance(kernel, Attention):
            tiles = np.arange(0, kernel.grid, kernel.splits)
            late[np.searchsorted(even_shares(kernel.grid, sms), tiles, side="right") - 1] = True
    return late if 4 * late.sum() <= sms else np.zeros(sms, dtype=np.bool_)


def spread(grid: int, late: npt.NDArray[np.bool_]) -> Shares:
    """Even shares that spare the SMs marked `late` as far as no other SM gets more for it."""
    sms, spared = len(late), int(late.sum())
    if spared in (0, sms):
        return even_shares(grid, sms)
    rest = max(0, grid - -(-grid // sms) * (sms - spared))
    counts = np.zeros(sms, dtype=np.int64)
    counts[~late] = np.diff(even_shares(grid - rest, sms - spared))
    counts[late] = np.diff(even_shares(rest, spared))
    return np.concatenate([[0], np.cumsum(counts)])


BRIEF = 64 * 1024
"""Bytes per SM below which a family is a matter of latency alone: its slowest SM has most tiles."""
LARGE = 128 * 1024
"""Bytes of a tile above which the ring of weights cannot hide that an SM has one more of them."""


def balanced_shares(p: TaskProgram, sms: int) -> dict[str, Shares]:
    """Shares that keep the bytes that each SM has streamed so far equal, family after family.

    Families that meet in local buffers have one split of their rows, made first; SMs that complete
    attention get fewer of them, because the first thing that follows attention is one of these
    families. Every other family evens out what the families before it left uneven, but no SM gets
    more than one tile beyond its fair share of a family, and none where the family is brief or its
    tiles are large: a phase lasts as long as its slowest SM. Of brief families too, SMs that
    complete attention get only what no other SM has room for: they had better be waiting for q.
    """
    late = late_sms(p, sms)
    leader = local_groups(p)
    done = np.zeros(sms)
    out: dict[str, Shares] = {}
    for name, kernel in p.kernels.items():
        first, weight = leader[name], tile_bytes(p, kernel)
        grouped = first in out and p.kernels[first].grid == kernel.grid
        alone = sum(1 for other in leader.values() if other == first) == 1
        if grouped:
            share = out[first]
        elif alone and weight > 0:
            share = _fill(done, kernel.grid, weight, late)
        else:
            share = even_shares(kernel.grid, sms) if alone else spread(kernel.grid, late)
        out[name] = share
        done += np.diff(share) * weight
    return out


def _fill(
    done: npt.NDArray[np.float64], grid: int, weight: float, late: npt.NDArray[np.bool_]
) -> Shares:
    """Shares of `grid` tiles that bring `done` bytes closest to equal."""
    sms = len(done)
    brief = grid * weight < BRIEF * sms
    most = np.full(sms, -(-grid // sms) + (grid >= sms and not brief and weight <= LARGE))
    if brief:
        most[late] = np.diff(spread(grid, late))[late]
    counts = np.zeros(sms, dtype=np.int64)
    # Water level by bisection: the level at which just fewer than all tiles are handed out, then
    # one by one.
    low, high = float(done.min()), float(done.max()) + (grid / sms + 1) * weight
    for _ in range(60):
        level = (low + high) / 2
        counts = np.clip(np.floor((level - done) / weight), 0, most).astype(np.int64)
        low, high = (level, high) if counts.sum() <= grid else (low, level)
    counts = np.clip(np.floor((low - done) / weight), 0, most).astype(np.int64)
    while counts.sum() < grid:
        open_sms = np.where(counts < most, done + counts * weight, np.inf)
        counts[int(np.argmin(open_sms))] += 1
    return np.concatenate([[0], np.cumsum(counts)])
