"""How long proofs take: Llama-3-70B on 132 SMs, time per instruction as programs grow, and the
independent checker beside the verifier.

    python benchmarks/verify_scale.py [--json] [--preset llama-3-70b] [--num-sms 132] [--sync flags]

CPU seconds are the least of two runs, in a process of its own per program, without reading or
printing IR. No weight is allocated.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

T = TypeVar("T")

LIMITS = {"verify_seconds": 6.0, "peak_bytes": 2e9, "checker_over_verifier": 1.0, "growth": 1.5}
"""Promises for the largest model: `checker_over_verifier` is the ratio of their times, `growth`
that of the times per instruction of the largest and the smallest program."""

LAYERS = (2, 8, 32, 80, 160)
"""Depths for the growth: from about 1,000 to about 100,000 instructions on 132 SMs."""


def program_of(preset_name: str, num_sms: int, layers: int, sync: str) -> Any:
    """The vm program of a model with `layers` layers; 0 for its own number."""
    from amk.compiler import compile_model
    from amk.frontends.hf.config import parse_config
    from amk.frontends.hf.presets import preset

    config = parse_config(preset(preset_name), preset_name)
    config = replace(config, layers=layers) if layers else config
    return compile_model(config, num_sms=num_sms, sync=sync).program


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds that `work` takes, which runs in one thread, and what it returns."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def least(work: Callable[[], object]) -> float:
    """The least time of two, since other programs may be running."""
    return min(timed(work)[0] for _ in range(2))


def measure_once(preset_name: str, num_sms: int, layers: int, sync: str) -> dict[str, Any]:
    """Prove, certify and check one program in this process."""
    from amk.verify import forget, verify_program
    from amk.verify.certificate import certificate_text
    from amk.verify.checker import check_certificate

    program = program_of(preset_name, num_sms, layers, sync)
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    verify = least(lambda: (forget(), verify_program(program)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    certify, text = timed(lambda: certificate_text(program))
    claimed = json.loads(text)
    check = least(lambda: check_certificate(program, claimed))
    times = {"verify": verify, "certify": certify, "check": check}
    return {
        "layers": layers or len([k for k in program.kernels if k.endswith(".attention")]),
        "instructions": sum(map(len, program.queues)),
        "seconds": times,
        "certificate_bytes": len(text),
        "peak_bytes": peak,
    }


def in_new_process(preset_name: str, num_sms: int, layers: int, sync: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", preset_name, str(num_sms), str(layers), sync]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(preset_name: str, num_sms: int, sync: str) -> dict[str, Any]:
    main = in_new_process(preset_name, num_sms, 0, sync)
    growth = [in_new_process(preset_name, num_sms, layers, sync) for layers in LAYERS]
    each = [row["seconds"]["verify"] / row["instructions"] for row in growth]
    measured = {
        "verify_seconds": main["seconds"]["verify"],
        "peak_bytes": main["peak_bytes"],
        "checker_over_verifier": main["seconds"]["check"] / main["seconds"]["verify"],
        "growth": each[-1] / each[0],
    }
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "preset": preset_name,
        "num_sms": num_sms,
        "sync": sync,
        "measured": measured,
        "limits": LIMITS,
        "within_limits": all(measured[name] <= limit for name, limit in LIMITS.items()),
        "main": main,
        "growth": growth,
    }


def show(result: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table("what", "measured", "limit", box=None)
    for name, limit in LIMITS.items():
        table.add_row(name.replace("_", " "), f"{result['measured'][name]:,.2f}", f"{limit:,.2f}")
    console.print(f"{result['preset']} on {result['num_sms']} SMs, {result['sync']}")
    console.print(table)
    names = ("layers", "instructions", "verify s", "certify s", "check s", "us each", "KB", "MB")
    growth = Table(*names, box=None)
    for row in [*result["growth"], result["main"]]:
        times = row["seconds"]
        growth.add_row(
            str(row["layers"]),
            f"{row['instructions']:,}",
            *(f"{times[name]:.2f}" for name in ("verify", "certify", "check")),
            f"{1e6 * times['verify'] / row['instructions']:.0f}",
            f"{row['certificate_bytes'] / 1e3:,.0f}",
            f"{row['peak_bytes'] / 1e6:,.0f}",
        )
    console.print(growth)
    console.print("us each: verifying, per instruction; KB: certificate; MB: peak memory")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="llama-3-70b")
    parser.add_argument("--num-sms", type=int, default=132)
    parser.add_argument("--sync", choices=("flags", "counters"), default="flags")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of tables"
    )
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        name, num_sms, layers, sync = args.one
        print(json.dumps(measure_once(name, int(num_sms), int(layers), sync)))
        return
    result = measure(args.preset, args.num_sms, args.sync)
    if args.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
