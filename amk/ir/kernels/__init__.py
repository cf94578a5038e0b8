"""Kernels: what an instruction computes, and from that alone what it reads and writes.

A kernel is a family of tiles: one frozen record that names its operands and its shape. An
instruction is a kernel and a range of its tiles. Everything that must know memory (verifiers,
interpreters, the CUDA emitter) asks `accesses`; no region is ever declared beside the kernel, so
there is no annotation that a verifier would merely believe.
"""

from __future__ import annotations

from amk.ir.kernels.attention import Append, Attention, Rope
from amk.ir.kernels.base import (
    ACTIVATIONS,
    Access,
    AnyAccess,
    Cache,
    CacheAccess,
    Kernel,
    Ref,
    RowKernel,
    Weight,
    WeightAccess,
    ceil_div,
)
from amk.ir.kernels.elementwise import Binary, LayerNorm, Norm, RmsNorm, Unary
from amk.ir.kernels.gemv import Gemv
from amk.ir.kernels.moe import MoeDown, MoeGateUp, Topk
from amk.ir.kernels.token import Argmax, Embed, Sample

KERNELS: dict[str, type[Kernel]] = {
    k.mnemonic: k
    for k in (
        Embed, Gemv, Attention, Append, RmsNorm, LayerNorm, Rope, Binary, Unary, Argmax, Sample,
        Topk, MoeGateUp, MoeDown,
    )
}  # fmt: skip

__all__ = [
    "ACTIVATIONS", "Access", "AnyAccess", "Append", "Argmax", "Attention", "Binary", "Cache",
    "CacheAccess", "Embed", "Gemv", "KERNELS", "Kernel", "LayerNorm", "MoeDown", "MoeGateUp",
    "Norm", "Ref", "RmsNorm", "Rope", "RowKernel", "Sample", "Topk", "Unary", "Weight",
    "WeightAccess", "ceil_div",
]  # fmt: skip
