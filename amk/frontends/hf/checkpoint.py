"""What a source of weights offers, and the checks that every checkpoint passes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from amk.errors import AmkError
from amk.frontends.hf.decoder import DecoderConfig, Shape, tensor_shapes

F32 = NDArray[np.float32]


FLOATS = "F32, BF16, F16"
"""Types of weights in safetensors."""

INTEGERS: Mapping[str, str] = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4",
    "I64": "<i8", "U64": "<u8",
}  # fmt: skip
"""Types of tensors that are no weights, but may lie beside them (masks, quantized blocks), and how
NumPy sees them."""


class TensorInfo(NamedTuple):
    """What a checkpoint says about one of its tensors. `dtype` is `f32`, `bf16` or `f16`, the name
    of a GGUF quantization, or one of `INTEGERS` in lower case."""

    shape: Shape
    dtype: str


class Piece(NamedTuple):
    """`size` bytes at byte `at` of a file: rows of a tensor, row-major, as they are stored."""

    path: Path
    at: int
    size: int


class Checkpoint(Protocol):
    """Named tensors somewhere: in files, or made on demand."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    def read(self, name: str) -> F32:
        """The tensor in float32, its shape as in `tensors`."""
        ...

    def pieces(self, name: str) -> list[Piece]:
        """Where the tensor lies, in order; of type f32 or bf16. Empty where it lies nowhere as it
        is, or in another type."""
        ...


def check_tensors(config: DecoderConfig, found: Mapping[str, TensorInfo], where: str) -> None:
    """Raise AmkError unless the checkpoint `where` holds what `config` needs and nothing else.

    Ignored: stored rotary frequencies (a buffer of old versions, computed from the config), other
    buffers that the family names, and the copy of the embedding that some tools write for a tied
    head.
    """
    expected = tensor_shapes(config)
    missing = [name for name in expected if name not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise AmkError(f"tensor '{missing[0]}'{more} is missing from {where}")
    for name, shape in expected.items():
        got = found[name].shape
        if got != shape:
            raise AmkError(f"tensor '{name}' in {where} has shape {_x(got)}, expected {_x(shape)}")
        if found[name].dtype.upper() in INTEGERS:
            kind = found[name].dtype.upper()
            raise AmkError(f"tensor '{name}' in {where} has type {kind}, expected {FLOATS}")
    extra = [n for n in found if n not in expected and not ignorable(config, n)]
    if extra:
        more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
        used = "is" if len(extra) == 1 else "are"
        raise AmkError(
            f"tensor '{extra[0]}'{more} in {where} {used} not used by family '{config.family}'"
        )


def ignorable(config: DecoderConfig, name: str) -> bool:
    head = f"{config.names.head}.weight"
    ends = (".rotary_emb.inv_freq", *config.names.buffers)
    return name.endswith(ends) or (config.tied and name == head)


class Renamed:
    """A checkpoint whose tensors go by today's names."""

    def __init__(self, checkpoint: Checkpoint, renamed: Mapping[str, str]):
        self.checkpoint = checkpoint
        self.old = {renamed.get(name, name): name for name in checkpoint.tensors}
        self.tensors = {new: checkpoint.tensors[old] for new, old in self.old.items()}

    def read(self, name: str) -> F32:
        return self.checkpoint.read(self.old.get(name, name))

    def pieces(self, name: str) -> list[Piece]:
        return self.checkpoint.pieces(self.old.get(name, name))


def check_finite(name: str, values: F32, where: str) -> F32:
    """`values`, or AmkError if one of them is NaN or infinite."""
    if not np.isfinite(values).all():
        raise not_finite(name, where)
    return values


def not_finite(name: str, where: str) -> AmkError:
    return AmkError(f"tensor '{name}' in {where} holds NaN or infinite values")


def check_known(name: str, tensors: Collection[str], where: str) -> None:
    if name not in tensors:
        raise AmkError(f"tensor '{name}' is missing from {where}")


def _x(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"
