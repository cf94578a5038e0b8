"""Programs in which many kernels read one embedded vector, each with its definition beside it.

A *case* is a kernel, where it reads in the vector `x`, and what it must leave, in float64 from the
definition of the kernel and not from its interpreter. A battery is a program that embeds a token
and runs many cases, each of which fills its own part of the buffer `y`. Attention gets keys and
values from x too, so that feeding several tokens fills its cache.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from amk.ir.kernels import (
    ACTIVATIONS,
    Append,
    Argmax,
    Attention,
    Binary,
    Cache,
    Embed,
    Gemv,
    Kernel,
    LayerNorm,
    Norm,
    Ref,
    RmsNorm,
    Rope,
    Unary,
    Weight,
)
from amk.ir.packs import F32, round_to
from amk.ir.program import KvCache, Program, RopeTable, Tensor
from tests.unit.programs import Builder, Tiny

F64 = NDArray[np.float64]
Get = Callable[[str], F64]
WIDTH = 2560
"""Elements of x."""
VOCABULARY = 24
ROWS = 40


@dataclass(frozen=True)
class Case:
    """`kernel(x, y)` fills `n` elements of y with `want(xs, get)`, where xs [t, WIDTH] are the
    vectors of all steps so far and get(name) an immutable tensor."""

    name: str
    n: int
    kernel: Callable[[Ref, Ref], Kernel]
    want: Callable[[F64, Get], F64]
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    ropes: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    cache: tuple[int, int] | None = None
    """Heads and their elements."""
    scratch: dict[str, int] = field(default_factory=dict[str, int])
    """Buffers of fp32 between tiles."""
    extra: int = 0
    """Elements of y behind the n that it leaves too."""
    residual: int = 0
    """Elements of a copy of x in fp32 on its SM, and of another that it leaves there."""
    rounds: bool = False
    """Something is rounded on the way, to the type of a cache."""
    first: Callable[[Ref], Kernel] | None = None
    """A kernel that must run before."""


def inverse_frequencies(rotary: int) -> tuple[float, ...]:
    return tuple(100.0 ** (-2 * i / rotary) for i in range(rotary // 2))


def activate(kind: str, x: F64) -> F64:
    if kind == "silu":
        return x / (1 + np.exp(-x))
    if kind == "gelu":
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    if kind == "gelu_tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if kind == "quick_gelu":
        return x / (1 + np.exp(-1.702 * x))
    positive = np.where(x > 0, x, 0)
    return positive if kind == "relu" else positive**2


def capped(x: F64, cap: float) -> F64:
    return cap * np.tanh(x / cap) if cap else x


def rotated(x: F64, pos: int, table: Sequence[float], interleaved: bool) -> F64:
    """Heads [h, head_dim], of which the first 2 * len(table) elements are turned."""
    pairs = len(table)
    angle = pos * np.array(table)
    first = np.arange(pairs) * (2 if interleaved else 1)
    second = first + (1 if interleaved else pairs)
    turned = (x[:, first] + 1j * x[:, second]) * np.exp(1j * angle)
    out = x.copy()
    out[:, first], out[:, second] = turned.real, turned.imag
    return out


def activations() -> list[Case]:
    cases: list[Case] = []
    for kind in ACTIVATIONS:
        cases += [
            Case(
                f"unary.{kind}", 72,
                lambda x, y, kind=kind: Unary(72, 8, kind, x, y),
                lambda xs, _, kind=kind: activate(kind, 3 * xs[-1, :72] / 3),
            ),
            Case(
                f"binary.{kind}", 120,
                lambda x, y, kind=kind: Binary(
                    120, 8, f"{kind}_mul", x, replace(x, offset=x.offset + 128), y
                ),
                lambda xs, _, kind=kind: activate(kind, xs[-1, :120]) * xs[-1, 128:248],
            ),
        ]  # fmt: skip
    cases += [
        Case(
            "unary.scale", 39,
            lambda x, y: Unary(39, 5, "scale", x, y, 0.25),
            lambda xs, _: 0.25 * xs[-1, :39],
        ),
        Case(
            "unary.softcap", 2560,
            lambda x, y: Unary(2560, 2560, "softcap", x, y, 1.5),
            lambda xs, _: 1.5 * np.tanh(xs[-1] / 1.5),
        ),
    ]  # fmt: skip
    return cases


def normalized(k: Norm, xs: F64, get: Get) -> F64:
    parts = xs[-1, k.x.offset : k.x.offset + k.n].reshape(k.groups, -1)
    if isinstance(k, LayerNorm):
        parts = parts - parts.mean(axis=1, keepdims=True)
    out = parts / np.sqrt((parts**2).mean(axis=1, keepdims=True) + k.eps)
    shape = (1, -1) if k.shared else parts.shape
    out = out * get(k.weight).reshape(shape)
    if isinstance(k, LayerNorm) and k.bias:
        out = out + get(k.bias).reshape(shape)
    return out.reshape(-1) + (xs[-1, : k.n] if k.res_in else 0)


def norm_case(
    cls: type[Norm], n: int, tile: int, groups: int = 1, shared: int = 0, at: int = 0,
    bias: bool = False, residual: bool = False,
) -> Case:  # fmt: skip
    each = n // groups if shared else n
    number = f"{n}.{tile}.{groups}.{shared}.{at}.{int(bias)}{int(residual)}"
    name = f"{cls.mnemonic}.{number}"
    weight, offset = f"{name}.norm", f"{name}.bias"

    def make(x: Ref, y: Ref) -> Norm:
        x = replace(x, offset=at)
        res_in, res_out = (Ref("res", 0, 0), Ref(f"{name}.res")) if residual else (None, None)
        if cls is RmsNorm:
            return RmsNorm(n, tile, x, Weight(weight), 1e-3, y, groups, shared, res_in, res_out)
        extra = Weight(offset) if bias else None
        return LayerNorm(
            n, tile, x, Weight(weight), 1e-3, y, groups, shared, res_in, res_out, extra
        )

    made = make(Ref("x"), Ref("y"))
    return Case(
        name, n, make, lambda xs, get: normalized(made, xs, get),
        {weight: (each,)} | ({offset: (each,)} if bias else {}), residual=n if residual else 0,
    )  # fmt: skip


def norms() -> list[Case]:
    return [
        norm_case(RmsNorm, 576, 8),
        norm_case(RmsNorm, 39, 5),
        norm_case(RmsNorm, 2560, 640, residual=True),
        norm_case(RmsNorm, 512, 64, 8),
        norm_case(RmsNorm, 512, 64, 8, 1, 64),
        norm_case(RmsNorm, 320, 96, 4, 1),
        norm_case(RmsNorm, 30, 4, 3, 1, 2),
        norm_case(RmsNorm, 192, 64, 2, residual=True),
        norm_case(LayerNorm, 768, 24, bias=True),
        norm_case(LayerNorm, 41, 41),
        norm_case(LayerNorm, 2560, 1280, bias=True, residual=True),
        norm_case(LayerNorm, 384, 48, 4, 0, 8, bias=True),
        norm_case(LayerNorm, 384, 64, 6, 1, 0, bias=True),
    ]


def rope_case(heads: int, head_dim: int, rotary: int, interleaved: int) -> Case:
    name = f"rope.{heads}.{head_dim}.{rotary}.{interleaved}"
    table = inverse_frequencies(rotary or head_dim)

    def want(xs: F64, _: Get) -> F64:
        x = xs[-1, : heads * head_dim].reshape(heads, head_dim)
        return rotated(x, len(xs) - 1, table, bool(interleaved)).reshape(-1)

    return Case(
        name, heads * head_dim,
        lambda x, y: Rope(heads, head_dim, x, Weight(f"{name}.table"), y, rotary, interleaved),
        want, ropes={f"{name}.table": table},
    )  # fmt: skip


def ropes() -> list[Case]:
    shapes = [(3, 8, 0, 0), (3, 80, 20, 0), (2, 96, 96, 1), (5, 64, 32, 1), (2, 256, 64, 0)]
    return [rope_case(*shape) for shape in shapes]


def gemv_case(name: str, n: int, k: int, tile: int = 8, **fields: object) -> Case:
    name = f"gemv.{name}"
    weight, bias, table = f"{name}.weight", f"{name}.bias", f"{name}.table"
    epilogue = str(fields.get("epilogue", "none"))
    rotary = int(str(fields.get("rotary", 0))) or int(str(fields.get("head_dim", 0)))
    scale, softcap = (float(str(fields.get(f, d))) for f, d in (("scale", 1.0), ("softcap", 0.0)))
    extra = 2 * -(-n // tile) if epilogue == "logits" else 0

    def make(x: Ref, y: Ref) -> Gemv:
        ends: dict[str, object] = {}
        if epilogue == "residual":
            ends = {"res_in": Ref("res"), "res_out": Ref(f"{name}.res")}
        elif epilogue == "rope":
            ends = {"rope": Weight(table)}
        elif epilogue == "logits":
            ends = {"cand": replace(y, offset=y.offset + n)}
        return Gemv(n, tile, k, Weight(weight), x, y, bias=Weight(bias), **fields, **ends)  # pyright: ignore[reportArgumentType]

    def want(xs: F64, get: Get) -> F64:
        y = scale * (get(weight) @ xs[-1, :k] + get(bias))
        kind = str(fields.get("kind", ""))
        if epilogue == "activation":
            return activate(kind, y)
        if epilogue == "gated":
            return activate(kind, y[0::2]) * y[1::2]
        if epilogue == "residual":
            return y + xs[-1, :n]
        if epilogue == "rope":
            heads = y.reshape(-1, int(str(fields["head_dim"])))
            turning = int(str(fields["heads"])) + int(str(fields["kv_heads"]))
            frequencies = inverse_frequencies(rotary)
            heads[:turning] = rotated(heads[:turning], len(xs) - 1, frequencies, True)
            return heads.reshape(-1)
        y = capped(y, softcap)
        if epilogue != "logits":
            return y
        tiles = [range(a, min(a + tile, n)) for a in range(0, n, tile)]
        best = [max(rows, key=lambda r: (y[r], -r)) for rows in tiles]
        return np.concatenate([y, np.array([[y[r], r] for r in best]).reshape(-1)])

    return Case(
        name, n // 2 if epilogue == "gated" else n, make, want,
        {weight: (n, k), bias: (n,)},
        {table: inverse_frequencies(rotary)} if epilogue == "rope" else {},
        extra=extra, residual=n if epilogue == "residual" else 0,
    )  # fmt: skip


def gemvs() -> list[Case]:
    cases = [
        gemv_case(f"gated.{kind}", 80, 96, epilogue="gated", kind=kind, scale=1.5)
        for kind in ACTIVATIONS
    ]
    cases += [
        gemv_case(f"activation.{kind}", 48, 96, epilogue="activation", kind=kind)
        for kind in ("gelu", "relu2")
    ]
    return [
        *cases,
        gemv_case("scaled", 39, 64, 5, scale=0.25),
        gemv_case("residual", 96, 576, epilogue="residual", scale=0.22),
        gemv_case("logits", 100, 2048, epilogue="logits", softcap=2.0, scale=3.0),
        gemv_case(
            "partial", 7 * 16, 96, epilogue="rope", heads=3, kv_heads=2, head_dim=16, rotary=4
        ),
        gemv_case("whole", 4 * 8, 96, epilogue="rope", heads=2, kv_heads=1, head_dim=8),
    ]


@dataclass(frozen=True)
class Heads:
    """An attention case."""

    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 8
    splits: int = 1
    chunk: int = 0
    window: int = 0
    softcap: float = 0.0
    sinks: bool = False
    append: bool = True
    norms: bool = False
    rotary: int = 0
    halves: int = 0


def attention_case(h: Heads) -> Case:
    name = ".".join(map(str, ("attention", *(getattr(h, f) for f in h.__dataclass_fields__))))
    scale, part, sinks = h.head_dim**-0.5, f"{name}.part", f"{name}.sinks"
    q_rows, kv_rows = h.heads * h.head_dim, h.kv_heads * h.head_dim
    cache = Cache(f"{name}.kv")
    q_norm, k_norm, table = f"{name}.q.norm", f"{name}.k.norm", f"{name}.table"
    turned = inverse_frequencies(h.rotary)
    order = np.arange(h.head_dim)
    if h.halves:
        order[: h.rotary] = np.arange(h.rotary).reshape(2, -1).T.reshape(-1)

    def kv(x: Ref) -> tuple[Ref, Ref]:
        k = replace(x, offset=x.offset + q_rows)
        return k, replace(k, offset=k.offset + kv_rows)

    def make(x: Ref, y: Ref) -> Attention:
        k, v = kv(x) if h.append else (None, None)
        return Attention(
            h.heads, h.kv_heads, h.head_dim, x, y, cache, scale, k, v, h.splits, h.chunk,
            Ref(part) if h.splits > 1 else None, h.window, h.softcap,
            Weight(sinks) if h.sinks else None,
            *((Weight(q_norm), Weight(k_norm), 1e-3) if h.norms else (None, None, 0.0)),
            Weight(table) if h.rotary else None,
            h.rotary % h.head_dim if h.rotary else 0,
            h.halves if h.rotary else 0,
        )  # fmt: skip

    def want(xs: F64, get: Get) -> F64:
        q = xs[-1, :q_rows].reshape(h.kv_heads, -1, h.head_dim)
        rows = xs[-h.window :] if h.window else xs
        k, v = rows[:, q_rows:][:, :kv_rows], rows[:, q_rows + kv_rows :][:, :kv_rows]
        k, v = (a.reshape(len(rows), h.kv_heads, h.head_dim) for a in (k, v))
        if h.norms:
            q, k = (
                a / np.sqrt((a**2).mean(-1, keepdims=True) + 1e-3) * get(norm)[order]
                for a, norm in ((q, q_norm), (k, k_norm))
            )
        if h.rotary:
            first = len(xs) - len(rows)
            k = np.stack([rotated(a, first + i, turned, True) for i, a in enumerate(k)])
            q = np.stack([rotated(a, len(xs) - 1, turned, True) for a in q])
        scores = capped(np.einsum("ghd,rgd->ghr", q, k) * scale, h.softcap)
        if h.sinks:
            last = get(sinks).reshape(h.kv_heads, -1, 1)
            scores = np.concatenate([scores, last], axis=2)
        p = np.exp(scores - scores.max(axis=2, keepdims=True))
        p = (p / p.sum(axis=2, keepdims=True))[:, :, : len(rows)]
        return np.einsum("ghr,rgd->ghd", p, v).reshape(-1)

    size = h.heads // h.kv_heads * (h.head_dim + 2)
    return Case(
        name, q_rows, make, want,
        ({sinks: (h.heads,)} if h.sinks else {})
        | ({q_norm: (h.head_dim,), k_norm: (h.head_dim,)} if h.norms else {}),
        {table: turned} if h.rotary else {},
        cache=(h.kv_heads, h.head_dim),
        rounds=h.norms or h.rotary > 0,
        scratch={part: h.kv_heads * (h.splits - 1) * size} if h.splits > 1 else {},
        first=None if h.append else lambda x: Append(h.kv_heads, h.head_dim, *kv(x), cache),
    )  # fmt: skip


def reader() -> Case:
    """Takes the whole of x, so that the last instruction comes behind all that embed it."""
    return Case("reader", WIDTH, lambda x, y: Unary(WIDTH, 8, "scale", x, y), lambda xs, _: xs[-1])


def windows() -> list[Case]:
    shapes = [
        Heads(window=1),
        Heads(window=5),
        Heads(window=100),
        Heads(head_dim=128, window=7, append=False),
    ]
    return [attention_case(h) for h in shapes]


def windows_of_splits() -> list[Case]:
    shapes = [
        Heads(window=5, splits=3, chunk=2),
        Heads(window=2, splits=3, chunk=4, sinks=True),
        Heads(window=9, splits=2, chunk=3, softcap=1.5),
        Heads(heads=3, kv_heads=1, head_dim=80, window=6, splits=4, chunk=1),
    ]
    return [attention_case(h) for h in shapes]


def scores() -> list[Case]:
    shapes = [
        Heads(softcap=0.7),
        Heads(softcap=50.0, splits=2, chunk=3),
        Heads(sinks=True),
        Heads(heads=8, kv_heads=1, sinks=True, splits=3, chunk=2),
        Heads(softcap=2.0, sinks=True, append=False),
    ]
    return [attention_case(h) for h in shapes]


def norms_of_heads() -> list[Case]:
    shapes = [
        Heads(norms=True),
        Heads(rotary=8, window=4),
        Heads(heads=8, head_dim=128, norms=True, rotary=128, splits=3, chunk=2, halves=1),
    ]
    return [attention_case(h) for h in shapes]


def norms_of_odd_heads() -> list[Case]:
    shapes = [
        Heads(heads=3, kv_heads=1, head_dim=80, norms=True, rotary=20, halves=1),
        Heads(heads=1, kv_heads=1, head_dim=256, norms=True, rotary=256, window=5, softcap=2.0),
    ]
    return [attention_case(h) for h in shapes]


def heads(*shapes: tuple[int, int, int]) -> list[Case]:
    """Query heads of a KV head, KV heads, and elements of a head."""
    return [
        attention_case(Heads(heads=group * kv, kv_heads=kv, head_dim=dim, window=11, softcap=3.0))
        for group, kv, dim in shapes
    ]


BATTERIES: dict[str, list[Case]] = {
    name: [*cases, reader()]
    for name, cases in {
        "activations": activations(),
        "norms": norms(),
        "ropes": ropes(),
        "gemvs": gemvs(),
        "windows": windows(),
        "windows of splits": windows_of_splits(),
        "scores": scores(),
        "norms of heads": norms_of_heads(),
        "norms of odd heads": norms_of_odd_heads(),
        "heads of 64": heads((1, 2, 64), (5, 1, 64), (6, 2, 64)),
        "heads of 80 and 96": heads((2, 1, 80), (3, 1, 96)),
        "heads of 128 and 256": heads((4, 2, 128), (7, 1, 128), (8, 1, 256), (1, 1, 256)),
    }.items()
}


def results(cases: list[Case]) -> int:
    """Elements that all cases leave, of which the largest is the next token."""
    return sum(case.n + case.extra for case in cases)


def tensors(cases: list[Case], dtype: str) -> dict[str, Tensor]:
    shapes = {name: shape for case in cases for name, shape in case.tensors.items()}
    shapes["table"] = (max(VOCABULARY, results(cases)), WIDTH)
    return {name: Tensor(name, shape, dtype) for name, shape in shapes.items()}


def weights(cases: list[Case], dtype: str) -> Callable[[str], F32]:
    """Random weights by name, rounded to `dtype`."""
    shapes = {name: t.shape for name, t in tensors(cases, dtype).items()}

    def get(name: str) -> F32:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        values = rng.standard_normal(shapes[name]).astype(np.float32)
        if name.endswith(".weight"):
            values = values / np.float32(shapes[name][-1] ** 0.5)
        return round_to(1 + 0.3 * values if name.endswith(".norm") else values, dtype)

    return get


def battery(cases: list[Case], dtype: str = "f32", sync: str = "flagged", sms: int = 3) -> Program:
    """The program that runs `cases`."""
    b = Builder(Tiny(dtype=dtype, sync=sync, sms=sms), "battery")
    b.program.tensors = tensors(cases, dtype)
    b.program.ropes = {name: RopeTable(name, t) for c in cases for name, t in c.ropes.items()}
    b.program.caches["rows"] = KvCache("rows", ROWS, 1, 8, dtype)  # how far positions go
    b.shared("x", WIDTH, dtype)
    length = results(cases)
    b.shared("y", length)
    residual = any(case.residual for case in cases)
    if residual:
        b.shared("res", WIDTH)
    token, table = Ref("token"), Weight("table")
    res = Ref("res") if residual else None
    b.family("embed", Embed(WIDTH, 8, token, table, Ref("x"), res))
    at = 0
    groups: list[str] = []
    for case in cases:
        for name, size in case.scratch.items():
            b.shared(name, size)
        if case.residual:
            b.add_buffer(f"{case.name}.res", "plain", case.residual, "f32")
        if case.cache:
            name = f"{case.name}.kv"
            b.program.caches[name] = KvCache(name, ROWS, *case.cache, dtype)
        kernel = case.kernel(Ref("x"), Ref("y", at))
        first = [f"{case.name}.first"] if case.first else []
        if case.first:
            b.family(first[0], case.first(Ref("x")), ("embed",))
        groups.append(case.name)
        if isinstance(kernel, Attention) and kernel.splits > 1:
            tiles = range(kernel.grid)
            parts = [tile for tile in tiles if tile % kernel.splits]
            for tile in parts:
                b.family(f"{case.name}/{tile}", kernel, ("embed", *first), [tile])
            after = ("embed", *first, *(f"{case.name}/{tile}" for tile in parts))
            merges = [tile for tile in tiles if tile % kernel.splits == 0]
            groups[-1:] = [f"{case.name}/{tile}" for tile in merges]
            for tile in merges:
                b.family(f"{case.name}/{tile}", kernel, after, [tile])
        else:
            b.family(case.name, kernel, ("embed", *first))
        at += case.n + case.extra
    b.family("argmax", Argmax(length - length % 2, Ref("y"), token), tuple(groups))
    return b.program


def definition(cases: list[Case], get: Callable[[str], F32], ids: Sequence[int]) -> list[F64]:
    """What each case leaves after the last of `ids`, in float64."""
    xs = get("table").astype(np.float64)[list(ids)]
    return [case.want(xs, lambda name: get(name).astype(np.float64)) for case in cases]


def cut(cases: list[Case], y: F32) -> list[F32]:
    """The part of y of each case."""
    ends = np.cumsum([case.n + case.extra for case in cases])
    return np.split(y, ends[:-1])
