"""The `model` dialect: what one decoding step computes, as operators on tensors.

Level 1. A `model.program` holds declarations (weights, packs, KV caches, RoPE tables), which every
later level carries along unchanged, and a straight line of operators in SSA form. Order and
dependence are SSA, except for the KV cache, which is memory: `kv_append` and `attention` on one
cache keep their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import auto
from typing import Any, cast

from xdsl.dialects.builtin import (
    I64,
    ArrayAttr,
    DenseArrayBase,
    FlatSymbolRefAttr,
    FlatSymbolRefAttrConstr,
    Float64Type,
    FloatAttr,
    IndexType,
    IntegerAttr,
    ShapedType,
    StringAttr,
    SymbolNameConstraint,
    SymbolRefAttr,
    TensorType,
    UnitAttr,
    bf16,
    f32,
    f64,
    i32,
    i64,
)
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Attribute, Block, Dialect, Operation, Region, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    IRDLOperation,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove, IsTerminator, NoTerminator, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from amk.ir.packs import LAYOUTS
from amk.ir.program import KvCache, Pack, Range, RopeTable, Tensor

TOKEN = TensorType(i32, [1])
Size = IntegerAttr[I64]
Real = FloatAttr[Float64Type]


ELEMENTS: dict[str, Attribute] = {"f32": f32, "bf16": bf16, "i32": i32}
"""Element types by the names that plain programs use."""


def size(value: int) -> Size:
    return IntegerAttr(value, i64)


def real(value: float) -> Real:
    return FloatAttr(value, f64)


def tensor_of(t: Attribute) -> tuple[tuple[int, ...], str]:
    """Shape and element type name of a tensor type."""
    t = cast(TensorType[Attribute], t)
    return tuple(t.get_shape()), str(t.element_type)


def check_tensor(label: str, type: Attribute) -> None:
    """Raises VerifyException unless `type` is a matrix or vector of floats."""
    shape, dtype = tensor_of(type)
    if dtype not in ("f32", "bf16"):
        raise VerifyException(f"{label} has element type {dtype}, not f32 or bf16 (M1)")
    if len(shape) not in (1, 2) or min(shape) <= 0:
        raise VerifyException(f"{label} is no matrix or vector: {type} (M1)")


def array_values(array: Attribute) -> tuple[Any, ...]:
    """The numbers of a dense array attribute."""
    return tuple(cast(Any, array).get_values())


def extent(value: SSAValue) -> int:
    """Number of elements of a one-dimensional tensor value."""
    return cast(ShapedType, value.type).element_count()


# Declarations


Plain = Tensor | Pack | KvCache | RopeTable


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


def decimal(value: float) -> str:
    """The shortest decimal text that reads back as the same float, in MLIR's float syntax."""
    text = repr(float(value))
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}"
    return text


# Operators


class Activation(StrEnum):
    """Functions between the matrices of an MLP; their formulas are in docs/IR_SPEC.md."""

    SILU = auto()
    GELU = auto()
    GELU_TANH = auto()
    QUICK_GELU = auto()
    RELU = auto()
    RELU2 = auto()


@irdl_attr_definition
class ActivationAttr(EnumAttribute[Activation]):
    """One of the activation functions, by its name."""

    name = "model.activation_kind"


class ModelOp(IRDLOperation):
    """An operator of a model program."""


@irdl_op_definition
class EmbedOp(ModelOp):
    """Row `token` of the embedding table, times `multiplier`."""

    name = "model.embed"
    token = operand_def(TOKEN)
    table = prop_def(FlatSymbolRefAttrConstr)
    multiplier = opt_prop_def(Real)
    out = result_def(TensorType)
    assembly_format = "$token `,` $table (`multiplier` $multiplier^)? attr-dict `:` type($out)"


@irdl_op_definition
class RmsNormOp(ModelOp):
    """x * weight / sqrt(mean(x^2) + eps); with `groups`, for each of so many equal parts of x by
    itself; plus `residual`."""

    name = "model.rms_norm"
    x = operand_def(TensorType)
    residual = opt_operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    eps = prop_def(Real)
    groups = opt_prop_def(Size)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $weight `eps` $eps (`groups` $groups^)? "
        "(`residual` $residual^ `:` type($residual))? attr-dict `:` type($x) `->` type($out)"
    )


