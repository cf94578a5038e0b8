"""The `vm` dialect: the instructions of each SM, one line each, with every buffer, epoch and
counter resolved.

Level 4. `vm.kernel` fixes code and addresses; `vm.run` is an instruction: a kernel, a range of its
tiles, the counters it waits for and those it signals.
"""

from __future__ import annotations

from xdsl.dialects.builtin import StringAttr, SymbolNameConstraint, TensorType
from xdsl.ir import Block, Data, Dialect, Operation, Region
from xdsl.irdl import (
    IRDLOperation,
    irdl_attr_definition,
    irdl_op_definition,
    prop_def,
    region_def,
    traits_def,
)
from xdsl.parser import AttrParser, Parser
from xdsl.printer import Printer
from xdsl.traits import NoTerminator, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from amk.dialects import model, task
from amk.dialects.attributes import ELEMENTS, Size, size, tensor_of
from amk.dialects.sched import RingOp, parse_range
from amk.dialects.task import buffer_text, check_buffer, parse_buffer
from amk.ir.program import SCOPES, Buffer, Program, Run, Signal, Wait


@irdl_op_definition
class BufferOp(IRDLOperation):
    """A physical buffer, which holds `uses` values in turn during one step."""

    name = "vm.buffer"
    sym_name = prop_def(SymbolNameConstraint())
    space = prop_def(StringAttr)
    type = prop_def(TensorType)
    uses = prop_def(Size)
    traits = traits_def(SymbolOpInterface())

    def __init__(self, b: Buffer):
        super().__init__(
            properties={
                "sym_name": StringAttr(b.name),
                "space": StringAttr(b.space),
                "type": TensorType(ELEMENTS[b.dtype], [b.length]),
                "uses": size(b.uses),
            }
        )

    def plain(self) -> Buffer:
        shape, dtype = tensor_of(self.type)
        length = shape[0] if len(shape) == 1 else 0
        return Buffer(self.sym_name.data, self.space.data, length, dtype, self.uses.value.data)

    @classmethod
    def parse(cls, parser: Parser) -> BufferOp:
        name, buffer = parser.parse_symbol_name().data, parse_buffer(parser)
        uses = parser.parse_integer() if parser.parse_optional_keyword("uses") else 1
        return cls(Buffer(name, *buffer, uses))

    def print(self, printer: Printer) -> None:
        b = self.plain()
        printer.print_string(
            f" @{b.name} {buffer_text(b)}{f' uses {b.uses}' if b.uses > 1 else ''}"
        )

    def verify_(self) -> None:
        check_buffer(self.plain())


@irdl_op_definition
class CountersOp(IRDLOperation):
    """Number of counters of the program, numbered from 0, all 0 before the first launch."""

    name = "vm.counters"
    count = prop_def(Size)
    assembly_format = "$count attr-dict"

    def __init__(self, count: int):
        super().__init__(properties={"count": size(count)})


@irdl_op_definition
class KernelOp(task.NamedKernel):
    """Code and addresses of instructions: a kernel whose operands are places in physical
    buffers."""

    name = "vm.kernel"


