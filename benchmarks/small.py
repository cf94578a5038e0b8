"""Small programs on the GPU, for a checker that slows everything down a hundredfold.

    compute-sanitizer --tool memcheck --report-api-errors no python benchmarks/small.py
    compute-sanitizer --tool racecheck python benchmarks/small.py --annotate [--without WAIT]

Every kind of kernel and of synchronization, five tokens given and three generated each. Exits with
1 when a token differs from the interpreter's or a guard word was overwritten. racecheck needs the
annotated kernels, and must find races in one that lacks a wait (WAITS).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from amk.backends.cuda.driver import pycuda
from amk.backends.cuda.emit import emit
from amk.backends.cuda.launch import Session
from amk.backends.cuda.nvcc import compile_cubin
from amk.backends.cuda.target import Target, target_of_device
from amk.errors import AmkError
from amk.interpreters.vm import VmInterpreter
from amk.ir.program import Program
from amk.ir.sampling import Sampling
from amk.tools.approve import Proof
from amk.tools.driver import run_tool

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.unit.programs import Tiny, fused, unfused, weights

PROMPT, NEW = [3, 1, 4, 1, 5], 3
PATIENCE = 2_000_000_000
"""Polls before the watchdog gives up: none of the checkers is that slow."""

BRIEF = 100_000
"""The same where a wait is left out, so that another one may never end."""


def narrow(t: Tiny) -> Program:
    """A program whose matrices are many slots wide, so that every warp keeps its columns of them,
    and whose warps hand over through few and small buffers."""
    program = fused(t)
    assert program.ring
    return replace(program, ring=replace(program.ring, columns=32, **FEW))


FEW = {"finishers": 2, "depth": 4, "lead": 3, "kv_buffers": 2, "kv_bytes": 128}

PROGRAMS = {
    "flags": (Tiny(), fused),
    "flags, split attention, bias": (Tiny(splits=3, chunk=2, kv_heads=1, sms=4, bias=True), fused),
    "counters": (Tiny(sync="counters"), fused),
    "sampling": (Tiny(sampling=True), fused),
    "experts": (Tiny(experts=5, choices=2, inter=40), fused),
    "experts, counters": (Tiny(sync="counters", experts=33, choices=3, normalize=0), fused),
    "unfused": (Tiny(), unfused),
    "few buffers": (Tiny(), narrow),
    "bf16, own columns": (Tiny(hidden=256, inter=256, heads=8, dtype="bf16", tile=8), narrow),
    "bf16, heads of 64": (Tiny(hidden=64, head_dim=64, splits=2, chunk=3, dtype="bf16"), fused),
}

WAITS = {
    "stage": (
        "counters",
        """\
    while ((int)(load_acquire(smem + KV_GO) - ticket(c)) < 0 && !give_up_near(c, polls, ON_STAGE, 0)) {
    }
    AMK_TAKE_CONSUMERS();
""",  # noqa: E501
        "",
    ),
    "room for slots": (
        "flags",
        "while (!first && !(rows.rest || i >= begin ? barrier_peek(empty_barrier(at), lap)"
        " : barrier_test(empty_barrier(at), lap)))",
        "while (false)",
    ),
    "rows": ("flags", "barrier_wait(c, kv_full(buffer), parity, ON_ROWS, buffer);", ""),
    "room for rows": (
        "few buffers",
        "barrier_wait(c, kv_empty(buffer), lap ^ 1, ON_ROOM, buffer);",
        "",
    ),
    "meeting": ("unfused", "\n  meet();\n  float s = 0.f;", "\n  float s = 0.f;"),
}
"""Waits of the kernel: a program that needs it, the text that makes it, and what is left of that
without it."""


def without(wait: str, target: Target) -> str:
    """The annotated source of a program that lacks a wait."""
    name, old, new = WAITS[wait]
    t, build = PROGRAMS[name]
    source = emit(build(t), target=target, annotate=True).source
    assert source.count(old) == 1, wait
    return source.replace(old, new)


def run(name: str, *, annotate: bool, wait: str | None = None) -> bool:
    """Runs a program, in which a wait may be left out; whether it was right."""
    t, build = PROGRAMS[name]
    program, sampling = build(t), Sampling(1.1, top_k=20, top_p=0.9, seed=3)
    cpu = VmInterpreter(program, weights(t))
    cpu.sample(sampling)
    want = cpu.generate(PROMPT, NEW)
    target = target_of_device(*pycuda().Device(0).compute_capability())
    with Session(
        program,
        weights(t),
        approve=Proof.of(program).approve,
        annotate=annotate,
        patience=PATIENCE if wait is None else BRIEF,
        cubin=compile_cubin(without(wait, target), target) if wait else None,
    ) as session:
        session.sampling = sampling
        made = session.generate(PROMPT, NEW)
        print(f"{name}: {made}", flush=True)
        return made == want and not session.guards()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--annotate", action="store_true", help="kernels that racecheck can follow")
    parser.add_argument("--without", choices=WAITS, help="leave out a wait of one of them")
    args = parser.parse_args()
    if args.without:
        try:
            run(WAITS[args.without][0], annotate=True, wait=args.without)
        except AmkError as error:
            print(f"error: {error}")
        return
    wrong = [name for name in PROGRAMS if not run(name, annotate=args.annotate)]
    if wrong:
        sys.exit(f"error: not the interpreter's tokens: {', '.join(wrong)}")


if __name__ == "__main__":
    run_tool(main)
