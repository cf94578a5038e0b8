"""Small programs on the GPU, for a checker that slows everything down a hundredfold.

    compute-sanitizer --tool memcheck --report-api-errors no python benchmarks/small.py

Every kind of kernel and of synchronization, five tokens given and three generated each. Exits with
1 when a token differs from the interpreter's or a guard word was overwritten.
"""

from __future__ import annotations

import sys
from pathlib import Path

from amk.backends.cuda.launch import Session
from amk.interpreters.vm import VmInterpreter
from amk.ir.sampling import Sampling
from amk.tools.approve import Proof

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.unit.programs import Tiny, fused, unfused, weights

PROMPT, NEW = [3, 1, 4, 1, 5], 3
PATIENCE = 2_000_000_000
"""Polls before the watchdog gives up: none of the checkers is that slow."""

PROGRAMS = {
    "flags": (Tiny(), fused),
    "flags, split attention, bias": (Tiny(splits=3, chunk=2, kv_heads=1, sms=4, bias=True), fused),
    "counters": (Tiny(sync="counters"), fused),
    "sampling": (Tiny(sampling=True), fused),
    "experts": (Tiny(experts=5, choices=2, inter=40), fused),
    "experts, counters": (Tiny(sync="counters", experts=33, choices=3, normalize=0), fused),
    "unfused": (Tiny(), unfused),
}


def main() -> None:
    wrong: list[str] = []
    for name, (t, build) in PROGRAMS.items():
        program, sampling = build(t), Sampling(1.1, top_k=20, top_p=0.9, seed=3)
        cpu = VmInterpreter(program, weights(t))
        cpu.sample(sampling)
        want = cpu.generate(PROMPT, NEW)
        proof = Proof.of(program)
        with Session(program, weights(t), approve=proof.approve, patience=PATIENCE) as session:
            session.sampling = sampling
            made = session.generate(PROMPT, NEW)
            if made != want or session.guards():
                wrong.append(name)
        print(f"{name}: {made}", flush=True)
    if wrong:
        sys.exit(f"error: not the interpreter's tokens: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
