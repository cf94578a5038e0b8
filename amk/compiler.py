"""From a model's configuration to a proved program and its files: the one place that drives the
levels.

Nothing here reads weights or imports torch: a program depends on the configuration alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.exceptions import DiagnosticException

from amk.backends.cuda.emit import emit, shared_bytes
from amk.backends.cuda.nvcc import compile_cubin
from amk.backends.cuda.target import Target, target_of
from amk.dialects import task
from amk.dialects.vm import program_of
from amk.errors import AmkError
from amk.frontends.hf.build import build_model
from amk.frontends.hf.decoder import DecoderConfig
from amk.ir.digest import program_digest
from amk.ir.program import Program
from amk.mlir import build_passes, make_context, one_line, print_module
from amk.passes.rewrite import programs
from amk.report import describe, render
from amk.verify import verify_program
from amk.verify.certificate import certificate_text

IR_FILES: dict[str, str] = {
    "model": "00-model.mlir",
    "task": "10-task.mlir",
    "sched": "20-sched.mlir",
    "vm": "30-vm.mlir",
}
FILES = (
    *IR_FILES.values(),
    "kernel.cu",
    "kernel.cubin",
    "certificate.json",
    "report.md",
    "report.json",
)
"""Everything that `write_outputs` may write."""

ELEMENTS = {"bf16": "bf16", "fp32": "f32"}
"""Element types of the IR by the names that the command line uses."""

DEFAULT_ARCH = "sm_90a"

RESERVED_KB = 35
"""Shared memory of an SM that the ring leaves at first to activations, partial sums and tables, in
KiB; where they need more, the stream is planned again with a smaller ring."""

DEFAULT_CONTEXT = 4096
"""Rows of the KV cache when nobody says how many, unless the model has fewer."""


@dataclass(frozen=True)
class Compiled:
    """A program that was proved, the module of each level, and the seconds of each step."""

    config: DecoderConfig
    dtype: str
    max_context: int
    arch: str
    sync: str
    modules: dict[str, ModuleOp]
    program: Program
    seconds: dict[str, float]


@dataclass
class Clock:
    """Times named steps and tells `started` of each."""

    started: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        self.started(name)
        start = perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start


def compile_model(
    config: DecoderConfig,
    *,
    num_sms: int | None = None,
    most_sms: int | None = None,
    dtype: str = "bf16",
    max_context: int | None = None,
    arch: str = DEFAULT_ARCH,
    sync: str = "flags",
    sampling: bool = False,
    started: Callable[[str], None] = lambda step: None,
) -> Compiled:
    """Lower a model through all levels and prove the result; `started` hears the name of each step.

    `arch` sizes the ring. Without `num_sms`, the program is for as many SMs as have work, at most
    `most_sms`, or else those of `arch`. With `sampling`, tokens are drawn as a launch says, instead
    of being the likeliest.

    Raises AmkError when the model cannot be compiled so, and when the proof fails.
    """
    target = target_of(arch)
    if num_sms is not None and num_sms < 1:
        raise AmkError(f"--num-sms: must be positive, got {num_sms}")
    max_context = context_length(config, max_context)
    clock = Clock(started)
    with clock.step("build-model"):
        module = build_model(config, ELEMENTS[dtype], max_context)
    modules = {"model": module.clone()}
    ring_kb = target.shared // 1024 - RESERVED_KB
    drawn = " sampling=true" if sampling else ""
    sms = num_sms or most_sms or target.sms
    _apply("fuse", module, clock)
    while True:
        tasks = module.clone()
        _apply(f"to-task{{num-sms={sms} sync={sync}{drawn}}}", tasks, clock)
        busy = _busy_sms(tasks)
        if num_sms or busy >= sms:
            break
        sms = busy
    modules |= _apply(f"to-sched{{num-sms={sms} ring-kb={ring_kb}}},to-vm", tasks, clock)
    # a smaller ring may have other columns, and then other needs beside it
    while (excess := _excess_kb(program_of(modules["vm"]), target)) > 0:
        if excess >= ring_kb:
            smaller = "" if dtype == "bf16" else ": compile with --dtype bf16"
            raise AmkError(
                f"model '{config.name}' needs {target.shared // 1024 - ring_kb + excess} KiB of "
                f"shared memory per SM beside the ring of weights, {arch} has "
                f"{target.shared // 1024}{smaller}"
            )
        ring_kb -= excess
        pipeline = f"plan-stream{{ring-kb={ring_kb}}},verify-sched,to-vm"
        modules |= _apply(pipeline, modules["sched"], clock)
    with clock.step("prove"):
        program = program_of(modules["vm"])
        violations = verify_program(program)
    if violations:
        raise AmkError(f"REJECTED: {violations[0]}")
    return Compiled(config, dtype, max_context, arch, sync, modules, program, clock.seconds)


def _apply(pipeline: str, module: ModuleOp, clock: Clock) -> dict[str, ModuleOp]:
    """Run a pipeline down to the vm; returns the last module of each level below `model`."""
    ctx = make_context()
    modules: dict[str, ModuleOp] = {}
    for p in build_passes(pipeline):
        if p.name in ("convert-task-to-sched", "convert-sched-to-vm"):
            modules[p.name.split("-")[1]] = module.clone()
        with clock.step(p.name):
            try:
                p.apply(ctx, module)
            except DiagnosticException as error:
                raise AmkError(f"{p.name}: {one_line(error)}") from error
    return modules | {"vm": module}


def _busy_sms(module: ModuleOp) -> int:
    """How many SMs have work: the tiles of the largest family of a task program."""
    (task_program,) = programs(module, task.ProgramOp)
    return max(k.grid for k in task.program_of(task_program).kernels.values())


def _excess_kb(program: Program, target: Target) -> int:
    """By how many KiB, rounded up, the kernel of a program exceeds the shared memory of an SM."""
    try:
        return -((target.shared - shared_bytes(program)) // 1024)
    except AmkError:
        # No template covers it, whatever the ring: the CPU runs it all the same.
        return 0


def context_length(config: DecoderConfig, wanted: int | None) -> int:
    """Rows of the KV cache: what was asked for, or the model's own limit, at most DEFAULT_CONTEXT.

    Raises AmkError when the model cannot go so far.
    """
    limit = config.max_context
    if wanted is None:
        return min(limit, DEFAULT_CONTEXT)
    if not 1 <= wanted <= limit:
        raise AmkError(f"--max-context: must be from 1 to the model's {config.limit}, got {wanted}")
    return wanted


def count_ops(module: ModuleOp) -> int:
    """Number of operations in a module, the module itself not counted."""
    return sum(1 for _ in module.walk()) - 1


def write_outputs(
    compiled: Compiled, folder: Path, gate: dict[str, Any], *, dump_ir: bool
) -> dict[str, Any]:
    """Write the files of a compiled program into `folder`; returns what `report.json` says. `gate`
    says how it was compared with Hugging Face."""
    texts = {"vm": print_module(compiled.modules["vm"])}
    if dump_ir:
        for level in ("model", "task", "sched"):
            texts[level] = print_module(compiled.modules[level])
        for level, text in texts.items():
            (folder / IR_FILES[level]).write_text(text)
    proof = certificate_text(compiled.program)
    program_hash = program_digest(compiled.program)
    (folder / "certificate.json").write_text(proof)
    notes = write_kernel(compiled, folder, program_hash, _sha256(proof))
    report = describe(compiled, notes) | {"program_sha256": program_hash, "gate": gate}
    report["files"] = sorted([f.name for f in folder.iterdir()] + ["report.json", "report.md"])
    (folder / "report.json").write_text(_json(report))
    (folder / "report.md").write_text(render(report))
    return report


def write_kernel(
    compiled: Compiled, folder: Path, program_hash: str, certificate_hash: str
) -> list[str]:
    """Write kernel.cu and kernel.cubin as far as this machine and the backend can.

    Returns why something was left out.
    """
    target = target_of(compiled.arch)
    try:
        source = emit(
            compiled.program,
            target=target,
            program_hash=program_hash,
            certificate_hash=certificate_hash,
        ).source
    except AmkError as error:
        return [f"kernel.cu, kernel.cubin: {error}"]
    (folder / "kernel.cu").write_text(source)
    try:
        shutil.copyfile(compile_cubin(source, target), folder / "kernel.cubin")
    except AmkError as error:
        return [f"kernel.cubin: {error}"]
    return []


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