@irdl_op_definition
class LayerNormOp(ModelOp):
    """(x - mean(x)) * weight / sqrt(variance(x) + eps) + bias; with `groups`, for each of so many
    equal parts of x by itself; plus `residual`."""

    name = "model.layer_norm"
    x = operand_def(TensorType)
    residual = opt_operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = prop_def(Real)
    groups = opt_prop_def(Size)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $weight (`bias` $bias^)? `eps` $eps (`groups` $groups^)? "
        "(`residual` $residual^ `:` type($residual))? attr-dict "
        "`:` type($x) `->` type($out)"
    )


@irdl_op_definition
class LinearOp(ModelOp):
    """scale * (W x + bias) + residual, where x is first normalized if `norm` is given; or, without
    residual, kind(scale * (W x + bias))."""

    name = "model.linear"
    x = operand_def(TensorType)
    residual = opt_operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    scale = opt_prop_def(Real)
    kind = opt_prop_def(ActivationAttr)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $weight (`bias` $bias^)? (`norm` $norm^ `eps` $eps)? (`scale` $scale^)? "
        "(`kind` $kind^)? (`residual` $residual^ `:` type($residual))? attr-dict "
        "`:` type($x) `->` type($out)"
    )


@irdl_op_definition
class RopeOp(ModelOp):
    """Rotary embedding of the first `rotary` elements of each head (default: all of it) at position
    pos: pairs (i, i + rotary / 2), or with `interleaved` (2i, 2i + 1)."""

    name = "model.rope"
    x = operand_def(TensorType)
    pos = operand_def(IndexType)
    table = prop_def(FlatSymbolRefAttrConstr)
    head_dim = prop_def(Size)
    rotary = opt_prop_def(Size)
    interleaved = opt_prop_def(UnitAttr)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $table `at` $pos `head_dim` $head_dim (`rotary` $rotary^)? "
        "(`interleaved` $interleaved^)? attr-dict `:` type($x) `->` type($out)"
    )

    @property
    def full(self) -> bool:
        """Whether whole heads rotate, in halves."""
        return self.rotary in (None, self.head_dim) and self.interleaved is None


@irdl_op_definition
class KvAppendOp(ModelOp):
    """Row pos of the cache becomes (k, v)."""

    name = "model.kv_append"
    k = operand_def(TensorType)
    v = operand_def(TensorType)
    pos = operand_def(IndexType)
    cache = prop_def(FlatSymbolRefAttrConstr)
    assembly_format = "$k `,` $v `,` $cache `at` $pos attr-dict `:` type($k) `,` type($v)"


@irdl_op_definition
class AttentionOp(ModelOp):
    """softmax(scale * q K^T) V over rows [0, pos] of the cache; with k and v, row pos is appended
    first.

    `window` restricts rows to (pos - window, pos], `softcap` makes of each scaled score s the
    score softcap * tanh(s / softcap), and `sinks` names one logit for each query head that counts
    in the denominator of its softmax.

    With `q_norm` and `k_norm` each head of q and of k is normalized first, and with `rope` it is
    rotated next. With `halves`, q and k hold elements i and i + rotary / 2 of a head as neighbors.
    """

    name = "model.attention"
    q = operand_def(TensorType)
    k = opt_operand_def(TensorType)
    v = opt_operand_def(TensorType)
    pos = operand_def(IndexType)
    cache = prop_def(FlatSymbolRefAttrConstr)
    heads = prop_def(Size)
    kv_heads = prop_def(Size)
    head_dim = prop_def(Size)
    scale = prop_def(Real)
    window = opt_prop_def(Size)
    softcap = opt_prop_def(Real)
    sinks = opt_prop_def(FlatSymbolRefAttrConstr)
    q_norm = opt_prop_def(FlatSymbolRefAttrConstr)
    k_norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    table = opt_prop_def(FlatSymbolRefAttrConstr)
    rotary = opt_prop_def(Size)
    halves = opt_prop_def(UnitAttr)
    out = result_def(TensorType)
    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    assembly_format = (
        "$q (`append` $k^ `,` $v `:` type($k) `,` type($v))? `,` $cache `at` $pos `heads` $heads "
        "`kv_heads` $kv_heads `head_dim` $head_dim `scale` $scale (`window` $window^)? "
        "(`softcap` $softcap^)? (`sinks` $sinks^)? "
        "(`q_norm` $q_norm^ `k_norm` $k_norm `eps` $eps)? (`rope` $table^)? (`rotary` $rotary^)? "
        "(`halves` $halves^)? attr-dict `:` type($q) `->` type($out)"
    )


