"""`amk fuzz-verifier`: the adversarial corpus, verifier against oracle."""

from __future__ import annotations

import os
from time import perf_counter

from rich.console import Console
from rich.table import Table

from amk.errors import AmkError
from amk.tools.console import Result, Steps
from amk.verify.corpus.fuzz import outcomes, summary

WORKERS = 2


def fuzz_verifier(count: int, seed: int) -> Result:
    """Compare verifier and oracle on `count` programs. Raises AmkError for a count below 1."""
    if count < 1:
        raise AmkError(f"--count: must be positive, got {count}")
    start = perf_counter()
    workers = 1 if count < 100 else min(WORKERS, os.cpu_count() or 1)
    with Steps().step(f"{count} programs", count) as step:
        result = summary(outcomes(count, seed, workers), step.advance)
    return result | {"seed": seed, "seconds": round(perf_counter() - start, 1)}


def failed(result: Result) -> bool:
    """Whether the verifier was wrong somewhere."""
    return bool(result["false_accepts"] or result["false_rejects"])


def show(result: Result, console: Console) -> None:
    """Print the counts for a person."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("class", "programs", "unsafe", "safe", "false accepts", "false rejects"):
        table.add_column(name, justify="left" if name == "class" else "right")
    keys = ("count", "unsafe", "safe", "false_accepts", "false_rejects")
    for kind, counts in result["by_class"].items():
        table.add_row(kind, *(str(counts[key]) for key in keys))
    table.add_row("all", *(str(result[key]) for key in keys))
    console.print(table)
    refused = ", ".join(f"{n} by '{rule}'" for rule, n in result["conservative"].items())
    console.print(f"safe programs refused by documented rules: {refused}", markup=False)
    for d in result["disagreements"]:
        said = d["verifier"] or d["oracle"]
        console.print(f"WRONG on {d['class']} {d['name']}: {said}", markup=False)
