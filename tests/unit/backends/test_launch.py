"""Programs on a real GPU: logits against the model's definition, tokens against the interpreter,
and the watchdog."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from amk.backends.cuda.decoder import CudaDecoder
from amk.backends.cuda.driver import pycuda
from amk.backends.cuda.emit import emit
from amk.backends.cuda.gpu import find_gpu
from amk.backends.cuda.launch import Session, Stuck
from amk.backends.cuda.nvcc import compile_cubin, run_nvcc
from amk.backends.cuda.target import TARGETS
from amk.errors import AmkError
from amk.interpreters.vm import VmInterpreter
from amk.ir.packs import F32, round_to
from amk.ir.program import Program, Run
from amk.ir.sampling import Sampling, draw
from amk.tools.approve import Proof
from tests.unit.batteries import BATTERIES, VOCABULARY, battery, cut, definition
from tests.unit.batteries import weights as constants
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
    "experts": Tiny(experts=4, choices=2),
    "one expert of five": Tiny(experts=5, choices=1, sms=5, hidden=64, inter=72),
    "shares of 33 experts": Tiny(experts=33, choices=3, normalize=0, inter=24),
    "experts of odd width": Tiny(experts=3, choices=2, inter=40, tile=12, hidden=72),
    "bounded experts": Tiny(experts=4, choices=2, inter=24, limit=0.5),
    "128 experts": Tiny(
        sms=24, hidden=256, inter=64, experts=128, choices=8, normalize=0, tile=8, vocab=512
    ),
    "wide experts": Tiny(
        hidden=2048, heads=4, kv_heads=2, head_dim=64, inter=1536, experts=8, choices=2, tile=8
    ),
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
    # Rounding may choose another expert: compare with who rounds where the kernel does.
    routed = t.experts and dtype == "bf16"
    want = VmInterpreter(fused(t), get).logits(IDS) if routed else reference(t, get, IDS)
    assert error(got, want) < (2e-6 if dtype == "f32" else 2e-2)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_unfused_logits_equal_the_models(dtype: str) -> None:
    t = Tiny(dtype=dtype)
    get = rounded(t)
    with proved(unfused(t), get) as session:
        got = session.logits(IDS)
    assert error(got, reference(t, get, IDS)) < (2e-6 if dtype == "f32" else 4e-2)


CONTEXTS = (1, 2, 255, 256, 257, 511, 513, 4095, 4097, 16384)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize(
    "shape",
    [
        Tiny(hidden=128, heads=4, kv_heads=1, head_dim=64, splits=8, chunk=256),
        Tiny(hidden=128, heads=2, kv_heads=2, head_dim=128, splits=5, chunk=256),
        Tiny(hidden=64, heads=8, kv_heads=1, head_dim=64),
    ],
    ids=["8 splits", "5 splits", "no splits"],
)
def test_contexts_up_to_16k(shape: Tiny, dtype: str) -> None:
    t = replace(shape, layers=1, rows=CONTEXTS[-1], dtype=dtype, sms=8, inter=64, vocab=256)
    get = rounded(t)
    ids = [int(i) for i in np.random.default_rng(0).integers(0, t.vocab, t.rows)]
    with proved(fused(t), get) as session:
        for count in CONTEXTS:
            session.run(ids[:count], count)
            want = reference(t, get, ids[:count], last=True)[0]
            assert error(session.read("logits"), want) < (5e-6 if dtype == "f32" else 2e-2), count
        assert session.guards() == []


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


@pytest.mark.parametrize("turn", [(1 << 15) - 3, 1 << 15, 3 << 14, (1 << 16) - 3])
def test_tokens_stay_the_same_behind_many_steps(turn: int) -> None:
    """A launch may begin at any number of the step: in flagged words, epochs alone have it."""
    t = replace(SHAPES["head of 128"], dtype="bf16", rows=64)
    with proved(fused(t), rounded(t)) as session:
        want = session.run(IDS, 60).tokens.tolist()
        logits = session.read("logits").tobytes()
        session.turn = turn
        for _ in range(5):
            assert session.run(IDS, 60).tokens.tolist() == want
            assert session.read("logits").tobytes() == logits


@pytest.mark.parametrize("sync", ["flagged", "counters"])
@pytest.mark.parametrize("sampling", [False, True])
def test_a_prompt_in_one_launch_changes_no_bit(sync: str, sampling: bool) -> None:
    t = Tiny(sync=sync, sampling=sampling, hidden=128, inter=256, vocab=512, sms=24)
    with proved(fused(t), weights(t)) as session:
        one_by_one = session.logits(IDS)[-1]
        cache = session.rows_of_caches(len(IDS))
        for _ in range(20):
            session.reset()
            token = int(session.run(IDS, len(IDS)).tokens[-1])
            assert (session.read("logits") == one_by_one).all()
            assert session.rows_of_caches(len(IDS)) == cache
            assert token == int(one_by_one.argmax())


DRAWS = [
    Sampling(1.0, seed=1),
    Sampling(0.3, seed=1 << 63),
    Sampling(5.0, seed=3),
    Sampling(1.0, top_k=1),
    Sampling(1.3, top_k=10, seed=4),
    Sampling(1.0, top_k=4096, seed=5),
    Sampling(1.0, top_p=0.1, seed=6),
    Sampling(1.0, top_p=0.9, seed=7),
    Sampling(3.0, top_p=0.999, seed=8),
    Sampling(0.9, top_k=50, top_p=0.95, seed=9),
    Sampling(1e4, top_k=77, top_p=0.5, seed=10),
    Sampling(1e-4, seed=11),
    Sampling(0.0, top_k=5),
]


@pytest.mark.parametrize("sync", ["flagged", "counters"])
@pytest.mark.parametrize("vocab", [40, 41, 4099])
def test_drawn_tokens_are_those_of_the_definition(vocab: int, sync: str) -> None:
    """From the very logits that the kernel has drawn from."""
    t = Tiny(vocab=vocab, sync=sync, sampling=True)
    with proved(fused(t), weights(t)) as session:
        for sampling in DRAWS:
            session.sampling = sampling
            for pos, token in enumerate(IDS):
                drawn = int(session.run([token], 1, start=pos).tokens[-1])
                assert drawn == draw(session.read("logits"), sampling, pos), (sampling, pos)
        assert session.guards() == []


def test_drawn_tokens_equal_the_interpreters() -> None:
    t, sampling = Tiny(sampling=True), Sampling(1.2, top_k=30, top_p=0.95, seed=12)
    cpu = VmInterpreter(fused(t), weights(t))
    cpu.sample(sampling)
    with proved(fused(t), weights(t)) as session:
        session.sampling = sampling
        assert session.generate(IDS[:5], 20) == cpu.generate(IDS[:5], 20)


def test_a_launch_that_nobody_awaited_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt behind it: nobody knows how many steps it made, and its words must not be taken
    for those of the next launch."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    t = Tiny(sync="flagged")
    with proved(fused(t), weights(t)) as session:
        want = session.run(IDS, 20).tokens.tolist()
        session.reset()
        with monkeypatch.context() as m:
            m.setattr(session, "_check_report", interrupt)
            with pytest.raises(KeyboardInterrupt):
                session.run(IDS[::-1], 20)
        for _ in range(2):
            assert session.run(IDS, 20).tokens.tolist() == want


def all_alike(program: Program, get: Callable[[str], F32], launches: int, steps: int) -> None:
    """Launches choose the same tokens, by logits of the same bits."""
    with proved(program, get) as session:
        first = session.run(IDS, steps).tokens.tolist()
        logits = session.read("logits").tobytes()
        for _ in range(launches):
            assert session.run(IDS, steps).tokens.tolist() == first
            assert session.read("logits").tobytes() == logits
        assert session.guards() == []


def test_a_thousand_runs_are_one() -> None:
    t = Tiny(hidden=128, inter=256, vocab=512, sms=24, dtype="bf16", splits=2, chunk=3, kv_heads=1)
    all_alike(fused(t), weights(t), launches=1000, steps=20)


def test_steps_under_load_are_one() -> None:
    """Layers as wide as a real model's, on every SM, and its ring: what is late there is late by
    microseconds. Arrivals that did not depend on loads made 16 kinds of logits in 250 launches."""
    gpu = pycuda().Device(0)
    sms = gpu.get_attribute(pycuda().device_attribute.MULTIPROCESSOR_COUNT)
    t = Tiny(
        layers=4, hidden=2048, heads=32, kv_heads=8, head_dim=64, inter=8192, vocab=1024, rows=64,
        dtype="bf16", sms=sms, tile=8,
    )  # fmt: skip
    program = fused(t)
    assert program.ring
    program = replace(program, ring=replace(program.ring, slots=48, group=4))
    all_alike(program, weights(t), launches=500, steps=64)


@pytest.mark.parametrize("sync", ["flagged", "counters"])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("name", BATTERIES)
def test_kernels_leave_what_their_definitions_say(name: str, dtype: str, sync: str) -> None:
    cases = BATTERIES[name]
    get = constants(cases, dtype)
    with proved(battery(cases, dtype, sync, sms=5), get) as session:
        for pos, token in enumerate(IDS):
            session.run([token % VOCABULARY], 1, start=pos)
            found = cut(cases, session.read("y"))
            want = definition(cases, get, [i % VOCABULARY for i in IDS[: pos + 1]])
            for case, got, expected in zip(cases, found, want, strict=True):
                assert error(got, expected) < (5e-6 if dtype == "f32" else 1e-2), (case.name, pos)
        assert session.guards() == []


def test_two_models_in_one_process() -> None:
    a, b = Tiny(), Tiny(hidden=64, vocab=72)
    with proved(fused(a), weights(a)) as first, proved(fused(b), weights(b)) as second:
        for session, t in ((first, a), (second, b), (first, a)):
            assert error(session.logits(IDS), reference(t, weights(t), IDS)) < 2e-6


def test_weights_may_lie_on_the_gpu() -> None:
    torch = pytest.importorskip("torch")
    t = Tiny(bias=True)
    get = weights(t)
    placed = {name: torch.from_numpy(get(name)).cuda() for name in fused(t).tensors}
    with proved(fused(t), placed.__getitem__) as session:
        assert error(session.logits(IDS), reference(t, get, IDS)) < 2e-6


def test_tokens_are_heard_while_the_kernel_runs() -> None:
    t = Tiny(hidden=128, inter=256, vocab=512, sms=24, rows=4096)
    program = fused(t)
    decoder = CudaDecoder(program, weights(t), approve=Proof.of(program).approve)
    heard: list[tuple[float, int]] = []
    began = perf_counter()
    made = decoder.generate(IDS, 4000, on_token=lambda token: heard.append((perf_counter(), token)))
    ended = perf_counter()
    decoder.close()
    assert [token for _, token in heard] == made
    middle = heard[len(heard) // 2][0]
    assert began < middle < ended - 0.2 * (ended - began)


FUTURE = ".version 99.0\n.target sm_90a\n.address_size 64\n.visible .entry amk_kernel() { ret; }\n"


def test_what_the_driver_cannot_load_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cubin for another GPU, code of a toolkit that is newer than the driver, and damage."""
    t, other = Tiny(), TARGETS["sm_80"]
    program = fused(t)
    made, nvcc = tmp_path / "made", tmp_path / "nvcc"
    nvcc.write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\ncp {made} "$2"\n')
    nvcc.chmod(0o755)
    foreign = compile_cubin(emit(program, target=other).source, other).read_bytes()
    with monkeypatch.context() as patch:
        patch.setenv("NVCC", str(nvcc))
        patch.setenv("AMK_CACHE", str(tmp_path / "cache"))
        for code in (foreign, FUTURE.encode(), b""):
            made.write_bytes(code)
            with pytest.raises(AmkError, match=r"the driver \(CUDA \d+\.\d\) cannot load"):
                proved(program, weights(t))
            assert list((tmp_path / "cache" / "cubin").iterdir()) == []
    with proved(program, weights(t)) as session:
        assert session.generate(IDS, 3)