@irdl_op_definition
class GluOp(ModelOp):
    """kind(gate) * up, elementwise: a gated linear unit."""

    name = "model.glu"
    kind = prop_def(ActivationAttr)
    gate = operand_def(TensorType)
    up = operand_def(TensorType)
    out = result_def(TensorType)
    assembly_format = "$kind $gate `,` $up attr-dict `:` type($gate) `,` type($up) `->` type($out)"


@irdl_op_definition
class ActivationOp(ModelOp):
    """kind(x), elementwise."""

    name = "model.activation"
    kind = prop_def(ActivationAttr)
    x = operand_def(TensorType)
    out = result_def(TensorType)
    assembly_format = "$kind $x attr-dict `:` type($x) `->` type($out)"


@irdl_op_definition
class ScaleOp(ModelOp):
    """x * factor, elementwise."""

    name = "model.scale"
    x = operand_def(TensorType)
    factor = prop_def(Real)
    out = result_def(TensorType)
    assembly_format = "$x `by` $factor attr-dict `:` type($x) `->` type($out)"


@irdl_op_definition
class SoftcapOp(ModelOp):
    """cap * tanh(x / cap), elementwise."""

    name = "model.softcap"
    x = operand_def(TensorType)
    cap = prop_def(Real)
    out = result_def(TensorType)
    assembly_format = "$x `cap` $cap attr-dict `:` type($x) `->` type($out)"


@irdl_op_definition
class AddOp(ModelOp):
    """a + b, elementwise."""

    name = "model.add"
    a = operand_def(TensorType)
    b = operand_def(TensorType)
    out = result_def(TensorType)
    assembly_format = "$a `,` $b attr-dict `:` type($a) `,` type($b) `->` type($out)"


@irdl_op_definition
class ArgmaxOp(ModelOp):
    """The index of the largest element, the lowest one on a tie: the next token."""

    name = "model.argmax"
    x = operand_def(TensorType)
    out = result_def(TOKEN)
    assembly_format = "$x attr-dict `:` type($x)"


@irdl_op_definition
class QkvOp(ModelOp):
    """Query, key and value projections from one packed weight, with norm before and, if there is a
    table, rotary embedding after: of neighbors (2i, 2i + 1) among the first `rotary` elements of
    each head of q and k (default: all of it).
    """

    name = "model.qkv"
    x = operand_def(TensorType)
    pos = operand_def(IndexType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    table = opt_prop_def(FlatSymbolRefAttrConstr)
    rotary = opt_prop_def(Size)
    heads = prop_def(Size)
    kv_heads = prop_def(Size)
    head_dim = prop_def(Size)
    q = result_def(TensorType)
    k = result_def(TensorType)
    v = result_def(TensorType)
    assembly_format = (
        "$x `,` $weight (`bias` $bias^)? (`norm` $norm^ `eps` $eps)? (`rope` $table^)? "
        "(`rotary` $rotary^)? `at` $pos `heads` $heads `kv_heads` $kv_heads `head_dim` $head_dim "
        "attr-dict `:` type($x) `->` type($q) `,` type($k) `,` type($v)"
    )


@irdl_op_definition
class GateUpOp(ModelOp):
    """kind(gate) * up (default: silu), where gate and up are the interleaved rows of one packed
    weight times x."""

    name = "model.gate_up"
    x = operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    kind = opt_prop_def(ActivationAttr)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $weight (`bias` $bias^)? (`norm` $norm^ `eps` $eps)? (`kind` $kind^)? "
        "attr-dict `:` type($x) `->` type($out)"
    )


@irdl_op_definition
class LmHeadOp(ModelOp):
    """Logits, scale * (W x + bias), and their argmax in one operator: the logits are an output of
    the program, the token its result. With `softcap`, a logit l is softcap * tanh(l / softcap)."""

    name = "model.lm_head"
    x = operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    scale = opt_prop_def(Real)
    softcap = opt_prop_def(Real)
    out = result_def(TOKEN)
    assembly_format = (
        "$x `,` $weight (`bias` $bias^)? (`norm` $norm^ `eps` $eps)? (`scale` $scale^)? "
        "(`softcap` $softcap^)? attr-dict `:` type($x)"
    )


