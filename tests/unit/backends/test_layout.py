"""Where weights go: every streamed row to a place of its own, in the fused order."""

from __future__ import annotations

import numpy as np

from amk.backends.cuda.layout import (
    ALIGN,
    Arena,
    expert_matrices,
    gemvs,
    packings,
    plan,
    source_rows,
)
from amk.ir.kernels import Gemv
from amk.ir.packs import materialize, round_to
from amk.ir.program import DTYPES
from tests.unit.programs import Tiny, fused, weights

TINY = Tiny(dtype="bf16", bias=True)


def test_every_row_has_its_own_place() -> None:
    layout = plan(fused(TINY))
    places = np.concatenate([p.to for p in packings(layout)])
    rows = sum(k.n for k in gemvs(layout.program).values())
    assert len(places) == rows == len(set(places.tolist()))
    assert int(places.max()) * 16 < layout.stream_bytes


def test_rows_of_a_pack_come_from_where_materialize_takes_them() -> None:
    program, get = fused(TINY), weights(TINY)
    for name, pack in program.packs.items():
        want = materialize(pack, get)
        for source, made, own in source_rows(program, name):
            np.testing.assert_array_equal(round_to(get(source), pack.dtype)[own], want[made])


def test_matrices_of_experts_lie_behind_all_else() -> None:
    program = fused(Tiny(experts=4, choices=2))
    layout = plan(program)
    matrices = expert_matrices(program)
    assert len(matrices) == 4
    assert list(layout.fixed.regions)[-4:] == matrices
    assert all(layout.fixed.regions[name].at % ALIGN == 0 for name in matrices)


def test_streams_start_steps_with_the_first_warp() -> None:
    layout = plan(fused(TINY))
    for stream in layout.streams:
        assert (stream.slots + stream.padding) % layout.ring.consumers == 0
    assert layout.slot_bytes == 8 * layout.ring.columns * DTYPES["bf16"]


def test_the_head_ends_the_stream() -> None:
    program = fused(TINY)
    layout = plan(program)
    head = program.kernels["lm_head"]
    assert isinstance(head, Gemv)
    for queue, stream in zip(program.queues, layout.streams, strict=True):
        rows = [head.rows(run.lo, run.hi) for run in queue if run.kernel == "lm_head"]
        assert stream.head == sum(-(-(hi - lo) // 8) for lo, hi in rows) > 0


def test_guards_lie_around_every_region() -> None:
    arena = Arena()
    for name, size in (("a", 8), ("b", 300)):
        arena.add(name, size)
    guards = arena.guards()
    assert len(guards) == 3
    assert all(g.size >= 16 for g in guards)
    assert sum(g.size for g in guards) + 308 == arena.size
