"""Compiles CUDA sources to cubins with nvcc; a content-hash cache keeps them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from amk.backends.cuda.target import Target
from amk.errors import AmkError

FLAGS = ("-cubin", "-std=c++17", "-O3", "-lineinfo", "-Xptxas", "-v,-warn-spills,-warn-lmem-usage")

DEFAULT = "/usr/local/cuda/bin/nvcc"


@dataclass(frozen=True, slots=True)
class Usage:
    """What ptxas says of `amk_kernel`."""

    registers: int
    spill_bytes: int
    stack_bytes: int
    warnings: tuple[str, ...]


def find_nvcc() -> str:
    """The path of nvcc; `AmkError` says how to get one."""
    for candidate in (os.environ.get("NVCC"), shutil.which("nvcc"), DEFAULT):
        if candidate and Path(candidate).exists():
            return candidate
    raise AmkError(
        "nvcc was not found: install the CUDA toolkit 12.8 or newer, or set NVCC to its path"
    )


def cache_folder() -> Path:
    """Where cubins are kept: `$AMK_CACHE/cubin`, default `~/.cache/amk/cubin`."""
    return Path(os.environ.get("AMK_CACHE") or Path.home() / ".cache" / "amk") / "cubin"


def compile_cubin(source: str, target: Target, *, cache: Path | None = None) -> Path:
    """The cubin of `source`, from the cache or compiled now.

    Raises AmkError when nvcc is missing or refuses the source.
    """
    key = hashlib.sha256("\0".join([target.gencode, *FLAGS, source]).encode()).hexdigest()
    folder = cache or cache_folder()
    path = folder / f"{key}.cubin"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made, _ = run_nvcc(source, target, Path(work))
            made.replace(path)
    return path


def run_nvcc(source: str, target: Target, folder: Path) -> tuple[Path, Usage]:
    """Compile `source` to `folder`/kernel.cubin; returns its path and what ptxas reports."""
    nvcc = find_nvcc()
    code, cubin = folder / "kernel.cu", folder / "kernel.cubin"
    code.write_text(source)
    done = subprocess.run(
        [nvcc, *FLAGS, target.gencode, "-o", str(cubin), str(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [
            s for s in (done.stderr + done.stdout).splitlines() if "error" in s or "fatal" in s
        ]
        raise AmkError(f"nvcc failed for {target.name}: {(lines or ['no message'])[0]}")
    return cubin, read_usage(done.stderr + done.stdout)


def read_usage(log: str) -> Usage:
    """Registers, spills and warnings from ptxas's verbose output."""
    mine = log.split("Compiling entry function 'amk_kernel'", 1)[-1]  # warnings name it before
    spills = re.search(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill", mine
    )
    used = re.search(r"Used (\d+) registers", mine)
    warnings = tuple(s for s in log.splitlines() if "warning" in s.lower())
    return Usage(
        registers=int(used.group(1)) if used else 0,
        spill_bytes=int(spills.group(2)) + int(spills.group(3)) if spills else 0,
        stack_bytes=int(spills.group(1)) if spills else 0,
        warnings=warnings,
    )