@irdl_op_definition
class TopkOp(ModelOp):
    """The `choices` largest of x: their indices, and their share of softmax(x), or with `normalize`
    of what the chosen ones add up to."""

    name = "model.topk"
    x = operand_def(TensorType)
    choices = prop_def(Size)
    normalize = opt_prop_def(UnitAttr)
    ids = result_def(TensorType)
    weights = result_def(TensorType)
    assembly_format = (
        "$x `choices` $choices (`normalize` $normalize^)? attr-dict "
        "`:` type($x) `->` type($ids) `,` type($weights)"
    )


@irdl_op_definition
class MoeGateUpOp(ModelOp):
    """silu(gate) * up of each chosen expert, one behind the other; gate and up are the interleaved
    rows of the expert's part of one weight times x, plus its part of `bias`. With `limit` they are
    clamped, and it is gate * sigmoid(alpha * gate) * (up + 1)."""

    name = "model.moe_gate_up"
    x = operand_def(TensorType)
    ids = operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    experts = prop_def(Size)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    alpha = opt_prop_def(Real)
    limit = opt_prop_def(Real)
    norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $ids `,` $weight `experts` $experts (`bias` $bias^)? "
        "(`alpha` $alpha^ `limit` $limit)? (`norm` $norm^ `eps` $eps)? attr-dict "
        "`:` type($x) `,` type($ids) `->` type($out)"
    )


@irdl_op_definition
class MoeDownOp(ModelOp):
    """The sum of what the chosen experts make of their parts of x, with their parts of `bias`,
    weighted, plus `residual`."""

    name = "model.moe_down"
    x = operand_def(TensorType)
    ids = operand_def(TensorType)
    weights = operand_def(TensorType)
    residual = opt_operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    experts = prop_def(Size)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $ids `,` $weights `,` $weight `experts` $experts (`bias` $bias^)? "
        "(`residual` $residual^ `:` type($residual))? attr-dict "
        "`:` type($x) `,` type($ids) `,` type($weights) `->` type($out)"
    )


@irdl_op_definition
class ReturnOp(ModelOp):
    """Ends a program; its operand is the next token."""

    name = "model.return"
    token = operand_def(TOKEN)
    traits = traits_def(IsTerminator())
    assembly_format = "$token attr-dict"


@irdl_op_definition
class ProgramOp(IRDLOperation):
    """One decoding step: from a token at a position to the next token."""

    name = "model.program"
    sym_name = prop_def(SymbolNameConstraint())
    body = region_def("single_block")
    traits = traits_def(IsolatedFromAbove(), SymbolOpInterface(), NoTerminator())

    def __init__(self, name: str, body: Region):
        super().__init__(properties={"sym_name": StringAttr(name)}, regions=[body])

    @staticmethod
    def empty(name: str) -> ProgramOp:
        return ProgramOp(name, Region(Block(arg_types=(TOKEN, IndexType()))))

    @property
    def token(self) -> SSAValue:
        return self.body.block.args[0]

    @property
    def pos(self) -> SSAValue:
        return self.body.block.args[1]

    @classmethod
    def parse(cls, parser: Parser) -> ProgramOp:
        name = parser.parse_symbol_name().data
        args = parser.parse_comma_separated_list(parser.Delimiter.PAREN, parser.parse_argument)
        return cls(name, parser.parse_region(args))

    def print(self, printer: Printer) -> None:
        printer.print_string(f" @{self.sym_name.data}(")
        printer.print_list(self.body.block.args, printer.print_block_argument)
        printer.print_string(") ")
        printer.print_region(self.body, print_entry_block_args=False)

    def verify_(self) -> None:
        from amk.verify.model import verify_model

        for problem in verify_model(self):
            raise VerifyException(problem)


def declarations(program: Operation) -> Iterator[Declaration]:
    """The declarations at the head of a program of any level."""
    for op in program.regions[0].block.ops:
        if isinstance(op, Declaration):
            yield op


def number(attr: Real | None, default: float) -> float:
    """The value of an optional number."""
    return attr.value.data if attr is not None else default


def symbol(attr: SymbolRefAttr | None) -> str | None:
    return attr.string_value() if attr is not None else None


MODEL = Dialect(
    "model",
    [
        ProgramOp, WeightOp, PackOp, CacheOp, RopeTableOp, EmbedOp, RmsNormOp, LayerNormOp,
        LinearOp, RopeOp, KvAppendOp, AttentionOp, GluOp, ActivationOp, ScaleOp, SoftcapOp, AddOp,
        ArgmaxOp, QkvOp, GateUpOp, LmHeadOp, TopkOp, MoeGateUpOp, MoeDownOp,
        ReturnOp,
    ],
    [ActivationAttr],
)  # fmt: skip
