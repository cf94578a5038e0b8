"""Reading safetensors with NumPy: one file, or shards behind an index.

The format is an 8-byte little-endian header length, a JSON header that gives each tensor's type,
shape and byte range, and the bytes (https://github.com/huggingface/safetensors#format). Opening a
model of any size reads its headers only. bfloat16, which NumPy lacks, is widened by a shift.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import numpy as np

from amk.errors import AmkError
from amk.frontends.hf.checkpoint import (
    F32,
    FLOATS,
    INTEGERS,
    Piece,
    TensorInfo,
    check_finite,
    check_known,
)
from amk.frontends.hf.config import read_json

DTYPES = {"F32": "<f4", "BF16": "<u2", "F16": "<f2", **INTEGERS}
"""Types of safetensors that are read, and how NumPy sees the bytes."""

LARGEST_HEADER = 100_000_000
"""Bytes; the limit that the safetensors library sets."""


class SafetensorsFile:
    """One file. Raises AmkError, one line that names the file, where it is not well formed."""

    def __init__(self, path: Path):
        self.path = path
        self.tensors: dict[str, TensorInfo] = {}
        self.ranges: dict[str, tuple[int, int]] = {}
        try:
            size = path.stat().st_size
            with path.open("rb") as f:
                head = f.read(8)
                length = int.from_bytes(head, "little")
                if len(head) < 8 or not 0 < length <= min(size - 8, LARGEST_HEADER):
                    raise self.corrupt("its header is cut off")
                text = f.read(length)
        except FileNotFoundError:
            raise AmkError(f"file '{path}' does not exist") from None
        except OSError as e:
            raise AmkError(f"file '{path}' cannot be read: {e.strerror}") from None
        try:
            header: object = json.loads(text)
        except (ValueError, RecursionError):
            raise self.corrupt("its header is not JSON") from None
        if not isinstance(header, dict):
            raise self.corrupt("its header is not an object")
        end = self.entries(cast(dict[str, Any], header))
        if size != 8 + length + end:
            raise self.corrupt(f"it has {size} bytes, its header promises {8 + length + end}")
        self.start = 8 + length

    def corrupt(self, why: str) -> AmkError:
        return AmkError(f"file '{self.path}' is no complete safetensors file: {why}")

    def entries(self, header: dict[str, Any]) -> int:
        """Take in the header's entries. Returns where the last tensor ends."""
        header.pop("__metadata__", None)
        for name, entry in header.items():
            malformed = self.corrupt(f"its entry of tensor '{name}' is malformed")
            try:
                dtype, shape = str(entry["dtype"]), tuple(entry["shape"])
                begin, end = entry["data_offsets"]
            except (TypeError, KeyError, ValueError):
                raise malformed from None
            if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
                raise malformed
            if dtype not in DTYPES:
                raise AmkError(
                    f"tensor '{name}' in '{self.path}' has type {dtype}, expected {FLOATS}"
                )
            if end - begin != math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize:
                raise malformed
            self.tensors[name] = TensorInfo(shape, dtype.lower())
            self.ranges[name] = (begin, end)
        position = 0
        for begin, end in sorted(self.ranges.values()):
            if begin != position:
                raise self.corrupt("its tensors overlap or leave gaps")
            position = end
        return position

    def read(self, name: str) -> F32:
        """A tensor as float32, C-contiguous."""
        shape, dtype = self.tensors[name]
        begin, end = self.ranges[name]
        numpy = np.dtype(DTYPES[dtype.upper()])
        count = (end - begin) // numpy.itemsize
        raw = np.fromfile(self.path, numpy, count, offset=self.start + begin)
        if len(raw) != count:
            raise self.corrupt("it was cut off after it was opened")
        if dtype == "bf16":
            values = (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
        else:
            values = raw.astype(np.float32, copy=False)
        return values.reshape(shape)

    def pieces(self, name: str) -> list[Piece]:
        """The bytes of a tensor of a type that needs no conversion."""
        begin, end = self.ranges[name]
        as_stored = self.tensors[name].dtype in ("f32", "bf16")
        return [Piece(self.path, self.start + begin, end - begin)] if as_stored else []


class SafetensorsFolder:
    """`model.safetensors`, or the shards that `model.safetensors.index.json` lists."""

    def __init__(self, folder: Path):
        self.where = f"'{folder}'"
        single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
        self.files: dict[str, SafetensorsFile] = {}
        self.tensors: dict[str, TensorInfo] = {}
        if single.exists():
            self.add(SafetensorsFile(single))
        elif index.exists():
            self.add_shards(folder, index)
        else:
            self.nothing(folder)

    def add(self, file: SafetensorsFile) -> None:
        for name, info in file.tensors.items():
            if name in self.tensors:
                raise AmkError(f"tensor '{name}' is in two files of {self.where}")
            self.tensors[name] = info
            self.files[name] = file

    def add_shards(self, folder: Path, index: Path) -> None:
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not places:
            raise AmkError(f"file '{index}' has no weight_map")
        places = cast(dict[str, object], places)
        for shard in sorted({str(s) for s in places.values()}):
            if Path(shard).name != shard or not shard.endswith(".safetensors"):
                raise AmkError(f"file '{index}' names '{shard}', which is no shard beside it")
            self.add(SafetensorsFile(folder / shard))
        for name, shard in places.items():
            if name not in self.files or self.files[name].path.name != shard:
                raise AmkError(f"tensor '{name}' is missing from '{folder / str(shard)}'")
        for name in self.files:
            if name not in places:
                raise AmkError(f"tensor '{name}' is missing from '{index}'")

    def nothing(self, folder: Path) -> None:
        pickled = [*folder.glob("pytorch_model*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        if pickled:
            raise AmkError(
                f"file '{pickled[0]}' is a pickle, which can run code and is not read: "
                "convert it to safetensors"
            )
        raise AmkError(f"folder '{folder}' has no model.safetensors")

    def read(self, name: str) -> F32:
        check_known(name, self.tensors, self.where)
        return check_finite(name, self.files[name].read(name), self.where)

    def pieces(self, name: str) -> list[Piece]:
        return self.files[name].pieces(name) if name in self.files else []
