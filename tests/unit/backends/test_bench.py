"""What `amk bench` makes of measurements: verdicts, bytes, turns and timelines; no GPU needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from amk.backends.cuda import bench
from amk.backends.cuda.baselines import System, Timed
from amk.backends.cuda.bench import (
    Bench,
    Measured,
    kv_bytes,
    take_turns,
    trace_events,
    weight_bytes,
)
from amk.backends.cuda.decoder import until, watch
from amk.backends.cuda.fidelity import LIMITS, Fidelity, divergence, relative_error
from amk.backends.cuda.launch import Session
from amk.backends.cuda.predict import Costs, predict
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.presets import preset
from amk.frontends.hf.source import open_model
from amk.ir.packs import F32
from tests.unit.programs import Tiny, fused

ROW = np.random.default_rng(0).standard_normal(64).astype(np.float32)


def passing() -> Fidelity:
    found = Fidelity(LIMITS["bf16"])
    found.compare(1, ROW, ROW)
    found.compare(113, ROW, ROW)
    found.choose([int(ROW.argmax())], ROW[None])
    return found


class TestVerdict:
    def test_equal_logits_pass(self) -> None:
        assert passing().failure() is None

    def test_a_constant_added_to_all_logits_changes_nothing(self) -> None:
        assert relative_error(ROW + 5, ROW) < 1e-6
        assert abs(divergence(ROW, ROW + 5)) < 1e-9

    def test_early_positions_alone_prove_nothing(self) -> None:
        found = Fidelity(LIMITS["bf16"])
        found.compare(100, ROW, ROW)
        assert found.failure() == "no position beyond 100 was compared"

    @pytest.mark.parametrize(("dtype", "noise"), [("bf16", 0.05), ("fp32", 1e-3)])
    def test_other_logits_fail_where_they_differ(self, dtype: str, noise: float) -> None:
        found = Fidelity(LIMITS[dtype])
        found.compare(113, ROW, ROW)
        found.compare(200, ROW * (1 + noise), ROW)
        assert "position 200" in str(found.failure())

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_what_is_not_finite_fails(self, bad: float) -> None:
        found = passing()
        row = ROW.copy()
        row[3] = bad
        found.compare(120, row, ROW)
        assert "position 120" in str(found.failure())
        assert json.dumps(found.report(), allow_nan=False)

    def test_a_bad_choice_fails(self) -> None:
        found = passing()
        found.choose([int(ROW.argmin())], ROW[None])
        assert "standard deviations" in str(found.failure())

    def test_experts_are_measured_by_hugging_face_in_bf16(self) -> None:
        """One position that a routing moved is no failure; a mean beyond theirs is."""
        rng = np.random.default_rng(3)
        want, noise, routed = rng.standard_normal((3, 120, 50), np.float32)
        moves = np.float32(0.01) * noise
        moves[7] = routed[7]
        positions = range(1, 120)
        for scale, passes in ((0.9, True), (1.4, False)):
            found = Fidelity.routed(LIMITS["bf16"], want + moves, want, positions)
            for i in positions:
                found.compare(i, want[i] + np.float32(scale) * moves[i], want[i])
            assert (found.failure() is None) is passes, found.failure()
            assert max(found.errors) > LIMITS["bf16"].error
            assert json.dumps(found.report(), allow_nan=False)
            assert passes or "that of Hugging Face in bf16" in str(found.failure())

    def test_complaints_fail(self) -> None:
        found = passing()
        found.complaints.append("memory behind @x was overwritten")
        assert found.failure() == "memory behind @x was overwritten"


class TestEntries:
    def entry(self, fidelity: Fidelity) -> dict[str, object]:
        measured = Measured([10.0, 30.0, 20.0], [[1, 2]] * 4, ROW, 0)
        return measured.entry(128, fidelity, moved=8e6, ceiling=4000.0)

    def test_a_pass_has_the_median(self) -> None:
        entry = self.entry(passing())
        assert entry["verdict"] == "pass"
        assert (entry["us_per_token"], entry["us_min"], entry["us_max"]) == (20.0, 10.0, 30.0)
        assert entry["roofline_fraction"] == 0.1  # 8 MB at 4 TB/s take 2 us
        assert entry["positions"] == [128, 129]

    def test_a_failure_has_no_latency(self) -> None:
        fidelity = passing()
        fidelity.compare(120, -ROW, ROW)
        entry = self.entry(fidelity)
        assert entry["verdict"] == "fail"
        assert entry["us_per_token"] is None
        assert entry["roofline_fraction"] is None
        assert not {"us_min", "us_max"} & set(entry)


class Fake:
    """A system that takes as long as it is told and notes when it ran."""

    def __init__(self, name: str, times: Sequence[float], log: list[str]) -> None:
        self.name, self.times, self.log = name, list(times), log

    def prepare(self, prompt: Sequence[int], first: int, tokens: int) -> None: ...

    def run(self) -> Timed:
        self.log.append(self.name)
        return Timed([4, 5], self.times.pop(0))

    def logits(self) -> F32:
        return ROW


def test_systems_take_turns_and_the_first_turn_does_not_count() -> None:
    log: list[str] = []
    systems: dict[str, System] = {
        "a": Fake("a", [1000, 2, 4, 6], log),
        "b": Fake("b", [1000, 20, 40, 60], log),
    }
    found = take_turns(systems, 3)
    assert log == ["a", "b"] * 4
    assert found["a"].times == [1, 2, 3]
    assert found["b"].times == [10, 20, 30]
    assert len(found["a"].tokens) == 4


@dataclass
class Launches:
    """A session whose every step makes the logits ROW; launch `bad` leaves one of other bits."""

    bad: int = 0
    overwritten: tuple[str, ...] = ()
    launch: int = 0

    def run(self, prompt: Sequence[int], steps: int, start: int = 0) -> SimpleNamespace:
        self.launch += 1
        return SimpleNamespace(tokens=[int(ROW.argmax())] * steps, microseconds=100.0 * steps)

    def read(self, name: str) -> F32:
        row = ROW.copy()
        if self.launch == self.bad:
            row[3] = np.nextafter(row[3], np.float32(9))
        return row

    def guards(self) -> list[str]:
        return list(self.overwritten)


class Expected:
    """A reference that has ROW at every position."""

    def __init__(self, raw: object, tensors: object) -> None: ...

    def feed(self, prompt: Sequence[int], keep: int = 1) -> F32:
        return np.repeat(ROW[None], keep, 0)

    def follow(self, tokens: Sequence[int]) -> F32:
        return np.repeat(ROW[None], len(tokens), 0)


DIFFERENT = "launches on the same input made different logits"
PROBED, FILLED, WARM, TIMED = len(bench.PROBES), 1, 1, 3
TOTAL = PROBED + FILLED + WARM + TIMED


@pytest.mark.parametrize(
    ("launches", "reason"),
    [
        (Launches(), None),
        (Launches(TOTAL), DIFFERENT),
        (Launches(TOTAL - 1), DIFFERENT),
        (Launches(TOTAL - TIMED), DIFFERENT),
        (Launches(overwritten=("x",)), "memory behind @x was overwritten"),
    ],
    ids=["alike", "the last", "one in the middle", "the warm-up", "a guard word"],
)
def test_launches_must_make_the_same_bits_for_a_latency(
    launches: Launches, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "Reference", Expected)
    tiny = open_model("random:tiny")
    session = cast("Session", launches)
    made = Bench(tiny, "fp32", fused(Tiny()), {}, session, 4000.0, lambda what: None)
    found: dict[str, Any] = made.run([128], [], launches=TIMED, tokens=2)["results"][0]
    assert launches.launch == TOTAL
    assert max(found["fidelity"]["logits_error"]) < 1e-6  # far below the limit in every case
    assert found["reason"] == reason
    assert found["verdict"] == ("fail" if reason else "pass")
    assert found["us_per_token"] == (None if reason else 100.0)
    assert found["time_to_first_token_us"] == (None if reason else 12800.0)
    assert ("us_min" in found) is (reason is None)


def test_bytes_are_those_of_the_published_model() -> None:
    config = parse_config(preset("llama-3.2-1b"))
    assert weight_bytes(config, "bf16") == 2_471_493_632  # 1,235,746,816 weights in matrices
    assert kv_bytes(config, "bf16", 99, 1) == 100 * 16 * 2 * 8 * 64 * 2


def test_of_experts_those_that_are_chosen_count() -> None:
    config = parse_config(preset("mixtral-8x7b"))
    attention = 4096 * (4096 + 2 * 1024) + 4096 * 4096
    mlp = 8 * 4096 + 2 * 3 * 4096 * 14336  # the router, and two of eight experts
    assert weight_bytes(config, "bf16") == 2 * (32 * (attention + mlp) + 32000 * 4096)


class TestTokensAsTheyCome:
    def test_all_are_heard_once_and_in_order(self) -> None:
        shown, heard = np.zeros(8, np.int32), list[int]()
        with watch(shown, 4, [], heard.append):
            for i in range(4):
                shown[i] = i + 7
        assert heard == [7, 8, 9, 10]

    def test_none_behind_the_end_of_text(self) -> None:
        shown, heard = np.zeros(8, np.int32), list[int]()
        with watch(shown, 4, [8], heard.append):
            shown[:4] = [7, 8, 9, 10]
        assert heard == [7, 8] == until([7, 8, 9, 10], [8])

    def test_a_launch_that_ends_early_ends_the_watch(self) -> None:
        shown, heard = np.zeros(8, np.int32), list[int]()
        with watch(shown, 4, [], heard.append):
            shown[0] = 3
        assert heard == [3]

    def test_what_the_listener_raises_is_raised(self) -> None:
        def refuse(token: int) -> None:
            raise ValueError(token)

        shown = np.zeros(8, np.int32)
        with pytest.raises(ValueError, match="5"), watch(shown, 1, [], refuse):
            shown[0] = 5


def test_a_timeline_has_every_instruction_and_its_prediction() -> None:
    program = fused(Tiny())
    longest = max(map(len, program.queues))
    stamps = np.zeros((len(program.queues), 2, longest, 3), np.uint64)
    for sm, queue in enumerate(program.queues):
        for step in range(2):
            for i in range(len(queue)):
                at = 10_000 + 1000 * (step * longest + i)
                stamps[sm, step, i] = (at, at + 200, at + 900)
    events = trace_events(program, stamps, predict(program, 5, 2, Costs(4e6)))
    json.dumps(events, allow_nan=False)
    measured = [e for e in events if e["ph"] == "X" and e["pid"] == 0]
    assert len(measured) == 2 * sum(map(len, program.queues))
    assert measured[0]["ts"] == 0
    assert measured[0]["dur"] == pytest.approx(0.9)
    assert measured[0]["args"]["operands_after_us"] == pytest.approx(0.2)
    predicted = [e for e in events if e["ph"] == "X" and e["pid"] == 1]
    assert len(predicted) == len(measured)
    names = {e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert names == {"measured", "predicted"}
