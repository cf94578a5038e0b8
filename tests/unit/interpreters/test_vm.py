"""The vm interpreter computes the model, in every mode and in every interleaving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from amk.errors import AmkError
from amk.interpreters.shadow import ShadowEngine
from amk.interpreters.task import TaskInterpreter
from amk.interpreters.vm import VmInterpreter
from amk.ir.program import Program
from amk.ir.sampling import Sampling, draw
from amk.verify import verify_program
from tests.unit.programs import Tiny, fused, reference, unfused, weights

Build = Callable[[Tiny], Program]
IDS = [3, 7, 1, 30, 22, 5, 39, 0, 11]
CASES = [
    pytest.param(Tiny(), fused, id="flagged"),
    pytest.param(Tiny(sync="counters", bias=True), fused, id="counters"),
    pytest.param(Tiny(splits=3, chunk=2, sms=5), fused, id="flagged-splits"),
    pytest.param(Tiny(splits=2, chunk=4, sms=4, tile=6, sync="counters"), fused, id="short-tiles"),
    pytest.param(Tiny(heads=6, kv_heads=3, head_dim=4, sms=1), fused, id="one-sm"),
    pytest.param(Tiny(bias=True, heads=6, head_dim=4, sms=4), unfused, id="unfused"),
    pytest.param(Tiny(experts=4, choices=2, inter=20, sms=4), fused, id="experts"),
    pytest.param(
        Tiny(experts=6, choices=3, inter=14, normalize=0, sync="counters"), fused, id="shares"
    ),
]


@pytest.mark.parametrize(("t", "build"), CASES)
def test_logits_are_the_reference(t: Tiny, build: Build) -> None:
    program, get = build(t), weights(t)
    expected = reference(t, get, IDS)
    for interpreter in (
        VmInterpreter(program, get),
        VmInterpreter(program, get, check=True),
        TaskInterpreter(program, get),
        TaskInterpreter(program, get, seed=1),
    ):
        np.testing.assert_allclose(interpreter.logits(IDS), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(("t", "build"), CASES)
def test_every_interleaving_gives_the_same_bits(t: Tiny, build: Build) -> None:
    program, get = build(t), weights(t)
    expected = VmInterpreter(program, get, check=True)
    logits, tokens = expected.logits(IDS), expected.generate(IDS[:3], 8)
    for seed in range(5):
        vm = VmInterpreter(program, get, seed=seed)
        np.testing.assert_array_equal(vm.logits(IDS), logits)
        assert vm.generate(IDS[:3], 8, steps=4) == tokens
    assert VmInterpreter(program, get).generate(IDS[:3], 8) == tokens


@pytest.mark.parametrize("sync", ["flagged", "counters"])
def test_favored_and_delayed_sms_change_nothing(sync: str) -> None:
    t = Tiny(sync=sync, splits=2, chunk=3)
    program, get = fused(t), weights(t)
    tokens = VmInterpreter(program, get).generate(IDS[:2], 6)
    for sm in range(t.sms):
        assert VmInterpreter(program, get, favor=sm).generate(IDS[:2], 6, steps=3) == tokens
        assert VmInterpreter(program, get, delay=sm).generate(IDS[:2], 6, steps=3) == tokens


def test_bf16_rounds_where_buffers_are_written() -> None:
    t = Tiny(dtype="bf16")
    program, get = fused(t), weights(t)
    vm = VmInterpreter(program, get)
    vm.logits(IDS)
    shared = vm.engine.storage.shared
    for name in ("x", "qkv", "attn", "h"):
        assert (shared[name].view(np.uint32) & 0xFFFF == 0).all()
    assert (vm.engine.storage.keys["kv0"].view(np.uint32) & 0xFFFF == 0).all()
    np.testing.assert_allclose(vm.logits(IDS), reference(t, get, IDS), atol=0.1)


def test_steps_of_one_launch_overlap() -> None:
    """An SM with little to do is in the next step while others are in this one."""
    t = Tiny(sms=12, vocab=400, tile=8)
    program, get = fused(t), weights(t)
    vm = VmInterpreter(program, get, favor=2)
    engine = vm.engine
    assert isinstance(engine, ShadowEngine)
    steps: set[tuple[int, ...]] = set()
    advance = engine.advance

    def watched(sm: int) -> None:
        steps.add(tuple(sorted(set(engine.now))))
        advance(sm)

    engine.advance = watched
    tokens = vm.generate([1], 4, steps=3)
    assert any(len(s) > 1 for s in steps)
    assert tokens == VmInterpreter(program, get).generate([1], 4)


def test_generation_streams_and_stops() -> None:
    t = Tiny()
    program, get = fused(t), weights(t, seed=3)
    vm = VmInterpreter(program, get)
    seen: list[int] = []
    tokens = vm.generate(IDS, 6, on_token=seen.append, steps=4)
    assert seen == tokens and len(tokens) == 6
    last = VmInterpreter(program, get).logits(IDS + tokens[:-1])
    assert last[len(IDS) - 1 :].argmax(axis=1).tolist() == tokens
    stopped = vm.generate(IDS, 6, eos=[tokens[0]], steps=4)
    assert stopped == tokens[:1]
    assert vm.generate(IDS, 0) == []


def test_a_sequence_may_go_back() -> None:
    t = Tiny()
    vm = VmInterpreter(fused(t), weights(t), check=True)
    vm.logits([1, 2, 3, 4])
    _, again = vm.step(9, 2)
    assert again is not None
    fresh = VmInterpreter(fused(t), weights(t)).logits([1, 2, 9])
    np.testing.assert_allclose(again, fresh[2], atol=1e-5)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("token", "pos", "message"),
    [
        (40, 0, "token 40 is outside of the vocabulary of 40"),
        (-1, 0, "token -1 is outside of the vocabulary of 40"),
        (1, 3, "position 3 is beyond the 0 positions filled so far"),
        (1, -1, "do not fit the caches' 32 rows"),
    ],
)
def test_bad_steps_are_refused(check: bool, token: int, pos: int, message: str) -> None:
    vm = VmInterpreter(fused(Tiny()), weights(Tiny()), check=check)
    with pytest.raises(AmkError, match=message):
        vm.step(token, pos)


def test_a_context_longer_than_the_caches_is_refused() -> None:
    t = Tiny(rows=8)
    vm = VmInterpreter(fused(t), weights(t))
    with pytest.raises(AmkError, match="rows"):
        vm.generate(IDS, 1)
    with pytest.raises(AmkError, match="prompt is empty"):
        vm.generate([], 1)


def test_a_program_without_argmax_still_has_a_token() -> None:
    t = Tiny(sms=1)
    program = fused(t)
    tokens = VmInterpreter(program, weights(t)).generate(IDS[:3], 4)
    kernels = {name: k for name, k in program.kernels.items() if name != "argmax"}
    shorter = replace(program, queues=[program.queues[0][:-1]], kernels=kernels)
    assert VmInterpreter(shorter, weights(t)).generate(IDS[:3], 4) == tokens


@pytest.mark.parametrize("sync", ["flagged", "counters"])
def test_drawn_tokens_are_those_of_the_definition(sync: str) -> None:
    t = Tiny(sync=sync, sampling=True)
    program, sampling = fused(t), Sampling(1.5, top_k=30, top_p=0.9, seed=5)
    assert verify_program(program) == []
    engines = [VmInterpreter(program, weights(t)), VmInterpreter(program, weights(t), seed=3)]
    for engine in engines:
        engine.sample(sampling)
    made = engines[0].generate([3, 1, 4], 12)
    assert made == engines[1].generate([3, 1, 4], 12)
    logits = reference(t, weights(t), [3, 1, 4, *made])[2:-1].astype(np.float32)
    assert made == [draw(row, sampling, pos + 2) for pos, row in enumerate(logits)]
    engines[0].sample(Sampling())
    greedy = VmInterpreter(fused(replace(t, sampling=False)), weights(t))
    assert engines[0].generate([3, 1, 4], 12) == greedy.generate([3, 1, 4], 12)
