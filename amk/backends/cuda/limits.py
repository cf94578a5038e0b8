"""What a device and a launch can take, and what is said when that is not enough."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from amk.backends.cuda.layout import Layout
from amk.backends.cuda.target import Target
from amk.errors import AmkError
from amk.ir.program import Program

UNLOADABLE = (200, 209, 218, 222)
"""Errors of a driver that cannot make sense of a cubin: invalid image, no binary for this GPU,
invalid PTX, unsupported version."""

MOST_EOS = 4
"""End-of-text tokens that the kernel looks for."""


def check_sms(program: Program, gpu: str, sms: int) -> None:
    """Raises AmkError unless a GPU with `sms` SMs can hold a block for every queue."""
    if len(program.queues) > sms:
        raise AmkError(
            f"program '{program.name}' is scheduled for {len(program.queues)} SMs, "
            f"{gpu} has {sms}: compile with --num-sms {sms}"
        )


def check_shared(program: Program, need: int, gpu: str, most: int) -> None:
    """Raises AmkError unless a block of `gpu` may take `need` bytes of shared memory."""
    if need > most:
        raise AmkError(
            f"program '{program.name}' needs {need} bytes of shared memory per SM, "
            f"{gpu} has {most}: plan a ring of fewer or smaller slots"
        )


def check_memory(program: Program, layout: Layout, free: int) -> None:
    """Raises AmkError unless `free` bytes of GPU memory are enough."""
    need = layout.stream_bytes + layout.fixed.size + layout.words.size + layout.caches.size
    if need > free:
        raise AmkError(
            f"program '{program.name}' needs {need / 1e9:.2f} GB of GPU memory, "
            f"{free / 1e9:.2f} GB are free: end what else uses the GPU, or choose a shorter "
            "context, a smaller type or a smaller model"
        )


def check_run(
    prompt: Sequence[int],
    steps: int,
    start: int,
    eos: Sequence[int],
    rows: int,
    *,
    vocabulary: int,
    lasting: int,
) -> None:
    """Raises AmkError unless a program with caches of `rows` rows and tables of `vocabulary` rows
    can run so; its epochs and counters last for `lasting` steps of a launch."""
    if not prompt:
        raise AmkError("prompt is empty")
    outside = next((token for token in prompt if not 0 <= token < vocabulary), None)
    if outside is not None:
        raise AmkError(f"token {outside} of the prompt is not in the vocabulary of {vocabulary}")
    if steps < 1 or start < 0 or start + steps > rows:
        raise AmkError(
            f"positions {start} to {start + steps - 1} do not fit a cache of {rows} rows: "
            "compile with a larger --max-context"
        )
    if steps > lasting:
        raise AmkError(f"a launch takes at most {lasting} steps, got {steps}")
    if len(eos) > MOST_EOS:
        raise AmkError(f"at most {MOST_EOS} end-of-text tokens are supported, got {len(eos)}")


def unloadable(path: Path, target: Target, driver: int) -> str:
    """Why a cubin cannot be loaded, in one line; `driver` is the CUDA version of the driver as CUDA
    counts (13000 is 13.0)."""
    return (
        f"the driver (CUDA {driver // 1000}.{driver % 1000 // 10}) cannot load {path.name} for "
        f"{target.name}: update the driver, or set NVCC to an nvcc that is no newer than it"
    )
