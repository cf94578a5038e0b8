"""Shares cover every grid once and even out bytes; queues hold what shares say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amk.ir.kernels import Attention, Cache, Gemv, Ref, Weight, ceil_div
from amk.ir.program import Buffer, Segment, TaskProgram, Tensor
from amk.ir.schedule import (
    Shares,
    balanced_shares,
    even_shares,
    late_sms,
    local_groups,
    queues_of,
    segments_of,
    spread,
    tile_bytes,
)
from tests.unit.ir.lowered import config_of, task_program


def program(grids: list[int], local: bool = False) -> TaskProgram:
    """Families of `grids` tiles of 8 x 16 weights; with `local` all meet in one local buffer."""
    p = TaskProgram("p")
    for i, grid in enumerate(grids):
        n = 8 * grid
        p.tensors[f"w{i}"] = Tensor(f"w{i}", (n, 16), "bf16")
        p.buffers[f"y{i}"] = Buffer(f"y{i}", "plain", n, "f32")
        p.buffers["x"] = Buffer("x", "local" if local else "plain", 16, "f32")
        p.kernels[f"f{i}"] = Gemv(n, 8, 16, Weight(f"w{i}"), Ref("x"), Ref(f"y{i}"))
    return p


def covers(share: Shares, grid: int, sms: int) -> None:
    assert len(share) == sms + 1 and share[0] == 0 and share[-1] == grid
    assert (np.diff(share) >= 0).all()


def streamed(p: TaskProgram, shares: dict[str, Shares]) -> np.ndarray:
    """Bytes of weights that each SM streams in a step."""
    return sum(
        (np.diff(share) * tile_bytes(p, p.kernels[name]) for name, share in shares.items()),
        start=np.zeros(len(next(iter(shares.values()))) - 1),
    )


@given(st.integers(0, 2000), st.integers(1, 150))
def test_even_shares_differ_by_at_most_one_tile(grid: int, sms: int) -> None:
    share = even_shares(grid, sms)
    covers(share, grid, sms)
    assert np.ptp(np.diff(share)) <= 1


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.integers(1, 40))
def test_balanced_shares_cover_and_stay_within_a_tile_of_fair(grids: list[int], sms: int) -> None:
    p = program(grids)
    shares = balanced_shares(p, sms)
    for grid, share in zip(grids, shares.values(), strict=True):
        covers(share, grid, sms)
        assert np.diff(share).max() <= ceil_div(grid, sms) + (grid >= sms)
    # Rounding a family leaves a tile's difference; it must not pile up over families.
    assert np.ptp(streamed(p, shares)) <= 2 * tile_bytes(p, p.kernels["f0"])


@given(st.lists(st.integers(1, 60), min_size=2, max_size=5), st.integers(1, 12))
def test_families_that_meet_in_local_memory_share_alike(grids: list[int], sms: int) -> None:
    p = program([grids[0]] * len(grids), local=True)
    assert set(local_groups(p).values()) == {"f0"}
    first, *others = balanced_shares(p, sms).values()
    covers(first, grids[0], sms)
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("model", ["llama-3.2-1b", "llama-3-8b"])
def test_balance_by_bytes_halves_the_excess_of_the_slowest_sm(model: str) -> None:
    """Bytes of the layers, without the head, which is one tile an SM either way, and without
    attention, whose SMs are spared."""
    p = task_program(config_of(model, layers=4), "fuse,to-task{num-sms=132}")
    for name in [n for n, k in p.kernels.items() if n == "lm_head" or isinstance(k, Attention)]:
        del p.kernels[name]
    even = streamed(p, {name: even_shares(k.grid, 132) for name, k in p.kernels.items()})
    balanced = streamed(p, balanced_shares(p, 132))
    assert balanced.sum() == even.sum()
    assert balanced.max() - balanced.mean() < (even.max() - even.mean()) / 2
    assert balanced.min() > even.min()


@pytest.mark.parametrize("model", ["smollm2-135m", "llama-3.2-1b", "llama-3-8b"])
def test_sms_that_complete_attention_have_fewer_rows_of_what_follows(model: str) -> None:
    p = task_program(config_of(model, layers=2), "fuse,to-task{num-sms=132}")
    shares = balanced_shares(p, 132)
    hosts = np.diff(shares["l0.attention"]) > 0
    rows = np.diff(shares["l0.o"])
    assert late_sms(p, 132).tolist() == hosts.tolist()
    assert rows[hosts].max() < rows[~hosts].max()
    assert rows.max() == ceil_div(p.kernels["l0.o"].grid, 132)
    # Even tiles where a family is brief, one more at most where it is not; no second part of the
    # head for anyone.
    for family in ("l0.qkv", "l1.gate_up", "lm_head"):
        kernel, most = p.kernels[family], np.diff(shares[family]).max()
        brief = kernel.grid * tile_bytes(p, kernel) < 132 * 65536
        assert most <= ceil_div(kernel.grid, 132) + (not brief and family != "lm_head")


def test_no_sm_is_late_where_most_complete_attention() -> None:
    p = TaskProgram("p")
    p.kernels["a"] = Attention(8, 8, 4, Ref("q"), Ref("y"), Cache("kv"), 0.5)
    assert late_sms(p, 32).sum() == 8
    assert late_sms(p, 31).sum() == 0


@given(st.integers(0, 500), st.lists(st.booleans(), min_size=1, max_size=60))
def test_spread_spares_sms_but_burdens_no_other(grid: int, late: list[bool]) -> None:
    share = spread(grid, np.array(late))
    covers(share, grid, len(late))
    counts, most = np.diff(share), ceil_div(grid, len(late))
    assert counts.max() <= most
    spared, others = counts[np.array(late)], counts[~np.array(late)]
    if len(spared) and len(others) and spared.max() > 0:
        assert others.min() == most


def test_attention_runs_a_tile_an_instruction_and_merges_last() -> None:
    p = TaskProgram("p")
    p.kernels["a"] = Attention(
        4, 2, 4, Ref("q"), Ref("y"), Cache("kv"), 0.5, None, None, 3, 8, Ref("part")
    )
    assert segments_of(p, "a", 0, 0) == []
    tiles = [s.lo for s in segments_of(p, "a", 0, 6)]
    assert tiles == [1, 2, 4, 5, 0, 3]
    assert all(s.hi == s.lo + 1 for s in segments_of(p, "a", 0, 6))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 9))
def test_queues_run_every_tile_once_in_program_order(grids: list[int], sms: int) -> None:
    p = program(grids)
    queues = queues_of(p, balanced_shares(p, sms))
    assert len(queues) == sms
    for queue in queues:
        assert [s.family for s in queue] == sorted(s.family for s in queue)
    for i, grid in enumerate(grids):
        runs: list[Segment] = [s for queue in queues for s in queue if s.family == f"f{i}"]
        assert runs[0].lo == 0 and runs[-1].hi == grid
        assert all(a.hi == b.lo for a, b in pairwise(runs))
