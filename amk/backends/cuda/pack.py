"""Fills the GPU's memory for a program: weights into per-SM streams, vectors and tables as they
are.

Streamed weights go up in the checkpoint's order and a small kernel of the cubin scatters their rows
to their slots, so that no packed copy is ever made on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from amk.backends.cuda.layout import (
    GUARD,
    Arena,
    Layout,
    max_rows,
    packings,
    source_rows,
    weight,
)
from amk.errors import AmkError
from amk.ir.packs import F32, materialize, rope_table, round_bf16
from amk.ir.program import Pack, Program

Array = NDArray[np.generic]
Weights = Callable[[str], Any]
"""A checkpoint tensor by name: a numpy array (float32, or the 16 bits of bf16 as uint16), or
anything that lies on the GPU and has `__cuda_array_interface__` (float32, or int16 or uint16 bits
of bf16), C-contiguous, which must hold until the next tensor is asked for."""


class Launcher(Protocol):
    """Launches a kernel of the cubin by name."""

    def __call__(self, name: str, grid: int, block: int, *args: int | np.generic) -> None: ...


def bits(x: Array, dtype: str) -> Array:
    """`x` as the bytes of `dtype`: float32, or bf16 as uint16."""
    if dtype == "bf16":
        if x.dtype == np.uint16:
            return x
        rounded = round_bf16(np.ascontiguousarray(x, np.float32))
        return (rounded.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    if x.dtype == np.uint16:
        return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.ascontiguousarray(x, np.float32)


def on_device(x: Any) -> tuple[int, bool] | None:
    """Address of an array that lies on the GPU, and whether it holds bf16; None for a host
    array."""
    interface = getattr(x, "__cuda_array_interface__", None)
    if interface is None:
        return None
    kind = interface["typestr"][1:]
    if interface.get("strides") is not None or kind not in ("f4", "i2", "u2"):
        raise AmkError(f"weights on the GPU must be contiguous float32 or bf16 bits, got {kind}")
    return int(interface["data"][0]), kind != "f4"


def on_host(driver: Any, x: Any, shape: tuple[int, ...]) -> Array:
    """An array as a host array, wherever it lies; one on the GPU is taken to be of `shape`."""
    there = on_device(x)
    if there is None:
        return np.asarray(x)
    address, half = there
    out = np.empty(shape, np.uint16 if half else np.float32)
    driver.memcpy_dtoh(out, address)
    return out


def pack_streams(
    driver: Any, launch: Launcher, layout: Layout, weights: Weights, progress: Callable[[str], None]
) -> Any:
    """Allocates and fills the weight streams; returns the allocation."""
    size = max(layout.stream_bytes, 16)
    target = driver.mem_alloc(size)
    driver.memset_d8(target, 0, size)
    sources: dict[str, list[int]] = {}
    plans = packings(layout)
    for i, p in enumerate(plans):
        sources.setdefault(p.source, []).append(i)
    for source, uses in sources.items():
        progress(source)
        rows = [(plans[i].from_row, plans[i].to, plans[i].k) for i in uses]
        scatter(driver, launch, layout, weights, source, "amk_pack", int(target), rows)
    return target


def scatter(
    driver: Any,
    launch: Launcher,
    layout: Layout,
    weights: Weights,
    source: str,
    kernel: str,
    target: int,
    rows: list[tuple[NDArray[np.uint32], NDArray[np.uint64], int]],
) -> None:
    """Rows of a checkpoint tensor to where they belong, by `kernel` (`amk_pack` or `amk_place`):
    each of `rows` has the source's rows, the places in the target, and the columns."""
    x = weights(source)
    there = on_device(x)
    if there is None:
        shape = layout.program.tensors[source].shape
        host = np.asarray(x)
        if host.shape != shape:
            raise AmkError(f"tensor '{source}' must have shape {shape}, got {host.shape}")
        half = host.dtype == np.uint16 or layout.streamed == "bf16"
        data = driver.to_device(np.ascontiguousarray(bits(host, "bf16" if half else "f32")))
        address = int(data)
    else:
        (address, half), data = there, x
    for from_row, to, k in rows:
        own, places = driver.to_device(from_row), driver.to_device(to)
        name = f"{kernel}_bf16" if half else f"{kernel}_f32"
        arguments = (address, target, int(own), int(places), np.int32(k))
        launch(name, len(from_row), 256, *arguments)
        driver.Context.synchronize()
        own.free()
        places.free()
    if there is None:
        data.free()