@irdl_attr_definition
class RunAttr(Data[Run]):
    """An instruction: `@kernel[lo to hi] fence wait COUNTER >= THRESHOLD, ... signal COUNTER +=
    AMOUNT, ...`

    A threshold counts arrivals per step; with `once` behind it, arrivals since the first launch.
    Waits acquire and signals release at GPU scope unless `cta` or `relaxed` stands behind them.
    """

    name = "vm.run_attr"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> Run:
        with parser.in_angle_brackets():
            return parse_run(parser)

    def print_parameter(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_string(run_text(self.data))


def run_text(r: Run) -> str:
    """The text of one instruction, without its op name."""
    text = f"@{r.kernel}[{r.lo} to {r.hi}]{' fence' if r.fence else ''}"
    if r.waits:
        text += f" wait {', '.join(map(wait_text, r.waits))}"
    if r.signals:
        text += f" signal {', '.join(map(signal_text, r.signals))}"
    return text


def wait_text(w: Wait) -> str:
    return f"{w.counter} >= {w.threshold}{'' if w.scaled else ' once'}{_scope_text(w.scope)}"


def signal_text(s: Signal) -> str:
    return f"{s.counter} += {s.amount}{_scope_text(s.scope)}"


def _scope_text(scope: str) -> str:
    return "" if scope == SCOPES[0] else f" {scope}"


def parse_run(parser: AttrParser) -> Run:
    """Reads what `run_text` prints."""
    kernel = parser.parse_symbol_name().data
    lo, hi = parse_range(parser)
    fence = parser.parse_optional_keyword("fence") is not None
    waits: list[Wait] = []
    signals: list[Signal] = []
    if parser.parse_optional_keyword("wait"):
        waits.append(_wait(parser))
        while parser.parse_optional_punctuation(","):
            waits.append(_wait(parser))
    if parser.parse_optional_keyword("signal"):
        signals.append(_signal(parser))
        while parser.parse_optional_punctuation(","):
            signals.append(_signal(parser))
    return Run(kernel, lo, hi, tuple(waits), tuple(signals), fence)


def _wait(parser: AttrParser) -> Wait:
    counter = parser.parse_integer()
    parser.parse_punctuation(">")
    parser.parse_punctuation("=")
    threshold = parser.parse_integer()
    scaled = not parser.parse_optional_keyword("once")
    return Wait(counter, threshold, scaled, _scope(parser))


def _signal(parser: AttrParser) -> Signal:
    counter = parser.parse_integer()
    parser.parse_punctuation("+")
    parser.parse_punctuation("=")
    return Signal(counter, parser.parse_integer(), _scope(parser))


def _scope(parser: AttrParser) -> str:
    named = (s for s in SCOPES[1:] if parser.parse_optional_keyword(s))
    return next(named, SCOPES[0])


@irdl_op_definition
class RunOp(IRDLOperation):
    """One instruction of the enclosing queue."""

    name = "vm.run"
    run = prop_def(RunAttr)

    def __init__(self, run: Run):
        super().__init__(properties={"run": RunAttr(run)})

    @classmethod
    def parse(cls, parser: Parser) -> RunOp:
        return cls.create(properties={"run": RunAttr(parse_run(parser))})

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {run_text(self.run.data)}")


@irdl_op_definition
class QueueOp(IRDLOperation):
    """What one SM runs in each step, in order."""

    name = "vm.queue"
    sm = prop_def(Size)
    body = region_def("single_block")
    traits = traits_def(NoTerminator())
    assembly_format = "$sm $body attr-dict"

    def __init__(self, sm: int, runs: list[Run]):
        ops = [RunOp.create(properties={"run": RunAttr(r)}) for r in runs]
        super().__init__(properties={"sm": size(sm)}, regions=[Region(Block(ops))])

    def runs(self) -> list[Run]:
        """The queue as plain data. Raises VerifyException on a foreign op."""
        runs: list[Run] = []
        for op in self.body.block.ops:
            if not isinstance(op, RunOp):
                raise VerifyException(f"{op.name} does not belong in a vm queue (P1)")
            runs.append(op.run.data)
        return runs


@irdl_op_definition
class ProgramOp(task.LoweredProgram):
    """A vm program: declarations, physical buffers, kernels, the ring, and one queue per SM."""

    name = "vm.program"

    def verify_(self) -> None:
        from amk.verify import verify_program

        for violation in verify_program(program_op_of(self)):
            raise VerifyException(str(violation))


def program_op_of(op: ProgramOp) -> Program:
    """The plain form of a vm program. Raises VerifyException on a foreign op or queue numbers out
    of order."""
    p, counted = Program(op.sym_name.data), False
    for inner in op.body.block.ops:
        match inner:
            case BufferOp():
                task.enter(p.buffers, inner.sym_name.data, inner.plain())
            case KernelOp():
                task.enter(p.kernels, inner.sym_name.data, inner.kernel.data)
            case CountersOp():
                task.once(not counted, "the number of counters")
                counted = True
                p.counters = inner.count.value.data
            case RingOp():
                task.once(p.ring is None, "the ring")
                p.ring = inner.plain()
            case QueueOp():
                if inner.sm.value.data != len(p.queues):
                    raise VerifyException(
                        f"vm.queue {inner.sm.value.data} stands where {len(p.queues)} is due (Q1)"
                    )
                p.queues.append(inner.runs())
            case model.Declaration():
                task.add_declaration(p, inner)
            case _:
                raise VerifyException(f"{inner.name} does not belong in a vm program (P1)")
    return p


def program_of(module: Operation) -> Program:
    """The plain form of the one vm program of a module. Raises VerifyException if there is not
    exactly one."""
    found = [op for op in module.walk() if isinstance(op, ProgramOp)]
    if len(found) != 1:
        raise VerifyException(f"expected one vm.program, found {len(found)}")
    return program_op_of(found[0])


def vm_ops(p: Program) -> list[Operation]:
    """The ops of a plain vm program, declarations left out."""
    ops: list[Operation] = [BufferOp(b) for b in p.buffers.values()]
    ops.append(CountersOp(p.counters))
    if p.ring:
        ops.append(RingOp(p.ring))
    ops += [KernelOp(name, k) for name, k in p.kernels.items()]
    ops += [QueueOp(sm, runs) for sm, runs in enumerate(p.queues)]
    return ops


VM = Dialect("vm", [ProgramOp, BufferOp, CountersOp, KernelOp, QueueOp, RunOp], [RunAttr])
