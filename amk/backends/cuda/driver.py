"""The two CUDA bindings, imported late and with errors that a user can act on.

PyCUDA holds the context, memory, streams and events; cuda-bindings loads cubins and makes
cooperative launches, which PyCUDA cannot. Neither publishes types, so what comes out of here is
`Any`.
"""

from __future__ import annotations

import importlib
from typing import Any

from amk.errors import AmkError


class CudaError(AmkError):
    """A call of cuda-bindings failed; `code` is CUDA's number for why."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def pycuda() -> Any:
    """`pycuda.driver`, initialized. Raises AmkError without PyCUDA or without a GPU."""
    try:
        driver = importlib.import_module("pycuda.driver")
    except ImportError as error:
        raise AmkError(f"PyCUDA cannot be loaded ({error}); install amk[cuda]") from error
    try:
        driver.init()
        count = driver.Device.count()
    except Exception as error:
        raise AmkError(
            f"no usable NVIDIA GPU: {error}; amk doctor says what this machine lacks"
        ) from error
    if count == 0:
        raise AmkError("no NVIDIA GPU was found; use --device cpu")
    return driver


def bindings() -> Any:
    """`cuda.bindings.driver`. Raises AmkError when it is missing."""
    try:
        return importlib.import_module("cuda.bindings.driver")
    except ImportError as error:
        raise AmkError(f"cuda-bindings cannot be loaded ({error}); install amk[cuda]") from error


def check(result: tuple[Any, ...]) -> Any:
    """The value of a cuda-bindings call; CudaError when it failed."""
    code, *values = result
    if int(code) != 0:
        name = bindings().cuGetErrorString(code)[1]
        text = name.decode() if isinstance(name, bytes) else str(name)
        raise CudaError(int(code), f"CUDA call failed: {text} ({code!s})")
    return values[0] if len(values) == 1 else values
