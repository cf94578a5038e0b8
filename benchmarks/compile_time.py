"""How long the compiler takes: start-up, an 8B model from configuration to vm, and growth by
layers.

    python benchmarks/compile_time.py [--json] [--preset llama-3-8b] [--num-sms 132] [--layers
    8,20,40,80]

Each compilation runs in a process of its own, so that its peak memory is its own. No weight is
allocated.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from amk.compiler import Compiled

LIMITS = {
    "start_up_seconds": 0.3,
    "compile_seconds": 8.0,
    "peak_bytes": 1e9,
    "verify_seconds": 3.0,
    "ops_of_levels_1_to_3": 1500,
    "ops_of_vm": 50_000,
}
"""What the design promises for the 8B model on 132 SMs."""


def compile_once(preset_name: str, num_sms: int, layers: int | None) -> dict[str, Any]:
    """Compile in this process; seconds include reading the configuration, not starting Python."""
    from amk.compiler import compile_model, count_ops
    from amk.frontends.hf.config import parse_config
    from amk.frontends.hf.presets import preset

    start = time.perf_counter()
    config = parse_config(preset(preset_name), preset_name)
    config = replace(config, layers=layers) if layers else config
    compiled = compile_model(config, num_sms=num_sms)
    seconds = time.perf_counter() - start
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "preset": preset_name,
        "num_sms": num_sms,
        "layers": config.layers,
        "seconds": seconds,
        "verify_seconds": verify_seconds(compiled),
        "peak_bytes": peak,
        "ops": {level: count_ops(module) for level, module in compiled.modules.items()},
        "steps": compiled.seconds,
    }


def verify_seconds(compiled: Compiled) -> float:
    """Every level's verifier once, from nothing: what a compilation remembers does not count."""
    from amk.mlir import build_passes, make_context
    from amk.verify import forget

    forget()
    seconds = 0.0
    for level, module in compiled.modules.items():
        (verifier,) = build_passes(f"verify-{level}")
        start = time.perf_counter()
        verifier.apply(make_context(), module)
        seconds += time.perf_counter() - start
    return seconds


def in_new_process(preset_name: str, num_sms: int, layers: int | None) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", preset_name, str(num_sms), str(layers or 0)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def start_up_seconds(repetitions: int = 10) -> float:
    """The least time of `amk-opt` on an empty module, process and all."""
    tool = Path(sys.executable).with_name("amk-opt")
    times: list[float] = []
    for _ in range(repetitions):
        start = time.perf_counter()
        subprocess.run([tool], input=b"builtin.module {}", stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def commit() -> str:
    """The commit that is measured; `-dirty` where the tree differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    where = Path(__file__).parent
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def measure(preset_name: str, num_sms: int, layers: list[int]) -> dict[str, Any]:
    main = in_new_process(preset_name, num_sms, None)
    measured = {
        "start_up_seconds": start_up_seconds(),
        "compile_seconds": main["seconds"],
        "peak_bytes": main["peak_bytes"],
        "verify_seconds": main["verify_seconds"],
        "ops_of_levels_1_to_3": max(n for level, n in main["ops"].items() if level != "vm"),
        "ops_of_vm": main["ops"]["vm"],
    }
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "preset": preset_name,
        "num_sms": num_sms,
        "measured": measured,
        "limits": LIMITS,
        "within_limits": all(measured[name] <= limit for name, limit in LIMITS.items()),
        "compile": main,
        "growth": [in_new_process(preset_name, num_sms, n) for n in layers],
    }


def show(result: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table("what", "measured", "limit", box=None)
    for name, limit in LIMITS.items():
        table.add_row(name.replace("_", " "), f"{result['measured'][name]:,.3f}", f"{limit:,.3f}")
    console.print(f"{result['preset']} on {result['num_sms']} SMs")
    console.print(table)
    steps = Table("step", "seconds", box=None)
    for name, seconds in result["compile"]["steps"].items():
        steps.add_row(name, f"{seconds:.3f}")
    console.print(steps)
    growth = Table(
        "layers", "seconds", "verifying", "peak MB", "model", "task", "sched", "vm", box=None
    )
    for row in result["growth"]:
        growth.add_row(
            str(row["layers"]),
            f"{row['seconds']:.2f}",
            f"{row['verify_seconds']:.2f}",
            f"{row['peak_bytes'] / 1e6:,.0f}",
            *(f"{n:,}" for n in row["ops"].values()),
        )
    console.print(growth)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="llama-3-8b")
    parser.add_argument("--num-sms", type=int, default=132)
    parser.add_argument(
        "--layers", default="8,20,40,80", help="for the growth, separated by commas"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of tables"
    )
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        name, num_sms, layers = args.one
        print(json.dumps(compile_once(name, int(num_sms), int(layers) or None)))
        return
    result = measure(args.preset, args.num_sms, [int(n) for n in args.layers.split(",")])
    if args.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
