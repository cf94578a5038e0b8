"""The `task` dialect: families of tiles on buffers.

Level 2. One `task.family` is a kernel and its grid of tiles; what a tile touches follows from the
kernel
(`amk.ir.kernels`), and is printed behind the family as a comment for the reader. Families stand in
program order and name their buffers by symbol, because buffers are memory, not values: they are
shared, placed and reused later.
"""

from __future__ import annotations

from typing import Self, TypeVar, cast

from xdsl.dialects.builtin import (
    DenseArrayBase,
    FlatSymbolRefAttrConstr,
    StringAttr,
    SymbolNameConstraint,
    SymbolRefAttr,
    TensorType,
    i64,
)
from xdsl.ir import Attribute, Block, Dialect, Operation, Region
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
    region_def,
    traits_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove, NoTerminator, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from amk.dialects import model
from amk.dialects.attributes import ELEMENTS, Size, array_values, size, tensor_of
from amk.dialects.kernel import KernelAttr, kernel_text, parse_kernel
from amk.ir.kernels import Access, CacheAccess, Kernel, WeightAccess
from amk.ir.program import (
    DTYPES,
    SPACES,
    Buffer,
    CounterArray,
    Declarations,
    KvCache,
    Pack,
    RopeTable,
    TaskProgram,
    Tensor,
)


@irdl_op_definition
class BufferOp(IRDLOperation):
    """A logical buffer: one value of `type`, written once in a step. `home` and `use` say where it
    is placed."""

    name = "task.buffer"
    sym_name = prop_def(SymbolNameConstraint())
    space = prop_def(StringAttr)
    type = prop_def(TensorType)
    home = opt_prop_def(FlatSymbolRefAttrConstr)
    use = opt_prop_def(Size)
    traits = traits_def(SymbolOpInterface())

    def __init__(self, buffer: Buffer, home: tuple[str, int] | None = None):
        properties: dict[str, Attribute] = {
            "sym_name": StringAttr(buffer.name),
            "space": StringAttr(buffer.space),
            "type": TensorType(ELEMENTS[buffer.dtype], [buffer.length]),
        }
        if home:
            properties |= {"home": SymbolRefAttr(home[0]), "use": size(home[1])}
        super().__init__(properties=properties)

    def plain(self) -> Buffer:
        shape, dtype = tensor_of(self.type)
        return Buffer(
            self.sym_name.data, self.space.data, shape[0] if len(shape) == 1 else 0, dtype
        )

    @classmethod
    def parse(cls, parser: Parser) -> BufferOp:
        name, buffer = parser.parse_symbol_name().data, parse_buffer(parser)
        home = None
        if parser.parse_optional_keyword("in"):
            where = parser.parse_symbol_name().data
            parser.parse_keyword("use")
            home = (where, parser.parse_integer(allow_negative=False))
        return cls(Buffer(name, *buffer), home)

    def print(self, printer: Printer) -> None:
        printer.print_string(f" @{self.sym_name.data} {buffer_text(self.plain())}")
        if self.home is not None and self.use is not None:
            printer.print_string(f" in @{self.home.string_value()} use {self.use.value.data}")

    def verify_(self) -> None:
        check_buffer(self.plain())


def buffer_text(b: Buffer) -> str:
    return f": {b.space}<{b.length}x{b.dtype}>"


def parse_buffer(parser: Parser) -> tuple[str, int, str]:
    """`: space<LENGTHxTYPE>`"""
    parser.parse_punctuation(":")
    space = parser.parse_identifier("buffer space")
    with parser.in_angle_brackets():
        shape, type = parser.parse_ranked_shape()
    if len(shape) != 1:
        parser.raise_error("a buffer has one dimension")
    if str(type) not in ELEMENTS:
        expected = ", ".join(ELEMENTS)
        parser.raise_error(f"element type is {expected}, got {type} (B1)")
    return space, shape[0], str(type)


def check_buffer(b: Buffer) -> None:
    if b.space not in SPACES:
        raise VerifyException(
            f"buffer @{b.name} space is {', '.join(SPACES)}, got '{b.space}' (B1)"
        )
    if b.dtype not in DTYPES:
        raise VerifyException(
            f"buffer @{b.name} element type is {', '.join(DTYPES)}, got {b.dtype} (B1)"
        )
    if b.length <= 0 or b.uses <= 0:
        raise VerifyException(f"buffer @{b.name} has {b.length} elements and {b.uses} uses (B1)")
    if b.length >= 1 << 31:
        raise VerifyException(f"buffer @{b.name} has {b.length} elements, at most 2^31 - 1 (B1)")
    if b.space == "flagged" and b.length % b.word:
        raise VerifyException(
            f"buffer @{b.name} of {b.length} {b.dtype} is no whole number of words (B2)"
        )


@irdl_op_definition
class CounterOp(IRDLOperation):
    """Counters of a family: tiles [bounds[j], bounds[j + 1]) arrive at counter j, once a tile and
    step."""

    name = "task.counter"
    sym_name = prop_def(SymbolNameConstraint())
    family = prop_def(FlatSymbolRefAttrConstr)
    bounds = prop_def(DenseArrayBase)
    traits = traits_def(SymbolOpInterface())

    def __init__(self, array: CounterArray):
        super().__init__(
            properties={
                "sym_name": StringAttr(array.name),
                "family": SymbolRefAttr(array.family),
                "bounds": DenseArrayBase.from_list(i64, array.bounds),
            }
        )

    def plain(self) -> CounterArray:
        bounds = array_values(self.bounds)
        return CounterArray(self.sym_name.data, self.family.string_value(), bounds)

    @classmethod
    def parse(cls, parser: Parser) -> CounterOp:
        name = parser.parse_symbol_name().data
        parser.parse_keyword("of")
        family = parser.parse_symbol_name().data
        bounds = parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_integer)
        return cls(CounterArray(name, family, tuple(bounds)))

    def print(self, printer: Printer) -> None:
        c = self.plain()
        printer.print_string(f" @{c.name} of @{c.family} [{', '.join(map(str, c.bounds))}]")


