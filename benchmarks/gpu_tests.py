"""Runs what only a GPU can tell, and keeps what came of it in benchmarks/results.

    python benchmarks/gpu_tests.py

`pytest -m gpu`, by eight processes at once, then the tests that must be alone; and small programs
(small.py) under compute-sanitizer where it is installed, all of its tools at once. The status is 1
unless all tests pass and no checker finds anything, but racecheck does wherever a wait is left out
(small.WAITS). AMK_COMMIT and AMK_RESULTS are those of record.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from record import RESULTS, commit, gpu
from small import PROGRAMS, WAITS

from amk.tools.driver import run_tool

TOOLS = ("memcheck", "racecheck", "synccheck")
PATIENCE = 240
"""Seconds for one checker."""


def tests(*arguments: str) -> dict[str, Any]:
    """Runs `pytest -m gpu`: how many tests there were, how many failed or were skipped, and which
    failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = ["pytest", "-q", "-m", "gpu", "tests/unit", *arguments]
        began = perf_counter()
        done = subprocess.run([sys.executable, "-m", *command, f"--junitxml={report}"], check=False)
        suite = ElementTree.parse(report).getroot()[0]
        count = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
        failed = [
            f"{case.get('classname')}::{case.get('name')}"
            for case in suite.iter("testcase")
            if case.find("failure") is not None or case.find("error") is not None
        ]
    return {
        "command": " ".join(command),
        **count,
        "failed": failed,
        "seconds": round(perf_counter() - began, 1),
        "status": done.returncode,
    }


def checker(tool: str, *options: str) -> dict[str, Any]:
    """Runs small.py under a tool of compute-sanitizer: its summary, the status of the script, and
    how many of its programs came to their end."""
    command = ["compute-sanitizer", "--tool", tool]
    command += ["--report-api-errors", "no"] if tool == "memcheck" else []
    small = ["benchmarks/small.py", *(["--annotate"] if tool == "racecheck" else []), *options]
    began = perf_counter()
    try:
        done = subprocess.run(
            [*command, sys.executable, *small],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        told = f"not done after {PATIENCE} s"
        return {"command": " ".join([*command, "python", *small]), "summary": told}
    summary = re.findall(r"========= (.*SUMMARY: .*)", done.stdout)
    return {
        "command": " ".join([*command, "python", *small]),
        "summary": summary[0] if summary else "none",
        "status": done.returncode,
        "programs": len(re.findall(r"^[a-z0-9, ]+: \[\d+, \d+, \d+\]$", done.stdout, re.M)),
        "seconds": round(perf_counter() - began, 1),
    }


def clean(found: dict[str, Any]) -> bool:
    """Whether a checker saw all programs to their end and nothing wrong in them."""
    if found.get("status") != 0 or found["programs"] != len(PROGRAMS):
        return False
    return bool(re.search(r"SUMMARY: 0 (errors|hazards)", found["summary"]))


def racy(found: dict[str, Any]) -> bool:
    """Whether racecheck found races."""
    return bool(re.search(r"SUMMARY: [1-9]\d* hazard", found["summary"]))


def results() -> Path:
    """Where records go."""
    folder = Path(os.environ.get("AMK_RESULTS", RESULTS))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": "python benchmarks/gpu_tests.py",
        "device": gpu(),
        "pytest": [tests("-n", "8"), tests("-k", "freed or told")],
    }
    if shutil.which("compute-sanitizer"):
        with ThreadPoolExecutor() as side_by_side:
            runs = {tool: side_by_side.submit(checker, tool) for tool in TOOLS}
            without = {
                wait: side_by_side.submit(checker, "racecheck", "--without", wait) for wait in WAITS
            }
        found |= {tool: run.result() for tool, run in runs.items()}
        found["without"] = {wait: run.result() for wait, run in without.items()}
    name = re.sub(r"[^a-z0-9.]+", "-", found["device"].split(",")[0].lower())
    path = results() / f"{found['date'][:10]}-{name}-gpu-tests.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))
    print(f"written to {path}", file=sys.stderr)
    checkers = [tool for tool in TOOLS if tool in found]
    raise SystemExit(
        any(run["status"] for run in found["pytest"])
        or not all(clean(found[tool]) for tool in checkers)
        or not all(racy(run) for run in found.get("without", {}).values())
    )


if __name__ == "__main__":
    run_tool(main)
