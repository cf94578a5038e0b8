"""Codes of mixtures of experts."""

from __future__ import annotations

from amk.backends.cuda.codes.coder import CTYPES, Code, Coder, boolean, number
from amk.backends.cuda.layout import ALIGN, weight
from amk.errors import AmkError
from amk.ir.kernels import MoeDown, MoeGateUp, Topk
from amk.ir.program import DTYPES

MAX_LOGITS, MAX_CHOICES = 1024, 32
"""Experts that a router of one warp tells apart, and how many it may choose."""


def topk(c: Coder, name: str, k: Topk) -> tuple[Code, list[int]]:
    if k.n > MAX_LOGITS:
        raise AmkError(f"kernel @{name}: {k.n} logits of experts are more than {MAX_LOGITS}")
    if k.choices > MAX_CHOICES:
        raise AmkError(f"kernel @{name}: {k.choices} choices are more than {MAX_CHOICES}")
    constants = (
        ("int N", str(k.n)),
        ("int CHOICES", str(k.choices)),
        ("bool NORMALIZE", boolean(bool(k.normalize))),
    )
    types = (
        ("X", c.operand(k.x)),
        ("Ids", c.operand(k.ids)),
        ("Weights", c.operand(k.weights)),
    )
    record = [*c.place(k.x), *c.place(k.ids), *c.place(k.weights)]
    return Code("Topk", constants, types, 0), record


def experts(
    c: Coder, name: str, k: MoeGateUp | MoeDown
) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[int]]:
    """Constants, types and first fields that both halves of an expert MLP have."""
    element = weight(c.program, k.weight).dtype
    unit = 16 // DTYPES[element]
    if k.k % unit:
        raise AmkError(f"kernel @{name}: k must be a multiple of {unit}, got {k.k}")
    if k.choices > MAX_CHOICES:
        raise AmkError(f"kernel @{name}: {k.choices} choices are more than {MAX_CHOICES}")
    c.whole_units(name, k.x, k.k)
    c.whole_words(name, k, k.out)
    constants = [
        ("int N", str(k.n)),
        ("int TILE", str(k.tile)),
        ("int K", str(k.k)),
        ("int CHOICES", str(k.choices)),
        ("int EXPERTS", str(k.experts)),
        ("bool BIAS", boolean(k.bias is not None)),
    ]
    types = [
        ("Weight", CTYPES[element]),
        ("X", c.operand(k.x)),
        ("Ids", c.operand(k.ids)),
        ("Out", c.operand(k.out)),
        ("Bias", c.weight_type(k.bias)),
    ]
    matrix = c.layout.fixed.regions[k.weight].at // ALIGN
    places = [*c.place(k.x), *c.place(k.out), *c.place(k.ids)]
    return constants, types, [*places, matrix, c.table(k.bias)]


def moe_gate_up(c: Coder, name: str, k: MoeGateUp) -> tuple[Code, list[int]]:
    constants, types, record = experts(c, name, k)
    constants += [
        ("int WIDTH", str(k.width)),
        ("float EPS", number(k.eps)),
        ("bool NORM", boolean(k.norm is not None)),
        ("float ALPHA", number(k.alpha)),
        ("float LIMIT", number(k.limit)),
    ]
    types += [("Norm", c.weight_type(k.norm))]
    size = DTYPES[weight(c.program, k.weight).dtype]
    stage = k.k * size + 4 * k.choices
    record = [*record, c.table(k.norm)]
    return Code("MoeGateUp", tuple(constants), tuple(types), stage), record


def moe_down(c: Coder, name: str, k: MoeDown) -> tuple[Code, list[int]]:
    constants, types, record = experts(c, name, k)
    constants += [
        ("bool RESIDUAL", boolean(k.res_in is not None)),
        ("bool RES_OUT", boolean(k.res_out is not None)),
    ]
    types += [
        ("Weights", c.operand(k.weights)),
        ("In", c.operand(k.res_in)),
        ("Res", c.operand(k.res_out)),
    ]
    size = DTYPES[weight(c.program, k.weight).dtype]
    stage = k.choices * (k.k * size + 8) + c.stage_rows(name, k)
    places = [c.place(ref) for ref in (k.weights, k.res_in, k.res_out)]
    record = [*record, 0, *(n for place in places for n in place)]
    return Code("MoeDown", tuple(constants), tuple(types), stage), record
