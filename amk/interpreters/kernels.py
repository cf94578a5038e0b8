"""What each kernel computes, in numpy: float32 arithmetic, one rounding where a buffer is written.

A kernel function sees memory only through `Memory`, so the same code runs in the fast interpreters
and under shadow memory, where every element that it touches is compared with `Kernel.accesses`. It
reads everything before it writes anything, as an instruction does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from amk.ir.kernels import (
    Append,
    Argmax,
    Attention,
    Binary,
    Embed,
    Gemv,
    Kernel,
    MoeDown,
    MoeGateUp,
    Ref,
    RmsNorm,
    Rope,
    Sample,
    Topk,
)
from amk.ir.packs import F32
from amk.ir.sampling import Sampling, draw

Rows = slice | NDArray[np.intp]
"""Rows of a KV cache: a slice of them, or their indices."""


class Memory(Protocol):
    """What a kernel function may touch. `pos` is the position of the step that it runs in,
    `sampling` what the launch says about drawing tokens."""

    pos: int

    @property
    def sampling(self) -> Sampling: ...

    def read(self, ref: Ref, lo: int, hi: int, previous: bool = False) -> F32:
        """Elements [lo, hi) from `ref` on; with `previous`, of the value of the step before."""
        ...

    def write(self, ref: Ref, lo: int, hi: int, values: F32) -> None:
        """Elements [lo, hi) from `ref` on become `values`, rounded to the buffer's type."""
        ...

    def weight(self, name: str, lo: int, hi: int) -> F32:
        """Rows [lo, hi) of an immutable tensor."""
        ...

    def chosen(self, name: str, lo: int, hi: int) -> F32:
        """Rows [lo, hi) of an immutable tensor, chosen by data among those that the kernel
        claims."""
        ...

    def lookup(self, name: str, row: int) -> F32:
        """One row of an immutable tensor, chosen by data or by the position."""
        ...

    def cached(self, cache: str, head: int, rows: Rows) -> tuple[F32, F32]:
        """Keys and values of one head, each [rows, head_dim]."""
        ...

    def append(self, cache: str, head: int, k: F32, v: F32) -> tuple[F32, F32]:
        """Row `pos` of one head becomes (k, v); gives both as the cache holds them."""
        ...


def silu(x: F32) -> F32:
    """x * sigmoid(x); below -80 the result is under 1e-33 and the clip only avoids an overflow."""
    return np.divide(x, 1 + np.exp(-np.maximum(x, np.float32(-80))))


def normalize(x: F32, weight: F32, eps: float) -> F32:
    """x * weight / sqrt(mean(x^2) + eps)."""
    return x * weight / np.sqrt(np.dot(x, x) / np.float32(x.size) + np.float32(eps))


def embed(k: Embed, lo: int, hi: int, mem: Memory) -> None:
    a, b = k.rows(lo, hi)
    token = int(mem.read(k.token, 0, 1, previous=True)[0])
    row = mem.lookup(k.table, token)[a:b]
    if k.multiplier != 1.0:
        row = row * np.float32(k.multiplier)
    mem.write(k.out, a, b, row)
    if k.res:
        mem.write(k.res, a, b, row)


