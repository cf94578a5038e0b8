"""Types and attributes that the dialects share, and what they say as plain values."""

from __future__ import annotations

from typing import Any, cast

from xdsl.dialects.builtin import (
    I64,
    Float64Type,
    FloatAttr,
    IntegerAttr,
    ShapedType,
    SymbolRefAttr,
    TensorType,
    bf16,
    f32,
    f64,
    i32,
    i64,
)
from xdsl.ir import Attribute, SSAValue

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


def array_values(array: Attribute) -> tuple[Any, ...]:
    """The numbers of a dense array attribute."""
    return tuple(cast(Any, array).get_values())


def extent(value: SSAValue) -> int:
    """Number of elements of a one-dimensional tensor value."""
    return cast(ShapedType, value.type).element_count()


def decimal(value: float) -> str:
    """The shortest decimal text that reads back as the same float, in MLIR's float syntax."""
    text = repr(float(value))
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}"
    return text


def number(attr: Real | None, default: float) -> float:
    """The value of an optional number."""
    return attr.value.data if attr is not None else default


def symbol(attr: SymbolRefAttr | None) -> str | None:
    return attr.string_value() if attr is not None else None
