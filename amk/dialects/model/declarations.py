"""What a program of any level refers to by symbol: weights, packs, KV caches, RoPE tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    FlatSymbolRefAttr,
    StringAttr,
    SymbolNameConstraint,
    SymbolRefAttr,
    TensorType,
    f64,
    i64,
)
from xdsl.ir import Attribute, Operation
from xdsl.irdl import IRDLOperation, irdl_op_definition, prop_def, traits_def
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from amk.dialects.attributes import Real, Size, array_values, decimal, real, size, tensor_of
from amk.ir.packs import LAYOUTS
from amk.ir.program import KvCache, Pack, Range, RopeTable, Tensor

Plain = Tensor | Pack | KvCache | RopeTable


def check_tensor(label: str, type: Attribute) -> None:
    """Raises VerifyException unless `type` is a matrix or vector of floats."""
    shape, dtype = tensor_of(type)
    if dtype not in ("f32", "bf16"):
        raise VerifyException(f"{label} has element type {dtype}, not f32 or bf16 (M1)")
    if len(shape) not in (1, 2) or min(shape) <= 0:
        raise VerifyException(f"{label} is no matrix or vector: {type} (M1)")


class Declaration(IRDLOperation):
    """An immutable tensor, a pack or a table, or a KV cache: what the program refers to by
    symbol."""

    def plain(self) -> Plain:
        """The declaration as plain data."""
        raise NotImplementedError

    def symbol(self) -> str:
        return cast(StringAttr, self.properties["sym_name"]).data


@irdl_op_definition
class WeightOp(Declaration):
    """A tensor of the checkpoint, under its name there."""

    name = "model.weight"
    sym_name = prop_def(SymbolNameConstraint())
    type = prop_def(TensorType)
    traits = traits_def(SymbolOpInterface())
    assembly_format = "$sym_name `:` $type attr-dict"

    def __init__(self, name: str, type: TensorType[Attribute]):
        super().__init__(properties={"sym_name": StringAttr(name), "type": type})

    def plain(self) -> Tensor:
        return Tensor(self.sym_name.data, *tensor_of(self.type))

    def verify_(self) -> None:
        check_tensor(f"weight @{self.sym_name.data}", self.type)


@irdl_op_definition
class PackOp(Declaration):
    """A tensor made of others, row by row, once at load time (`amk.ir.program.Pack`)."""

    name = "model.pack"
    sym_name = prop_def(SymbolNameConstraint())
    mode = prop_def(StringAttr)
    sources = prop_def(ArrayAttr[FlatSymbolRefAttr])
    layouts = prop_def(ArrayAttr[StringAttr])
    ranges = prop_def(DenseArrayBase)
    head_dim = prop_def(Size)
    rotary = prop_def(Size)
    type = prop_def(TensorType)
    traits = traits_def(SymbolOpInterface())

    def __init__(self, pack: Pack, type: TensorType[Attribute]):
        taken = [r or Range(0, 0) for r in pack.ranges]
        super().__init__(
            properties={
                "sym_name": StringAttr(pack.name),
                "mode": StringAttr(pack.mode),
                "sources": ArrayAttr([SymbolRefAttr(s) for s in pack.sources]),
                "layouts": ArrayAttr([StringAttr(s) for s in pack.layouts]),
                "ranges": DenseArrayBase.from_list(
                    i64, [n for r in taken for n in (r.lo, r.hi, r.every)]
                ),
                "head_dim": size(pack.head_dim),
                "rotary": size(pack.rotary),
                "type": type,
            }
        )

    def plain(self) -> Pack:
        numbers = array_values(self.ranges)
        taken = [Range(*numbers[i : i + 3]) for i in range(0, len(numbers), 3)]
        return Pack(
            self.sym_name.data,
            *tensor_of(self.type),
            self.mode.data,
            tuple(s.string_value() for s in self.sources),
            tuple(s.data for s in self.layouts),
            self.head_dim.value.data,
            tuple(r if r != Range(0, 0) else None for r in taken),
            self.rotary.value.data,
        )

    @classmethod
    def parse(cls, parser: Parser) -> PackOp:
        name = parser.parse_symbol_name().data
        parser.parse_punctuation("=")
        mode = parser.parse_identifier()

        def source() -> tuple[str, str, Range | None]:
            layout, symbol = parser.parse_identifier(), parser.parse_symbol_name().data
            if not parser.parse_optional_punctuation("["):
                return layout, symbol, None
            lo = parser.parse_integer()
            parser.parse_keyword("to")
            hi = parser.parse_integer()
            every = parser.parse_integer() if parser.parse_optional_keyword("of") else 0
            parser.parse_punctuation("]")
            taken = Range(lo, hi, every)
            if not 0 <= lo < hi or (every and every < hi):
                parser.raise_error(f"pack @{name} takes no rows {range_text(taken)} (M7)")
            return layout, symbol, taken

        parts = parser.parse_comma_separated_list(parser.Delimiter.PAREN, source)
        head_dim = parser.parse_integer() if parser.parse_optional_keyword("head_dim") else 0
        rotary = parser.parse_integer() if parser.parse_optional_keyword("rotary") else 0
        parser.parse_punctuation(":")
        type = cast(TensorType[Attribute], parser.parse_type())
        layouts, sources = tuple(p[0] for p in parts), tuple(p[1] for p in parts)
        ranges = tuple(p[2] for p in parts) if any(p[2] for p in parts) else ()
        return cls(
            Pack(name, *tensor_of(type), mode, sources, layouts, head_dim, ranges, rotary), type
        )

    def print(self, printer: Printer) -> None:
        p = self.plain()
        items = ", ".join(f"{a} @{s}{range_text(r)}" for s, a, r in p.parts())
        tail = f" head_dim {p.head_dim}" if p.head_dim else ""
        tail += f" rotary {p.rotary}" if p.rotary else ""
        printer.print_string(f" @{p.name} = {p.mode}({items}){tail} : {self.type}")

    def verify_(self) -> None:
        p = self.plain()
        check_tensor(f"pack @{p.name}", self.type)
        if p.mode not in ("concat", "interleave"):
            raise VerifyException(
                f"pack @{p.name} mode is concat or interleave, got '{p.mode}' (M2)"
            )
        if not p.sources or len(p.sources) != len(p.layouts):
            raise VerifyException(
                f"pack @{p.name} has {len(p.sources)} sources, {len(p.layouts)} layouts (M2)"
            )
        for layout in p.layouts:
            if layout not in LAYOUTS:
                known = ", ".join(LAYOUTS)
                raise VerifyException(
                    f"pack @{p.name} layout is one of {known}, got '{layout}' (M3)"
                )
        if "rope" in p.layouts and (p.head_dim <= 0 or p.head_dim % 2):
            raise VerifyException(
                f"pack @{p.name} needs an even positive head_dim, got {p.head_dim} (M3)"
            )
        if p.rotary % 2 or not 0 <= p.rotary <= p.head_dim:
            raise VerifyException(
                f"pack @{p.name} turns {p.rotary} of {p.head_dim} rows of a head (M3)"
            )


def range_text(taken: Range | None) -> str:
    if taken is None:
        return ""
    every = f" of {taken.every}" if taken.every else ""
    return f"[{taken.lo} to {taken.hi}{every}]"


@irdl_op_definition
class CacheOp(Declaration):
    """A KV cache: keys and values of `heads` heads for `rows` positions."""

    name = "model.cache"
    sym_name = prop_def(SymbolNameConstraint())
    rows = prop_def(Size)
    heads = prop_def(Size)
    head_dim = prop_def(Size)
    type = prop_def(Attribute)
    traits = traits_def(SymbolOpInterface())
    assembly_format = (
        "$sym_name `rows` $rows `heads` $heads `head_dim` $head_dim `:` $type attr-dict"
    )

    def __init__(self, name: str, rows: int, heads: int, head_dim: int, type: Attribute):
        super().__init__(
            properties={
                "sym_name": StringAttr(name),
                "rows": size(rows),
                "heads": size(heads),
                "head_dim": size(head_dim),
                "type": type,
            }
        )

    def plain(self) -> KvCache:
        rows, heads, dim = (a.value.data for a in (self.rows, self.heads, self.head_dim))
        return KvCache(self.sym_name.data, rows, heads, dim, str(self.type))

    def verify_(self) -> None:
        c = self.plain()
        if min(c.rows, c.heads, c.head_dim) <= 0:
            raise VerifyException(
                f"cache @{c.name} has an empty dimension {c.rows}x{c.heads}x{c.head_dim} (M4)"
            )
        if c.dtype not in ("f32", "bf16"):
            raise VerifyException(
                f"cache @{c.name} has element type {c.dtype}, not f32 or bf16 (M5)"
            )


@irdl_op_definition
class RopeTableOp(Declaration):
    """Inverse frequencies of the rotary embedding; cos and sin are computed in fp32 and multiplied
    by `scale`."""

    name = "model.rope_table"
    sym_name = prop_def(SymbolNameConstraint())
    inv_freq = prop_def(DenseArrayBase)
    scale = prop_def(Real)
    traits = traits_def(SymbolOpInterface())

    def __init__(self, name: str, inv_freq: tuple[float, ...], scale: float = 1.0):
        super().__init__(
            properties={
                "sym_name": StringAttr(name),
                "inv_freq": DenseArrayBase.from_list(f64, inv_freq),
                "scale": real(scale),
            }
        )

    def plain(self) -> RopeTable:
        return RopeTable(self.sym_name.data, array_values(self.inv_freq), self.scale.value.data)

    @classmethod
    def parse(cls, parser: Parser) -> RopeTableOp:
        name = parser.parse_symbol_name().data
        parser.parse_keyword("scale")
        scale = float(parser.parse_number())
        values = parser.parse_comma_separated_list(
            parser.Delimiter.SQUARE, lambda: float(parser.parse_number())
        )
        return cls(name, tuple(values), scale)

    def print(self, printer: Printer) -> None:
        t = self.plain()
        values = ", ".join(decimal(v) for v in t.inv_freq)
        printer.print_string(f" @{t.name} scale {decimal(t.scale)} [{values}]")

    def verify_(self) -> None:
        if not self.plain().inv_freq:
            raise VerifyException(f"rope table @{self.sym_name.data} is empty (M6)")


def declarations(program: Operation) -> Iterator[Declaration]:
    """The declarations at the head of a program of any level."""
    for op in program.regions[0].block.ops:
        if isinstance(op, Declaration):
            yield op
