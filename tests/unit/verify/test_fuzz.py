"""`amk fuzz-verifier` counts what it should, and fails when the verifier is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from amk.errors import AmkError
from amk.tools.fuzz import failed, fuzz_verifier
from amk.verify.corpus import fuzz
from amk.verify.corpus.fuzz import Outcome, summary
from amk.verify.violation import Violation

AMK = Path(sys.executable).parent / "amk"


def outcome(kind: str, fault: str, violation: str, caution: str = "") -> Outcome:
    return Outcome(kind, "1/1", fault, violation, frozenset(), caution)


def test_what_is_counted() -> None:
    found = summary(
        [
            outcome("a", "race: x", "x (R1)"),
            outcome("a", "", ""),
            outcome("a", "race: y", ""),
            outcome("b", "", "z (R1)"),
            outcome("b", "", "z (R1)", "guarded"),
        ]
    )
    assert (found["count"], found["unsafe"], found["safe"]) == (5, 2, 3)
    assert (found["false_accepts"], found["false_rejects"]) == (1, 1)
    assert found["conservative"]["guarded"] == 1
    assert found["by_class"]["b"]["false_rejects"] == 1
    assert [d["class"] for d in found["disagreements"]] == ["a", "b"]
    assert failed(found)


def test_a_verifier_that_accepts_everything_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "verify_program", lambda p: [])  # pyright: ignore[reportUnknownArgumentType]
    found = fuzz_verifier(40, 1)
    assert found["false_accepts"] == found["unsafe"] > 10
    assert failed(found)


def test_a_verifier_that_refuses_everything_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "verify_program", lambda p: [Violation("E1", "no")])  # pyright: ignore[reportUnknownArgumentType]
    found = fuzz_verifier(40, 1)
    assert found["false_accepts"] == 0
    # A refusal is laid to a documented rule only where that rule explains it.
    assert found["false_rejects"] > 5 and sum(found["conservative"].values()) < 10
    assert failed(found)


def test_the_command_prints_its_keys() -> None:
    done = subprocess.run(
        [AMK, "fuzz-verifier", "--count", "40", "--seed", "4", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["count"] == 40
    assert {"unsafe", "safe", "false_accepts", "false_rejects", "by_class"} <= set(found)


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(AmkError, match="--count: must be positive, got 0"):
        fuzz_verifier(0, 1)
