"""Weights from files to a GPU whose memory is the host's; no GPU needed."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amk.backends.cuda import upload
from amk.backends.cuda.layout import Layout, plan
from amk.backends.cuda.pack import bits, load_order, on_device, pack_fixed, pack_streams
from amk.backends.cuda.upload import Stored, cut, finite, uploads
from amk.compiler import compile_model
from amk.errors import AmkError
from amk.frontends.hf.checkpoint import Piece
from amk.frontends.hf.presets import preset
from amk.frontends.hf.source import Model, open_model
from tests.unit.frontends.conftest import hf_model


class Page(bytearray):
    """Page-locked memory."""

    def free(self) -> None:
        self[:] = bytes(len(self))


class Memory(np.ndarray):
    """An allocation on the device."""

    def __int__(self) -> int:
        return int(self.ctypes.data)

    def free(self) -> None:
        self[:] = 0xEE


class Fake:
    """What `pycuda.driver` does, on host memory."""

    class Context:
        @staticmethod
        def synchronize() -> None: ...

    class Event:
        def record(self) -> Any:
            return self

        def query(self) -> bool:
            return False

        def synchronize(self) -> None: ...

    @staticmethod
    def mem_alloc(size: int) -> Any:
        return np.full(size, 0xCC, np.uint8).view(Memory)

    @staticmethod
    def pagelocked_empty(size: int, dtype: Any) -> Any:
        return np.ndarray(size, dtype, Page(size))

    @staticmethod
    def to_device(x: np.ndarray) -> Any:
        return x.reshape(-1).view(np.uint8).copy().view(Memory)

    @staticmethod
    def memset_d8(to: Memory, value: int, size: int) -> None:
        to[:size] = value

    @staticmethod
    def memcpy_htod(to: int, x: np.ndarray) -> None:
        ctypes.memmove(to, x.ctypes.data, x.nbytes)

    memcpy_htod_async = memcpy_htod

    @staticmethod
    def memcpy_dtoh(x: np.ndarray, at: int) -> None:
        ctypes.memmove(x.ctypes.data, at, x.nbytes)

    memcpy_dtod = staticmethod(ctypes.memmove)


def saved(folder: Path, name: str, form: bool, dtype: torch.dtype) -> Model:
    """A random model of a preset in a folder; `form` as transformers' `save_original_format`."""
    module = hf_model(preset(name)).to(dtype)
    module.save_pretrained(folder, save_original_format=form, max_shard_size="300KB")
    return open_model(str(folder))


def laid_out(model: Model, dtype: str) -> Layout:
    return plan(compile_model(model.config, num_sms=4, dtype=dtype, max_context=32).program)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SMALL", 1000), ("CHUNK", 4096), ("BUFFERS", 3), ("READERS", 2)):
        monkeypatch.setattr(upload, name, value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("name", "form"), [("tiny", True), ("tiny-mixtral", True), ("tiny-mixtral", False)]
)
def test_what_goes_up_is_what_the_files_hold(
    name: str, form: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = saved(tmp_path, name, form, dtype)
    names = load_order(laid_out(model, "bf16"))
    done: list[str] = []
    on_gpu = 0
    with uploads(Fake, Stored(model, lambda: done.append("")), names) as get:
        for tensor in names:
            got, want = get(tensor), bits(model.weight(tensor), model.tensors[tensor].dtype)
            there = on_device(got)
            if there:
                got = np.empty(want.shape, want.dtype)
                Fake.memcpy_dtoh(got, there[0])
                assert there[1] == (want.dtype == np.uint16)
                on_gpu += 1
            assert (bits(got, model.tensors[tensor].dtype) == want).all(), tensor
    assert len(done) == len(names)
    assert on_gpu > len(names) / 2
    assert set(names) == set(model.tensors)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("name", ["tiny", "tiny-mixtral"])
def test_packing_asks_in_the_order_that_is_announced(name: str, dtype: str, tmp_path: Path) -> None:
    model = saved(tmp_path, name, True, torch.bfloat16)
    layout = laid_out(model, dtype)
    asked: list[str] = []
    launched: list[tuple[str, int]] = []

    def launch(name: str, grid: int, block: int, *args: int | np.generic) -> None:
        launched.append((name, grid))

    with uploads(Fake, Stored(model), load_order(layout)) as get:

        def read(tensor: str) -> Any:
            asked.append(tensor)
            return get(tensor)

        pack_streams(Fake, launch, layout, read, lambda what: None)
        fixed = pack_fixed(Fake, launch, layout, read)
    assert asked == load_order(layout)
    assert launched
    region = layout.fixed.regions[model.config.embed_weight]
    kind = np.uint16 if dtype == "bf16" else np.float32
    table = np.asarray(fixed[region.at : region.at + region.size]).view(kind)
    want = bits(model.weight(model.config.embed_weight), "bf16" if dtype == "bf16" else "f32")
    assert (table == want.reshape(-1)).all()


def spoil(model: Model, name: str, how: Callable[[Any, Piece], None]) -> None:
    piece = model.pieces(name)[-1]
    with piece.path.open("r+b") as f:
        how(f, piece)


def infinity(f: Any, piece: Piece) -> None:
    f.seek(piece.at + piece.size - 4)
    f.write(np.array([np.inf], "<f4").tobytes())


def end(f: Any, piece: Piece) -> None:
    f.truncate(piece.at + piece.size - 1)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (infinity, r"tensor 'model.embed_tokens.weight' in '.*' holds NaN or infinite values"),
        (end, "file '.*safetensors' was cut off after it was opened"),
    ],
)
def test_bad_files_are_refused_and_threads_end(
    how: Callable[[Any, Piece], None], message: str, tmp_path: Path
) -> None:
    model = saved(tmp_path, "tiny", True, torch.float32)
    name = model.config.head_weight
    names = [n for n in load_order(laid_out(model, "fp32")) if n != name]
    spoil(model, name, how)
    before = threading.active_count()
    refused = pytest.raises(AmkError, match=message)
    with refused, uploads(Fake, Stored(model), [*names[:5], name, *names[5:]]) as get:
        for tensor in [*names[:5], name]:
            get(tensor)
    assert threading.active_count() == before


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    model = saved(tmp_path, "tiny", True, torch.float32)
    names = load_order(laid_out(model, "fp32"))
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    refused = pytest.raises(AmkError, match="file '.*' cannot be read: No such file")
    with refused, uploads(Fake, Stored(model), names):
        pass


def test_chunks_hold_every_byte_once() -> None:
    pieces = [Piece(Path("a"), 10, 7), Piece(Path("b"), 0, 30), Piece(Path("a"), 100, 3)]
    chunks = list(cut("x", pieces, 16))
    assert [(c.at, c.size) for c in chunks] == [(0, 16), (16, 16), (32, 8)]
    found = [(p.path.name, p.at + i) for c in chunks for p in c.pieces for i in range(p.size)]
    assert found == [(p.path.name, p.at + i) for p in pieces for i in range(p.size)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_finite(bad: float) -> None:
    values = np.array([0, -0.0, 1e-45, 3.3e38, -3.3e38, 1], np.float32)
    for dtype in ("f32", "bf16"):
        assert finite(bits(values, dtype).view(np.uint8), dtype)
        assert not finite(bits(np.append(values, np.float32(bad)), dtype).view(np.uint8), dtype)
