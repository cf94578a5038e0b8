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
from amk.files import cache_folder, writing_cache

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
    """The path of nvcc: `$NVCC`, or else the one on PATH, below `$CUDA_HOME` or `$CUDA_PATH`, or
    where the toolkit is installed. `AmkError` says how to get one."""
    chosen = os.environ.get("NVCC")
    if chosen and not shutil.which(chosen):
        raise AmkError(f"NVCC: '{chosen}' is no program")
    homes = [home for name in ("CUDA_HOME", "CUDA_PATH") if (home := os.environ.get(name))]
    for candidate in (chosen or "nvcc", *(f"{home}/bin/nvcc" for home in homes), DEFAULT):
        path = shutil.which(candidate)
        if path:
            return path
    raise AmkError(
        "nvcc was not found: install the CUDA toolkit 12.8 or newer, or set NVCC to its path"
    )


def compile_cubin(source: str, target: Target, *, cache: Path | None = None) -> Path:
    """The cubin of `source`, from the cache (default `cubin` in amk's) or compiled now.

    Raises AmkError when nvcc is missing or refuses the source, or the cache cannot be written.
    """
    key = hashlib.sha256("\0".join([target.gencode, *FLAGS, source]).encode()).hexdigest()
    folder = cache or cache_folder("cubin")
    path = folder / f"{key}.cubin"
    if not path.exists():
        with writing_cache(folder), tempfile.TemporaryDirectory(dir=folder) as work:
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
        env=os.environ | {"TMPDIR": str(folder)},  # nothing of it stays, however this ends
    )
    if done.returncode:
        said = (done.stderr + done.stdout).splitlines()
        lines = [s for s in said if "error" in s or "fatal" in s]
        lines += [f"exit status {done.returncode}"]
        raise AmkError(f"nvcc failed for {target.name}: {lines[0]}")
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
