"""Prints what benchmarks/results holds as tables.

    python benchmarks/table.py > benchmarks/results/README.md

A row for every context of every record, with its verdict and the commit that was measured; nothing
is computed here but ratios of times of the same run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from record import RESULTS

HEAD = """\
# What was measured

Written by `python benchmarks/table.py` from the records in this folder, each of which has its
date, commit, command and verdicts. Times are microseconds a token, medians over launches, one
sequence at a time, all costs inside; [NOTES.md](../NOTES.md) says how they came about.\
"""

BENCH = """\
## Times beside those of others

`amk bench`: kernel and baselines in turns, in one process, on the same weights. Share: of the DRAM
read rate that the same run measured first. `compile` is torch.compile max-autotune in a CUDA graph,
`graph` PyTorch in a CUDA graph, `hf` Hugging Face's `generate`.\
"""

DECODE = """\
## Times of single models

Error is the norm of the difference from logits in fp32, over that of the logits.\
"""

EVAL = """\
## Fidelity

`amk eval`, against Hugging Face in fp32; KL divergence in nats, its mean over positions, and that
of Hugging Face's own bf16 where the kernel computes in bf16.\
"""

BASELINES = ("compile", "graph", "hf")


def load(folder: Path) -> list[dict[str, Any]]:
    """All records, in the order of their files' names."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        found += record if isinstance(record, list) else [record]
    return found


def table(columns: str, rows: Iterable[Iterable[object]]) -> str:
    """A table of Markdown; `columns` are separated by bars."""
    names = columns.split("|")
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(name.strip() for name in line)} |" for line in lines)


def bench_rows(records: Iterable[dict[str, Any]]) -> Iterator[list[object]]:
    for r in records:
        for i, entry in enumerate(r["results"]):
            others = {name: r["baselines"][name][i] for name in BASELINES if name in r["baselines"]}
            times = [
                f"{o['us_per_token']:.0f} ({o['us_per_token'] / entry['us_per_token']:.2f}x)"
                if (o := others.get(name)) and o["us_per_token"]
                else ""
                for name in BASELINES
            ]
            yield [
                r["model"], r["dtype"], r["num_sms"], entry["context"],
                f"{entry['us_per_token']:.1f}", f"{entry['roofline_fraction']:.0%}", *times,
                entry["verdict"], r["commit"],
            ]  # fmt: skip


def decode_rows(records: Iterable[dict[str, Any]]) -> Iterator[list[object]]:
    for r in records:
        verdict, (first, last) = r["verdict"], r["positions"]
        yield [
            f"`{r['command']}`", r["dtype"], f"{first} to {last}", f"{r['us_per_token']:.1f}",
            f"{verdict['error']:.4f}", "pass" if verdict["pass"] else "fail", r["commit"],
        ]  # fmt: skip


def eval_rows(records: Iterable[dict[str, Any]]) -> Iterator[list[object]]:
    for r in records:
        theirs = r.get("hugging_face_bf16")
        greedy = r.get("greedy") or []
        yield [
            r["model"], r["dtype"], r["tokens"], f"{r['perplexity_relative_error']:.1e}",
            f"{r['kl']['mean']:.1e}", f"{theirs['kl']['mean']:.1e}" if theirs else "",
            f"{sum(g['match'] for g in greedy)} of {len(greedy)}" if greedy else "",
            ", ".join(f"{what} {verdict}" for what, verdict in r["verdicts"].items()), r["commit"],
        ]  # fmt: skip


def page(folder: Path = RESULTS) -> str:
    """The whole text."""
    records = load(folder)
    bench = [r for r in records if "baselines" in r]
    decode = [r for r in records if "us_per_token" in r]
    evals = [r for r in records if "perplexity" in r]
    parts = [
        HEAD,
        BENCH,
        table(
            "model | type | SMs | context | amk | share | compile | graph | hf | verdict | commit",
            bench_rows(bench),
        ),
        DECODE,
        table("command | type | positions | amk | error | verdict | commit", decode_rows(decode)),
        EVAL,
        table(
            "model | type | positions | error of perplexity | KL | KL of theirs "
            "| prompts with equal tokens | verdicts | commit",
            eval_rows(evals),
        ),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
