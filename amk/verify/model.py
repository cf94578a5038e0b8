"""Checks of a model program: declared symbols, shapes, element types, and the order of cache
operations.

The constraint numbers are those of docs/IR_SPEC.md. Every problem names the operator's result or
symbol.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from xdsl.dialects.builtin import FloatAttr, SymbolRefAttr, TensorType
from xdsl.ir import Attribute, Operation, SSAValue

from amk.dialects import model
from amk.dialects.attributes import extent, tensor_of
from amk.ir.packs import part_shape, part_type
from amk.ir.program import DTYPES, KvCache, Pack, RopeTable, Tensor


class _Checker:
    def __init__(self, program: model.ProgramOp):
        self.program = program
        self.symbols: dict[str, model.Plain] = {}
        self.appended: set[str] = set()

    def label(self, op: Operation) -> str:
        named = [r.name_hint for r in op.results if r.name_hint]
        return f"{op.name} %{named[0]}" if named else op.name

    def tensor(
        self, op: Operation, attr: SymbolRefAttr | None, shape: tuple[int, ...]
    ) -> Iterator[str]:
        """The named immutable tensor exists and has this shape (W1)."""
        if attr is None:
            return
        name = attr.string_value()
        found = self.symbols.get(name)
        if not isinstance(found, Tensor | Pack):
            yield f"{self.label(op)} refers to @{name}, which is no declared weight or pack (W1)"
        elif found.shape != shape:
            need = f"needs @{name} of shape {_x(shape)}"
            yield f"{self.label(op)} {need}, declared as {_x(found.shape)} (W1)"

    def shape(self, op: Operation, what: str, value: SSAValue, n: int) -> Iterator[str]:
        """A value has n elements (W2)."""
        shape, _ = tensor_of(value.type)
        if shape != (n,):
            yield f"{self.label(op)} {what} must be a tensor of {n} elements, got {value.type} (W2)"

    def table(self, op: Operation, attr: SymbolRefAttr, head_dim: int) -> Iterator[str]:
        found = self.symbols.get(attr.string_value())
        if not isinstance(found, RopeTable):
            yield f"{self.label(op)} refers to {attr}, which is no declared rope table (W1)"
        elif 2 * len(found.inv_freq) != head_dim:
            yield (
                f"{self.label(op)} needs {head_dim // 2} frequencies for head_dim {head_dim}, "
                f"{attr} has {len(found.inv_freq)} (W3)"
            )

    def cache(self, op: Operation, attr: SymbolRefAttr, heads: int, head_dim: int) -> Iterator[str]:
        found = self.symbols.get(attr.string_value())
        if not isinstance(found, KvCache):
            yield f"{self.label(op)} refers to {attr}, which is no declared cache (W1)"
        elif (found.heads, found.head_dim) != (heads, head_dim):
            yield (
                f"{self.label(op)} needs a cache of {heads} heads of {head_dim}, "
                f"{attr} has {found.heads} of {found.head_dim} (W4)"
            )

    def groups(self, op: model.RmsNormOp | model.LayerNormOp) -> Iterator[str]:
        """x is whole groups, and weight and bias have an element for each element of x, or of a
        group."""
        n = extent(op.x)
        groups = op.groups.value.data if op.groups is not None else 1
        if groups <= 0 or n % groups:
            yield f"{self.label(op)} has {n} elements, which are no {groups} equal groups (N1)"
            return
        found = self.symbols.get(op.weight.string_value())
        each = isinstance(found, Tensor | Pack) and found.shape == (n // groups,)
        yield from self.tensor(op, op.weight, (n // groups if each else n,))
        if isinstance(op, model.LayerNormOp):
            yield from self.tensor(op, op.bias, (n // groups if each else n,))
        yield from self.shape(op, "result", op.out, n)

    def numbers(self, op: Operation) -> Iterator[str]:
        """Factors are finite, and what must be positive is."""
        for name, attr in op.properties.items():
            if not isinstance(attr, FloatAttr):
                continue
            value = attr.value.data
            positive = name in ("softcap", "cap", "limit")
            if not math.isfinite(value) or (positive and value <= 0):
                need = "positive and finite" if positive else "finite"
                yield f"{self.label(op)} {name} must be {need}, got {value} (N2)"

    def norm(
        self,
        op: model.LinearOp | model.QkvOp | model.GateUpOp | model.LmHeadOp | model.MoeGateUpOp,
    ) -> Iterator[str]:
        yield from self.tensor(op, op.norm, (extent(op.x),))
        if (op.norm is None) != (op.eps is None):
            yield f"{self.label(op)} needs norm and eps together (W5)"

    def check(self) -> Iterator[str]:
        for decl in model.declarations(self.program):
            name = decl.symbol()
            if name in self.symbols:
                yield f"symbol @{name} is declared twice (W6)"
            self.symbols[name] = decl.plain()
        yield from self.packs()
        ops = list(self.program.body.block.ops)
        if not ops or not isinstance(ops[-1], model.ReturnOp):
            name = self.program.sym_name.data
            yield f"program @{name} does not end with model.return (W7)"
        for op in ops:
            if isinstance(op, model.ModelOp):
                yield from self.numbers(op)
                yield from self.operator(op)
            elif not isinstance(op, model.Declaration):
                yield f"{op.name} is no operator of the model dialect (W7)"

    def packs(self) -> Iterator[str]:
        for p in self.symbols.values():
            if not isinstance(p, Pack):
                continue
            rows = 0
            for source, layout, taken in p.parts():
                t = self.symbols.get(source)
                if not isinstance(t, Tensor):
                    yield f"pack @{p.name} refers to @{source}, which is no declared weight (W1)"
                    continue
                made = part_shape(layout, taken, t.shape)
                if made is None:
                    height = f"@{source} of {t.shape[0]} rows"
                    yield f"pack @{p.name} takes rows {model.range_text(taken)} of {height} (M7)"
                    continue
                rows += made[0]
                if made[1:] != p.shape[1:] or p.dtype not in part_type(layout, t.dtype):
                    yield f"pack @{p.name} and its source @{source} differ in columns or type (W8)"
                if layout == "rope" and made[0] % p.head_dim:
                    height = f"@{source} has {made[0]} rows"
                    yield f"pack @{p.name}: {height}, no multiple of {p.head_dim} (W8)"
                if p.mode == "interleave" and made[0] * len(p.sources) != p.shape[0]:
                    yield f"pack @{p.name} interleaves sources of different heights (W8)"
            if rows != p.shape[0]:
                yield f"pack @{p.name} has {p.shape[0]} rows, its sources {rows} (W8)"

    def operator(self, op: model.ModelOp) -> Iterator[str]:
        n = extent
        match op:
            case model.EmbedOp():
                found = self.symbols.get(op.table.string_value())
                rows = found.shape[0] if isinstance(found, Tensor | Pack) else 0
                yield from self.tensor(op, op.table, (rows, n(op.out)))
            case model.RmsNormOp() | model.LayerNormOp():
                yield from self.groups(op)
                if op.residual:
                    yield from self.shape(op, "residual", op.residual, n(op.x))
            case model.LinearOp():
                yield from self.tensor(op, op.weight, (n(op.out), n(op.x)))
                yield from self.tensor(op, op.bias, (n(op.out),))
                yield from self.norm(op)
                if op.residual:
                    yield from self.shape(op, "residual", op.residual, n(op.out))
                    if op.kind is not None:
                        yield f"{self.label(op)} has a residual and a kind (W5)"
            case model.RopeOp():
                dim = op.head_dim.value.data
                rotary = op.rotary.value.data if op.rotary is not None else dim
                yield from self.rotation(op, op.table, dim, rotary)
                yield from self.shape(op, "result", op.out, n(op.x))
                if dim <= 0 or n(op.x) % dim:
                    size = f"{n(op.x)} elements"
                    yield f"{self.label(op)} has {size}, no multiple of head_dim {dim} (W3)"
            case model.KvAppendOp():
                yield from self.append(op, op.cache, op.k, op.v)
            case model.AttentionOp():
                yield from self.attention(op)
            case model.ActivationOp() | model.ScaleOp() | model.SoftcapOp():
                yield from self.shape(op, "result", op.out, n(op.x))
            case model.GluOp() | model.AddOp():
                for value in op.operands[1:]:
                    yield from self.shape(op, "operand", value, n(op.operands[0]))
                yield from self.shape(op, "result", op.out, n(op.operands[0]))
            case model.QkvOp():
                h, g, d = (a.value.data for a in (op.heads, op.kv_heads, op.head_dim))
                yield from self.tensor(op, op.weight, ((h + 2 * g) * d, n(op.x)))
                yield from self.tensor(op, op.bias, ((h + 2 * g) * d,))
                yield from self.norm(op)
                yield from self.turned(op, d)
                for value, heads in ((op.q, h), (op.k, g), (op.v, g)):
                    yield from self.shape(op, "result", value, heads * d)
            case model.GateUpOp():
                yield from self.tensor(op, op.weight, (2 * n(op.out), n(op.x)))
                yield from self.tensor(op, op.bias, (2 * n(op.out),))
                yield from self.norm(op)
            case model.LmHeadOp():
                found = self.symbols.get(op.weight.string_value())
                rows = found.shape[0] if isinstance(found, Tensor | Pack) else 0
                yield from self.tensor(op, op.weight, (rows, n(op.x)))
                yield from self.tensor(op, op.bias, (rows,))
                yield from self.norm(op)
            case model.TopkOp():
                choices = op.choices.value.data
                if not 0 < choices <= n(op.x):
                    yield f"{self.label(op)} cannot choose {choices} of {n(op.x)} (X2)"
                for value in (op.ids, op.weights):
                    yield from self.shape(op, "result", value, choices)
                yield from self.of_type(op, "ids", op.ids, "i32")
            case model.MoeGateUpOp():
                choices, experts = n(op.ids), op.experts.value.data
                yield from self.tensor(
                    op, op.weight, (experts * 2 * (n(op.out) // choices), n(op.x))
                )
                yield from self.tensor(op, op.bias, (experts * 2 * (n(op.out) // choices),))
                if (op.alpha is None) != (op.limit is None):
                    yield f"{self.label(op)} needs alpha and limit together (W5)"
                if n(op.out) % choices:
                    size = f"{n(op.out)} elements"
                    yield f"{self.label(op)} result has {size} for {choices} experts (W2)"
                yield from self.norm(op)
                yield from self.ids(op, op.ids, experts)
            case model.MoeDownOp():
                choices, experts = n(op.ids), op.experts.value.data
                yield from self.tensor(op, op.weight, (experts * n(op.out), n(op.x) // choices))
                yield from self.tensor(op, op.bias, (experts * n(op.out),))
                if n(op.x) % choices:
                    size = f"{n(op.x)} elements"
                    yield f"{self.label(op)} operand has {size} for {choices} experts (W2)"
                yield from self.shape(op, "weights", op.weights, choices)
                if op.residual:
                    yield from self.shape(op, "residual", op.residual, n(op.out))
                yield from self.ids(op, op.ids, experts)
            case _:
                pass

    def of_type(self, op: Operation, what: str, value: SSAValue, dtype: str) -> Iterator[str]:
        found = tensor_of(value.type)[1]
        if found != dtype:
            yield f"{self.label(op)} {what} must be of {dtype}, got {found} (W2)"

    def ids(self, op: Operation, ids: SSAValue, experts: int) -> Iterator[str]:
        """Expert ids were chosen among at most as many as there are (X1)."""
        router = ids.owner
        if not isinstance(router, model.TopkOp) or ids is not router.ids:
            yield f"{self.label(op)} takes ids that no model.topk has chosen (X1)"
        elif extent(router.x) > experts:
            chosen = f"ids chosen among {extent(router.x)}"
            yield f"{self.label(op)} has {experts} experts and takes {chosen} (X1)"

    def turned(self, op: model.QkvOp | model.AttentionOp, dim: int) -> Iterator[str]:
        """The optional rotation of a fused operator."""
        halves = isinstance(op, model.AttentionOp) and op.halves is not None
        if op.table is not None:
            rotary = op.rotary.value.data if op.rotary is not None else dim
            yield from self.rotation(op, op.table, dim, rotary)
        elif op.rotary is not None or halves:
            yield f"{self.label(op)} rotates by no table (W5)"

    def rotation(self, op: Operation, table: SymbolRefAttr, dim: int, rotary: int) -> Iterator[str]:
        """A table rotates `rotary` of `dim` elements of a head."""
        yield from self.table(op, table, rotary)
        if rotary % 2 or not 0 < rotary <= dim:
            part = f"{rotary} of {dim} elements of a head"
            yield f"{self.label(op)} rotates {part}: it must be even (W3)"

    def append(
        self, op: Operation, cache: SymbolRefAttr, k: SSAValue, v: SSAValue
    ) -> Iterator[str]:
        name = cache.string_value()
        found = self.symbols.get(name)
        if not isinstance(found, KvCache):
            yield f"{self.label(op)} refers to @{name}, which is no declared cache (W1)"
            return
        for value in (k, v):
            yield from self.shape(op, "operand", value, found.heads * found.head_dim)
        if name in self.appended:
            yield f"{self.label(op)} appends to @{name} a second time in one step (W9)"
        self.appended.add(name)

    def attention(self, op: model.AttentionOp) -> Iterator[str]:
        h, g, d = (a.value.data for a in (op.heads, op.kv_heads, op.head_dim))
        if g <= 0 or h % g:
            yield f"{self.label(op)} heads {h} must be a multiple of kv_heads {g} (W4)"
            return
        yield from self.cache(op, op.cache, g, d)
        yield from self.shape(op, "query", op.q, h * d)
        yield from self.shape(op, "result", op.out, h * d)
        yield from self.tensor(op, op.sinks, (h,))
        for norm in (op.q_norm, op.k_norm):
            yield from self.tensor(op, norm, (d,))
        if len({part is None for part in (op.q_norm, op.k_norm, op.eps)}) > 1:
            yield f"{self.label(op)} needs q_norm, k_norm and eps together (W5)"
        yield from self.turned(op, d)
        if (op.q_norm is not None or op.table is not None) and op.k is None:
            yield f"{self.label(op)} normalizes or rotates rows that it does not append (W9)"
        if op.window is not None and op.window.value.data <= 0:
            yield f"{self.label(op)} window must be positive, got {op.window.value.data} (N2)"
        if (op.k is None) != (op.v is None):
            yield f"{self.label(op)} takes k and v together or not at all (W9)"
        elif op.k and op.v:
            yield from self.append(op, op.cache, op.k, op.v)
        elif op.cache.string_value() not in self.appended:
            yield f"{self.label(op)} reads row pos of {op.cache} before any kv_append wrote it (W9)"


def _x(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def verify_model(program: model.ProgramOp) -> list[str]:
    """All problems of a model program, one line each; empty when it is valid."""
    arguments = [str(a.type) for a in program.body.block.args]
    if arguments != [str(model.TOKEN), "index"]:
        return [f"a program takes {model.TOKEN} and index, got {', '.join(arguments)} (W7)"]
    for value in (v for op in program.body.block.ops for v in op.results):
        t: Attribute = value.type
        ranked = isinstance(t, TensorType)
        shape, dtype = tensor_of(value.type) if ranked else ((), "")
        if len(shape) != 1 or shape[0] <= 0:
            return [f"a value has type {t}, not a one-dimensional tensor (W2)"]
        if dtype not in DTYPES:
            return [f"a value has type {t}, not of {', '.join(DTYPES)} (W2)"]
    return list(_Checker(program).check())
