"""Codes of norms, and of functions of one or two numbers."""

from __future__ import annotations

from amk.backends.cuda.codes.coder import Code, Coder, boolean, number
from amk.errors import AmkError
from amk.ir.kernels import ACTIVATIONS, Binary, LayerNorm, Norm, RmsNorm, Unary

MAX_KEPT = 64
"""Elements that a thread keeps of what it normalizes."""


def norm(c: Coder, name: str, k: Norm, bias: str | None) -> tuple[Code, list[int]]:
    c.whole_words(name, k, k.out)
    together = 32 if k.groups > 1 else 32 * c.layout.ring.consumers
    if k.size > MAX_KEPT * together:
        raise AmkError(
            f"kernel @{name} normalizes {k.size} elements at once, more than {MAX_KEPT * together}"
        )
    unit = c.unit(k.x)
    whole = k.x.offset % unit == 0 and k.n % unit == 0 and k.size % unit == 0
    constants = (
        ("int N", str(k.n)),
        ("int TILE", str(k.tile)),
        ("int ROWS", str(c.stage_rows(name, k) // 4)),
        ("int SIZE", str(k.size)),
        ("float EPS", number(k.eps)),
        ("bool CENTER", boolean(isinstance(k, LayerNorm))),
        ("bool SHARED", boolean(bool(k.shared))),
        ("bool BIAS", boolean(bias is not None)),
        ("bool WHOLE_UNITS", boolean(whole)),
        ("bool RES_IN", boolean(k.res_in is not None)),
        ("bool RES_OUT", boolean(k.res_out is not None)),
    )
    types = (
        ("Weight", c.weight_type(k.weight)),
        ("Bias", c.weight_type(bias)),
        ("X", c.operand(k.x)),
        ("Out", c.operand(k.out)),
        ("In", c.operand(k.res_in)),
        ("Res", c.operand(k.res_out)),
    )
    record = [
        *c.place(k.x),
        *c.place(k.out),
        c.table(k.weight),
        c.table(bias),
        *c.place(k.res_in),
        *c.place(k.res_out),
    ]
    return Code("Norm", constants, types, c.stage_rows(name, k)), record


def rms_norm(c: Coder, name: str, k: RmsNorm) -> tuple[Code, list[int]]:
    return norm(c, name, k, None)


def layer_norm(c: Coder, name: str, k: LayerNorm) -> tuple[Code, list[int]]:
    return norm(c, name, k, k.bias)


def binary(c: Coder, name: str, k: Binary) -> tuple[Code, list[int]]:
    c.whole_words(name, k, k.out)
    add = k.op == "add"
    kind = ACTIVATIONS[0] if add else k.op.removesuffix("_mul")
    constants = (
        ("int N", str(k.n)),
        ("int TILE", str(k.tile)),
        ("bool ADD", boolean(add)),
        ("Activation KIND", kind.upper()),
    )
    types = (
        ("A", c.operand(k.a)),
        ("B", c.operand(k.b)),
        ("Out", c.operand(k.out)),
    )
    record = [*c.place(k.a), *c.place(k.b), *c.place(k.out)]
    return Code("Binary", constants, types, c.stage_rows(name, k)), record


def unary(c: Coder, name: str, k: Unary) -> tuple[Code, list[int]]:
    c.whole_words(name, k, k.out)
    constants = (
        ("int N", str(k.n)),
        ("int TILE", str(k.tile)),
        ("UnaryOp OP", "ACTIVATE" if k.op in ACTIVATIONS else k.op.upper()),
        ("Activation KIND", (k.op if k.op in ACTIVATIONS else ACTIVATIONS[0]).upper()),
        ("float VALUE", number(k.value)),
    )
    types = (("X", c.operand(k.x)), ("Out", c.operand(k.out)))
    record = [*c.place(k.x), *c.place(k.out)]
    return Code("Unary", constants, types, c.stage_rows(name, k)), record
