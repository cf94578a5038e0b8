"""What is claimed about speed and fidelity: tables of records, each with its verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = BENCHMARKS / "results"


def test_the_tables_are_of_the_records() -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "table.py"], capture_output=True, text=True, check=True
    )
    told = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert told == done.stdout, "run `make docs`"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_time_has_a_verdict(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    for record in found if isinstance(found, list) else [found]:
        assert {"date", "command", "device"} <= record.keys()
        others = chain.from_iterable(record.get("baselines", {}).values())
        for entry in (record, *record.get("results", []), *others):
            if "us_per_token" in entry:
                verdict = entry["verdict"]
                assert verdict == "pass" or verdict["pass"] is True