LONG = Tiny(hidden=128, heads=4, kv_heads=1, rows=300, dtype="bf16", sms=6)
OLDER = {
    "counters": Tiny(sync="counters"),
    "experts": replace(SHAPES["experts"], dtype="bf16"),
    "splits of 64": replace(LONG, kv_heads=2, head_dim=64, splits=3, chunk=16),
    "splits of 128": replace(LONG, head_dim=128, splits=3, chunk=16),
    "heads of 128": replace(LONG, kv_heads=2, head_dim=128),
}


@pytest.mark.parametrize("shape", OLDER)
def test_what_is_emitted_for_older_gpus_makes_the_models_logits(shape: str) -> None:
    """Without bulk copies and waits in hardware, as for sm_80, but in this GPU's machine code."""
    t = OLDER[shape]
    program, get = fused(t), rounded(t)
    older = replace(TARGETS["sm_80"], name=find_gpu().arch)
    cubin = compile_cubin(emit(program, target=older).source, older)
    ids = [int(i) for i in np.random.default_rng(0).integers(0, t.vocab, t.rows)]
    with Session(program, get, approve=Proof.of(program).approve, cubin=cubin) as session:
        got = session.logits(ids)
        assert session.guards() == []
    routed = t.experts and t.dtype == "bf16"
    want = VmInterpreter(program, get).logits(ids) if routed else reference(t, get, ids)
    assert error(got, want) < (2e-6 if t.dtype == "f32" else 2e-2)


@pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ, reason="others use the GPU's memory too")
def test_everything_is_freed() -> None:
    t = Tiny(hidden=128, inter=256, vocab=512, sms=24)
    memory = pycuda().mem_get_info

    def free() -> int:
        with proved(fused(t), weights(t)) as session:
            session.run(IDS, 20)
            session.context.push()
            left = int(memory()[0])
            session.context.pop()
        return left

    free()
    assert free() == free()


def test_the_watchdog_names_the_counter() -> None:
    t = Tiny(sync="counters")
    program = fused(t)
    queue = program.queues[1]
    at = next(i for i, run in enumerate(queue) if run.kernel == "l0.o")
    counter = queue[at].signals[0].counter
    queue[at] = replace(queue[at], signals=())
    stuck = pytest.raises(
        Stuck, match=rf"instruction \d+ of SM \d+ \(@l0.gate_up\).* for counter {counter} to be"
    )
    with Session(program, weights(t), approve=None, patience=20_000) as session, stuck:
        session.run([1], 1)


def test_the_watchdog_names_what_was_awaited() -> None:
    t = Tiny()
    program = without(fused(t), "l1.gate_up")
    stuck = pytest.raises(Stuck, match=r"instruction \d+ of SM \d+ \(@l1.down\).*of @h")
    with Session(program, weights(t), approve=None, patience=20_000) as session, stuck:
        session.run([1], 1)


