"""What racecheck says of the kernel, compared with the hand-overs that it cannot follow.

Of the accesses that one warp makes and another one awaits, racecheck follows: barriers of all
threads; an mbarrier, for the accesses of the very threads that arrive at it; words that one side
writes by an atomic operation. It does not follow who arrives for its whole warp behind
`__syncwarp`, words that are written plainly, and what such a word orders besides itself (micro-
kernels of each form: NOTES.md). A pair of places that is listed here is one of those, with what
orders it; any other is a race until somebody has found out what orders it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Handover:
    """Pairs of places, each `ACCESS FILE FUNCTION`, that match two patterns in either order."""

    one: str
    other: str
    why: str

    def explains(self, pair: tuple[str, str]) -> bool:
        def match(a: str, b: str) -> bool:
            return bool(re.fullmatch(self.one, a) and re.fullmatch(self.other, b))

        return match(*pair) or match(*reversed(pair))


HANDOVERS = (
    Handover(
        r"write ring\.cuh stream_weights",
        r"read mma\.cuh (load|add)",
        "the slot's mbarriers: the copy completes one before the reads, and one lane arrives at "
        "the other for its warp, behind __syncwarp, before the next copy (rules (L1) to (L3))",
    ),
    Handover(
        r"write ring\.cuh copy_rows",
        r"read attention\.cuh (load|run)",
        "the buffer's mbarriers, in the same way",
    ),
    Handover(
        r"write ring\.cuh copy_rows",
        r"(read|write) (attention|gemv|mma|moe|norm|reduce)\.cuh \w+",
        "KV_GO: written behind a barrier of all consumers, awaited before the stage is filled (K4)",
    ),
    Handover(
        r"write base\.cuh store_release",
        r"read base\.cuh load_acquire",
        "itself: a word that only grows, released and acquired",
    ),
    Handover(
        r"write (mma\.cuh put|reduce\.cuh entry_put)",
        r"read reduce\.cuh (entry_\w+|entries_\w+)",
        "itself: value and number of the row block in one 64-bit access, polled (K2), (K3)",
    ),
    Handover(
        r"write (gemv\.cuh complete|base\.cuh store_release)",
        r"read reduce\.cuh slowest_finisher",
        "itself: a 32-bit word that only grows, polled (K2)",
    ),
    Handover(
        r"write main\.cuh consume",
        r"read (ring\.cuh stream_weights|main\.cuh finish_blocks)",
        "itself, where the loader polls it; barrier 3, which two roles share, for the finishers",
    ),
    Handover(
        r"write operands\.cuh put_(one|two)",
        r"read operands\.cuh fetch(_one)?",
        "rows of a local buffer: partial sums follow their last writer and were polled by the "
        "reader, or the reader has awaited the finishers' progress (K5)",
    ),
)


DEFINED = re.compile(r"(?:__device__|__global__)(?:.*?__launch_bounds__\([^)]*\))?[^(]*?\b(\w+)\(")
"""The line of a template where a function begins."""


def places(log: str) -> set[tuple[str, str]]:
    """The pairs of places in a log of racecheck's analysis."""
    found: set[tuple[str, str]] = set()
    first = ""
    for line in log.splitlines():
        what = re.search(
            r"(Race reported between|and) (Read|Write) access at (.*?)\+0x\w+(?: in (\S+):(\d+))?",
            line,
        )
        if what:
            place = f"{what[2].lower()} {where(what[3], what[4] or '', int(what[5] or 0))}"
            if what[1] == "and":
                found.add((first, place))
            else:
                first = place
    return found


def where(signature: str, file: str, line: int) -> str:
    """File and function of a line of a template, or what the tool calls it."""
    name = file.rsplit("/", 1)[-1]
    for folder in ("runtime", "kernels"):
        template = files("amk.backends.cuda") / folder / name
        if line and template.is_file():
            for text in reversed(template.read_text().splitlines()[:line]):
                if known := DEFINED.search(text):
                    return f"{name} {known[1]}"
    return f"{name or '?'} {function(signature)}"


def function(signature: str) -> str:
    """The name in a C++ signature, without types."""
    plain = re.sub(r"\[lambda.*", "", signature)
    while "<" in plain and plain != (shorter := re.sub(r"<[^<>]*>", "", plain)):
        plain = shorter
    return re.split("[<(]", plain)[0].split()[-1]


def unexplained(log: str) -> list[str]:
    """Pairs of places that no hand-over explains."""
    return sorted(
        " / ".join(pair) for pair in places(log) if not any(h.explains(pair) for h in HANDOVERS)
    )


def explained(log: str) -> dict[str, list[str]]:
    """The other pairs, by what orders them."""
    found: dict[str, list[str]] = {}
    for pair in sorted(places(log)):
        for h in HANDOVERS:
            if h.explains(pair):
                found.setdefault(h.why, []).append(" / ".join(pair))
                break
    return found
