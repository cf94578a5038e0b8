"""Machine code as `nvdisasm -hex -g` prints it: which loads from shared memory may still be on
their way where a warp hands something over.

A load names a *scoreboard* (0 to 5) that counts until its registers are written, and every
instruction has a mask of scoreboards that it waits for (bits 105 to 121 of its 128: cycles, yield,
the scoreboard set when registers are written, when they are read, the mask). Of loads from shared
memory that follow each other only the last may name one: they return in order.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from amk.backends.cuda.nvcc import find_nvcc

LINE = re.compile(r'//## File "(?:.*/)?([^"/]*)", line (\d+)')
LABEL = re.compile(r"^(\.L_x_\d+):")
FIRST = re.compile(
    r"^\s+/\*([0-9a-f]+)\*/\s+(?:@(!?U?P\w+)\s+)?(\S+)(.*?)\s*/\* 0x[0-9a-f]{16} \*/"
)
SECOND = re.compile(r"^\s+/\* 0x([0-9a-f]{16}) \*/")
ARRIVALS = ("SYNCS.ARRIVE", "ATOMS.ARRIVE")
NONE = 7


@dataclass
class Instruction:
    """One instruction of a kernel."""

    address: int
    predicate: str
    """Under which it does anything, "" for always."""
    op: str
    operands: str
    file: str
    """The template that its source is in."""
    line: int
    written: int = NONE
    """Scoreboard that is set until its results are there."""
    waits: int = 0
    """Mask of the scoreboards that it waits for."""

    @property
    def loads_shared(self) -> bool:
        return self.op.startswith("LDS") and self.predicate != "!PT"


def find_nvdisasm() -> str | None:
    """The path of nvdisasm, on PATH or beside nvcc; None where there is none."""
    beside = Path(os.path.realpath(find_nvcc())).with_name("nvdisasm")
    return shutil.which("nvdisasm") or (str(beside) if beside.exists() else None)


@dataclass
class Listing:
    """A kernel's instructions in order, and where its labels are."""

    code: list[Instruction]
    labels: dict[str, int]

    @classmethod
    def of(cls, cubin: Path, kernel: str = "amk_kernel") -> Listing:
        """Disassembles `kernel` of a cubin."""
        tool = find_nvdisasm()
        assert tool
        text = subprocess.run(
            [tool, "-hex", "-g", str(cubin)], capture_output=True, text=True, check=True
        ).stdout
        return cls.read(text.split(f"\n.text.{kernel}:\n")[1].split("\n//----")[0])

    @classmethod
    def read(cls, text: str) -> Listing:
        """Reads the lines of one kernel."""
        code: list[Instruction] = []
        labels: dict[str, int] = {}
        file, line = "", 0
        for s in text.splitlines():
            if m := LABEL.match(s):
                labels[m[1]] = len(code)
            elif m := LINE.search(s):
                file, line = m[1], int(m[2])
            elif m := FIRST.match(s):
                address, predicate, op, operands = int(m[1], 16), m[2] or "", m[3], m[4]
                code.append(Instruction(address, predicate, op.rstrip(";"), operands, file, line))
            elif (m := SECOND.match(s)) and code:
                control = int(m[1], 16) >> 41
                code[-1].written, code[-1].waits = control >> 5 & 7, control >> 11 & 63
        return cls(code, labels)

    def next(self, i: int) -> list[int]:
        """Instructions that may follow instruction i."""
        c = self.code[i]
        there = [self.labels[x] for x in re.findall(r"\.L_x_\d+", c.operands) if x in self.labels]
        ends = c.op in ("EXIT", "RET") or c.op.startswith(("RET.", "BRX"))
        jumps = c.op in ("BRA", "BRX", "CALL") or c.op.startswith(
            ("BRA.", "BRX", "CALL.", "WARPSYNC.COLLECTIVE")
        )
        always = c.op == "BRA" and not c.predicate and re.match(r"\s*`\(", c.operands)
        found = there if jumps else []
        if not (always or (ends and not c.predicate)) and i + 1 < len(self.code):
            found.append(i + 1)
        return found

    def on_their_way(self) -> list[set[int]]:
        """For each instruction the loads from shared memory that some way to it has issued and that
        nothing on the way, this instruction included, has waited for."""
        before: list[set[tuple[int, int]]] = [set() for _ in self.code]
        found: list[set[int]] = [set() for _ in self.code]
        work, seen = [0], {0}
        while work:
            i = work.pop()
            c = self.code[i]
            left = {(load, by) for load, by in before[i] if not by & c.waits}
            found[i] = {load for load, _ in left}
            if c.loads_shared:
                board = 0 if c.written == NONE else 1 << c.written
                left = {(load, by | (board if self.together(load, i) else 0)) for load, by in left}
                left.add((i, board))
            for j in self.next(i):
                if j not in seen or not left <= before[j]:
                    seen.add(j)
                    before[j] |= left
                    work.append(j)
        return found

    def together(self, first: int, then: int) -> bool:
        """Whether load `first` was issued wherever load `then` is."""
        condition = self.code[then].predicate
        if not condition:
            return True
        between = self.code[first:then]
        return (
            self.code[first].predicate == condition
            and first < then
            and not any(first < at <= then for at in self.labels.values())
            and not any(re.match(rf"\s*{condition.lstrip('!')}\b", c.operands) for c in between)
        )

    def early(self, files: tuple[str, ...]) -> list[str]:
        """Arrivals at an mbarrier at which loads that the templates `files` make may still be on
        their way."""
        loads = self.on_their_way()
        return [
            f"{c.op} at {c.address:#x}: {self.code[i].op}{self.code[i].operands}"
            f" of {self.code[i].file}:{self.code[i].line}"
            for c, late in zip(self.code, loads, strict=True)
            if c.op.startswith(ARRIVALS)
            for i in sorted(late)
            if self.code[i].file in files
        ]
