"""The cost model: dependences take hops, weights take bandwidth, and it ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from amk.backends.cuda.predict import Costs, predict, streamed_bytes, token_us
from amk.errors import AmkError
from amk.ir.program import Run
from tests.unit.programs import Tiny, fused, unfused

FAST = Costs(rate=1e12, hop=1.0, fixed=0.0)


@pytest.mark.parametrize("sync", ["flagged", "counters"])
def test_every_instruction_begins_when_the_one_before_ends(sync: str) -> None:
    program = fused(Tiny(sync=sync, splits=2, chunk=4, kv_heads=1))
    times = predict(program, 9, 3, Costs(rate=1e3))
    for sm, queue in enumerate(program.queues):
        line = times[sm, :, : len(queue)].reshape(-1, 3)
        assert (np.diff(line, axis=1) >= 0).all()
        assert (line[1:, 0] == line[:-1, 2]).all()
        assert np.isnan(times[sm, :, len(queue) :]).all()


def test_without_bytes_a_step_is_its_hops() -> None:
    t = Tiny(layers=2)
    times = predict(fused(t), 0, 3, FAST)
    ends = np.nanmax(times[..., 2], axis=(0, 2))
    # a layer has five hops; the head and the token's two ends three more
    assert np.diff(ends) == pytest.approx(5 * t.layers + 3, abs=0.01)


def test_experts_are_two_hops_more() -> None:
    t = Tiny(layers=2, experts=4, choices=2)
    ends = np.nanmax(predict(fused(t), 0, 3, FAST)[..., 2], axis=(0, 2))
    assert np.diff(ends) == pytest.approx(7 * t.layers + 3, abs=0.01)
    slow = [
        np.nanmax(predict(fused(replace(t, choices=n)), 0, 1, Costs(rate=100, hop=0, fixed=0)))
        for n in (1, 2, 4)
    ]
    assert slow[0] < slow[1] < slow[2]


def test_with_slow_memory_a_step_is_its_bytes() -> None:
    program = fused(Tiny())
    rate = 10.0
    times = predict(program, 0, 4, Costs(rate, hop=0.0, fixed=0.0, catch_up=1e9))
    each = [sum(streamed_bytes(program, run) for run in queue) for queue in program.queues]
    ends = np.nanmax(times[..., 2], axis=(0, 2))
    assert np.diff(ends)[-1] == pytest.approx(max(each) * len(each) / rate, rel=0.1)


def test_a_token_is_a_step() -> None:
    program = fused(Tiny())
    ends = np.nanmax(predict(program, 7, 3, Costs(4e6))[..., 2], axis=(0, 2))
    assert token_us(program, 7, 4000.0) == pytest.approx(np.diff(ends)[-1])


def test_unfused_programs_with_counters() -> None:
    assert np.nanmax(predict(unfused(Tiny()), 3, 2, FAST)) > 0


def test_a_deadlock_is_told() -> None:
    program = fused(Tiny(sync="counters"))
    queue = [Run(r.kernel, r.lo, r.hi, r.waits) for r in program.queues[0]]
    with pytest.raises(AmkError, match="deadlocks"):
        predict(replace(program, queues=[queue, *program.queues[1:]]), 0, 1, FAST)
