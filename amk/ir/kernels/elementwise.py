"""Norms, and functions of one or two numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from amk.ir.kernels.base import (
    ACTIVATIONS,
    AnyAccess,
    Ref,
    RowKernel,
    Weight,
    WeightAccess,
    ceil_div,
    one_of,
    read,
    write,
)


@dataclass(frozen=True)
class Norm(RowKernel):
    """Normalization of `groups` equal parts of x, each by itself; a tile reads all of the parts
    that it has rows of.

    weight (and bias) have one element for each of x, or, if `shared`, one for each of a part, the
    same for every part. With res_in, out is the sum of it and what was normalized; res_out, if
    given, is the same in fp32.
    """

    x: Ref
    weight: Weight
    eps: float
    out: Ref
    groups: int = 1
    shared: int = 0
    res_in: Ref | None = None
    res_out: Ref | None = None

    positive: ClassVar[tuple[str, ...]] = ("n", "tile", "groups")

    @property
    def size(self) -> int:
        """Elements of a part."""
        return self.n // self.groups

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.groups > 0 and self.n % self.groups:
            yield f"n {self.n} must be a multiple of groups {self.groups}"
        if self.shared > 1:
            yield f"shared must be 0 or 1, got {self.shared}"
        if self.res_out and not self.res_in:
            yield "res_out needs 'res_in'"

    def vectors(self) -> tuple[Weight, ...]:
        """The immutable operands."""
        return (self.weight,)

    def parts(self, a: int, b: int) -> tuple[int, int]:
        """The elements of x of the parts that rows [a, b) belong to."""
        return a // self.size * self.size, ceil_div(b, self.size) * self.size

    def scaling(self, a: int, b: int) -> tuple[int, int]:
        """The elements of weight that rows [a, b) are multiplied with."""
        if not self.shared:
            return a, b
        first = a // self.size * self.size
        return (a - first, b - first) if b <= first + self.size else (0, self.size)

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        for vector in self.vectors():
            yield WeightAccess(vector, *self.scaling(a, b), False)
        yield read(self.x, *self.parts(a, b))
        if self.res_in:
            yield read(self.res_in, a, b)
        yield write(self.out, a, b)
        if self.res_out:
            yield write(self.res_out, a, b)


@dataclass(frozen=True)
class RmsNorm(Norm):
    """out = x * weight / sqrt(mean(x^2) + eps), mean over a part of x."""

    mnemonic: ClassVar[str] = "rms_norm"


@dataclass(frozen=True)
class LayerNorm(Norm):
    """out = (x - mean(x)) * weight / sqrt(mean((x - mean(x))^2) + eps) + bias, means over a part of
    x."""

    mnemonic: ClassVar[str] = "layer_norm"
    bias: Weight | None = None

    def vectors(self) -> tuple[Weight, ...]:
        return (self.weight, self.bias) if self.bias else (self.weight,)


BINARY_OPS = ("add", *(f"{kind}_mul" for kind in ACTIVATIONS))


@dataclass(frozen=True)
class Binary(RowKernel):
    """Elementwise out = a + b (add), or kind(a) * b for an activation (silu_mul and others)."""

    mnemonic: ClassVar[str] = "binary"
    op: str
    a: Ref
    b: Ref
    out: Ref

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from one_of("op", self.op, BINARY_OPS)

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield read(self.a, a, b)
        yield read(self.b, a, b)
        yield write(self.out, a, b)


UNARY_OPS = (*ACTIVATIONS, "scale", "softcap")


@dataclass(frozen=True)
class Unary(RowKernel):
    """Elementwise out = op(x) for an activation, value * x (scale), or value * tanh(x / value)
    (softcap)."""

    mnemonic: ClassVar[str] = "unary"
    op: str
    x: Ref
    out: Ref
    value: float = 1.0

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from one_of("op", self.op, UNARY_OPS)
        if self.op in ACTIVATIONS and self.value != 1.0:
            yield f"op {self.op} does not take 'value'"
        if self.op == "softcap" and not 0 < self.value < float("inf"):
            yield f"softcap must be positive, got {self.value}"

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield read(self.x, a, b)
        yield write(self.out, a, b)
