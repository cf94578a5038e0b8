"""What each kernel computes, in numpy: float32 arithmetic, one rounding where a buffer is written.

A kernel function sees memory only through `Memory`, so the same code runs in the fast interpreters
and under shadow memory, where every element that it touches is compared with `Kernel.accesses`. It
reads everything before it writes anything, as an instruction does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from amk.interpreters.decoder import scores
from amk.ir.kernels import (
    Append,
    Argmax,
    Attention,
    Binary,
    Embed,
    Gemv,
    Kernel,
    LayerNorm,
    MoeDown,
    MoeGateUp,
    Norm,
    Ref,
    RmsNorm,
    Rope,
    Sample,
    Topk,
    Unary,
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


def gelu(x: F32) -> F32:
    """x * Phi(x), with the error function of the C library in double precision."""
    erf = np.array([math.erf(v) for v in (x.astype(np.float64) * math.sqrt(0.5)).tolist()])
    return np.multiply(x, 0.5 + 0.5 * erf.astype(np.float32), dtype=np.float32)


def gelu_tanh(x: F32) -> F32:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (1 + np.tanh(inner))


def quick_gelu(x: F32) -> F32:
    return np.divide(silu(np.float32(1.702) * x), np.float32(1.702))


def relu(x: F32) -> F32:
    return np.maximum(x, np.float32(0))


def relu2(x: F32) -> F32:
    return np.square(relu(x))


ACTIVATE: dict[str, Callable[[F32], F32]] = {
    "silu": silu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "relu": relu,
    "relu2": relu2,
}
"""The functions of `amk.ir.kernels.ACTIVATIONS`."""


def capped(x: F32, cap: float) -> F32:
    """cap * tanh(x / cap); x if cap is 0."""
    return np.float32(cap) * np.tanh(x / np.float32(cap)) if cap else x


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
    if k.scale != 1.0:
        y = y * np.float32(k.scale)
    if k.epilogue == "rope":
        assert k.rope
        turn(k, a, y, mem.lookup(k.rope, mem.pos))
    if k.epilogue == "gated":
        mem.write(k.out, a // 2, b // 2, np.multiply(ACTIVATE[k.kind](y[0::2]), y[1::2]))
        return
    if k.epilogue == "activation":
        y = ACTIVATE[k.kind](y)
    y = capped(y, k.softcap)
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
    turning = pair < (k.rotary or k.head_dim) // 2
    at = 2 * np.flatnonzero(turning)
    cos, sin = table[0, pair[turning]], table[1, pair[turning]]
    even, odd = y[at], y[at + 1]
    y[at] = even * cos - odd * sin
    y[at + 1] = odd * cos + even * sin


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


def rows_of_split(k: Attention, split: int, pos: int, end: int) -> Rows:
    """Rows r < end of the window at `pos` with (r // chunk) % splits == split."""
    begin = max(0, pos + 1 - k.window) if k.window else 0
    if k.splits == 1:
        return slice(begin, max(begin, end))
    if end <= k.chunk * k.splits:
        first, last = split * k.chunk, min(end, (split + 1) * k.chunk)
        return slice(max(begin, first), max(begin, first, last))
    rows = np.arange(begin, end)
    return rows[(rows // k.chunk) % k.splits == split]


NEVER = -1e30
"""The largest score of no rows: below any other, and its exponential is 0."""


def attention(k: Attention, lo: int, hi: int, mem: Memory) -> None:
    writes: list[tuple[Ref, int, F32]] = []
    width, size = k.group * k.head_dim, k.part_size
    for tile in range(lo, hi):
        g, s = divmod(tile, k.splits)
        if mem.pos < s * k.chunk:
            continue
        q = mem.read(k.q, g * width, (g + 1) * width).reshape(k.group, k.head_dim)
        q = prepared(k, q, k.q_norm, mem)
        keys, values = attended(k, g, s, mem)
        scores = capped(np.float32(k.scale) * (q @ keys.T), k.softcap)
        top = scores.max(axis=1, initial=NEVER)
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
        if k.sinks:
            sinks = mem.weight(k.sinks, g * k.group, (g + 1) * k.group)
            rest = np.concatenate(
                [np.zeros(width, np.float32), sinks, np.ones(k.group, np.float32)]
            )
            top, total, out = merge(k.group, top, total, out, rest)
        writes.append((k.out, g * width, (out / total[:, None]).reshape(-1)))
    for ref, at, value in writes:
        mem.write(ref, at, at + value.size, value)


def prepared(k: Attention, heads: F32, norm: str | None, mem: Memory) -> F32:
    """Heads [n, head_dim] of q or k, normalized and rotated if the kernel does that."""
    if norm:
        weight = mem.weight(norm, 0, k.head_dim)
        if k.halves:
            half = (k.rotary or k.head_dim) // 2
            pairs = np.stack([weight[:half], weight[half : 2 * half]], axis=1)
            weight = np.concatenate([pairs.reshape(-1), weight[2 * half :]])
        heads = np.stack([normalize(head, weight, k.eps) for head in heads])
    if k.rope:
        cos, sin = mem.lookup(k.rope, mem.pos)
        rotary = k.rotary or k.head_dim
        even, odd = heads[:, 0:rotary:2], heads[:, 1:rotary:2]
        heads = heads.copy()
        heads[:, 0:rotary:2], heads[:, 1:rotary:2] = (
            even * cos - odd * sin,
            odd * cos + even * sin,
        )
    return heads


def attended(k: Attention, head: int, split: int, mem: Memory) -> tuple[F32, F32]:
    """Keys and values of one tile; a row that the tile appends does not come from the cache."""
    owner = (mem.pos // k.chunk) % k.splits == split if k.splits > 1 else True
    if k.k is None or k.v is None:
        return mem.cached(k.cache, head, rows_of_split(k, split, mem.pos, mem.pos + 1))
    at = head * k.head_dim
    new_k = mem.read(k.k, at, at + k.head_dim)
    new_v = mem.read(k.v, at, at + k.head_dim)
    new_k = prepared(k, new_k[None], k.k_norm, mem)[0]
    keys, values = mem.cached(k.cache, head, rows_of_split(k, split, mem.pos, mem.pos))
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


def norm(k: Norm, lo: int, hi: int, mem: Memory) -> None:
    a, b = k.rows(lo, hi)
    first, last = k.parts(a, b)
    parts = mem.read(k.x, first, last).reshape(-1, k.size)
    if isinstance(k, LayerNorm):
        parts = parts - parts.mean(axis=1, keepdims=True)
    means = np.einsum("gi,gi->g", parts, parts)[:, None] / np.float32(k.size)
    y = (parts / np.sqrt(means + np.float32(k.eps))).reshape(-1)[a - first : b - first]
    y = y * spread(k, a, b, mem, k.weight)
    if isinstance(k, LayerNorm) and k.bias:
        y = y + spread(k, a, b, mem, k.bias)
    if k.res_in:
        y = y + mem.read(k.res_in, a, b)
    mem.write(k.out, a, b, y)
    if k.res_out:
        mem.write(k.res_out, a, b, y)


def spread(k: Norm, a: int, b: int, mem: Memory, name: str) -> F32:
    """The element of a weight for each of rows [a, b)."""
    lo, hi = k.scaling(a, b)
    values = mem.weight(name, lo, hi)
    return values[np.arange(a, b) % k.size - lo] if k.shared else values


def rope(k: Rope, lo: int, hi: int, mem: Memory) -> None:
    x = mem.read(k.x, lo * k.head_dim, hi * k.head_dim).reshape(-1, k.head_dim)
    cos, sin = mem.lookup(k.rope, mem.pos)
    rotary = k.rotary or k.head_dim
    first = np.arange(0, rotary, 2) if k.interleaved else np.arange(rotary // 2)
    second = first + (1 if k.interleaved else rotary // 2)
    out = x.copy()
    out[:, first] = x[:, first] * cos - x[:, second] * sin
    out[:, second] = x[:, second] * cos + x[:, first] * sin
    mem.write(k.out, lo * k.head_dim, hi * k.head_dim, out.reshape(-1))


def binary(k: Binary, lo: int, hi: int, mem: Memory) -> None:
    i, j = k.rows(lo, hi)
    a, b = mem.read(k.a, i, j), mem.read(k.b, i, j)
    kind = k.op.removesuffix("_mul")
    mem.write(k.out, i, j, a + b if k.op == "add" else ACTIVATE[kind](a) * b)


def unary(k: Unary, lo: int, hi: int, mem: Memory) -> None:
    i, j = k.rows(lo, hi)
    x = mem.read(k.x, i, j)
    if k.op == "scale":
        y = x * np.float32(k.value)
    else:
        y = capped(x, k.value) if k.op == "softcap" else ACTIVATE[k.op](x)
    mem.write(k.out, i, j, y)


def argmax(k: Argmax, lo: int, hi: int, mem: Memory) -> None:
    if k.pairs:
        pairs = mem.read(k.x, 0, 2 * k.n).reshape(k.n, 2)
        best = pairs[pairs[:, 0] == scores(pairs[:, 0]).max(), 1].min()
    else:
        best = scores(mem.read(k.x, 0, k.n)).argmax()
    mem.write(k.out, 0, 1, np.array([best], np.float32))


def sample(k: Sample, lo: int, hi: int, mem: Memory) -> None:
    token = draw(scores(mem.read(k.x, 0, k.n)), mem.sampling, mem.pos)
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
        rows = 2 * (at + begin), 2 * (at + end)
        y = mem.chosen(k.weight, *rows) @ x
        if k.bias:
            y = y + mem.chosen(k.bias, *rows)
        gate, up = y[0::2], y[1::2]
        if k.limit:
            alpha, limit = np.float32(k.alpha), np.float32(k.limit)
            gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
            power = np.exp(-np.maximum(alpha * gate, np.float32(-80)))
            parts.append(np.divide(gate, 1 + power) * (up + np.float32(1)))
        else:
            parts.append(np.multiply(silu(gate), up))
    mem.write(k.out, a, b, np.concatenate(parts))


def moe_down(k: MoeDown, lo: int, hi: int, mem: Memory) -> None:
    a, b = k.rows(lo, hi)
    ids = mem.read(k.ids, 0, k.choices).astype(np.intp)
    weights = mem.read(k.weights, 0, k.choices)
    x = mem.read(k.x, 0, k.choices * k.k).reshape(k.choices, k.k)
    y = np.zeros(b - a, np.float32)
    for expert, weight, row in zip(ids.tolist(), weights, x, strict=True):
        rows = expert * k.n + a, expert * k.n + b
        made = mem.chosen(k.weight, *rows) @ row
        y += weight * (made + mem.chosen(k.bias, *rows) if k.bias else made)
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
    RmsNorm: norm,
    LayerNorm: norm,
    Rope: rope,
    Binary: binary,
    Unary: unary,
    Argmax: argmax,
    Topk: topk,
    MoeGateUp: moe_gate_up,
    MoeDown: moe_down,
    Sample: sample,
}


def execute(kernel: Kernel, lo: int, hi: int, mem: Memory) -> None:
    """Runs tiles [lo, hi) of `kernel` on `mem`."""
    EXECUTE[type(kernel)](kernel, lo, hi, mem)
