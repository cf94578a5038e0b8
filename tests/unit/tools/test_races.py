"""What racecheck reports is a race unless the pair of places is listed."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import races


def line_of(template: str, text: str) -> int:
    lines = (files("amk.backends.cuda") / template).read_text().splitlines()
    return next(i for i, line in enumerate(lines, 1) if text in line)


def report(first: str, *others: str) -> str:
    return "\n".join(
        [
            "========= COMPUTE-SANITIZER",
            f"========= Error: Race reported between {first}",
            *(f"=========     and {other} [12 hazards]" for other in others),
        ]
    )


def access(kind: str, template: str, text: str) -> str:
    name = template.split("/")[-1]
    return f"{kind} access at amk_kernel+0x12a0 in {name}:{line_of(template, text)}"


COPY = access("Write", "runtime/ring.cuh", '"n"(COPY_BYTES), "r"(full_barrier(at))')
READ = access("Read", "runtime/mma.cuh", "w[j] = reinterpret_cast<const uint4*>(slot)")
PROGRESS = access("Read", "runtime/reduce.cuh", "u32 first = progress[0]")


def test_places_are_functions_of_templates() -> None:
    log = report(COPY, READ) + "\n" + report(READ, COPY)
    write, read = "write ring.cuh stream_weights", "read mma.cuh load"
    assert races.places(log) == {(write, read), (read, write)}
    assert races.unexplained(log) == []
    assert len(races.explained(log)) == 1


def test_any_other_pair_is_a_race() -> None:
    log = report(COPY, READ, PROGRESS)
    assert races.unexplained(log) == [
        "write ring.cuh stream_weights / read reduce.cuh slowest_finisher"
    ]
    other = report("Write access at void f<(int)3>(int)+0x10 in x.cu:3", "Read access at g()+0x20")
    assert races.unexplained(other) == ["write x.cu f / read ? g"]
