"""What a kernel's operands must be, and a pack's sources: names, shapes, element types, bounds.

It says no more than what the fields of a kernel mean. A fault is the rule of docs/IR_SPEC.md that
it breaks, and what is wrong, without its subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import NamedTuple

from amk.ir.kernels import (
    Access,
    AnyAccess,
    Append,
    Argmax,
    Attention,
    Cache,
    Embed,
    Gemv,
    Kernel,
    LayerNorm,
    MoeDown,
    MoeGateUp,
    Norm,
    Ref,
    RmsNorm,
    Rope,
    Sample,
    Topk,
    Weight,
    WeightAccess,
)
from amk.ir.packs import part_shape, part_type
from amk.ir.program import Declarations, Pack


class Fault(NamedTuple):
    rule: str
    text: str


FLOATS = ("f32", "bf16")
NORM: dict[str, tuple[str, ...]] = {"res_in": ("f32",), "res_out": ("f32",)}
TYPES: dict[type[Kernel], dict[str, tuple[str, ...]]] = {
    Embed: {"token": ("i32",), "out": FLOATS, "res": ("f32",)},
    Gemv: {"x": FLOATS, "out": FLOATS, "res_in": ("f32",), "res_out": ("f32",), "cand": ("f32",)},
    Attention: {"q": FLOATS, "k": FLOATS, "v": FLOATS, "out": FLOATS, "part": ("f32",)},
    RmsNorm: NORM,
    LayerNorm: NORM,
    Argmax: {"x": ("f32",), "out": ("i32",)},
    Topk: {"x": ("f32",), "ids": ("i32",), "weights": ("f32",)},
    MoeGateUp: {"ids": ("i32",)},
    MoeDown: {"ids": ("i32",), "weights": ("f32",), "res_in": ("f32",), "res_out": ("f32",)},
    Sample: {"x": ("f32",), "out": ("i32",)},
}
"""Element types that an operand may have; float types where a kernel is not named."""


TILES = 1 << 20
"""Tiles of a kernel, at most: whatever looks at each of them ends in reasonable time."""


def kernel_faults(p: Declarations, kernel: Kernel) -> list[Fault]:
    """(E1), (E2), (E3), (E4) and (E6) for a kernel over its whole grid; one access out of bounds is
    enough."""
    found = [Fault("E2", f"is malformed: {problem}") for problem in kernel.problems()]
    if not found and kernel.grid > TILES:
        found = [Fault("E2", f"has {kernel.grid} tiles, more than {TILES}")]
    found = found or list(_symbols(p, kernel))
    found = found or list(_shapes(p, kernel))
    if found:
        return found
    faults = (access_fault(p, a) for a in kernel.accesses(0, kernel.grid))
    return [fault for fault in faults if fault][:1]


def _symbols(p: Declarations, kernel: Kernel) -> Iterator[Fault]:
    for f in fields(kernel):
        value = getattr(kernel, f.name)
        match value:
            case Ref():
                b = p.buffers.get(value.buffer)
                allowed = TYPES.get(type(kernel), {}).get(f.name, FLOATS)
                if b is None:
                    yield Fault(
                        "E1", f"names @{value.buffer} as {f.name}, which is no declared buffer"
                    )
                elif b.dtype not in allowed:
                    need = f"needs {f.name} of type {' or '.join(allowed)}"
                    yield Fault("E3", f"{need}, @{b.name} is {b.dtype}")
                elif not 0 <= value.use < b.uses:
                    yield Fault(
                        "E1", f"names use {value.use} of @{b.name}, which has {b.uses} uses"
                    )
            case Weight():
                if f.name == "rope":
                    if value not in p.ropes:
                        yield Fault("E1", f"names @{value}, which is no declared rope table")
                elif p.weight(value) is None:
                    yield Fault("E1", f"names @{value} as {f.name}, which is no declared weight")
            case Cache():
                if value not in p.caches:
                    yield Fault("E1", f"names @{value}, which is no declared cache")
            case _:
                pass


def _shapes(p: Declarations, kernel: Kernel) -> Iterator[Fault]:
    expected: dict[str, tuple[int, ...]] = {}
    rotated: int | None = None
    match kernel:
        case Embed():
            table = p.weight(kernel.table)
            expected[kernel.table] = (table.shape[0] if table else 0, kernel.n)
        case Gemv():
            expected[kernel.weight] = (kernel.n, kernel.k)
            if kernel.norm:
                expected[kernel.norm] = (kernel.k,)
            if kernel.bias:
                expected[kernel.bias] = (kernel.n,)
            rotated = kernel.rotary or kernel.head_dim
        case Norm():
            for vector in kernel.vectors():
                expected[vector] = (kernel.size if kernel.shared else kernel.n,)
        case MoeGateUp():
            expected[kernel.weight] = (kernel.experts * 2 * kernel.width, kernel.k)
            if kernel.bias:
                expected[kernel.bias] = (kernel.experts * 2 * kernel.width,)
            if kernel.norm:
                expected[kernel.norm] = (kernel.k,)
        case MoeDown():
            expected[kernel.weight] = (kernel.experts * kernel.n, kernel.k)
            if kernel.bias:
                expected[kernel.bias] = (kernel.experts * kernel.n,)
        case Rope():
            rotated = kernel.rotary or kernel.head_dim
        case Attention() | Append():
            c = p.caches[kernel.cache]
            if (c.heads, c.head_dim) != (kernel.kv_heads, kernel.head_dim):
                need = f"{kernel.kv_heads} heads of {kernel.head_dim}"
                yield Fault("E2", f"needs {need}, @{c.name} has {c.heads} of {c.head_dim}")
            if isinstance(kernel, Attention):
                if kernel.sinks:
                    expected[kernel.sinks] = (kernel.heads,)
                norms = (kernel.q_norm, kernel.k_norm)
                expected |= {norm: (kernel.head_dim,) for norm in norms if norm}
                rotated = kernel.rotary or kernel.head_dim
        case _:
            pass
    for name, shape in expected.items():
        found = p.weight(name)
        if found and found.shape != shape:
            yield Fault("E2", f"needs @{name} of shape {_x(shape)}, declared as {_x(found.shape)}")
    if rotated is not None and isinstance(kernel, Gemv | Rope | Attention) and kernel.rope:
        table = p.ropes[kernel.rope]
        if 2 * len(table.inv_freq) != rotated:
            what = f"rotates {rotated} elements of a head"
            yield Fault("E2", f"{what}, @{table.name} has {len(table.inv_freq)} frequencies")


def access_fault(p: Declarations, a: AnyAccess) -> Fault | None:
    """(E6) and (E4) for one access."""
    if isinstance(a, Access):
        b = p.buffers[a.buffer]
        verb = "writes" if a.write else "reads"
        if not 0 <= a.lo < a.hi <= b.length:
            return Fault("E6", f"{verb} @{b.name}[{a.lo}:{a.hi}], which has {b.length} elements")
        if a.write and b.space == "flagged" and (a.lo % b.word or a.hi % b.word):
            cut = f"@{b.name}[{a.lo}:{a.hi}], which cuts a word of {b.word} elements"
            return Fault("E4", f"writes {cut}")
    elif isinstance(a, WeightAccess):
        w = p.weight(a.weight)
        if w and not 0 <= a.lo < a.hi <= w.shape[0]:
            return Fault("E6", f"reads rows [{a.lo}:{a.hi}] of @{w.name}, which has {w.shape[0]}")
    elif not 0 <= a.lo < a.hi <= p.caches[a.cache].heads:
        heads = p.caches[a.cache].heads
        return Fault("E6", f"touches heads [{a.lo}:{a.hi}] of @{a.cache}, which has {heads}")
    return None


def pack_faults(p: Declarations, pack: Pack) -> Iterator[Fault]:
    """(E1), (E2) and (E3) for a pack and the tensors that it is made of."""
    missing = [source for source in pack.sources if source not in p.tensors]
    if missing:
        yield from (Fault("E1", f"names @{x}, which is no declared tensor") for x in missing)
        return
    tensors = [p.tensors[source] for source in pack.sources]
    made = [
        part_shape(layout, taken, t.shape)
        for t, (_, layout, taken) in zip(tensors, pack.parts(), strict=True)
    ]
    shapes = " and ".join(_x(t.shape) for t in tensors)
    rows = sum(shape[0] if shape else 0 for shape in made)
    if rows != pack.shape[0] or any(s is None or s[1:] != pack.shape[1:] for s in made):
        yield Fault("E2", f"of shape {_x(pack.shape)} is made of {shapes}")
    for t, layout in zip(tensors, pack.layouts, strict=True):
        if pack.dtype not in part_type(layout, t.dtype):
            yield Fault("E3", f"is {pack.dtype}, its source @{t.name} {t.dtype}")


def _x(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
