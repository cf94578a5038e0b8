"""Attention, and what leads to it: rotation, and rows for the KV cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from amk.ir.kernels.base import (
    LIMIT,
    AnyAccess,
    Cache,
    CacheAccess,
    Kernel,
    Ref,
    Weight,
    WeightAccess,
    not_negative,
    read,
    rotary_problems,
    write,
)


@dataclass(frozen=True)
class Attention(Kernel):
    """softmax(scale * q K^T) V over rows [0, pos] of a KV cache, cut into `splits`
    (flash-decoding).

    Tile g * splits + s serves the query heads of KV head g over the rows r with (r // chunk) %
    splits == s. It does nothing while pos < s * chunk. When k and v are given, the tile that owns
    row pos also appends it. Split 0 merges the partial results (running maximum, sum, and
    unnormalized output of each query head) of all other active splits.

    window   only rows above pos - window count; a split without such a row leaves a sum of 0
    softcap  a score s counts as softcap * tanh(s / softcap)
    sinks    query head h has one more score, sinks[h], of a row of zeros
    q_norm   first every head of q is normalized: q * q_norm / sqrt(mean(q^2) + eps); and the row of
    k that is appended, alike, with k_norm
    rope     next both are rotated in pairs (2i, 2i+1) by the step's position; of each head the
    first `rotary` elements, all if 0
    halves   q and k hold elements i and i + rotary / 2 of a head as (2i, 2i+1); q_norm and k_norm
    do not
    """

    mnemonic: ClassVar[str] = "attention"
    heads: int
    kv_heads: int
    head_dim: int
    q: Ref
    out: Ref
    cache: Cache
    scale: float
    k: Ref | None = None
    v: Ref | None = None
    splits: int = 1
    chunk: int = 0
    part: Ref | None = None
    window: int = 0
    softcap: float = 0.0
    sinks: Weight | None = None
    q_norm: Weight | None = None
    k_norm: Weight | None = None
    eps: float = 0.0
    rope: Weight | None = None
    rotary: int = 0
    halves: int = 0

    positive: ClassVar[tuple[str, ...]] = ("heads", "kv_heads", "head_dim", "splits")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.kv_heads > 0 and self.heads % self.kv_heads:
            yield f"heads {self.heads} must be a multiple of kv_heads {self.kv_heads}"
        if (self.k is None) != (self.v is None):
            yield "k and v are given together or not at all"
        if self.splits > 1 and (self.part is None or self.chunk <= 0):
            yield f"{self.splits} splits need 'part' and a positive 'chunk'"
        if self.splits * self.chunk >= LIMIT:
            yield f"{self.splits} splits of chunks of {self.chunk} rows are too many"
        yield from not_negative("softcap", self.softcap)
        if (self.q_norm is None) != (self.k_norm is None):
            yield "q_norm and k_norm are given together or not at all"
        if (self.q_norm or self.rope) and not self.k:
            yield "norms and rope need 'k' and 'v': rows of the cache have been through them"
        if self.rope:
            yield from rotary_problems(self.head_dim, self.rotary)
        elif self.rotary or self.halves:
            yield "rotary and halves need 'rope'"
        if self.halves > 1:
            yield f"halves must be 0 or 1, got {self.halves}"

    @property
    def grid(self) -> int:
        return self.kv_heads * self.splits

    @property
    def group(self) -> int:
        """Query heads that share one KV head."""
        return self.heads // self.kv_heads

    @property
    def part_size(self) -> int:
        """fp32 elements of one partial result: group x head_dim outputs, then group maxima, then
        group sums."""
        return self.group * (self.head_dim + 2)

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        writes: list[AnyAccess] = []
        width = self.group * self.head_dim
        for tile in range(lo, hi):
            g, s = divmod(tile, self.splits)
            since = s * self.chunk
            for norm in (self.q_norm, self.k_norm):
                if norm:
                    yield WeightAccess(norm, 0, self.head_dim, False, since=since)
            yield read(self.q, g * width, (g + 1) * width, since)
            for ref in (self.k, self.v):
                if ref:
                    yield read(ref, g * self.head_dim, (g + 1) * self.head_dim, since)
            rows = (self.chunk, self.splits, s) if self.splits > 1 else (0, 1, 0)
            yield CacheAccess(self.cache, g, g + 1, False, *rows, bulk=True, window=self.window)
            if self.k:
                writes.append(CacheAccess(self.cache, g, g + 1, True, *rows))
            if s == 0:
                if self.sinks:
                    yield WeightAccess(self.sinks, g * self.group, (g + 1) * self.group, False)
                for other in range(1, self.splits):
                    assert self.part
                    at = (g * (self.splits - 1) + other - 1) * self.part_size
                    yield read(self.part, at, at + self.part_size, other * self.chunk)
                writes.append(write(self.out, g * width, (g + 1) * width))
            else:
                assert self.part
                at = (g * (self.splits - 1) + s - 1) * self.part_size
                writes.append(write(self.part, at, at + self.part_size, since))
        yield from writes


@dataclass(frozen=True)
class Append(Kernel):
    """Row pos of a KV cache = (k, v). One tile per KV head."""

    mnemonic: ClassVar[str] = "append"
    kv_heads: int
    head_dim: int
    k: Ref
    v: Ref
    cache: Cache

    positive: ClassVar[tuple[str, ...]] = ("kv_heads", "head_dim")

    @property
    def grid(self) -> int:
        return self.kv_heads

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        yield read(self.k, lo * self.head_dim, hi * self.head_dim)
        yield read(self.v, lo * self.head_dim, hi * self.head_dim)
        yield CacheAccess(self.cache, lo, hi, True)


@dataclass(frozen=True)
class Rope(Kernel):
    """Rotary embedding of whole heads by the step's position. One tile per head.

    Of each head the first `rotary` elements (all if 0) are rotated, the others copied. Pairs are
    (i, i + rotary / 2), or neighbors (2i, 2i + 1) if `interleaved`.
    """

    mnemonic: ClassVar[str] = "rope"
    heads: int
    head_dim: int
    x: Ref
    rope: Weight
    out: Ref
    rotary: int = 0
    interleaved: int = 0

    positive: ClassVar[tuple[str, ...]] = ("heads", "head_dim")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from rotary_problems(self.head_dim, self.rotary)
        if self.interleaved > 1:
            yield f"interleaved must be 0 or 1, got {self.interleaved}"

    @property
    def grid(self) -> int:
        return self.heads

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        yield read(self.x, lo * self.head_dim, hi * self.head_dim)
        yield write(self.out, lo * self.head_dim, hi * self.head_dim)
