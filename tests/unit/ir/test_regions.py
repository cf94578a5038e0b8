"""Who writes what, and the groups of tiles that counters count."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amk.ir.kernels import Attention, Cache, Embed, Gemv, Ref, Rope, Weight
from amk.ir.program import Buffer, TaskProgram
from amk.ir.regions import (
    ROWS,
    Producers,
    Region,
    counter_arrays,
    needs_counters,
    producers,
    regions,
)
from tests.unit.ir.lowered import config_of, task_program

PIPELINES = (
    "fuse,to-task{num-sms=3 sync=counters splits=2 chunk=8}",
    "to-task{num-sms=3 sync=counters}",
)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.integers(0, 60), st.integers(1, 30))
def test_overlapping_tiles_are_those_with_common_elements(
    sizes: list[int], lo: int, length: int
) -> None:
    """Tiles write every second of the pieces, so that there are gaps."""
    made, at = Producers("f"), 0
    for i, size in enumerate(sizes):
        if i % 2 == 0:
            made.lo.append(at)
            made.hi.append(at + size)
            made.tile.append(i)
        at += size
    expected = [
        tile
        for a, b, tile in zip(made.lo, made.hi, made.tile, strict=True)
        if set(range(a, b)) & set(range(lo, lo + length))
    ]
    assert made.overlapping(lo, lo + length) == expected


@given(st.integers(1, 7), st.integers(1, 4))
def test_splits_share_out_the_rows_of_a_head(splits: int, heads: int) -> None:
    part = Ref("part") if splits > 1 else None
    k = Attention(
        heads, heads, 4, Ref("q"), Ref("y"), Cache("kv"), 1.0, Ref("k"), Ref("v"), splits, 8, part
    )
    rows = [r for r in regions(k, 0, k.grid, write=True) if r.memory == "kv"]
    assert rows == [r for r in regions(k, 0, k.grid, write=False) if r.memory == "kv"]
    assert rows[0].lo == 0 and rows[-1].hi == heads * ROWS
    assert all(a.hi == b.lo for a, b in pairwise(rows))
    assert len(rows) == k.grid


def test_a_value_of_the_step_before_has_no_producer_in_this_step() -> None:
    k = Embed(16, 8, Ref("token"), Weight("table"), Ref("x"))
    assert list(regions(k, 0, 2, write=False)) == []
    assert list(regions(k, 1, 2, write=True)) == [Region("x", 8, 16)]


def test_only_plain_memory_and_caches_need_counters() -> None:
    p = TaskProgram("p")
    for space in ("plain", "flagged", "local"):
        p.buffers[space] = Buffer(space, space, 8, "f32")
    assert [m for m in ("plain", "flagged", "local", "kv") if needs_counters(p, m)] == [
        "plain",
        "kv",
    ]


def test_tiles_that_the_same_reads_need_share_a_counter() -> None:
    """Heads of 16 rows read tiles of 8 rows: two tiles a counter."""
    p = TaskProgram("p")
    for name in ("x", "q", "y"):
        p.buffers[name] = Buffer(name, "plain", 64, "f32")
    p.kernels["q"] = Gemv(64, 8, 64, Weight("w"), Ref("x"), Ref("q"))
    p.kernels["rope"] = Rope(4, 16, Ref("q"), Weight("rope"), Ref("y"))
    (array,) = counter_arrays(p)
    assert (array.name, array.family, array.bounds) == ("q.ready", "q", (0, 2, 4, 6, 8))


def test_a_tile_needs_no_counter_for_what_it_writes_itself() -> None:
    p = TaskProgram("p")
    k = Attention(2, 2, 4, Ref("q"), Ref("y"), Cache("kv"), 1.0, Ref("k"), Ref("v"))
    for name in ("q", "k", "v", "y"):
        p.buffers[name] = Buffer(name, "flagged", 8, "f32")
    p.kernels["attention"] = k
    assert list(counter_arrays(p)) == []


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_groups_are_exact_and_as_coarse_as_can_be(pipeline: str) -> None:
    """A read needs all tiles of a group or none, and neighboring groups differ in some read."""
    p = task_program(config_of("tiny"), pipeline)
    made = producers(p)
    needed: dict[str, set[frozenset[int]]] = {}
    for name, kernel in p.kernels.items():
        for tile in range(kernel.grid):
            for r in regions(kernel, tile, tile + 1, write=False):
                if r.memory in made and needs_counters(p, r.memory):
                    producer = made[r.memory]
                    tiles = frozenset(producer.overlapping(r.lo, r.hi))
                    if producer.family == name:
                        tiles -= {tile}
                    if tiles:
                        needed.setdefault(producer.family, set()).add(tiles)
    assert {c.family for c in p.counters.values()} == set(needed)
    for counter in p.counters.values():
        groups = [frozenset(range(a, b)) for a, b in pairwise(counter.bounds)]
        for tiles in needed[counter.family]:
            assert all(group <= tiles or not group & tiles for group in groups)
        for a, b in pairwise(groups):
            assert any((a <= tiles) != (b <= tiles) for tiles in needed[counter.family])
