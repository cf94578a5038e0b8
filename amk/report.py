"""What was compiled, for people and for scripts: `report.json` and `report.md`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from amk.ir.program import DTYPES, SLOT_ROWS, Program

if TYPE_CHECKING:
    from amk.compiler import Compiled

Report = dict[str, Any]


def describe(compiled: Compiled, notes: list[str]) -> Report:
    """The facts about a compiled program; `notes` says what was left out and why."""
    from amk.compiler import count_ops

    c, p = compiled.config, compiled.program
    lengths = [len(queue) for queue in p.queues]
    return {
        "model": c.name,
        "parameters": c.parameters,
        "layers": c.layers,
        "dtype": compiled.dtype,
        "arch": compiled.arch,
        "num_sms": len(p.queues),
        "max_context": compiled.max_context,
        "sync": compiled.sync,
        "verdict": "safe",
        "ops": {level: count_ops(module) for level, module in compiled.modules.items()},
        "instructions": sum(lengths),
        "longest_queue": max(lengths),
        "instructions_by_kernel": dict(sorted(_instructions(p).items())),
        "counters": p.counters,
        "ring": asdict(p.ring) if p.ring else None,
        "buffers": len(p.buffers),
        "buffer_bytes": sum(b.length * DTYPES[b.dtype] for b in p.buffers.values()),
        "cache_bytes": sum(
            2 * k.rows * k.heads * k.head_dim * DTYPES[k.dtype] for k in p.caches.values()
        ),
        "weight_bytes": weight_bytes(p),
        "seconds": {name: round(s, 4) for name, s in compiled.seconds.items()},
        "total_seconds": round(sum(compiled.seconds.values()), 3),
        "notes": notes,
    }


def weight_bytes(p: Program) -> int:
    """Bytes of the checkpoint tensors that the program uses, each counted once."""
    total = 0
    for tensor in p.tensors.values():
        size = DTYPES[tensor.dtype]
        for extent in tensor.shape:
            size *= extent
        total += size
    return total


def _instructions(p: Program) -> Counter[str]:
    """Number of instructions by mnemonic of their kernel."""
    return Counter(p.kernels[run.kernel].mnemonic for queue in p.queues for run in queue)


def rows(report: Report) -> list[tuple[str, str]]:
    """The facts that a person wants first, as (name, value)."""
    ops = ", ".join(f"{level} {n:,}" for level, n in report["ops"].items())
    return [
        (
            "model",
            f"{report['model']}, {report['parameters']:,} parameters, {report['layers']} layers",
        ),
        (
            "target",
            f"{report['num_sms']} SMs, {report['arch']}, {report['dtype']}, sync {report['sync']}",
        ),
        (
            "context",
            f"{report['max_context']:,} positions, KV cache {report['cache_bytes'] / 1e6:,.1f} MB",
        ),
        ("weights", f"{report['weight_bytes'] / 1e6:,.1f} MB"),
        ("verdict", f"{report['verdict']}: no deadlock, no race, every read covered"),
        ("gate", _gate(report["gate"])),
        ("ops per level", ops),
        ("instructions", f"{report['instructions']:,}, at most {report['longest_queue']:,} per SM"),
        ("counters", f"{report['counters']:,}"),
        ("ring", _ring(report["ring"])),
        ("buffers", f"{report['buffers']:,}, {report['buffer_bytes'] / 1e3:,.1f} KB"),
        ("compile time", f"{report['total_seconds']:.2f} s"),
    ]


def _gate(gate: Report) -> str:
    if not gate["passed"]:
        return f"not compared with Hugging Face: {gate['why']}"
    errors = ", ".join(f"{e:.0e} in {dtype}" for dtype, e in gate["errors"].items())
    return f"equals Hugging Face at {gate['positions']} positions, largest error {errors}"


def _ring(ring: dict[str, int] | None) -> str:
    if ring is None:
        return "none"
    slots = f"{ring['slots']} slots of {SLOT_ROWS} x {ring['columns']}"
    return f"{slots}, {ring['group']} a copy, {ring['window']} copies in flight"


def render(report: Report) -> str:
    """`report.md`."""
    lines = [f"# {report['model']} for {report['num_sms']} SMs", ""]
    lines += [f"* {name}: {value}" for name, value in rows(report)]
    lines += ["", "## Instructions by kernel", "", "| kernel | instructions |", "|---|---:|"]
    lines += [f"| {name} | {n:,} |" for name, n in report["instructions_by_kernel"].items()]
    lines += ["", "## Seconds by step", "", "| step | seconds |", "|---|---:|"]
    lines += [f"| {name} | {s:.3f} |" for name, s in report["seconds"].items()]
    lines += ["", "## Files", ""]
    lines += [f"* {name}" for name in report["files"]]
    lines += [f"* left out: {note}" for note in report["notes"]]
    return "\n".join(lines) + "\n"
