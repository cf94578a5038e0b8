"""An interleaving shows what its violation says, and runs."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest

from amk.ir.program import Program
from amk.verify import Place, Violation, verify_program
from amk.verify.corpus.generator import lower, random_recipe, safe_program
from amk.verify.corpus.mutants import MUTANTS
from amk.verify.corpus.named import NAMED
from amk.verify.counterexample import Counterexample, counterexample
from amk.verify.trace import trace
from tests.unit.programs import Tiny, fused

COUNTERS = fused(Tiny(sms=4, sync="counters"))


def runs_as_claimed(p: Program, c: Counterexample) -> None:
    """Queues are in order, waits on counters hold, words are written before they are polled."""
    done: set[Place] = set()
    counts: dict[int, int] = {}
    totals: dict[int, int] = {}
    for s in (s for queue in p.queues for run in queue for s in run.signals):
        totals[s.counter] = totals.get(s.counter, 0) + s.amount
    for place in c.runs:
        run = p.queues[place.sm][place.index]
        before = Place(place.sm, place.index - 1, place.step)
        assert place.index == 0 or before in done
        for w in run.waits:
            needed = w.threshold + (totals.get(w.counter, 0) * place.step if w.scaled else 0)
            assert counts.get(w.counter, 0) >= needed
        done.add(place)
        for s in run.signals:
            counts[s.counter] = counts.get(s.counter, 0) + s.amount
    if c.violation.rule != "D1":
        early, late = c.pair
        assert c.runs[-1] == early and (late in done) == c.unseen


@pytest.mark.parametrize("seed", range(60))
def test_interleavings_of_random_faults(seed: int) -> None:
    rng = Random(seed)
    p = lower(random_recipe(rng)) if rng.random() < 0.5 else safe_program(rng)
    for kind in rng.sample(list(MUTANTS), 10):
        q = MUTANTS[kind](p, rng)
        found = verify_program(q) if q else []
        for violation in found[:2]:
            assert q
            c = counterexample(q, violation)
            if c is None:
                assert violation.rule[0] not in "DR", (kind, str(violation))
                continue
            runs_as_claimed(q, c)
            assert all(c.lines(q))
            json.dumps(trace(q, [c]))


def test_only_what_is_needed_runs() -> None:
    """A dropped wait of the last layer: of the other SMs nothing but its past is shown."""
    index = next(i for i, run in enumerate(COUNTERS.queues[2]) if run.kernel == "l0.qkv")
    queues = [list(queue) for queue in COUNTERS.queues]
    queues[2][index] = replace(queues[2][index], waits=())
    p = replace(COUNTERS, queues=queues)
    found = verify_program(p)
    c = counterexample(p, found[0])
    assert c and c.pair[0] == Place(2, index) and found[0].rule == "R1"
    assert {place.sm for place in c.runs} == {2}


def test_a_deadlock_shows_who_waits_for_whom() -> None:
    p = NAMED["in-order-queues-cross"].build()
    found = verify_program(p)
    assert [v.rule for v in found] == ["D1"]
    c = counterexample(p, found[0])
    assert c and len(c.notes) == len(found[0].places)
    assert all("waits for" in note for note in c.notes)


def test_other_violations_have_no_interleaving() -> None:
    assert counterexample(COUNTERS, Violation("E5", "", (Place(0, 0),))) is None


def test_long_interleavings_are_cut() -> None:
    runs = tuple(Place(sm % 4, i) for i in range(8) for sm in range(4))
    c = Counterexample(Violation("R1", ""), (*runs, Place(0, 8)), (), False, ("note",))
    lines = c.lines(COUNTERS)
    assert len(lines) < 20
    assert any("more lines" in line for line in lines)


def test_a_trace_has_a_track_per_sm_and_loader_and_marks_the_pair() -> None:
    p = NAMED["residual-edge-stripped"].build()
    violation = next(v for v in verify_program(p) if v.rule[0] == "R")
    c = counterexample(p, violation)
    assert c
    events = trace(p, [c])["traceEvents"]
    tracks = {e["args"]["name"] for e in events if e["name"] == "thread_name"}
    for place in c.pair:
        assert {f"SM {place.sm}", f"SM {place.sm} loader"} <= tracks
    assert sum(e.get("cat") == "violation" and e["ph"] == "X" for e in events) == 2
    assert {e["ph"] for e in events if e.get("name") == "nothing orders these"} == {"s", "f"}
    spans = [e for e in events if e["ph"] == "X"]
    assert all({"pid", "tid", "ts", "dur", "name"} <= set(e) for e in spans)
