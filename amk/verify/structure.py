"""Rules on one instruction at a time: names, shapes, types, bounds, ranges.

(E1) every symbol is declared and of the right sort        (E4) a flagged write covers whole words
(E2) shapes agree with the kernel                          (E5) tiles are in the grid, and at least
     one
(E3) element types agree with the kernel                   (E6) every access is inside its buffer
(E7) waits and signals name declared counters, with positive thresholds and amounts
(E8) epochs and counters last for at least MIN_STEPS steps
(E9) every SM has at least one instruction
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields

from amk.ir.kernels import (
    Access,
    AnyAccess,
    Append,
    Argmax,
    Attention,
    Cache,
    CacheAccess,
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
)
from amk.ir.packs import part_shape, part_type
from amk.ir.program import SCOPES, Buffer, Declarations, Program
from amk.verify.violation import Place, Violation

MIN_STEPS = 1 << 17
"""Steps that a program must be able to run before its host has to zero epochs and counters."""
WORD_RANGE = 1 << 32

Report = Callable[[str, str], Violation]
"""Makes a violation of a rule, with a message about the kernel at hand."""

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


def check_kernel(p: Declarations, name: str, kernel: Kernel) -> Iterator[Violation]:
    """(E1), (E2), (E3) and (E6) for a kernel over its whole grid."""

    def bad(rule: str, message: str) -> Violation:
        return Violation(rule, f"kernel @{name} {message}")

    problems = [bad("E2", f"is malformed: {problem}") for problem in kernel.problems()]
    problems = problems or _symbols(p, kernel, bad)
    problems = problems or list(_shapes(p, kernel, bad))
    if problems:
        yield from problems
        return
    # The first access out of bounds is enough: a kernel of absurd size would have billions.
    for a in kernel.accesses(0, kernel.grid):
        for v in out_of_bounds(p, a):
            yield bad(v.rule, v.message)
            return


def _symbols(p: Declarations, kernel: Kernel, bad: Report) -> list[Violation]:
    out: list[Violation] = []
    for f in fields(kernel):
        value = getattr(kernel, f.name)
        match value:
            case Ref():
                b = p.buffers.get(value.buffer)
                allowed = TYPES.get(type(kernel), {}).get(f.name, FLOATS)
                if b is None:
                    out.append(
                        bad("E1", f"names @{value.buffer} as {f.name}, which is no declared buffer")
                    )
                elif b.dtype not in allowed:
                    need = f"needs {f.name} of type {' or '.join(allowed)}"
                    out.append(bad("E3", f"{need}, @{b.name} is {b.dtype}"))
                elif not 0 <= value.use < b.uses:
                    out.append(
                        bad("E1", f"names use {value.use} of @{b.name}, which has {b.uses} uses")
                    )
            case Weight():
                if f.name == "rope":
                    if value not in p.ropes:
                        out.append(bad("E1", f"names @{value}, which is no declared rope table"))
                elif p.weight(value) is None:
                    out.append(
                        bad("E1", f"names @{value} as {f.name}, which is no declared weight")
                    )
            case Cache():
                if value not in p.caches:
                    out.append(bad("E1", f"names @{value}, which is no declared cache"))
            case _:
                pass
    return out


def _shapes(p: Declarations, kernel: Kernel, bad: Report) -> Iterator[Violation]:
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
            if kernel.norm:
                expected[kernel.norm] = (kernel.k,)
        case MoeDown():
            expected[kernel.weight] = (kernel.experts * kernel.n, kernel.k)
        case Rope():
            rotated = kernel.rotary or kernel.head_dim
        case Attention() | Append():
            c = p.caches[kernel.cache]
            if (c.heads, c.head_dim) != (kernel.kv_heads, kernel.head_dim):
                need = f"{kernel.kv_heads} heads of {kernel.head_dim}"
                yield bad("E2", f"needs {need}, @{c.name} has {c.heads} of {c.head_dim}")
            if isinstance(kernel, Attention) and kernel.sinks:
                expected[kernel.sinks] = (kernel.heads,)
        case _:
            pass
    for name, shape in expected.items():
        found = p.weight(name)
        if found and found.shape != shape:
            yield bad("E2", f"needs @{name} of shape {_x(shape)}, declared as {_x(found.shape)}")
    if rotated is not None and isinstance(kernel, Gemv | Rope) and kernel.rope:
        table = p.ropes[kernel.rope]
        if 2 * len(table.inv_freq) != rotated:
            what = f"rotates {rotated} elements of a head"
            yield bad("E2", f"{what}, @{table.name} has {len(table.inv_freq)} frequencies")


def out_of_bounds(p: Declarations, a: object) -> Iterator[Violation]:
    """(E6) and (E4) for one access."""
    if isinstance(a, Access):
        b = p.buffers[a.buffer]
        verb = "writes" if a.write else "reads"
        if not 0 <= a.lo < a.hi <= b.length:
            yield Violation("E6", f"{verb} @{b.name}[{a.lo}:{a.hi}], which has {b.length} elements")
        elif cuts_word(b, a):
            yield Violation("E4", f"writes {_cut(b, a)}")
    elif isinstance(a, CacheAccess):
        c = p.caches[a.cache]
        if not 0 <= a.lo < a.hi <= c.heads:
            yield Violation(
                "E6", f"touches heads [{a.lo}:{a.hi}] of @{c.name}, which has {c.heads}"
            )


def cuts_word(b: Buffer, a: Access) -> bool:
    return a.write and b.space == "flagged" and bool(a.lo % b.word or a.hi % b.word)


def _cut(b: Buffer, a: Access) -> str:
    return f"@{b.name}[{a.lo}:{a.hi}], which cuts a word of {b.word} elements"


def check_words(p: Program, accesses: dict[Place, list[AnyAccess]]) -> Iterator[Violation]:
    """(E4) for every instruction: tiles that share a word must be run by the same one."""
    for place, items in accesses.items():
        for a in items:
            if isinstance(a, Access) and cuts_word(p.buffers[a.buffer], a):
                message = f"{place} writes {_cut(p.buffers[a.buffer], a)}"
                yield Violation("E4", message, (place,))


def check_packs(p: Declarations) -> Iterator[Violation]:
    """(E1), (E2) and (E3) for packs and the tensors that they are made of."""
    for pack in p.packs.values():
        missing = [source for source in pack.sources if source not in p.tensors]
        for source in missing:
            yield Violation("E1", f"pack @{pack.name} names @{source}, which is no declared tensor")
        if missing:
            continue
        tensors = [p.tensors[source] for source in pack.sources]
        made = [
            part_shape(layout, taken, t.shape)
            for t, (_, layout, taken) in zip(tensors, pack.parts(), strict=True)
        ]
        shapes = " and ".join(_x(t.shape) for t in tensors)
        rows = sum(shape[0] if shape else 0 for shape in made)
        if rows != pack.shape[0] or any(s is None or s[1:] != pack.shape[1:] for s in made):
            message = f"pack @{pack.name} of shape {_x(pack.shape)} is made of {shapes}"
            yield Violation("E2", message)
        for t, layout in zip(tensors, pack.layouts, strict=True):
            if pack.dtype not in part_type(layout, t.dtype):
                message = f"pack @{pack.name} is {pack.dtype}, its source @{t.name} {t.dtype}"
                yield Violation("E3", message)


def check_structure(p: Program) -> Iterator[Violation]:
    """(E1) to (E9) for a vm program."""
    yield from check_packs(p)
    for name, kernel in p.kernels.items():
        yield from check_kernel(p, name, kernel)
    arrivals: Counter[int] = Counter()
    for sm, queue in enumerate(p.queues):
        if not queue:
            yield Violation("E9", f"SM {sm} has no instruction")
        for index, run in enumerate(queue):
            place = Place(sm, index)
            kernel = p.kernels.get(run.kernel)
            if kernel is None:
                yield Violation(
                    "E1", f"{place} runs @{run.kernel}, which is no declared kernel", (place,)
                )
                continue
            if not 0 <= run.lo < run.hi <= kernel.grid:
                tiles = f"tiles [{run.lo} to {run.hi}] of @{run.kernel}"
                yield Violation("E5", f"{place} runs {tiles}, which has {kernel.grid}", (place,))
            for counter, amount in [(w.counter, w.threshold) for w in run.waits] + [
                (s.counter, s.amount) for s in run.signals
            ]:
                if not 0 <= counter < p.counters:
                    message = f"{place} names counter {counter}, the program has {p.counters}"
                    yield Violation("E7", message, (place,))
                if not 0 < amount < WORD_RANGE:
                    message = f"{place} has a threshold or amount of {amount} on counter {counter}"
                    yield Violation("E7", message, (place,))
            for scope in {x.scope for x in (*run.waits, *run.signals)} - set(SCOPES):
                yield Violation("E7", f"{place} has a wait or signal of scope '{scope}'", (place,))
            for s in run.signals:
                arrivals[s.counter] += s.amount
    for counter, n in arrivals.items():
        if n * MIN_STEPS > WORD_RANGE:
            yield Violation("E8", f"counter {counter} overflows after {WORD_RANGE // n} steps")
    for b in p.buffers.values():
        if b.uses * MIN_STEPS > WORD_RANGE:
            yield Violation(
                "E8", f"the epochs of @{b.name} recur after {WORD_RANGE // b.uses} steps"
            )
    if not p.queues:
        yield Violation("E9", "the program has no queue")


def _x(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
