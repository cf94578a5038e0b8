"""Runs `amk bench` or `amk eval` and keeps what it says in benchmarks/results.

Date, commit and command stand beside it.

    python benchmarks/record.py random:llama-3.2-1b --context 128,4096
    python benchmarks/record.py eval smollm2 --device cuda --dtype fp32 --tokens 1025 --greedy 256

Takes the arguments of `amk bench`, or those of `amk eval` behind that word. A measurement whose
verdict is not a pass is not kept. Where the tree is no git checkout, AMK_COMMIT says which commit
it is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from amk.tools.driver import run_tool

RESULTS = Path(__file__).parent / "results"


def commit() -> str:
    """The commit of this tree, with `+` where files differ from it."""
    given = os.environ.get("AMK_COMMIT")
    if given:
        return given
    head, changed = (
        subprocess.run(["git", *args], capture_output=True, text=True, check=False).stdout.strip()
        for args in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "amk"))
    )
    return (head or "unknown") + ("+" if changed else "")


def gpu() -> str:
    """Name and driver of the first GPU."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].strip()


def file_name(result: dict[str, Any], date: str) -> str:
    """Such as 2026-11-21-nvidia-h200-random-llama-3.2-1b-bf16-c128-4096.json, or
    2026-11-21-nvidia-h200-smollm2-fp32-eval.json."""
    what = "eval"
    if "results" in result:
        what = "c" + "-".join(str(entry["context"]) for entry in result["results"])
    model = Path(result["model"]).name
    parts = (date[:10], result.get("gpu", result["device"]), model, result["dtype"], what)
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower()) + ".json"


def main() -> None:
    arguments = [a for a in sys.argv[1:] if a != "--json"]
    if arguments[:1] != ["eval"]:
        arguments.insert(0, "bench")
    command = [sys.executable, "-m", "amk.tools.amk", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        if done.stdout:
            print(done.stdout, end="")
        raise SystemExit(done.returncode)
    result = json.loads(done.stdout.splitlines()[-1])
    if "fail" in result.get("verdicts", {}).values():
        sys.exit(f"error: not kept, verdicts are {result['verdicts']}")
    date = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"date": date, "commit": commit(), "command": " ".join(["amk", *arguments])}
    if result["device"] == "cuda":
        result["gpu"] = gpu().split(",")[0]
    folder = Path(os.environ.get("AMK_RESULTS", RESULTS))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(result, date)
    path.write_text(json.dumps(about | result, indent=2) + "\n")
    print(json.dumps(about | result))
    print(f"written to {path}", file=sys.stderr)


if __name__ == "__main__":
    run_tool(main)
