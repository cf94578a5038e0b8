"""What `amk bench` makes of measurements: verdicts, bytes, turns and timelines; no GPU needed."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from amk.backends.cuda.baselines import System, Timed
from amk.backends.cuda.bench import (
    Measured,
    kv_bytes,
    take_turns,
    trace_events,
    weight_bytes,
)
from amk.backends.cuda.decoder import until, watch
from amk.backends.cuda.fidelity import LIMITS, Fidelity, divergence, relative_error
from amk.backends.cuda.predict import Costs, predict
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.presets import preset
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
