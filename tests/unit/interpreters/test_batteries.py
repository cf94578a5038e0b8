"""Kernels against their definitions, their accesses and the verifier, over many shapes."""

from __future__ import annotations

import numpy as np
import pytest

from amk.interpreters.vm import VmInterpreter
from amk.verify import verify_program
from tests.unit.batteries import BATTERIES, ROWS, battery, cut, definition, weights

IDS = [3, 17, 5, 5, 11, 2, 11, 8, 21, 20, 0, 12, 9]


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("name", BATTERIES)
def test_every_step_leaves_what_the_definition_says(name: str, dtype: str) -> None:
    """Under shadow memory, which compares what was touched with the accesses of the kernel."""
    cases = BATTERIES[name]
    get = weights(cases, dtype)
    run = VmInterpreter(battery(cases, dtype), get, check=True)
    assert len(IDS) < ROWS
    for pos, token in enumerate(IDS):
        run.launch(token, pos, 1)
        found = cut(cases, run.engine.storage.shared["y"])
        want = definition(cases, get, IDS[: pos + 1])
        for case, got, expected in zip(cases, found, want, strict=True):
            error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
            limit = 1e-2 if case.rounds and dtype == "bf16" else 3e-6
            assert error < limit, (case.name, pos, error)


@pytest.mark.parametrize("sync", ["flagged", "counters"])
@pytest.mark.parametrize("name", BATTERIES)
def test_the_verifier_accepts_them(name: str, sync: str) -> None:
    assert verify_program(battery(BATTERIES[name], sync=sync)) == []
