"""Code of the matrix-vector product: a body for each width, an ending for what follows it."""

from __future__ import annotations

import struct

from amk.backends.cuda.codes.coder import CTYPES, Code, Coder, Ending, boolean, number
from amk.errors import AmkError
from amk.ir.kernels import ACTIVATIONS, Gemv
from amk.ir.program import DTYPES, SLOT_ROWS


def gemv(c: Coder, name: str, k: Gemv) -> tuple[Code, list[int]]:
    ring, slices = c.layout.ring, c.layout.slices(k.k)
    c.whole_units(name, k.x, k.k)
    c.whole_words(name, k, k.out, 2 if k.epilogue == "gated" else 1)
    size = DTYPES[c.layout.streamed]
    chunks = ring.columns * size // 64
    private, rotating = c.layout.roles.split(name), c.layout.roles.rotating(k)
    registers = 4 * chunks * (slices // ring.consumers)
    end = Ending(
        (
            ("Epilogue EPILOGUE", k.epilogue.upper()),
            ("bool BIAS", boolean(k.bias is not None)),
            ("int ROTATED", str((k.heads + k.kv_heads) * k.head_dim)),
            ("int HEAD_DIM", str(max(k.head_dim, 1))),
            ("int ROTARY", str(k.rotary or k.head_dim)),
            ("int ROPE_AT", str(c.rope_at(k.rope))),
            ("Activation KIND", (k.kind or ACTIVATIONS[0]).upper()),
            ("float SCALE", number(k.scale)),
            ("float SOFTCAP", number(k.softcap)),
            ("bool RES_OUT", boolean(k.res_out is not None)),
            ("bool WHOLE_BLOCKS", boolean(k.tile % SLOT_ROWS == 0)),
        ),
        (
            ("Out", c.operand(k.out)),
            ("In", c.operand(k.res_in)),
            ("Res", c.operand(k.res_out)),
            ("Cand", c.operand(k.cand)),
        ),
    )
    c.ending_of[name] = c.endings.setdefault(end, len(c.endings))
    norm, bias = _common_type(c, "norm"), _common_type(c, "bias")
    constants = (
        ("int K", str(k.k)),
        ("int SLICES", str(slices)),
        ("bool PRIVATE", boolean(private)),
        (
            "bool IN_REGISTERS",
            boolean(private and not rotating and registers <= 32),
        ),
        ("bool NORM", boolean(any(g.norm for g in _same_width(c, k)))),
        ("bool BIAS", boolean(any(g.bias for g in _same_width(c, k)))),
        ("bool LEAVES_CANDIDATES", boolean(any(g.cand for g in _same_width(c, k)))),
    )
    types = (
        ("Weight", CTYPES[c.layout.streamed]),
        ("Norm", norm),
        ("Bias", bias),
        ("X", c.operand(k.x)),
    )
    record = [
        *c.place(k.x),
        *c.place(k.out),
        c.table(k.norm),
        c.table(k.bias),
        *c.place(k.res_in),
        *c.place(k.res_out),
        *c.place(k.cand),
        c.ending_of[name],
        k.n,
        k.tile,
        struct.unpack("<I", struct.pack("<f", k.eps))[0],
    ]
    c.candidates = max(c.candidates, *(r.hi - r.lo if k.cand else 0 for r in c.runs[name]), 0)
    stage = slices * ring.columns * size
    if k.res_in and c.buffer(k.res_in).space != "local":
        stage += c.stage_rows(name, k)
    if not private:
        return Code("Gemv", constants, types, stage), record
    if rotating:
        norms = any(g.norm for g in _same_width(c, k))
        units = min(32 * ring.consumers, slices * ring.columns // c.unit(k.x))
        return Code("Gemv", constants, types, 0, 0, stage, 8 * units * norms), record
    return Code("Gemv", constants, types, 0, private=stage // ring.consumers), record


def _same_width(c: Coder, k: Gemv) -> list[Gemv]:
    """The gemvs that may share a body with `k`."""
    return [g for g in c.program.kernels.values() if isinstance(g, Gemv) and g.k == k.k]


def _common_type(c: Coder, field: str) -> str:
    """The one type of all norm weights, or of all biases."""
    gemvs = (g for g in c.program.kernels.values() if isinstance(g, Gemv))
    names = (getattr(g, field) for g in gemvs)
    types = {c.weight_type(n) for n in names if n}
    if len(types) > 1:
        raise AmkError(f"all {field} weights of gemvs must have one dtype")
    return types.pop() if types else "float"
