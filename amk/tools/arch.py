"""Which architecture `--arch` means."""

from __future__ import annotations

from amk.backends.cuda.target import target_of, target_of_device
from amk.errors import AmkError
from amk.tools.doctor import gpus


def resolve_arch(name: str) -> str:
    """The name of a target; `native` is that of this machine's first GPU. Raises AmkError."""
    if name != "native":
        return target_of(name).name
    found = gpus()
    if not found:
        raise AmkError("--arch native: this machine has no NVIDIA GPU, or no driver for it")
    major, _, minor = found[0]["capability"].partition(".")
    return target_of_device(int(major), int(minor)).name