class NamedKernel(IRDLOperation):
    """A kernel under a symbol."""

    sym_name = prop_def(SymbolNameConstraint())
    kernel = prop_def(KernelAttr)
    traits = traits_def(SymbolOpInterface())

    def __init__(self, name: str, kernel: Kernel):
        super().__init__(properties={"sym_name": StringAttr(name), "kernel": KernelAttr(kernel)})

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        name = parser.parse_symbol_name().data
        return cls(name, parse_kernel(parser))

    def print(self, printer: Printer) -> None:
        printer.print_string(f" @{self.sym_name.data} {kernel_text(self.kernel.data)}")


@irdl_op_definition
class FamilyOp(NamedKernel):
    """A kernel, run tile by tile over its grid."""

    name = "task.family"

    def print(self, printer: Printer) -> None:
        super().print(printer)
        k = self.kernel.data
        if not list(k.problems()):
            printer.print_string(f"  // grid {k.grid}, last tile {region_text(k, k.grid - 1)}")


def region_text(kernel: Kernel, tile: int) -> str:
    """What one tile reads and writes, for the reader of a dump."""
    parts: dict[bool, list[str]] = {False: [], True: []}
    for a in kernel.accesses(tile, tile + 1):
        match a:
            case Access():
                parts[a.write].append(f"{a.buffer}[{a.lo}:{a.hi}]")
            case CacheAccess():
                parts[a.write].append(f"{a.cache}[{'pos' if a.write else '0:pos'}, {a.lo}:{a.hi}]")
            case WeightAccess():
                parts[False].append(f"{a.weight}[{a.lo}:{a.hi}]")
    return f"reads {' '.join(parts[False])} writes {' '.join(parts[True])}"


class LoweredProgram(IRDLOperation):
    """A program below the level of operators: a name and its ops."""

    sym_name = prop_def(SymbolNameConstraint())
    body = region_def("single_block")
    traits = traits_def(IsolatedFromAbove(), SymbolOpInterface(), NoTerminator())
    assembly_format = "$sym_name $body attr-dict"

    def __init__(self, name: str, ops: list[Operation]):
        super().__init__(properties={"sym_name": StringAttr(name)}, regions=[Region(Block(ops))])


@irdl_op_definition
class ProgramOp(LoweredProgram):
    """A task program: declarations, buffers, counters, then families in program order."""

    name = "task.program"

    def verify_(self) -> None:
        from amk.verify.task import verify_task

        for problem in verify_task(program_of(self)):
            raise VerifyException(problem)


T = TypeVar("T")


def add_declaration(p: Declarations, op: Operation) -> bool:
    """Enters a declaration, buffer or family into a plain program; False if the op is none of
    these."""
    match op:
        case model.Declaration():
            plain = op.plain()
            tables = {Tensor: p.tensors, Pack: p.packs, KvCache: p.caches, RopeTable: p.ropes}
            for table in tables.values():
                once(plain.name not in table, f"symbol @{plain.name}")
            enter(cast(dict[str, object], tables[type(plain)]), plain.name, plain)
        case BufferOp():
            enter(p.buffers, op.sym_name.data, op.plain())
        case FamilyOp():
            enter(p.kernels, op.sym_name.data, op.kernel.data)
        case _:
            return False
    return True


def enter(table: dict[str, T], name: str, value: T) -> None:
    once(name not in table, f"symbol @{name}")
    table[name] = value


def once(first: bool, what: str) -> None:
    """Raises VerifyException unless this is the `first` declaration of its kind."""
    if not first:
        raise VerifyException(f"{what} is declared twice (P1)")


def add_task(p: TaskProgram, op: Operation) -> bool:
    match op:
        case CounterOp():
            enter(p.counters, op.sym_name.data, op.plain())
            return True
        case BufferOp() if op.home is not None and op.use is not None:
            p.homes[op.sym_name.data] = (op.home.string_value(), op.use.value.data)
        case _:
            pass
    return add_declaration(p, op)


def program_of(op: ProgramOp) -> TaskProgram:
    """The plain form of a task program. Raises VerifyException on a symbol declared twice or a
    foreign op."""
    p = TaskProgram(op.sym_name.data)
    for inner in op.body.block.ops:
        if not add_task(p, inner):
            raise VerifyException(f"{inner.name} does not belong in a task program (P1)")
    return p


def task_ops(p: TaskProgram) -> list[Operation]:
    """The ops of a plain task program, declarations (which only a model program makes) left out."""
    ops: list[Operation] = [BufferOp(b, p.homes.get(b.name)) for b in p.buffers.values()]
    ops += [CounterOp(c) for c in p.counters.values()]
    ops += [FamilyOp(name, k) for name, k in p.kernels.items()]
    return ops


TASK = Dialect("task", [ProgramOp, BufferOp, CounterOp, FamilyOp], [KernelAttr])
