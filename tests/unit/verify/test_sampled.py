"""Large programs: many random interleavings find what is wrong, and so does the verifier."""

from __future__ import annotations

from random import Random

import pytest

from amk.ir.program import Program
from amk.verify import verify_program
from amk.verify.corpus.generator import RECIPES, lower, random_program
from amk.verify.corpus.mutants.edits import edited
from amk.verify.corpus.oracle import judge
from amk.verify.corpus.sampled import sampled_fault
from tests.unit.programs import Tiny, fused


@pytest.fixture(scope="module")
def large() -> Program:
    """More instructions than the 8,000 above which others skip the check of races."""
    p = fused(Tiny(layers=80, hidden=128, inter=64, heads=24, sms=32, sync="counters"))
    assert sum(map(len, p.queues)) > 8000
    return p


def test_a_large_program_is_safe(large: Program) -> None:
    assert verify_program(large) == []
    assert sampled_fault(large, 1, steps=2) is None


@pytest.mark.parametrize("seed", range(3))
def test_one_wait_missing_among_thousands_of_instructions(large: Program, seed: int) -> None:
    rng = Random(seed)
    sm = rng.randrange(len(large.queues))
    waiting = [i for i, run in enumerate(large.queues[sm]) if run.waits]
    index = rng.choice(waiting)
    broken = edited(large, (sm, index), waits=())
    found = verify_program(broken)
    assert found and f"instruction {index} of SM {sm}" in str(found[0])
    assert sampled_fault(broken, 6, seed, steps=2) is not None


def test_random_interleavings_find_nothing_in_real_lowerings() -> None:
    for r in RECIPES[5::40]:
        assert sampled_fault(lower(r), 3) is None, r


def test_what_random_interleavings_find_the_oracle_finds() -> None:
    """And the other way round mostly: a few runs do not see everything."""
    found = missed = 0
    for seed in range(120):
        p = random_program(Random(f"sampled/{seed}"))
        fault = judge(p)
        if sampled_fault(p, 8, seed) is not None:
            assert fault is not None, seed
            found += 1
        else:
            missed += fault is not None
    assert found > 20 and missed < found
