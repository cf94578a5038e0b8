"""A matrix times a vector, with what is fused before and behind it."""

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
    not_negative,
    one_of,
    read,
    rotary_problems,
    write,
)

EXACT = 1 << 24
"""Integers up to here are exact in fp32."""
EPILOGUES = ("none", "rope", "activation", "gated", "residual", "logits")


@dataclass(frozen=True)
class Gemv(RowKernel):
    """y = W x: `n` rows of `weight`, `k` columns, with what was fused before and after it.

    prologue   `norm`: x is replaced by x * norm / sqrt(mean(x^2) + eps)
    scale      y is multiplied by it, the bias included
    epilogue   none        out[i] = y[i]
               rope        rows below (heads + kv_heads) * head_dim are rotated in pairs (2i, 2i+1)
               by the step's position; of each head the first `rotary` rows, all if 0
               activation  out[i] = kind(y[i])
               gated       out[i] = kind(y[2i]) * y[2i+1]: n rows give n / 2 outputs
               residual    out[i] = y[i] + res_in[i]; res_out[i], if given, = the same in fp32
               logits      out[i] = y[i], or softcap * tanh(y[i] / softcap); per tile t the pair
               (largest out, its row) to cand[2t], cand[2t+1]
    """

    mnemonic: ClassVar[str] = "gemv"
    k: int
    weight: Weight
    x: Ref
    out: Ref
    norm: Weight | None = None
    eps: float = 0.0
    bias: Weight | None = None
    epilogue: str = "none"
    rope: Weight | None = None
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    res_in: Ref | None = None
    res_out: Ref | None = None
    cand: Ref | None = None
    scale: float = 1.0
    kind: str = ""
    rotary: int = 0
    softcap: float = 0.0

    positive: ClassVar[tuple[str, ...]] = ("n", "tile", "k")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.epilogue not in EPILOGUES:
            yield f"epilogue must be one of {', '.join(EPILOGUES)}, got '{self.epilogue}'"
        needs = {
            "rope": ("rope", "heads", "kv_heads", "head_dim"),
            "residual": ("res_in",),
            "logits": ("cand",),
        }
        for epilogue, names in needs.items():
            for name in names:
                if bool(getattr(self, name)) != (epilogue == self.epilogue):
                    what = "needs" if epilogue == self.epilogue else "does not take"
                    yield f"epilogue {self.epilogue} {what} '{name}'"
        for epilogue, name in (("residual", "res_out"), ("rope", "rotary"), ("logits", "softcap")):
            if getattr(self, name) and self.epilogue != epilogue:
                yield f"epilogue {self.epilogue} does not take '{name}'"
        if self.epilogue in ("activation", "gated"):
            yield from one_of("kind", self.kind, ACTIVATIONS)
        elif self.kind:
            yield f"epilogue {self.epilogue} does not take 'kind'"
        yield from not_negative("softcap", self.softcap)
        if self.cand and self.n > EXACT:
            yield f"rows of candidates are exact in fp32 up to {EXACT}, got n {self.n}"
        if self.epilogue in ("rope", "gated") and (self.tile % 2 or self.n % 2):
            odd = f"n {self.n} and tile {self.tile}"
            yield f"epilogue {self.epilogue} pairs rows: {odd} must be even"
        if self.epilogue == "rope":
            yield from rotary_problems(self.head_dim, self.rotary)
            if self.n != (self.heads + 2 * self.kv_heads) * self.head_dim:
                yield f"n must be (heads + 2 * kv_heads) * head_dim, got {self.n}"

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield WeightAccess(self.weight, a, b, True)
        if self.norm:
            yield WeightAccess(self.norm, 0, self.k, False)
        if self.bias:
            yield WeightAccess(self.bias, a, b, False)
        yield read(self.x, 0, self.k)
        if self.res_in:
            yield read(self.res_in, a, b)
        if self.epilogue == "gated":
            yield write(self.out, a // 2, b // 2)
        else:
            yield write(self.out, a, b)
        if self.res_out:
            yield write(self.res_out, a, b)
        if self.cand:
            yield write(self.cand, 2 * lo, 2 * hi)
