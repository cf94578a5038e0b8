"""Cases with a history are decided rightly, by the oracle and by the verifier."""

from __future__ import annotations

import pytest

from amk.verify import verify_program
from amk.verify.corpus.named import NAMED
from amk.verify.corpus.oracle import CAUTIONS, judge


@pytest.mark.parametrize("name", NAMED)
def test_the_oracle_is_right(name: str) -> None:
    assert (judge(NAMED[name].build()) is None) == NAMED[name].safe


@pytest.mark.parametrize("name", NAMED)
def test_the_verifier_is_right(name: str) -> None:
    case = NAMED[name]
    assert (not verify_program(case.build())) == (case.safe and not case.conservative)


@pytest.mark.parametrize("name", [n for n, case in NAMED.items() if case.conservative])
def test_a_refusal_of_a_safe_case_is_one_documented_rule(name: str) -> None:
    program = NAMED[name].build()
    assert sum(judge(program, (caution,)) is not None for caution in CAUTIONS) == 1


def test_there_is_a_case_for_every_caution() -> None:
    refused = [case.build() for case in NAMED.values() if case.conservative]
    assert all(any(judge(p, (caution,)) for p in refused) for caution in CAUTIONS)


def test_every_case_says_why_it_is_here() -> None:
    assert all(case.about.strip() for case in NAMED.values())
