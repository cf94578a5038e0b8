"""Broken programs are caught: as a fault of an instruction of an SM, or as a deadlock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from amk.interpreters.faults import Deadlock, Fault, FaultError
from amk.interpreters.shadow import find_fault
from amk.interpreters.vm import VmInterpreter
from amk.ir.kernels import Cache, Ref
from amk.ir.program import Program, Run
from tests.unit.programs import Tiny, fused, unfused, weights

FLAGGED = Tiny(sms=4)
COUNTERS = Tiny(sms=4, sync="counters")
SPLIT = Tiny(sms=4, splits=2, chunk=2)
EXPERTS = Tiny(sms=4, sync="counters", experts=4, choices=2)


def edited(p: Program, sm: int, index: int, change: Callable[[Run], Run]) -> Program:
    queues = [list(queue) for queue in p.queues]
    queues[sm][index] = change(queues[sm][index])
    return replace(p, queues=queues)


def with_kernel(p: Program, name: str, **changes: object) -> Program:
    return replace(p, kernels=p.kernels | {name: replace(p.kernels[name], **changes)})  # pyright: ignore[reportArgumentType]


def search(p: Program, sm: int = 0, steps: int = 3) -> Fault | Deadlock | None:
    """Looks for a fault in a few interleavings, `sm` ahead and behind among them."""
    for how in ({}, {"favor": sm}, {"delay": sm}, *({"seed": s} for s in range(4))):
        found = find_fault(p, steps=steps, pos=3, **how)
        if found is not None:
            return found
    return None


def at(p: Program, sm: int, kernel: str) -> int:
    return next(i for i, run in enumerate(p.queues[sm]) if run.kernel == kernel)


@pytest.mark.parametrize("t", [FLAGGED, COUNTERS, SPLIT, Tiny(dtype="bf16", sms=5), EXPERTS])
def test_correct_programs_have_no_fault(t: Tiny) -> None:
    for build in (fused,) if t.experts else (fused, unfused):
        for sm in range(t.sms):
            assert search(build(t), sm) is None


@pytest.mark.parametrize("kernel", ["l0.qkv", "l0.o", "l1.gate_up", "l1.down", "lm_head"])
def test_a_dropped_wait_is_a_race(kernel: str) -> None:
    p = fused(COUNTERS)
    index = at(p, 2, kernel)
    found = search(edited(p, 2, index, lambda run: replace(run, waits=())), 2)
    assert isinstance(found, Fault)
    assert (found.sm, found.index, found.kernel) == (2, index, kernel)
    assert "reads @" in str(found)


def test_a_lowered_threshold_is_a_race() -> None:
    p = fused(COUNTERS)
    index = at(p, 1, "l1.qkv")

    def lower(run: Run) -> Run:
        wait = run.waits[0]
        return replace(run, waits=(replace(wait, threshold=wait.threshold - 1),))

    found = search(edited(p, 1, index, lower), 1)
    assert isinstance(found, Fault) and found.sm == 1


def test_a_threshold_without_its_step_is_a_race_in_the_second_step() -> None:
    p = fused(COUNTERS)
    index = at(p, 3, "l0.down")

    def once(run: Run) -> Run:
        return replace(run, waits=tuple(replace(w, scaled=False) for w in run.waits))

    found = search(edited(p, 3, index, once), 3)
    assert isinstance(found, Fault) and found.sm == 3 and found.step > 0


def test_a_race_is_found_in_an_interleaving_where_the_data_happens_to_be_there() -> None:
    """SM 3 comes last, so everything it reads has been written; only the order is missing."""
    p = fused(COUNTERS)
    index = at(p, 3, "l0.qkv")
    broken = edited(p, 3, index, lambda run: replace(run, waits=()))
    found = find_fault(broken, steps=1, delay=3)
    assert isinstance(found, Fault)
    assert "written by instruction" in found.message and "no wait orders them" in found.message


@pytest.mark.parametrize("edit", ["drop signal", "raise threshold"])
def test_a_wait_that_is_never_met_is_a_deadlock(edit: str) -> None:
    p = fused(COUNTERS)
    if edit == "drop signal":
        broken = edited(p, 1, at(p, 1, "l0.gate_up"), lambda run: replace(run, signals=()))
    else:
        index = at(p, 1, "l0.down")
        wait = p.queues[1][index].waits[0]
        more = (replace(wait, threshold=wait.threshold + 1),)
        broken = edited(p, 1, index, lambda run: replace(run, waits=more))
    for check in (False, True):
        with pytest.raises(Deadlock) as caught:
            VmInterpreter(broken, weights(COUNTERS), check=check).generate([1, 2], 2)
        deadlock = caught.value
        blocked = next(b for b in deadlock.blocked if b.sm == 1)
        assert blocked.kernel == "l0.down" and "counter" in blocked.waits_for
        assert len(deadlock.counters) == p.counters
        assert str(deadlock).startswith("deadlock: instruction")


@pytest.mark.parametrize("t", [FLAGGED, COUNTERS])
def test_swapped_dependent_instructions_are_a_deadlock(t: Tiny) -> None:
    p = fused(t)
    queues = [list(queue) for queue in p.queues]
    i = at(p, 0, "l0.o")
    queues[0][i], queues[0][i + 1] = queues[0][i + 1], queues[0][i]
    for found in (search(replace(p, queues=queues)), greedy(replace(p, queues=queues), t)):
        assert isinstance(found, Deadlock)
        assert any(b.sm == 0 and b.kernel == "l0.gate_up" for b in found.blocked)


def greedy(p: Program, t: Tiny) -> Fault | Deadlock | None:
    """What the fast interpreter finds."""
    try:
        VmInterpreter(p, weights(t)).generate([1, 2, 3], 3, steps=2)
    except FaultError as e:
        return e.fault
    except Deadlock as e:
        return e
    return None


def test_a_dropped_instruction_starves_its_readers() -> None:
    p = fused(FLAGGED)
    queues = [list(queue) for queue in p.queues]
    del queues[2][at(p, 2, "l1.o")]
    found = greedy(replace(p, queues=queues), FLAGGED)
    assert isinstance(found, Deadlock)
    assert all("@x" in b.waits_for for b in found.blocked if b.kernel == "l1.gate_up")


def test_a_shifted_tile_is_written_twice() -> None:
    p = fused(FLAGGED)
    index = at(p, 0, "l0.gate_up")
    found = search(edited(p, 0, index, lambda run: replace(run, lo=run.lo + 1, hi=run.hi + 1)))
    assert isinstance(found, Fault) and "already written in this use" in found.message


def test_a_range_past_the_grid_is_out_of_bounds() -> None:
    p = fused(FLAGGED)
    index = at(p, 3, "l0.o")
    broken = edited(p, 3, index, lambda run: replace(run, hi=run.hi + 1))
    for found in (search(broken), greedy(broken, FLAGGED)):
        assert isinstance(found, Fault) and "outside of its 32 rows" in found.message


def test_a_read_of_the_wrong_use_blocks_or_faults() -> None:
    p = fused(FLAGGED)
    later = with_kernel(p, "l0.gate_up", x=Ref("x", 0, 2))
    assert isinstance(search(later), Deadlock)
    earlier = with_kernel(p, "l1.gate_up", x=Ref("x", 0, 1))
    found = search(earlier)
    assert isinstance(found, Fault) and "too new" in found.message
    assert isinstance(greedy(earlier, FLAGGED), Fault)


def test_a_stale_read_of_a_plain_buffer_is_a_fault() -> None:
    found = search(with_kernel(fused(COUNTERS), "l1.o", x=Ref("attn", 0, 0)))
    assert isinstance(found, Fault) and "too new" in found.message
    found = search(with_kernel(fused(COUNTERS), "l0.o", x=Ref("attn", 0, 1)))
    assert isinstance(found, Fault) and "expected" in found.message


@pytest.mark.parametrize("t", [FLAGGED, COUNTERS])
def test_an_overwrite_that_nothing_orders_after_the_readers_is_a_race(t: Tiny) -> None:
    """Attention of head 0 writes over the values of head 1, which another SM may still read."""
    p = fused(t)
    buffers = p.buffers | {"qkv": replace(p.buffers["qkv"], length=80, uses=2 * t.layers)}
    kernels = dict(p.kernels)
    for i in range(t.layers):
        qkv, attn = Ref("qkv", 0, 2 * i), Ref("qkv", 48, 2 * i + 1)
        k, v = Ref("qkv", t.q_rows, 2 * i), Ref("qkv", t.q_rows + t.kv_rows, 2 * i)
        kernels[f"l{i}.qkv"] = replace(kernels[f"l{i}.qkv"], out=qkv)  # pyright: ignore[reportCallIssue]
        changes = {"q": qkv, "k": k, "v": v, "out": attn}
        kernels[f"l{i}.attn"] = replace(kernels[f"l{i}.attn"], **changes)  # pyright: ignore[reportArgumentType]
        kernels[f"l{i}.o"] = replace(kernels[f"l{i}.o"], x=attn)  # pyright: ignore[reportCallIssue]
    broken = replace(p, buffers=buffers, kernels=kernels)
    writer = next(
        s for s, q in enumerate(p.queues) for r in q if r.kernel == "l0.attn" and not r.lo
    )
    late = find_fault(broken, delay=writer)
    assert isinstance(late, Fault) and late.sm == writer and late.kernel == "l0.attn"
    assert "the old value is read by" in late.message
    early = find_fault(broken, favor=writer)
    assert isinstance(early, Fault)


def test_a_missing_dependence_between_steps_is_found() -> None:
    """With a token that is there before it is made, embed overwrites x under its last readers."""
    p = fused(COUNTERS)
    buffers = p.buffers | {"x": replace(p.buffers["x"], uses=6)}
    p = replace(p, buffers=buffers)
    assert search(p) is None
    kernels = p.kernels | {"late": replace(p.kernels["embed"], out=Ref("x", 0, 5))}  # pyright: ignore[reportCallIssue]
    queues = [
        [*queue, *(replace(r, kernel="late", signals=()) for r in queue if r.kernel == "embed")]
        for queue in p.queues
    ]
    found = search(replace(p, kernels=kernels, queues=queues))
    assert isinstance(found, Fault) and found.kernel == "late"


def test_a_cache_row_that_nobody_appends_is_a_fault() -> None:
    p = unfused(FLAGGED)
    caches = p.caches | {"other": replace(p.caches["kv0"], name="other")}
    broken = replace(with_kernel(p, "l0.append", cache=Cache("other")), caches=caches)
    found = search(broken)
    assert isinstance(found, Fault) and found.kernel == "l0.attention"
    assert "reads @kv0 head" in found.message and "not initialized" in found.message


def test_a_cache_row_without_order_is_a_race() -> None:
    """The two heads are appended by the SMs that do not read them."""
    p = unfused(FLAGGED)
    queues = [
        [replace(r, lo=1 - r.lo, hi=2 - r.lo) if "append" in r.kernel else r for r in queue]
        for queue in p.queues
    ]
    crossed = replace(p, queues=queues)
    assert search(crossed) is None
    sm = next(s for s, queue in enumerate(queues) if any("append" in r.kernel for r in queue))
    index = at(crossed, sm, "l0.attention")
    found = search(edited(crossed, sm, index, lambda run: replace(run, waits=())), sm)
    assert isinstance(found, Fault) and found.kernel == "l0.attention"
    assert "@kv0 head" in found.message


def test_a_counter_that_leaves_32_bits_is_a_fault() -> None:
    p = fused(COUNTERS)
    vm = VmInterpreter(p, weights(COUNTERS), check=True)
    vm.engine.counters[0] = 2**32 - 1
    with pytest.raises(FaultError, match="beyond 32 bits"):
        vm.step(1, 0)


def test_a_fault_stops_the_run_with_a_record() -> None:
    p = fused(COUNTERS)
    index = at(p, 2, "l0.o")
    broken = edited(p, 2, index, lambda run: replace(run, waits=()))
    with pytest.raises(FaultError) as caught:
        VmInterpreter(broken, weights(COUNTERS), favor=2).generate([1], 1)
    assert caught.value.fault.sm == 2
    assert str(caught.value).startswith(f"instruction {index} of SM 2 (l0.o, step 0) reads @attn")


def test_half_a_flagged_word_is_a_fault() -> None:
    t = Tiny(dtype="bf16", tile=4, sms=4)
    p = fused(t)
    kernel = replace(p.kernels["l0.gate_up"], tile=2)  # pyright: ignore[reportCallIssue]
    queues = [
        [replace(r, lo=2 * r.lo, hi=2 * r.hi) if r.kernel == "l0.gate_up" else r for r in queue]
        for queue in p.queues
    ]
    assert search(replace(p, kernels=p.kernels | {"l0.gate_up": kernel}, queues=queues)) is None
    queues[0] = [replace(r, hi=r.hi - 1) if r.kernel == "l0.gate_up" else r for r in queues[0]]
    found = search(replace(p, kernels=p.kernels | {"l0.gate_up": kernel}, queues=queues))
    assert isinstance(found, Fault) and "whole words of 2" in found.message
