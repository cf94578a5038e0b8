"""Instructions wait for everything they read and nothing else, and arrivals add up."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amk.ir.kernels import Attention, Gemv, Ref, Weight
from amk.ir.lowering import physical_buffers, resolve, to_vm
from amk.ir.program import Buffer, Program, SchedProgram, TaskProgram
from amk.ir.regions import needs_counters, producers, regions
from tests.unit.ir.lowered import config_of, sched_program


@st.composite
def schedules(draw: st.DrawFn) -> SchedProgram:
    sms, splits = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    sync = draw(st.sampled_from(["flags", "counters"]))
    fuse = "fuse," if draw(st.booleans()) else ""
    period = draw(st.integers(0, 2))
    options = f"num-sms={sms} sync={sync} splits={splits} chunk=8"
    config = config_of("tiny", layers=draw(st.integers(1, 3)), qkv_bias=draw(st.booleans()))
    return sched_program(
        config, f"{fuse}to-task{{{options}}},to-sched{{num-sms={sms} period={period}}}"
    )


def arrivals(p: Program) -> Counter[int]:
    """Arrivals at each counter in a step."""
    total: Counter[int] = Counter()
    for queue in p.queues:
        for run in queue:
            for signal in run.signals:
                assert signal.amount > 0
                total[signal.counter] += signal.amount
    return total


@settings(max_examples=12)
@given(schedules())
def test_every_wait_is_for_all_arrivals_of_its_counter(p: SchedProgram) -> None:
    program = to_vm(p)
    total = arrivals(program)
    assert set(total) == set(range(program.counters))
    for queue in program.queues:
        for run in queue:
            for wait in run.waits:
                assert wait.scaled and wait.threshold == total[wait.counter]


@settings(max_examples=12)
@given(schedules())
def test_an_instruction_waits_for_the_groups_of_what_it_reads(p: SchedProgram) -> None:
    program, made = to_vm(p), producers(p)
    first = {}
    count = 0
    for array in p.counters.values():
        for j, (lo, hi) in enumerate(pairwise(array.bounds)):
            first[array.family, j] = (count + j, lo, hi)
        count += len(array.bounds) - 1
    for segments, queue in zip(p.segments, program.queues, strict=True):
        for s, run in zip(segments, queue, strict=True):
            assert (run.kernel, run.lo, run.hi) == (s.family, s.lo, s.hi)
            tiles = {
                (made[r.memory].family, tile)
                for r in regions(p.kernels[s.family], s.lo, s.hi, write=False)
                if r.memory in made and needs_counters(p, r.memory)
                for tile in made[r.memory].overlapping(r.lo, r.hi)
            }
            tiles -= {(s.family, tile) for tile in range(s.lo, s.hi)}
            expected = {
                number
                for (family, _), (number, lo, hi) in first.items()
                if any((family, tile) in tiles for tile in range(lo, hi))
            }
            assert {wait.counter for wait in run.waits} == expected


@settings(max_examples=12)
@given(schedules())
def test_placed_operands_are_uses_of_physical_buffers(p: SchedProgram) -> None:
    program = to_vm(p)
    assert sum(b.uses for b in program.buffers.values()) == len(p.buffers)
    for name, kernel in program.kernels.items():
        for access in kernel.accesses(0, kernel.grid):
            use = getattr(access, "use", None)
            if use is not None:
                assert use < program.buffers[access.buffer].uses, name  # pyright: ignore[reportAttributeAccessIssue]


def test_buffers_of_a_home_become_one_with_as_many_uses() -> None:
    p = TaskProgram("p", homes={"a": ("h", 0), "c": ("h", 1)})
    for name in ("a", "b", "c"):
        p.buffers[name] = Buffer(name, "flagged", 8, "f32")
    assert physical_buffers(p) == {
        "h": Buffer("h", "flagged", 8, "f32", 2),
        "b": Buffer("b", "flagged", 8, "f32"),
    }


def test_resolving_keeps_offsets_and_what_has_no_home() -> None:
    kernel = Gemv(8, 8, 8, Weight("w"), Ref("a", 4), Ref("b"))
    placed = resolve(kernel, {"a": ("h", 3)})
    assert placed == Gemv(8, 8, 8, Weight("w"), Ref("h", 4, 3), Ref("b"))
    assert resolve(kernel, {}) is kernel


@pytest.mark.parametrize("sync", ["flags", "counters"])
def test_merging_tiles_wait_for_the_partial_results(sync: str) -> None:
    pipeline = f"fuse,to-task{{num-sms=4 splits=2 chunk=8 sync={sync}}},to-sched{{num-sms=4}}"
    program = to_vm(sched_program(config_of("tiny", layers=1), pipeline))
    kernel = program.kernels["l0.attention"]
    assert isinstance(kernel, Attention) and kernel.splits == 2
    runs = {r.lo: r for q in program.queues for r in q if r.kernel == "l0.attention"}
    for merge in (0, 2):
        waits = {w.counter for w in runs[merge].waits}
        partial = {s.counter for s in runs[merge + 1].signals}
        assert partial <= waits and bool(partial) == (sync == "counters")


def test_instructions_are_not_those_of_before() -> None:
    """They are kept for the next call, which may be about the same lists with other contents."""
    lower = "fuse,to-task{num-sms=3 sync=counters},to-sched{num-sms=3}"
    p = sched_program(config_of("tiny", layers=1), lower)
    first = to_vm(p)
    p.segments[0].reverse()
    turned = to_vm(p)
    assert turned.queues[0] == first.queues[0][::-1]
    turned.queues[1].clear()
    assert to_vm(p).queues[1] == first.queues[1]
    p.counters.clear()
    assert to_vm(p).counters == 0 != first.counters
    assert not any(run.waits or run.signals for queue in to_vm(p).queues for run in queue)
