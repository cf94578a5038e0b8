"""From a token to its vector, and from logits to the next token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from amk.ir.kernels.base import (
    AnyAccess,
    Kernel,
    Ref,
    RowKernel,
    Weight,
    read,
    write,
)


@dataclass(frozen=True)
class Embed(RowKernel):
    """out[i] = table[token, i] (times `multiplier`), and the same in fp32 to `res` when given."""

    mnemonic: ClassVar[str] = "embed"
    token: Ref
    table: Weight
    out: Ref
    res: Ref | None = None
    multiplier: float = 1.0

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield read(self.token, 0, 1, previous=True)
        yield write(self.out, a, b)
        if self.res:
            yield write(self.res, a, b)


@dataclass(frozen=True)
class Argmax(Kernel):
    """The next token: the index of the largest of `n` logits, the lowest such index on a tie.

    With `pairs`, x holds n pairs (value, index) left by a gemv with epilogue logits; otherwise x
    holds n logits.
    """

    mnemonic: ClassVar[str] = "argmax"
    n: int
    x: Ref
    out: Ref
    pairs: int = 0

    positive: ClassVar[tuple[str, ...]] = ("n",)

    @property
    def grid(self) -> int:
        return 1

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        yield read(self.x, 0, 2 * self.n if self.pairs else self.n)
        yield write(self.out, lo, hi)


@dataclass(frozen=True)
class Sample(Kernel):
    """The next token, drawn from `n` logits with the parameters of the launch (amk.ir.sampling);
    for temperature 0 it is that of `Argmax`."""

    mnemonic: ClassVar[str] = "sample"
    n: int
    x: Ref
    out: Ref

    positive: ClassVar[tuple[str, ...]] = ("n",)

    @property
    def grid(self) -> int:
        return 1

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        yield read(self.x, 0, self.n)
        yield write(self.out, lo, hi)
