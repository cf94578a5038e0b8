"""Programs on a real GPU: logits against the model's definition, tokens against the interpreter,
and the watchdog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from amk.backends.cuda.launch import Session, Stuck
from amk.interpreters.vm import VmInterpreter
from amk.ir.packs import F32, round_to
from amk.ir.program import Program, Run
from amk.tools.approve import Proof
from tests.unit.programs import Tiny, fused, reference, unfused, weights

pytestmark = pytest.mark.gpu

IDS = [3, 17, 5, 5, 30, 2, 11, 8, 21, 39, 0, 12]

SHAPES = {
    "plain": Tiny(),
    "bias": Tiny(bias=True),
    "one head per kv head": Tiny(heads=4, kv_heads=4),
    "eight heads per kv head": Tiny(heads=8, kv_heads=1),
    "seven heads per kv head": Tiny(heads=7, kv_heads=1),
    "head of 64": Tiny(hidden=192, heads=3, kv_heads=1, head_dim=64, inter=320),
    "head of 96": Tiny(hidden=192, heads=2, kv_heads=2, head_dim=96, inter=64),
    "head of 128": Tiny(hidden=256, heads=2, kv_heads=1, head_dim=128, inter=2048),
    "head of 256": Tiny(hidden=576, heads=2, kv_heads=1, head_dim=256, inter=1536),
    "wide": Tiny(hidden=2048, heads=4, kv_heads=2, head_dim=64, inter=4096, tile=8),
    "splits": Tiny(kv_heads=1, splits=3, chunk=2),
    "splits of 64": Tiny(hidden=64, heads=4, kv_heads=2, head_dim=64, splits=2, chunk=3),
    "many SMs": Tiny(sms=24, hidden=128, inter=256, vocab=512),
}


def rounded(t: Tiny) -> Callable[[str], F32]:
    """The weights of `t`, rounded to its type."""
    get = weights(t)
    return lambda name: round_to(get(name), t.dtype)


def proved(program: Program, get: Callable[[str], F32]) -> Session:
    return Session(program, get, approve=Proof.of(program).approve)


def error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


@pytest.mark.parametrize("sync", ["flagged", "counters"])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_the_models(shape: str, dtype: str, sync: str) -> None:
    t = replace(SHAPES[shape], dtype=dtype, sync=sync)
    get = rounded(t)
    with proved(fused(t), get) as session:
        got = session.logits(IDS)
        assert session.guards() == []
    assert error(got, reference(t, get, IDS)) < (2e-6 if dtype == "f32" else 2e-2)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_unfused_logits_equal_the_models(dtype: str) -> None:
    t = Tiny(dtype=dtype)
    get = rounded(t)
    with proved(unfused(t), get) as session:
        got = session.logits(IDS)
    assert error(got, reference(t, get, IDS)) < (2e-6 if dtype == "f32" else 4e-2)


@pytest.mark.parametrize("sync", ["flagged", "counters"])
def test_tokens_equal_the_interpreters(sync: str) -> None:
    t = Tiny(sync=sync)
    get = weights(t)
    want = VmInterpreter(fused(t), get).generate(IDS[:5], 20)
    with proved(fused(t), get) as session:
        assert session.generate(IDS[:5], 20) == want
        assert session.generate(IDS[:5], 20) == want
        stop = want[7]
        assert session.generate(IDS[:5], 20, eos=[stop]) == want[: want.index(stop) + 1]
        assert session.generate(IDS[:5], 20) == want


def test_two_models_in_one_process() -> None:
    a, b = Tiny(), Tiny(hidden=64, vocab=72)
    with proved(fused(a), weights(a)) as first, proved(fused(b), weights(b)) as second:
        for session, t in ((first, a), (second, b), (first, a)):
            assert error(session.logits(IDS), reference(t, weights(t), IDS)) < 2e-6


def test_the_watchdog_names_what_was_awaited() -> None:
    t = Tiny()
    program = without(fused(t), "l1.gate_up")
    stuck = pytest.raises(Stuck, match=r"instruction \d+ of SM \d+ \(@l1.down\).*of @h")
    with Session(program, weights(t), approve=None, patience=20_000) as session, stuck:
        session.run([1], 1)


def without(program: Program, kernel: str) -> Program:
    """The program with one instruction of `kernel` left out: a deadlock that no verifier would let
    through."""
    for queue in program.queues:
        for i, run in enumerate(queue):
            if run.kernel == kernel:
                queue[i] = Run(run.kernel, run.lo, run.lo)
                return program
    raise AssertionError(f"no {kernel}")
