"""The oracle against every interleaving, and the ring machine against what broke real kernels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from amk.ir.program import Program
from amk.verify import verify_program
from amk.verify.corpus import explore
from amk.verify.corpus.generator import free_program, random_program
from amk.verify.corpus.mutants import MUTANTS
from amk.verify.corpus.named import NAMED
from amk.verify.corpus.oracle import Fault, judge
from amk.verify.corpus.ringmachine import explore as ring
from tests.unit.programs import Tiny, fused

STATES = 20_000


def compared(p: Program) -> str:
    """What both say of a program that can be explored, and whether they agree."""
    fault = judge(p)
    if fault and (fault.kind in ("malformed", "ring", "warps") or "writes too" in fault.text):
        # Two writers of one value are a fault by definition, whatever comes of it.
        return "by definition"
    try:
        found = explore.explore(p)
    except explore.TooLargeError:
        return "too large"
    assert (fault is None) == (found is None), (fault, found)
    return "unsafe" if fault else "safe"


@pytest.mark.parametrize("name", NAMED)
def test_the_oracle_agrees_with_every_interleaving_of_named_cases(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explore, "STATES", STATES)
    compared(NAMED[name].build())


def test_the_oracle_agrees_with_every_interleaving_of_small_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(explore, "STATES", STATES)
    seen: Counter[str] = Counter()
    kinds = [k for k in MUTANTS if not k.startswith("buffer-aliased")]
    for seed in range(900):
        rng = Random(seed)
        p = random_program(rng)
        if sum(map(len, p.queues)) > 7:
            continue
        seen[compared(p)] += 1
        changed = MUTANTS[kinds[seed % len(kinds)]](p, rng)
        if changed is not None:
            seen[compared(changed)] += 1
    assert seen["safe"] > 100 and seen["unsafe"] > 50


def test_the_oracle_and_the_verifier_agree_with_every_interleaving_of_free_programs() -> None:
    """What the verifier accepts is explored, too: the oracle might share its mistake."""
    seen: Counter[str] = Counter()
    for seed in range(600):
        p = free_program(Random(seed))
        seen[compared(p)] += 1
        if not verify_program(p):
            assert explore.explore(p) is None, seed
            seen["accepted"] += 1
    assert seen["accepted"] > 60 and seen["unsafe"] > 200, seen


@pytest.mark.parametrize(
    "slots,group,consumers,window",
    [(4, 1, 2, 4), (4, 2, 2, 2), (6, 1, 3, 6), (6, 3, 3, 2), (8, 2, 4, 2), (4, 1, 4, 4)],
)
def test_a_ring_of_whole_laps_is_safe(slots: int, group: int, consumers: int, window: int) -> None:
    assert ring(slots, group, consumers, window) is None


def test_a_slot_with_two_consumers_is_taken_a_lap_early() -> None:
    """The first bug of the measurements, 40 slots and 14 warps, scaled down."""
    found = ring(5, 1, 2, 5)
    assert found is not None and "another lap" in found


def test_a_warp_that_looks_further_than_the_ring_fails() -> None:
    """The second: 14 warps of 4 slots each, in a ring of 40; here 2 warps of 3 in a ring of 4."""
    found = ring(4, 1, 2, 4, take=3)
    assert found is not None


def test_epochs_that_recur_are_refused() -> None:
    """The third, by definition: an epoch of 32 bits must not come again."""
    assert judge(NAMED["epochs-recur"].build()) is not None


def test_copies_in_order_never_overtake() -> None:
    assert ring(4, 1, 3, 1) is None


@pytest.mark.parametrize("slots,group", [(5, 2), (7, 3)])
def test_the_last_copy_must_fit(slots: int, group: int) -> None:
    assert ring(slots, group, 2, 1) is not None


def test_programs_of_the_size_asked_for_are_judged() -> None:
    """4 SMs of 8 instructions and more, in several steps."""
    p = fused(Tiny(sms=4))
    assert judge(p) is None
    queues = [list(queue) for queue in p.queues]
    del queues[2][3]
    assert isinstance(judge(replace(p, queues=queues)), Fault)
