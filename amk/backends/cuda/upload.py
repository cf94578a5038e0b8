"""Weights straight from their files to the GPU.

Threads read ahead, in the order in which the packer will ask, into a ring of page-locked buffers;
what has arrived goes up as it is stored. No value is widened or copied on the host, and none that
is NaN or infinite passes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amk.backends.cuda.pack import Weights
from amk.errors import AmkError
from amk.frontends.hf.checkpoint import Piece, not_finite
from amk.frontends.hf.source import Model
from amk.ir.program import DTYPES

CHUNK = 16 << 20
"""Bytes of a page-locked buffer."""
READERS = 8
BUFFERS = 2 * READERS
SMALL = 1 << 20
"""Bytes; smaller tensors are read when they are asked for."""
BLOCK = 1 << 18
"""Elements checked at once: they fit a core's cache."""

EXPONENT = {"bf16": (np.uint16, 0x7F80), "f32": (np.uint32, 0x7F800000)}
"""The bits that are all set in NaN and infinity, and nowhere else."""

Bytes = NDArray[np.uint8]


class Stored:
    """The weights of `model`, for a session to take from its files. `done` hears of each tensor
    that was read."""

    def __init__(self, model: Model, done: Callable[[], None] = lambda: None) -> None:
        self.model, self.done = model, done

    def __call__(self, name: str) -> Any:
        value = self.model.weight(name)
        self.done()
        return value

    def large(self, name: str) -> bool:
        """Whether the tensor is to be read ahead."""
        return sum(piece.size for piece in self.model.pieces(name)) >= SMALL


@dataclass(frozen=True)
class Chunk:
    """Bytes of a tensor: `pieces` go to byte `at` of it, `size` in all."""

    name: str
    at: int
    size: int
    pieces: list[Piece]


@dataclass
class OnGpu:
    """An array that lies on the GPU, until the next one is asked for."""

    address: int
    shape: tuple[int, ...]
    kind: str

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        place = (self.address, False)
        return {"shape": self.shape, "typestr": self.kind, "data": place, "version": 3}


def cut(name: str, pieces: Iterable[Piece], most: int) -> Iterator[Chunk]:
    """The bytes of a tensor in chunks of at most `most`; small pieces share one."""
    at, size, held = 0, 0, list[Piece]()
    for path, begin, left in pieces:
        while left:
            part = min(left, most - size)
            held.append(Piece(path, begin, part))
            begin, left, size = begin + part, left - part, size + part
            if size == most:
                yield Chunk(name, at, size, held)
                at, size, held = at + size, 0, []
    if size:
        yield Chunk(name, at, size, held)


@contextmanager
def readable(path: Path) -> Generator[None]:
    """Turns what the system says of a file into an AmkError."""
    try:
        yield
    except OSError as error:
        raise AmkError(f"file '{path}' cannot be read: {error.strerror}") from None


def finite(buffer: Bytes, dtype: str) -> bool:
    """Whether no value of `buffer`, bytes of type `dtype`, is NaN or infinite."""
    kind, mask = EXPONENT[dtype]
    values = buffer.view(kind)
    for at in range(0, len(values), BLOCK):
        if ((values[at : at + BLOCK] & kind(mask)) == mask).any():
            return False
    return True


class Uploads:
    """Reads ahead for `names`, which must be asked for in this order; others are read when asked
    for. Needs a current context. Raises AmkError where a file was cut off, or a value is not
    finite."""

    def __init__(self, driver: Any, stored: Stored, names: Iterable[str]) -> None:
        self.driver, self.stored = driver, stored
        self.names = [name for name in names if stored.large(name)]
        self.next = 0
        self.files: dict[Path, int] = {}
        for path in {piece.path for name in self.names for piece in stored.model.pieces(name)}:
            with readable(path):
                self.files[path] = os.open(path, os.O_RDONLY)
        chunks = [c for name in self.names for c in cut(name, stored.model.pieces(name), CHUNK)]
        largest = max((c.at + c.size for c in chunks), default=0)
        self.staging: Any = driver.mem_alloc(largest) if largest else None
        self.buffers: list[Bytes] = [
            driver.pagelocked_empty(CHUNK, np.uint8) for _ in range(min(BUFFERS, len(chunks)))
        ]
        self.free = SimpleQueue[Bytes]()
        for buffer in self.buffers:
            self.free.put(buffer)
        self.read: SimpleQueue[tuple[Chunk, Bytes, Future[None]]] = SimpleQueue()
        self.over = Event()
        self.pool = ThreadPoolExecutor(READERS)
        self.feeder = Thread(target=self._feed, args=(chunks,))
        self.feeder.start()

    def _feed(self, chunks: list[Chunk]) -> None:
        # Each chunk has its buffer before it is begun, so the first never waits for a later one.
        for chunk in chunks:
            buffer = self.free.get()
            if self.over.is_set():
                return
            self.read.put((chunk, buffer, self.pool.submit(self._fill, chunk, buffer)))

    def _fill(self, chunk: Chunk, buffer: Bytes) -> None:
        at = 0
        for path, begin, size in chunk.pieces:
            view: Any = buffer[at : at + size]
            while len(view):
                with readable(path):
                    count = os.preadv(self.files[path], [view], begin)
                if not count:
                    raise AmkError(f"file '{path}' was cut off after it was opened")
                view, begin = view[count:], begin + count
            at += size
        model = self.stored.model
        if not finite(buffer[: chunk.size], model.tensors[chunk.name].dtype):
            raise not_finite(chunk.name, model.where)

    def __call__(self, name: str) -> Any:
        if self.next == len(self.names) or name != self.names[self.next]:
            return self.stored(name)
        self.next += 1
        shape, dtype = self.stored.model.tensors[name]
        left = prod(shape) * DTYPES[dtype]
        flying: list[tuple[Bytes, Any]] = []
        while left:
            chunk, buffer, filled = self.read.get()
            filled.result()
            self.driver.memcpy_htod_async(int(self.staging) + chunk.at, buffer[: chunk.size])
            flying.append((buffer, self.driver.Event().record()))
            left -= chunk.size
            while flying and (not left or len(flying) > READERS or flying[0][1].query()):
                landed, event = flying.pop(0)
                event.synchronize()
                self.free.put(landed)
        self.stored.done()
        return OnGpu(int(self.staging), shape, "<i2" if dtype == "bf16" else "<f4")

    def close(self) -> None:
        """Ends the threads and frees what was taken."""
        self.over.set()
        for buffer in self.buffers:
            self.free.put(buffer)  # the feeder may be waiting for one
        self.feeder.join()
        self.pool.shutdown(cancel_futures=True)
        for file in self.files.values():
            os.close(file)
        self.driver.Context.synchronize()
        for buffer in self.buffers:
            page: Any = buffer.base
            page.free()
        if self.staging is not None:
            self.staging.free()


@contextmanager
def uploads(driver: Any, weights: Weights, names: Iterable[str]) -> Generator[Weights]:
    """`weights`, or where they are stored, what reads them ahead in the order of `names`."""
    if not isinstance(weights, Stored):
        yield weights
        return
    reader = Uploads(driver, weights, names)
    try:
        yield reader
    finally:
        reader.close()