def gemv(k: Gemv, lo: int, hi: int, mem: Memory) -> None:
    a, b = k.rows(lo, hi)
    x = mem.read(k.x, 0, k.k)
    if k.norm:
        x = normalize(x, mem.weight(k.norm, 0, k.k), k.eps)
    y = mem.weight(k.weight, a, b) @ x
    if k.bias:
        y = y + mem.weight(k.bias, a, b)
    if k.epilogue == "rope":
        assert k.rope
        turn(k, a, y, mem.lookup(k.rope, mem.pos))
    if k.epilogue == "swiglu":
        mem.write(k.out, a // 2, b // 2, np.multiply(silu(y[0::2]), y[1::2]))
        return
    if k.res_in:
        y = y + mem.read(k.res_in, a, b)
    mem.write(k.out, a, b, y)
    if k.res_out:
        mem.write(k.res_out, a, b, y)
    if k.cand:
        mem.write(k.cand, 2 * lo, 2 * hi, candidates(y, a, k.tile, hi - lo))


def turn(k: Gemv, a: int, y: F32, table: F32) -> None:
    """Rotates, in place, the pairs of `y` (rows a onward) that belong to queries and keys."""
    rotated = min(y.size, max(0, (k.heads + k.kv_heads) * k.head_dim - a))
    pair = (np.arange(a, a + rotated, 2) % k.head_dim) // 2
    cos, sin = table[0, pair], table[1, pair]
    even, odd = y[0:rotated:2].copy(), y[1:rotated:2].copy()
    y[0:rotated:2] = even * cos - odd * sin
    y[1:rotated:2] = odd * cos + even * sin


def candidates(y: F32, first: int, tile: int, tiles: int) -> F32:
    """(largest value, its row) of each tile of `y`, which starts at row `first`; ties: lowest."""
    result = np.empty((tiles, 2), np.float32)
    full = y.size // tile
    if full:
        rows = y[: full * tile].reshape(full, tile)
        best = rows.argmax(axis=1)
        result[:full, 0] = rows[np.arange(full), best]
        result[:full, 1] = first + np.arange(full) * tile + best
    if full < tiles:
        rest = y[full * tile :]
        result[full] = rest.max(), first + full * tile + rest.argmax()
    return result.reshape(-1)


def rows_of_split(k: Attention, split: int, end: int) -> Rows:
    """Rows r < end with (r // chunk) % splits == split."""
    if k.splits == 1:
        return slice(0, end)
    if end <= k.chunk * k.splits:
        return slice(min(end, split * k.chunk), min(end, (split + 1) * k.chunk))
    rows = np.arange(end)
    return rows[(rows // k.chunk) % k.splits == split]


def attention(k: Attention, lo: int, hi: int, mem: Memory) -> None:
    writes: list[tuple[Ref, int, F32]] = []
    width, size = k.group * k.head_dim, k.part_size
    for tile in range(lo, hi):
        g, s = divmod(tile, k.splits)
        if mem.pos < s * k.chunk:
            continue
        q = mem.read(k.q, g * width, (g + 1) * width).reshape(k.group, k.head_dim)
        keys, values = attended(k, g, s, mem)
        scores = np.float32(k.scale) * (q @ keys.T)
        top = scores.max(axis=1)
        weights = np.exp(scores - top[:, None])
        total, out = weights.sum(axis=1), weights @ values
        if s > 0:
            assert k.part
            at = (g * (k.splits - 1) + s - 1) * size
            writes.append((k.part, at, np.concatenate([out.reshape(-1), top, total])))
            continue
        for other in range(1, k.splits):
            if mem.pos >= other * k.chunk:
                assert k.part
                at = (g * (k.splits - 1) + other - 1) * size
                part = mem.read(k.part, at, at + size)
                top, total, out = merge(k.group, top, total, out, part)
        writes.append((k.out, g * width, (out / total[:, None]).reshape(-1)))
    for ref, at, value in writes:
        mem.write(ref, at, at + value.size, value)


def attended(k: Attention, head: int, split: int, mem: Memory) -> tuple[F32, F32]:
    """Keys and values of one tile; a row that the tile appends does not come from the cache."""
    owner = (mem.pos // k.chunk) % k.splits == split if k.splits > 1 else True
    if k.k is None or k.v is None:
        return mem.cached(k.cache, head, rows_of_split(k, split, mem.pos + 1))
    at = head * k.head_dim
    new_k = mem.read(k.k, at, at + k.head_dim)
    new_v = mem.read(k.v, at, at + k.head_dim)
    keys, values = mem.cached(k.cache, head, rows_of_split(k, split, mem.pos))
    if not owner:
        return keys, values
    new_k, new_v = mem.append(k.cache, head, new_k, new_v)
    return np.concatenate([keys, new_k[None]]), np.concatenate([values, new_v[None]])


def merge(group: int, top: F32, total: F32, out: F32, part: F32) -> tuple[F32, F32, F32]:
    """Joins a partial result (outputs, maxima, sums) with the running one."""
    size = out.size
    part_top, part_total = part[size : size + group], part[size + group :]
    new = np.maximum(top, part_top)
    mine, its = np.exp(top - new), np.exp(part_top - new)
    merged = out * mine[:, None] + part[:size].reshape(out.shape) * its[:, None]
    return new, total * mine + part_total * its, merged


def append(k: Append, lo: int, hi: int, mem: Memory) -> None:
    keys = mem.read(k.k, lo * k.head_dim, hi * k.head_dim).reshape(-1, k.head_dim)
    values = mem.read(k.v, lo * k.head_dim, hi * k.head_dim).reshape(-1, k.head_dim)
    for head in range(lo, hi):
        mem.append(k.cache, head, keys[head - lo], values[head - lo])


def rms_norm(k: RmsNorm, lo: int, hi: int, mem: Memory) -> None:
    a, b = k.rows(lo, hi)
    x = mem.read(k.x, 0, k.n)
    scale = np.sqrt(np.dot(x, x) / np.float32(k.n) + np.float32(k.eps))
    mem.write(k.out, a, b, x[a:b] * mem.weight(k.weight, a, b) / scale)


def rope(k: Rope, lo: int, hi: int, mem: Memory) -> None:
    half = k.head_dim // 2
    x = mem.read(k.x, lo * k.head_dim, hi * k.head_dim).reshape(-1, k.head_dim)
    cos, sin = mem.lookup(k.rope, mem.pos)
    low, high = x[:, :half], x[:, half:]
    out = np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=1)
    mem.write(k.out, lo * k.head_dim, hi * k.head_dim, out.reshape(-1))


def binary(k: Binary, lo: int, hi: int, mem: Memory) -> None:
    i, j = k.rows(lo, hi)
    a, b = mem.read(k.a, i, j), mem.read(k.b, i, j)
    mem.write(k.out, i, j, a + b if k.op == "add" else silu(a) * b)


def argmax(k: Argmax, lo: int, hi: int, mem: Memory) -> None:
    if k.pairs:
        pairs = mem.read(k.x, 0, 2 * k.n).reshape(k.n, 2)
        best = pairs[pairs[:, 0] == pairs[:, 0].max(), 1].min()
    else:
        best = mem.read(k.x, 0, k.n).argmax()
    mem.write(k.out, 0, 1, np.array([best], np.float32))


def sample(k: Sample, lo: int, hi: int, mem: Memory) -> None:
    token = draw(mem.read(k.x, 0, k.n), mem.sampling, mem.pos)
    mem.write(k.out, 0, 1, np.array([token], np.float32))


def topk(k: Topk, lo: int, hi: int, mem: Memory) -> None:
    x = mem.read(k.x, 0, k.n)
    ids = np.argsort(-x, kind="stable")[: k.choices]
    powers = np.exp(x - x[ids[0]])
    weights = powers[ids] / (powers[ids].sum() if k.normalize else powers.sum())
    mem.write(k.ids, 0, k.choices, ids.astype(np.float32))
    mem.write(k.weights, 0, k.choices, weights)


def moe_gate_up(k: MoeGateUp, lo: int, hi: int, mem: Memory) -> None:
    a, b = k.rows(lo, hi)
    first, last = a // k.width, (b - 1) // k.width
    ids = mem.read(k.ids, first, last + 1).astype(np.intp)
    x = mem.read(k.x, 0, k.k)
    if k.norm:
        x = normalize(x, mem.weight(k.norm, 0, k.k), k.eps)
    parts: list[F32] = []
    for j, expert in zip(range(first, last + 1), ids.tolist(), strict=True):
        begin, end = max(a, j * k.width), min(b, (j + 1) * k.width)
        at = (expert - j) * k.width
        y = mem.chosen(k.weight, 2 * (at + begin), 2 * (at + end)) @ x
        parts.append(np.multiply(silu(y[0::2]), y[1::2]))
    mem.write(k.out, a, b, np.concatenate(parts))


def moe_down(k: MoeDown, lo: int, hi: int, mem: Memory) -> None:
    a, b = k.rows(lo, hi)
    ids = mem.read(k.ids, 0, k.choices).astype(np.intp)
    weights = mem.read(k.weights, 0, k.choices)
    x = mem.read(k.x, 0, k.choices * k.k).reshape(k.choices, k.k)
    y = np.zeros(b - a, np.float32)
    for expert, weight, row in zip(ids.tolist(), weights, x, strict=True):
        y += weight * (mem.chosen(k.weight, expert * k.n + a, expert * k.n + b) @ row)
    if k.res_in:
        y = y + mem.read(k.res_in, a, b)
    mem.write(k.out, a, b, y)
    if k.res_out:
        mem.write(k.res_out, a, b, y)


EXECUTE: dict[type[Kernel], Callable[[Any, int, int, Memory], None]] = {
    Embed: embed,
    Gemv: gemv,
    Attention: attention,
    Append: append,
    RmsNorm: rms_norm,
    Rope: rope,
    Binary: binary,
    Argmax: argmax,
    Topk: topk,
    MoeGateUp: moe_gate_up,
    MoeDown: moe_down,
    Sample: sample,
}


def execute(kernel: Kernel, lo: int, hi: int, mem: Memory) -> None:
    """Runs tiles [lo, hi) of `kernel` on `mem`."""
    EXECUTE[type(kernel)](kernel, lo, hi, mem)
