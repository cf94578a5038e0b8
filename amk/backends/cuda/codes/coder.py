"""What all codes are written with: types and places of operands, checks."""

from __future__ import annotations

from dataclasses import dataclass

from amk.backends.cuda.layout import SPREAD, Layout, weight
from amk.errors import AmkError
from amk.ir.kernels import Ref, RowKernel
from amk.ir.program import DTYPES, Buffer, Run

FIELDS = 28
"""Numbers in a record: the code, then the operands in the order of the template's enumeration."""

CTYPES = {"f32": "float", "bf16": "bf16", "i32": "int"}
MAX_USES = 1 << 16


@dataclass(frozen=True, slots=True)
class Code:
    """One instantiation of a kernel template."""

    template: str
    constants: tuple[tuple[str, str], ...]
    """C++ declarations: (type and name, value)."""
    types: tuple[tuple[str, str], ...]
    stage: int
    """Bytes of the stage (shared memory between warps) that it needs."""
    private: int = 0
    """Bytes of the stage that each warp has for itself."""
    together: int = 0
    """Bytes of each of the two stages of gemvs whose columns rotate."""
    squares: int = 0
    """Bytes beside it for the sums of squares of what the consumers' threads have read."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What follows the product of a gemv: the other half of its template's constants."""

    constants: tuple[tuple[str, str], ...]
    types: tuple[tuple[str, str], ...]


class Coder:
    """What codes and records of a program's kernels are written with."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.program = layout.program
        self.endings: dict[Ending, int] = {}
        self.ending_of: dict[str, int] = {}
        self.candidates = 0
        """Most tiles of one instruction that leave a candidate."""
        self.runs: dict[str, list[Run]] = {name: [] for name in self.program.kernels}
        for queue in self.program.queues:
            for run in queue:
                self.runs[run.kernel].append(run)

    # Operands

    def buffer(self, ref: Ref) -> Buffer:
        found = self.program.buffers.get(ref.buffer)
        if found is None:
            raise AmkError(f"buffer @{ref.buffer} is not declared")
        return found

    def operand(self, ref: Ref | None) -> str:
        """The C++ type of an operand."""
        if ref is None:
            return "Operand<LOCAL, float>"
        b = self.buffer(ref)
        return f"Operand<{b.space.upper()}, {CTYPES[b.dtype]}>"

    def unit(self, ref: Ref) -> int:
        """Elements that one thread reads at once."""
        return 4 if self.buffer(ref).dtype == "bf16" else 2

    def place(self, ref: Ref | None) -> list[int]:
        """The two numbers that `view` resolves at run time."""
        if ref is None:
            return [0, 0]
        b = self.buffer(ref)
        if b.space == "local":
            return [ref.offset, self.layout.locals.index(b.name)]
        at = self.layout.words.regions[b.name].at
        if b.space == "plain":
            return [(at + ref.offset * DTYPES[b.dtype]) // 2, 0]
        if ref.offset % b.word:
            raise AmkError(f"operand {ref} starts within a word of two elements")
        if b.uses >= MAX_USES:
            raise AmkError(f"buffer @{b.name} has {b.uses} uses, more than {MAX_USES - 1}")
        return [at // (8 * SPREAD) + ref.offset // b.word, b.uses << 16 | (ref.use + 1)]

    def table(self, name: str | None) -> int:
        return self.layout.fixed.regions[name].at // 16 if name else 0

    def weight_type(self, name: str | None) -> str:
        return CTYPES[weight(self.program, name).dtype] if name else "float"

    def endings_of(self, names: list[str]) -> list[int]:
        """Numbers of the endings that kernels `names` of one code have."""
        return sorted({self.ending_of[n] for n in names if n in self.ending_of})

    # Checks

    def whole_units(self, name: str, ref: Ref, width: int) -> None:
        unit = self.unit(ref)
        if ref.offset % unit or width % unit:
            raise AmkError(
                f"kernel @{name} reads {width} elements at {ref}: "
                f"offset and width must be multiples of {unit}"
            )

    def alike(self, name: str, a: Ref, b: Ref) -> None:
        """Templates know one kind of operand for both."""
        kinds = [f"{x.dtype} in {x.space} memory" for x in (self.buffer(a), self.buffer(b))]
        if kinds[0] != kinds[1]:
            raise AmkError(
                f"kernel @{name} reads {a} of {kinds[0]} and {b} of {kinds[1]}: "
                "they must be of one type and in one space"
            )

    def whole_words(
        self, name: str, kernel: RowKernel, out: Ref, rows_per_element: int = 1
    ) -> None:
        """Two instructions must not share a flagged word of `out`."""
        b = self.buffer(out)
        word = (b.word if b.space == "flagged" else 1) * rows_per_element
        if word == 1:
            return
        for run in self.runs[name]:
            lo, hi = kernel.rows(run.lo, run.hi)
            if lo % word or (hi % word and hi != kernel.n):
                raise AmkError(
                    f"kernel @{name} writes rows [{lo}, {hi}) of words of {word} rows to {out}; "
                    f"the tile {kernel.tile} must be a multiple of {word}"
                )

    def stage_rows(self, name: str, kernel: RowKernel) -> int:
        rows = [kernel.rows(r.lo, r.hi) for r in self.runs[name]]
        return 4 * max((hi - lo for lo, hi in rows), default=0)

    def rope_at(self, name: str | None) -> int:
        """Byte of a RoPE table's row among the rows of all tables."""
        at = 0
        for r in self.program.ropes.values():
            if r.name == name:
                return at
            at += len(r.inv_freq) * 8
        return 0


def number(x: float) -> str:
    """A C++ float literal that reads back as x in fp32."""
    return f"{x!r}f" if "." in repr(x) or "e" in repr(x) else f"{x!r}.f"


def boolean(x: bool) -> str:
    return "true" if x else "false"
