"""The `sched` dialect: which SM runs which tiles, in which order, and how its weights arrive.

Level 3. A `sched.program` is a task program plus one `sched.sm` per SM (its queue of segments, a
family and a range of its tiles each) and the shape of the weight ring.
"""

from __future__ import annotations

import dataclasses

from xdsl.ir import Data, Dialect, Operation
from xdsl.irdl import (
    IRDLOperation,
    irdl_attr_definition,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
)
from xdsl.parser import AttrParser, Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from amk.dialects import task
from amk.dialects.attributes import Size, size
from amk.ir.program import Ring, SchedProgram, Segment

RING_FIELDS = ("slots", "columns", "group", "consumers", "window")
RING_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Ring) if isinstance(f.default, int)}
PER_LINE = 6


@irdl_op_definition
class RingOp(IRDLOperation):
    """The shared-memory ring of each SM's weight stream (`amk.ir.program.Ring`)."""

    name = "sched.ring"
    slots = prop_def(Size)
    columns = prop_def(Size)
    group = prop_def(Size)
    consumers = prop_def(Size)
    window = prop_def(Size)
    assembly_format = (
        "`slots` $slots `columns` $columns `group` $group `consumers` $consumers "
        "`window` $window (`finishers` $finishers^)? (`depth` $depth^)? (`lead` $lead^)? "
        "(`entries` $entries^)? (`kv_buffers` $kv_buffers^)? (`kv_bytes` $kv_bytes^)? attr-dict"
    )
    finishers = opt_prop_def(Size)
    depth = opt_prop_def(Size)
    lead = opt_prop_def(Size)
    entries = opt_prop_def(Size)
    kv_buffers = opt_prop_def(Size)
    kv_bytes = opt_prop_def(Size)

    def __init__(self, ring: Ring):
        said = {
            f: getattr(ring, f)
            for f in (*RING_FIELDS, *RING_DEFAULTS)
            if getattr(ring, f) != RING_DEFAULTS.get(f)
        }
        super().__init__(properties={f: size(n) for f, n in said.items()})

    def plain(self) -> Ring:
        said = {f: getattr(self, f) for f in (*RING_FIELDS, *RING_DEFAULTS)}
        return Ring(**{f: size.value.data for f, size in said.items() if size is not None})


@irdl_attr_definition
class SegmentsAttr(Data[tuple[Segment, ...]]):
    """Segments in queue order: `@family[lo to hi]`."""

    name = "sched.segments"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> tuple[Segment, ...]:
        with parser.in_angle_brackets():
            return parse_segments(parser)

    def print_parameter(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_string(segments_text(self.data))


def segments_text(segments: tuple[Segment, ...]) -> str:
    """Segments in braces, a few a line."""
    parts = [f"@{s.family}[{s.lo} to {s.hi}]" for s in segments]
    lines = ["  ".join(parts[i : i + PER_LINE]) for i in range(0, len(parts), PER_LINE)]
    return "".join(["{", *(f"\n  {line}" for line in lines), "\n}"])


def parse_segments(parser: AttrParser) -> tuple[Segment, ...]:
    """Reads what `segments_text` prints."""
    parser.parse_punctuation("{")
    segments: list[Segment] = []
    while (family := parser.parse_optional_symbol_name()) is not None:
        segments.append(Segment(family.data, *parse_range(parser)))
    parser.parse_punctuation("}")
    return tuple(segments)


def parse_range(parser: AttrParser) -> tuple[int, int]:
    """`[lo to hi]`"""
    parser.parse_punctuation("[")
    lo = parser.parse_integer()
    parser.parse_keyword("to")
    hi = parser.parse_integer()
    parser.parse_punctuation("]")
    return lo, hi


@irdl_op_definition
class SmOp(IRDLOperation):
    """The queue of one SM."""

    name = "sched.sm"
    sm = prop_def(Size)
    segments = prop_def(SegmentsAttr)

    def __init__(self, sm: int, segments: tuple[Segment, ...]):
        super().__init__(properties={"sm": size(sm), "segments": SegmentsAttr(segments)})

    @classmethod
    def parse(cls, parser: Parser) -> SmOp:
        return cls(parser.parse_integer(), parse_segments(parser))

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.sm.value.data} {segments_text(self.segments.data)}")


@irdl_op_definition
class ProgramOp(task.LoweredProgram):
    """A scheduled program."""

    name = "sched.program"

    def verify_(self) -> None:
        from amk.verify.sched import verify_sched

        for problem in verify_sched(program_of(self)):
            raise VerifyException(str(problem))


def program_of(op: ProgramOp) -> SchedProgram:
    """The plain form of a scheduled program. Raises VerifyException on a foreign op or SM numbers
    out of order."""
    p = SchedProgram(op.sym_name.data)
    for inner in op.body.block.ops:
        match inner:
            case RingOp():
                task.once(p.ring is None, "the ring")
                p.ring = inner.plain()
            case SmOp():
                if inner.sm.value.data != len(p.segments):
                    raise VerifyException(
                        f"sched.sm {inner.sm.value.data} stands where {len(p.segments)} is due (S1)"
                    )
                p.segments.append(list(inner.segments.data))
            case _:
                if not task.add_task(p, inner):
                    raise VerifyException(f"{inner.name} does not belong in a sched program (P1)")
    return p


def sched_ops(p: SchedProgram) -> list[Operation]:
    """The ops of a plain scheduled program, declarations left out."""
    ops = task.task_ops(p)
    if p.ring:
        ops.append(RingOp(p.ring))
    ops += [SmOp(sm, tuple(queue)) for sm, queue in enumerate(p.segments)]
    return ops


SCHED = Dialect("sched", [ProgramOp, RingOp, SmOp], [SegmentsAttr])
