"""`amk compile`: a model's configuration to a folder of files."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from amk.compiler import FILES, compile_model, write_outputs
from amk.frontends.hf.source import open_model
from amk.report import rows
from amk.tools.arch import resolve_arch
from amk.tools.console import Result, Steps
from amk.tools.gate import Verdict, gate
from amk.tools.output import output_folder


def compile_to(
    model: str,
    output: Path,
    *,
    arch: str,
    num_sms: int | None,
    dtype: str,
    max_context: int | None,
    sync: str,
    sampling: bool,
    dump_ir: bool,
    gated: bool,
) -> Result:
    """Compile, compare with Hugging Face if `gated`, and write everything to `output`, or nothing.
    Returns what `report.json` says."""
    arch = resolve_arch(arch)
    steps = Steps()
    with output_folder(output, FILES) as folder:
        with steps.step(f"opening {model}") as step:
            opened = open_model(model, step.report)
        with steps.step("compiling") as step:
            compiled = compile_model(
                opened.config,
                num_sms=num_sms,
                dtype=dtype,
                max_context=max_context,
                arch=arch,
                sync=sync,
                sampling=sampling,
                started=step.describe,
            )
        with steps.step("comparing with Hugging Face") as step:
            verdict = gate(opened, compiled, step) if gated else Verdict(why="--no-gate")
        with steps.step("writing, and compiling the kernel where nvcc is"):
            report = write_outputs(compiled, folder, verdict.report(), dump_ir=dump_ir)
    return report | {"output": str(output)}


def show(report: Result, console: Console) -> None:
    """Print the report for a person."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in rows(report):
        table.add_row(name, value)
    console.print(table)
    for note in report["notes"]:
        console.print(f"left out: {note}", markup=False)
    console.print(f"written to {report['output']}: {', '.join(report['files'])}", markup=False)
