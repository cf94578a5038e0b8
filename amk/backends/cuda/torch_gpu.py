"""PyTorch on the GPU: whether it is there, and what its refusals mean to a user."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from amk.errors import AmkError


def require_torch() -> str:
    """The version of PyTorch. Raises AmkError where it cannot use the GPU."""
    if not torch.cuda.is_available():
        raise AmkError(
            f"PyTorch {torch.__version__} cannot use the GPU: install a build of it with CUDA"
        )
    return str(torch.__version__)


@contextmanager
def out_of_memory() -> Generator[None]:
    """Turns PyTorch's lack of GPU memory into an AmkError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        free, total = torch.cuda.mem_get_info()
        raise AmkError(
            f"the GPU has too little memory: {free / 1e9:.1f} of {total / 1e9:.1f} GB are free"
        ) from error
