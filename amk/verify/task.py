"""Checks of a task program: families are well-formed, cover what they write and read, and are
ordered.

(T1) a family reads only what families before it in program order, or the step before, have written
(T2) plain memory that one family writes and another reads has counters on the writer
(T3) the bounds of a counter array cut the whole grid of its family
(T4) a logical buffer is written by one family; its home holds buffers of one space, type and
     length, one a use
"""

from __future__ import annotations

from collections.abc import Iterator

from amk.ir.kernels import AnyAccess
from amk.ir.program import SchedProgram, TaskProgram
from amk.ir.regions import needs_counters, regions
from amk.verify.coverage import check_coverage
from amk.verify.experts import check_experts
from amk.verify.structure import check_kernel
from amk.verify.tokens import check_tokens
from amk.verify.violation import Place, Violation


def verify_task(p: TaskProgram) -> list[Violation]:
    """Everything that is wrong with a task program."""
    found = [v for name, k in p.kernels.items() for v in check_kernel(p, name, k)]
    found = found or [*_counters(p), *_homes(p)]
    if found:
        return found
    accesses: dict[Place, list[AnyAccess]] = {
        Place(0, i): list(k.accesses(0, k.grid)) for i, k in enumerate(p.kernels.values())
    }
    covered = _named(p, check_coverage(p, accesses, local=False))
    return [*covered, *_order(p), *check_experts(p, p.kernels), *check_tokens(p, p.kernels)]


def _named(p: TaskProgram, found: Iterator[Violation]) -> Iterator[Violation]:
    """Coverage speaks of instructions; here they are families."""
    names = list(p.kernels)
    for v in found:
        message = v.message
        for place in v.places:
            message = message.replace(str(place), f"family @{names[place.index]}")
        yield Violation(v.rule, message, v.places)


def _counters(p: TaskProgram) -> Iterator[Violation]:
    counted: set[str] = set()
    for c in p.counters.values():
        kernel = p.kernels.get(c.family)
        if kernel is None:
            yield Violation("T3", f"counter @{c.name} belongs to @{c.family}, which is no family")
            continue
        b = c.bounds
        if (
            len(b) < 2
            or b[0] != 0
            or b[-1] != kernel.grid
            or any(x >= y for x, y in zip(b, b[1:], strict=False))
        ):
            yield Violation(
                "T3",
                f"the bounds of counter @{c.name} do not cut "
                f"the {kernel.grid} tiles of @{c.family}",
            )
        if c.family in counted:
            yield Violation("T3", f"family @{c.family} has two counter arrays")
        counted.add(c.family)


def _order(p: TaskProgram) -> Iterator[Violation]:
    counted = {c.family for c in p.counters.values()}
    writer: dict[str, str] = {}
    for name, kernel in p.kernels.items():
        for r in regions(kernel, 0, kernel.grid, write=True):
            if r.memory in p.buffers and writer.get(r.memory, name) != name:
                yield Violation(
                    "T4", f"@{r.memory} is written by families @{writer[r.memory]} and @{name}"
                )
            writer[r.memory] = name
    place = {name: i for i, name in enumerate(p.kernels)}
    for name, kernel in p.kernels.items():
        for r in regions(kernel, 0, kernel.grid, write=False):
            made = writer.get(r.memory)
            if made is None or made == name:
                continue
            if place[made] > place[name]:
                yield Violation(
                    "T1", f"family @{name} reads @{r.memory}, which @{made} behind it writes"
                )
            elif (
                needs_counters(p, r.memory) and made not in counted and isinstance(p, SchedProgram)
            ):
                yield Violation(
                    "T2",
                    f"family @{name} reads plain @{r.memory}; "
                    f"@{made}, which writes it, has no counter",
                )


def _homes(p: TaskProgram) -> Iterator[Violation]:
    shapes: dict[str, tuple[str, int, str]] = {}
    taken: dict[tuple[str, int], str] = {}
    for name, home in p.homes.items():
        b = p.buffers[name]
        shape = (b.space, b.length, b.dtype)
        if shapes.setdefault(home[0], shape) != shape:
            yield Violation(
                "T4", f"home @{home[0]} of @{name} holds buffers of another space, length or type"
            )
        if taken.setdefault(home, name) != name:
            yield Violation("T4", f"@{name} and @{taken[home]} are the same use of @{home[0]}")
        if home[0] in p.buffers and home[0] not in p.homes:
            yield Violation("T4", f"home @{home[0]} of @{name} is also a buffer of its own")
