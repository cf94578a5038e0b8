"""Kernels as the CUDA source sees them: constants of a template, operands of one kernel.

Kernels of equal shape (the same operator of every layer) share a *code*: one struct of compile-time
constants, one instantiation of the template in `kernels/<mnemonic>.cuh`. What differs between them
(buffers, weights, caches) is the kernel's record of operands: numbers that the instruction finds at
run time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amk.backends.cuda.codes.attention import append, attention, rope
from amk.backends.cuda.codes.coder import FIELDS, Code, Coder, Ending, boolean
from amk.backends.cuda.codes.elementwise import binary, layer_norm, rms_norm, unary
from amk.backends.cuda.codes.gemv import gemv
from amk.backends.cuda.codes.moe import moe_down, moe_gate_up, topk
from amk.backends.cuda.codes.token import argmax, embed, sample
from amk.errors import AmkError
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
    RmsNorm,
    Rope,
    Sample,
    Topk,
    Unary,
)

CODES: dict[type[Kernel], Callable[[Coder, str, Any], tuple[Code, list[int]]]] = {
    Embed: embed,
    Gemv: gemv,
    Attention: attention,
    Append: append,
    RmsNorm: rms_norm,
    LayerNorm: layer_norm,
    Rope: rope,
    Binary: binary,
    Unary: unary,
    Argmax: argmax,
    Sample: sample,
    Topk: topk,
    MoeGateUp: moe_gate_up,
    MoeDown: moe_down,
}


def code_of(coder: Coder, name: str) -> tuple[Code, list[int]]:
    """The code of kernel `name` and its record (without the code's number)."""
    kernel = coder.program.kernels[name]
    write = CODES.get(type(kernel))
    if write is None:
        raise AmkError(f"kernel @{name}: no CUDA template for '{kernel.mnemonic}'")
    code, record = write(coder, name, kernel)
    assert len(record) < FIELDS
    return code, record


__all__ = ["CODES", "FIELDS", "Code", "Coder", "Ending", "boolean", "code_of"]
