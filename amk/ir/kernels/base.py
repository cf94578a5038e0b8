"""The parts that kernels are made of: operands, what an access is, and the classes that all
kernels extend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple


@dataclass(frozen=True, slots=True)
class Ref:
    """A place in a buffer: element `offset` of the `use`-th value that the buffer holds within one
    step.

    `use` is 0 until buffers are placed; a physical buffer with n uses holds n values in turn during
    one step.
    """

    buffer: str
    offset: int = 0
    use: int = 0

    def __str__(self) -> str:
        return (
            f"@{self.buffer}"
            + (f"+{self.offset}" if self.offset else "")
            + (f"#{self.use}" if self.use else "")
        )


class Access(NamedTuple):
    """Elements [lo, hi) of one value of a buffer, touched by an instruction in every step with
    position >= `since`."""

    buffer: str
    use: int
    lo: int
    hi: int
    write: bool
    since: int = 0
    previous: bool = False
    """The value is the one written in the step before (a read only)."""


class CacheAccess(NamedTuple):
    """Rows of a KV cache, for heads [lo, hi): row `pos` (a write), or rows [0, pos] (a read), where
    pos is the step's position. Only rows r with (r // chunk) % splits == split are touched; `chunk`
    0 means all rows. A read with a `window` touches rows above pos - window only.

    The safety of a read is a question of row pos, which is in every window, and of rows that no
    step writes again; so verifiers need not look at `window`.
    """

    cache: str
    lo: int
    hi: int
    write: bool
    chunk: int = 0
    splits: int = 1
    split: int = 0
    bulk: bool = False
    """A read by bulk copies, of all rows but one that the same instruction writes."""
    window: int = 0


class WeightAccess(NamedTuple):
    """Rows [lo, hi) of an immutable matrix or elements [lo, hi) of an immutable vector, read at any
    time."""

    weight: str
    lo: int
    hi: int
    streamed: bool
    """Fetched through the shared-memory ring, ahead of every wait."""
    by_data: bool = False
    """Which of these rows are read is decided by data: any of them may be, whatever the step."""
    since: int = 0
    """Position from which on they are read."""


AnyAccess = Access | CacheAccess | WeightAccess

LIMIT = 1 << 31
"""Sizes and counts of a kernel are below this, so that products of two fit 64 bits."""


MOST = (2 - 2**-23) * 2.0**127
"""The largest number of fp32."""


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class Kernel:
    """Base of all kernels. Field types tell what a field is: `Ref` an operand in a buffer, `Weight`
    a symbol of an immutable tensor, `Cache` a symbol of a KV cache, `int`, `float` and `str` a
    constant of the shape."""

    mnemonic: ClassVar[str]

    @property
    def grid(self) -> int:
        """Number of tiles."""
        raise NotImplementedError

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        """What an instruction that runs tiles [lo, hi) touches: reads first, then writes.

        Reads complete before the first write of the same instruction becomes visible.
        """
        raise NotImplementedError

    def problems(self) -> Iterator[str]:
        """Why this record is no valid kernel, one line each."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in self.positive and not value > 0:
                yield f"{f.name} must be positive, got {value}"
            elif isinstance(value, int) and not 0 <= value < LIMIT:
                yield f"{f.name} must be from 0 to {LIMIT - 1}, got {value}"
            elif isinstance(value, float) and not abs(value) <= MOST:
                yield f"{f.name} must be a number of fp32, got {value}"

    positive: ClassVar[tuple[str, ...]] = ("n", "tile")


class Weight(str):
    """Symbol of an immutable tensor."""


class Cache(str):
    """Symbol of a KV cache."""


def read(ref: Ref, lo: int, hi: int, since: int = 0, previous: bool = False) -> Access:
    return Access(ref.buffer, ref.use, ref.offset + lo, ref.offset + hi, False, since, previous)


def write(ref: Ref, lo: int, hi: int, since: int = 0) -> Access:
    return Access(ref.buffer, ref.use, ref.offset + lo, ref.offset + hi, True, since)


@dataclass(frozen=True)
class RowKernel(Kernel):
    """A kernel whose grid cuts `n` output rows into tiles of `tile` rows; the last tile may be
    short."""

    n: int
    tile: int

    @property
    def grid(self) -> int:
        return ceil_div(self.n, self.tile) if self.tile > 0 and self.n > 0 else 0

    def rows(self, lo: int, hi: int) -> tuple[int, int]:
        """Rows of tiles [lo, hi). Only the grid's last tile is short: a range past the grid stays
        out of bounds."""
        end = hi * self.tile
        return lo * self.tile, self.n if hi == self.grid else end


def one_of(name: str, value: str, known: tuple[str, ...]) -> Iterator[str]:
    if value not in known:
        yield f"{name} must be one of {', '.join(known)}, got '{value}'"


def not_negative(name: str, value: float) -> Iterator[str]:
    """Not NaN or infinite either."""
    if not 0 <= value < float("inf"):
        yield f"{name} must not be negative, got {value}"


def rotary_problems(head_dim: int, rotary: int) -> Iterator[str]:
    """Elements of a head that are rotated in pairs: `rotary`, or all of `head_dim` if 0."""
    if rotary > head_dim:
        yield f"rotary must be at most head_dim {head_dim}, got {rotary}"
    for name, size in (("head_dim", head_dim), ("rotary", rotary)):
        if size % 2:
            yield f"{name} must be even, got {size}"


ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "relu2")
"""Nonlinear functions of one number: x * sigmoid(x); x * Phi(x) with Phi the normal distribution;
the same with Phi approximated by tanh, or by sigmoid; max(x, 0); max(x, 0)^2."""
