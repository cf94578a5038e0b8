"""Checks of a scheduled program: every tile is run once, and the instructions it lowers to are
safe.

(S2) every tile of every family is run by exactly one SM      (S3) a segment names a family and some
     of its tiles
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from amk.ir.lowering import to_vm
from amk.ir.program import SchedProgram
from amk.verify import verify_program
from amk.verify.task import verify_task
from amk.verify.uncollected import uncollected
from amk.verify.violation import Place, Violation


def verify_sched(p: SchedProgram) -> list[Violation]:
    """Everything that is wrong with a scheduled program."""
    with uncollected():
        return verify_task(p) or list(_tiles(p)) or verify_program(to_vm(p))


def _tiles(p: SchedProgram) -> Iterator[Violation]:
    ranges: dict[str, list[tuple[int, int, Place]]] = defaultdict(list)
    for sm, queue in enumerate(p.segments):
        for i, s in enumerate(queue):
            kernel, place = p.kernels.get(s.family), Place(sm, i)
            if kernel is None:
                yield Violation(
                    "S3", f"SM {sm} runs @{s.family}, which is no declared family", (place,)
                )
            elif not 0 <= s.lo < s.hi <= kernel.grid:
                tiles = f"tiles [{s.lo} to {s.hi}] of @{s.family}"
                yield Violation("S3", f"SM {sm} runs {tiles}, which has {kernel.grid}", (place,))
            ranges[s.family].append((s.lo, s.hi, place))
    for family, kernel in p.kernels.items():
        at = 0
        for lo, hi, place in sorted(ranges[family]):
            if lo < at:
                message = f"tile {lo} of @{family} is run a second time by SM {place.sm}"
                yield Violation("S2", message, (place,))
            elif lo > at:
                yield Violation("S2", f"tile {at} of @{family} is run by no SM")
            at = max(at, hi)
        if at < kernel.grid:
            yield Violation("S2", f"tile {at} of @{family} is run by no SM")