LOST = {
    "a copy of weights": (
        Tiny(),
        '::"r"(full_barrier(at)), "n"(COPY_BYTES)',
        '::"r"(full_barrier(at)), "r"(COPY_BYTES + 16 * (blockIdx.x == 1 && step == 2 && i == 5))',
        r"SM 1 \(@\S+\) waited in step 2 for slot \d+ of the weight ring",
    ),
    "partial sums": (
        Tiny(),
        "if (!(lane & 3)) entry_put",
        "if (!(lane & 3) && !(blockIdx.x == 2 && tag == 9)) entry_put",
        r"SM 2 \(@\S+\) waited in step 0 for the partial sums of the rows from \d+",
    ),
    "that blocks are finished": (
        Tiny(vocab=400, sms=2),
        "if (c.lane != 0) return;  // one lane reports",
        "if (c.lane != 0 || blockIdx.x == 1) return;",
        r"SM 1 \(@\S+\) waited in step 0 for the (finishers to reach row block|partial sums)",
    ),
    "squares of x": (
        Tiny(),
        "if (norm && unit < TOTAL) entry_put(",
        "if (norm && unit < TOTAL && !(blockIdx.x == 1 && threadIdx.x == 3)) entry_put(",
        r"SM 1 \(@\S+\) waited in step 0 for the sums of the squares of x",
    ),
    "rows of the cache": (
        Tiny(),
        '::"r"(kv_full(buffer)), "r"(bytes)',
        '::"r"(kv_full(buffer)), "r"(bytes + 16 * (blockIdx.x == 1))',
        r"SM 1 \(@l0.attn\) waited in step 1 for buffer 0 of the rows of keys and values;",
    ),
    "that rows were read": (
        Tiny(),
        "warp_arrive(c, kv_empty(buffer), read)",
        "if (blockIdx.x != 1) warp_arrive(c, kv_empty(buffer), read)",
        r"SM 1 \(@l\d.attn\) waited in step \d+ for buffer \d of the rows .* to be free",
    ),
    "that the stage is free": (
        Tiny(),
        "if (!P::MATRIX && c.thread() == 0)",
        "if (!P::MATRIX && c.thread() == 0 && blockIdx.x != 1)",
        r"SM 1 \(@l0.attn\) waited in step 0 for the stage to be free",
    ),
}
"""What one warp of an SM is never told by another: how the emitted source is broken for that, and
what the report then says."""


@pytest.mark.parametrize("lost", LOST)
def test_the_watchdog_ends_waits_within_an_sm(lost: str, tmp_path: Path) -> None:
    t, whole, broken, message = LOST[lost]
    program, target = fused(t), TARGETS[find_gpu().arch]
    source = emit(program, target=target).source
    assert whole in source
    cubin, _ = run_nvcc(source.replace(whole, broken), target, tmp_path)
    with Session(program, weights(t), approve=None, patience=20_000, cubin=cubin) as session:
        for _ in range(2):
            began = perf_counter()
            with pytest.raises(Stuck, match=message):
                session.run(IDS, len(IDS))
            assert perf_counter() - began < 5
    with proved(program, weights(t)) as session:
        assert error(session.logits(IDS), reference(t, weights(t), IDS)) < 2e-6


def without(program: Program, kernel: str) -> Program:
    """The program with one instruction of `kernel` left out: a deadlock that no verifier would let
    through."""
    for queue in program.queues:
        for i, run in enumerate(queue):
            if run.kernel == kernel:
                queue[i] = Run(run.kernel, run.lo, run.lo)
                return program
    raise AssertionError(f"no {kernel}")
