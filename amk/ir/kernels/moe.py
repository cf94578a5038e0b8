"""Mixtures of experts: the router and the two halves of the MLP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from amk.ir.kernels.base import (
    LIMIT,
    AnyAccess,
    Kernel,
    Ref,
    RowKernel,
    Weight,
    WeightAccess,
    ceil_div,
    read,
    write,
)


@dataclass(frozen=True)
class Topk(Kernel):
    """The router of a mixture of experts: the `choices` largest of n logits, in falling order, the
    lowest index first on a tie.

    weights[j] = softmax(x)[ids[j]] over all n logits; with `normalize`, divided by the sum of the
    chosen ones (which is softmax over the chosen logits alone). One tile.
    """

    mnemonic: ClassVar[str] = "topk"
    n: int
    choices: int
    x: Ref
    ids: Ref
    weights: Ref
    normalize: int = 0

    positive: ClassVar[tuple[str, ...]] = ("n", "choices")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.choices > self.n:
            yield f"choices {self.choices} must not exceed n {self.n}"

    @property
    def grid(self) -> int:
        return 1

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        yield read(self.x, 0, self.n)
        yield write(self.ids, 0, self.choices)
        yield write(self.weights, 0, self.choices)


@dataclass(frozen=True)
class MoeGateUp(RowKernel):
    """The gated half of the MLP of every chosen expert, laid out by choice: with width = n /
    choices, results j * width + i are silu(y[2i]) * y[2i+1], where y = W x' + b, W are rows [e *
    2 * width, (e + 1) * 2 * width) of `weight`, b these elements of `bias` (or zero), e = ids[j].
    x' is x, normalized if `norm` is given.

    With a `limit` L, gate y[2i] is at most L and up y[2i+1] within -L and L, and the result is
    gate * sigmoid(alpha * gate) * (up + 1).

    No region of a buffer depends on the ids. Rows of the weight do: those of all experts are
    claimed.
    """

    mnemonic: ClassVar[str] = "moe_gate_up"
    k: int
    choices: int
    experts: int
    weight: Weight
    ids: Ref
    x: Ref
    out: Ref
    norm: Weight | None = None
    eps: float = 0.0
    bias: Weight | None = None
    alpha: float = 0.0
    limit: float = 0.0

    positive: ClassVar[tuple[str, ...]] = ("n", "tile", "k", "choices", "experts")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if not 0 <= self.limit < float("inf"):
            yield f"limit must be positive, got {self.limit}"
        if self.alpha and not self.limit:
            yield "alpha needs 'limit'"
        if self.choices > 0 and self.n % self.choices:
            yield f"n {self.n} must be a multiple of choices {self.choices}"
        if 2 * self.experts * self.n >= LIMIT:
            yield f"{self.experts} experts of {self.n} rows are too many"

    @property
    def width(self) -> int:
        """Results of one expert."""
        return self.n // self.choices

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield WeightAccess(self.weight, 0, self.experts * 2 * self.width, False, True)
        if self.bias:
            yield WeightAccess(self.bias, 0, self.experts * 2 * self.width, False, True)
        if self.norm:
            yield WeightAccess(self.norm, 0, self.k, False)
        yield read(self.ids, a // self.width, ceil_div(b, self.width))
        yield read(self.x, 0, self.k)
        yield write(self.out, a, b)


@dataclass(frozen=True)
class MoeDown(RowKernel):
    """The other half: out[i] = sum over choices j of weights[j] * (W_e x_j + b_e)[i] + res_in[i],
    where W_e are rows [e * n, (e + 1) * n) of `weight`, b_e these elements of `bias` (or zero), e =
    ids[j], and x_j is x[j * k to (j + 1) * k]. Without res_in nothing is added; res_out, if given,
    is the same in fp32.

    What is read of buffers does not depend on the ids: every choice is read, whoever made it.
    """

    mnemonic: ClassVar[str] = "moe_down"
    k: int
    choices: int
    experts: int
    weight: Weight
    ids: Ref
    weights: Ref
    x: Ref
    out: Ref
    res_in: Ref | None = None
    res_out: Ref | None = None
    bias: Weight | None = None

    positive: ClassVar[tuple[str, ...]] = ("n", "tile", "k", "choices", "experts")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.experts * self.n >= LIMIT:
            yield f"{self.experts} experts of {self.n} rows are too many"
        if self.res_out and not self.res_in:
            yield "res_out needs 'res_in'"

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield WeightAccess(self.weight, 0, self.experts * self.n, False, True)
        if self.bias:
            yield WeightAccess(self.bias, 0, self.experts * self.n, False, True)
        yield read(self.ids, 0, self.choices)
        yield read(self.weights, 0, self.choices)
        yield read(self.x, 0, self.choices * self.k)
        if self.res_in:
            yield read(self.res_in, a, b)
        yield write(self.out, a, b)
        if self.res_out:
            yield write(self.res_out, a, b)
