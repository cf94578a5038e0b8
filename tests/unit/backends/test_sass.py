"""Machine code: a warp that frees a slot or a buffer has what it read there in registers (H7)."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from amk.backends.cuda.emit import emit
from amk.backends.cuda.nvcc import run_nvcc
from amk.backends.cuda.target import TARGETS
from amk.ir.program import Program
from tests.unit.batteries import BATTERIES, battery
from tests.unit.programs import Tiny, fused
from tests.unit.sass import ARRIVALS, Listing, find_nvdisasm


def has_tools() -> bool:
    nvcc = shutil.which("nvcc") or os.environ.get("NVCC")
    return bool(nvcc and find_nvdisasm())


needs_tools = pytest.mark.skipif(not has_tools(), reason="nvcc or nvdisasm is not installed")

READERS = ("mma.cuh", "attention.cuh")
"""Templates whose loads read slots of the ring and rows of the caches."""

CASES = {
    "f32": fused(Tiny()),
    "bf16": fused(Tiny(dtype="bf16")),
    "own columns": fused(Tiny(dtype="bf16", hidden=2048, inter=4096, head_dim=64, heads=8, tile=8)),
    "rows of 80 and 96, f32": battery(BATTERIES["heads of 80 and 96"], "f32"),
}
DEPENDS = "  const u32 none = __any_sync(ALL, read & c.a.none);\n"


def listing(program: Program, target: str, folder: Path, *, without: str = "") -> Listing:
    assert program.ring
    small = replace(program, ring=replace(program.ring, slots=8))  # fits every target
    source = emit(small, target=TARGETS[target]).source
    assert source.count(without) == 1 or not without
    if without:
        source = source.replace(without, "  const u32 none = 0;\n  __syncwarp();\n")
    return Listing.of(run_nvcc(source, TARGETS[target], folder)[0])


@needs_tools
@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", CASES)
def test_arrivals_wait_for_what_was_read(case: str, target: str, tmp_path: Path) -> None:
    code = listing(CASES[case], target, tmp_path)
    assert sum(c.op.startswith(ARRIVALS) for c in code.code) >= 3
    assert sum(c.loads_shared and c.file in READERS for c in code.code) >= 16
    assert code.early(READERS) == []


@needs_tools
@pytest.mark.slow
@pytest.mark.parametrize("case", ["bf16", "own columns"])
def test_arrivals_that_do_not_depend_on_loads_are_found(case: str, tmp_path: Path) -> None:
    assert listing(CASES[case], "sm_90a", tmp_path, without=DEPENDS).early(READERS)


LOADS = """\
        /*0000*/                   LDS.128 R4, [R2] ;                   /* 0x0000000002047984 */
                                                                        /* 0x{first:016x} */
        /*0010*/              @!P0 LDS.128 R8, [R2+0x10] ;              /* 0x0000100002087984 */
                                                                        /* 0x{second:016x} */
        /*0020*/                   IMAD R1, R8, R8, R8 ;                /* 0x0000000808017224 */
                                                                        /* 0x{use:016x} */
        /*0030*/              @!P1 SYNCS.ARRIVE.TRANS64 RZ, [R3], RZ ;  /* 0x000000ff03ff99a7 */
                                                                        /* 0x{end:016x} */
        /*0040*/                   EXIT ;                               /* 0x000000000000794d */
                                                                        /* 0x{end:016x} */
"""


@pytest.mark.parametrize(
    ("first", "second", "use", "late"),
    [(7, 0, 1, [0]), (7, 0, 0, [0, 1]), (1, 0, 3, []), (1, 0, 2, [1]), (0, 0, 1, [])],
)
def test_scoreboards_say_what_arrived(first: int, second: int, use: int, late: list[int]) -> None:
    text = LOADS.format(
        first=first << 46, second=second << 46, use=use << 52 | 7 << 46, end=7 << 46
    )
    assert sorted(Listing.read(text).on_their_way()[3]) == late
