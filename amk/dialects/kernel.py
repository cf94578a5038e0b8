"""The text of a kernel, shared by `task.family` and `vm.kernel`: a mnemonic and `field value`
pairs.

    gemv n 960 tile 8 k 576 weight @layers.0.qkv x @h0 out @qkv0 norm @g eps 1.0e-05 epilogue rope
    ...

Fields that hold their default are not printed. An operand is `@buffer`, then `+offset` and `#use`
unless zero.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any

from xdsl.ir import Data
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.mlir_lexer import MLIRTokenKind

from amk.dialects.attributes import decimal
from amk.ir.kernels import KERNELS, Cache, Kernel, Ref, Weight


def kernel_text(kernel: Kernel) -> str:
    """The text that `parse_kernel` reads back as an equal kernel."""
    parts = [kernel.mnemonic]
    for f in fields(kernel):
        value = getattr(kernel, f.name)
        if value is None or (f.default is not MISSING and value == f.default):
            continue
        match value:
            case Weight() | Cache():
                text = f"@{value}"
            case float():
                text = decimal(value)
            case _:
                text = str(value)
        parts.append(f"{f.name} {text}")
    return " ".join(parts)


def _ref(parser: AttrParser) -> Ref:
    name = parser.parse_symbol_name().data
    offset = (
        parser.parse_integer(allow_negative=False) if parser.parse_optional_punctuation("+") else 0
    )
    use = 0
    token = parser._current_token  # pyright: ignore[reportPrivateUsage]
    if token.kind == MLIRTokenKind.HASH_IDENT and token.text[1:].isdigit():
        use = int(token.text[1:])
        parser._consume_token()  # pyright: ignore[reportPrivateUsage]
    return Ref(name, offset, use)


def _field_name(parser: AttrParser) -> str | None:
    """The next bare identifier, unless it has a dot: then it is the name of the next op."""
    token = parser._current_token  # pyright: ignore[reportPrivateUsage]
    return None if "." in token.text else parser.parse_optional_identifier()


def _value(parser: AttrParser, f: Field[Any]) -> object:
    kind = str(f.type)
    if "Ref" in kind:
        return _ref(parser)
    if "Weight" in kind:
        return Weight(parser.parse_symbol_name().data)
    if "Cache" in kind:
        return Cache(parser.parse_symbol_name().data)
    if kind == "int":
        return parser.parse_integer()
    if kind == "float":
        return float(parser.parse_number())
    return parser.parse_identifier()


def parse_kernel(parser: AttrParser) -> Kernel:
    mnemonic = parser.parse_identifier("kernel name")
    cls = KERNELS.get(mnemonic)
    if cls is None:
        parser.raise_error(f"unknown kernel '{mnemonic}', expected one of {', '.join(KERNELS)}")
    known = {f.name: f for f in fields(cls)}
    values: dict[str, object] = {}
    while (key := _field_name(parser)) is not None:
        if key not in known or key in values:
            parser.raise_error(
                f"kernel {mnemonic} has no field '{key}'" if key not in known else f"'{key}' twice"
            )
        values[key] = _value(parser, known[key])
    missing = [f.name for f in known.values() if f.default is MISSING and f.name not in values]
    if missing:
        parser.raise_error(f"kernel {mnemonic} lacks {', '.join(missing)}")
    return cls(**values)


@irdl_attr_definition
class KernelAttr(Data[Kernel]):
    """A kernel record as an attribute."""

    name = "task.kernel"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> Kernel:
        with parser.in_angle_brackets():
            return parse_kernel(parser)

    def print_parameter(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_string(kernel_text(self.data))