def fixed_value(driver: Any, program: Program, name: str, weights: Weights) -> Any:
    """The bytes of a vector or table, or a tensor that already lies on the GPU in its type."""
    w = weight(program, name)
    if isinstance(w, Pack):

        def source(name: str) -> F32:
            x = on_host(driver, weights(name), program.tensors[name].shape)
            return cast("F32", bits(x, "f32"))

        return bits(materialize(w, source), w.dtype)
    x = weights(w.name)
    there = on_device(x)
    if there and there[1] == (w.dtype == "bf16"):
        return x
    host = on_host(driver, x, w.shape)
    if host.shape != w.shape:
        raise AmkError(f"tensor '{w.name}' must have shape {w.shape}, got {host.shape}")
    return np.ascontiguousarray(bits(host, w.dtype))


def placed(layout: Layout, name: str) -> bool:
    """Whether the rows of a table go straight to their places: matrices of experts are large, and
    no copy of one is made on the host."""
    pack = layout.program.packs.get(name)
    return bool(pack and len(pack.shape) == 2 and pack.dtype == layout.streamed)


def pack_fixed(driver: Any, launch: Launcher, layout: Layout, weights: Weights) -> Any:
    """Allocates and fills the vectors, matrices and tables that kernels read in place."""
    program = layout.program
    target = driver.mem_alloc(layout.fixed.size)
    for name, region in layout.fixed.regions.items():
        at = int(target) + region.at
        if name in program.ropes:
            table = rope_table(program.ropes[name], max_rows(program))
            driver.memcpy_htod(at, np.ascontiguousarray(table.transpose(0, 2, 1)))
        elif placed(layout, name):
            columns = weight(program, name).shape[1]
            for source, made, own in source_rows(program, name):
                rows = [(own, made.astype(np.uint64), columns)]
                scatter(driver, launch, layout, weights, source, "amk_place", at, rows)
        else:
            value = fixed_value(driver, program, name, weights)
            there = on_device(value)
            if there:
                driver.memcpy_dtod(at, there[0], region.size)
            else:
                driver.memcpy_htod(at, value)
    return target


def load_order(layout: Layout) -> list[str]:
    """The tensors of the checkpoint in the order in which `pack_streams` and then `pack_fixed` ask
    for them."""
    program = layout.program
    names = list(dict.fromkeys(p.source for p in packings(layout)))
    for name in layout.fixed.regions:
        if name in program.ropes:
            continue
        w = weight(program, name)
        names += [part[0] for part in w.parts()] if isinstance(w, Pack) else [w.name]
    return names


def guarded(driver: Any, arena: Arena) -> Any:
    """An allocation for `arena`: zeros, with the guard pattern between regions."""
    target = driver.mem_alloc(arena.size)
    driver.memset_d8(target, 0, arena.size)
    for g in arena.guards():
        driver.memset_d32(int(target) + g.at, GUARD, g.size // 4)
    return target


def broken_guards(driver: Any, target: Any, arena: Arena) -> list[str]:
    """Names of the regions behind which a guard word was overwritten."""
    names = ["(start)", *arena.regions]
    broken: list[str] = []
    for name, g in zip(names, arena.guards(), strict=True):
        have = np.empty(g.size // 4, np.uint32)
        driver.memcpy_dtoh(have, int(target) + g.at)
        if (have != GUARD).any():
            broken.append(name)
    return broken
