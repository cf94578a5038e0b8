"""`amk doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

from amk.backends.cuda.nvcc import find_nvcc
from amk.errors import AmkError
from amk.files import cache_folder
from amk.tools.console import Result

REQUIRED = (
    "xdsl",
    "torch",
    "transformers",
    "safetensors",
    "gguf",
    "numpy",
    "networkx",
    "typer",
    "rich",
)
CUDA = ("pycuda", "cuda-bindings")


def examine() -> Result:
    """Facts about this machine: `ok` says whether the CPU path works, `cuda` whether the GPU path
    could.

    `missing` lists what is absent as {name, needed_for, install}.
    """
    packages = {name: _version(name) for name in (*REQUIRED, *CUDA)}
    found = gpus()
    nvcc = _nvcc()
    missing = [
        {"name": name, "needed_for": "everything", "install": "pip install -e ."}
        for name in REQUIRED
        if packages[name] is None
    ]
    missing += [
        {"name": name, "needed_for": "the GPU", "install": "pip install -e '.[cuda]'"}
        for name in CUDA
        if packages[name] is None
    ]
    if nvcc is None:
        install = "install the CUDA toolkit 12.8 or newer and put nvcc on PATH (or set NVCC)"
        missing.append({"name": "nvcc", "needed_for": "the GPU", "install": install})
    if not found:
        install = "an NVIDIA GPU of compute capability 8.0 or higher, and its driver"
        missing.append({"name": "GPU", "needed_for": "the GPU", "install": install})
    return {
        "ok": sys.version_info >= (3, 11) and all(packages[name] for name in REQUIRED),
        "cuda": bool(found and nvcc and all(packages[name] for name in CUDA)),
        "amk": _version("amk"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "packages": packages,
        "nvcc": nvcc,
        "gpus": found,
        "cache": str(cache_folder()),
        "cache_bytes": sum(f.stat().st_size for f in cache_folder().rglob("*") if f.is_file()),
        "missing": missing,
    }


def show(facts: Result, console: Console) -> None:
    """Print the facts for a person."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name in ("amk", "python", "platform", "cpus"):
        table.add_row(name, str(facts[name]))
    for name, found in facts["packages"].items():
        table.add_row(name, found or "[yellow]not installed[/]")
    nvcc = facts["nvcc"]
    table.add_row("nvcc", f"{nvcc['version']} ({nvcc['path']})" if nvcc else "[yellow]not found[/]")
    for gpu in facts["gpus"]:
        table.add_row(
            "GPU", f"{gpu['name']}, compute capability {gpu['capability']}, driver {gpu['driver']}"
        )
    table.add_row("cache", f"{facts['cache']} ({facts['cache_bytes'] / 1e6:.0f} MB)")
    console.print(table)
    for item in facts["missing"]:
        console.print(
            f"missing: {item['name']} (for {item['needed_for']}): {item['install']}", markup=False
        )
    for name, key in (("CPU", "ok"), ("GPU", "cuda")):
        console.print(f"{name}: {'ready' if facts[key] else 'not ready'}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    """What a command prints, or None when it is absent or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _nvcc() -> Result | None:
    try:
        path = find_nvcc()
    except AmkError:
        return None
    text = _output(path, "--version")
    if not text or "release " not in text:
        return None
    return {"path": path, "version": text.split("release ")[1].split(",")[0]}


def gpus() -> list[Result]:
    """The NVIDIA GPUs of this machine: name, capability, driver and memory, as texts."""
    text = _output(
        "nvidia-smi",
        "--query-gpu=name,compute_cap,driver_version,memory.total",
        "--format=csv,noheader",
    )
    rows = [line.split(", ") for line in (text or "").splitlines()]
    keys = ("name", "capability", "driver", "memory")
    return [dict(zip(keys, row, strict=True)) for row in rows if len(row) == len(keys)]
