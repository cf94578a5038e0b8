"""A certificate proves its own program, and no altered one proves what is wrong."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amk.errors import AmkError
from amk.ir.capacity import capacities
from amk.ir.digest import program_digest
from amk.ir.kernels import Ref
from amk.ir.program import Buffer, Program, Signal, Wait
from amk.verify import (
    certificate_file,
    checker,
    checker_choices,
    checker_roles,
    verify_program,
)
from amk.verify.certificate import certificate, certificate_text, claims
from amk.verify.certificate_file import MalformedCertificateError, RefusedError
from amk.verify.checker import check_certificate
from amk.verify.corpus.generator import lower, random_recipe, safe_program
from amk.verify.corpus.mutants import MUTANTS
from amk.verify.corpus.named import NAMED
from tests.unit.programs import Tiny, fused, unfused

TINY = Tiny(layers=2, sms=4)
KINDS = {
    "flagged": fused(TINY),
    "counters": fused(replace(TINY, sync="counters")),
    "split": fused(replace(TINY, splits=2, chunk=2)),
    "unfused": unfused(replace(TINY, sync="counters")),
}


def refusal(p: Program, c: object) -> str:
    """Why the checker refuses; empty if it does not."""
    try:
        check_certificate(p, c)
    except (RefusedError, MalformedCertificateError) as error:
        return str(error)
    return ""


def renamed(p: Program, c: dict[str, Any]) -> dict[str, Any]:
    """The certificate `c` made out to `p`."""
    return c | {"program_sha256": program_digest(p), "program": p.name}


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_proves_its_program(kind: str) -> None:
    p = KINDS[kind]
    assert refusal(p, json.loads(certificate_text(p))) == ""


def test_the_checker_shares_nothing_with_the_verifier() -> None:
    mine = (checker, checker_choices, checker_roles, certificate_file)
    ours = ("amk.ir", "amk.errors", *(module.__name__ for module in mine))
    for module in mine:
        imported = {
            node.module
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        assert all(n.startswith(ours) for n in imported if n.startswith("amk."))
    assert len(inspect.getsource(checker).splitlines()) <= 300
    assert len(inspect.getsource(checker_roles).splitlines()) <= 100
    assert len(inspect.getsource(checker_choices).splitlines()) <= 100


def test_an_unsafe_program_has_no_certificate() -> None:
    p = NAMED["in-order-queues-cross"].build()
    assert verify_program(p)
    with pytest.raises(AmkError, match="no certificate"):
        certificate(p)


def test_a_certificate_of_another_program_is_refused() -> None:
    c = certificate(KINDS["flagged"])
    assert "another program" in refusal(KINDS["counters"], c)
    longer = fused(replace(TINY, layers=3))
    assert "another program" in refusal(longer, c)
    assert refusal(longer, renamed(longer, c))


@pytest.mark.parametrize("name", [n for n, c in NAMED.items() if not c.conservative])
def test_named_cases(name: str) -> None:
    case = NAMED[name]
    p = case.build()
    if case.safe:
        assert refusal(p, certificate(p)) == ""
    elif all(v.rule[0] == "R" for v in verify_program(p)):
        assert refusal(p, claims(p))


@given(st.integers(0, 10**6))
def test_safe_programs_pass_and_mutants_do_not(seed: int) -> None:
    """Whatever the verifier accepts has a certificate that the checker accepts; what it rejects
    has none, neither that of the program it was made from nor the true clocks of its own."""
    rng = Random(seed)
    p = lower(random_recipe(rng)) if rng.random() < 0.4 else safe_program(rng)
    assume(not verify_program(p))  # a few safe ones are refused: docs/IR_SPEC.md, `arrivals`
    base = certificate(p)
    assert refusal(p, base) == ""
    for kind in rng.sample(list(MUTANTS), 6):
        q = MUTANTS[kind](p, rng)
        if q is None:
            continue
        found = verify_program(q)
        if not found:
            assert refusal(q, certificate(q)) == "", kind
            continue
        forged = renamed(q, base)
        assert refusal(q, forged), kind
        if all(v.rule[0] == "R" for v in found):
            assert refusal(q, forged | {"capacities": capacities(q)}), kind
            assert refusal(q, claims(q)), kind


@given(st.data())
def test_altered_certificates_prove_nothing_wrong(data: st.DataObject) -> None:
    """One altered number is refused or still a proof: of a race it never makes a safe program."""
    good = KINDS[data.draw(st.sampled_from(sorted(KINDS)))]
    kind = data.draw(
        st.sampled_from(["wait-dropped", "wait-one-too-few", "wrong-use", "signal-moved-earlier"])
    )
    racy = MUTANTS[kind](good, Random(data.draw(st.integers(0, 99))))
    if racy is None or {v.rule[0] for v in verify_program(racy)} != {"R"}:
        return
    c = claims(racy)
    for _ in range(data.draw(st.integers(0, 3))):
        key = data.draw(st.sampled_from(["ranks", "order", "visible", "clocks"]))
        values = c[key] if key != "clocks" else data.draw(st.sampled_from(c[key]))
        at = data.draw(st.integers(0, len(values) - 1))
        values[at] += data.draw(st.sampled_from([-2, -1, 1, 2, 40]))
    assert refusal(racy, c)


def test_a_clock_that_claims_too_much_is_refused() -> None:
    """Every component that is raised above what its waits give must be found."""
    p = KINDS["flagged"]
    refused = 0
    for row in range(len(certificate(p)["clocks"])):
        c = certificate(p)
        size = [len(q) for q in p.queues]
        c["clocks"][row] = [2 * n for n in size]
        reason = refusal(p, c)
        assert not reason or "claims too much" in reason
        refused += bool(reason)
    assert refused == len(certificate(p)["clocks"])


def _key(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda c: c | {name: value}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [], "no JSON object"),
        (lambda c: None, "no JSON object"),
        (_key("version", 2), "version"),
        (_key("version", "1"), "version"),
        (_key("more", 1), "unknown keys: more"),
        (lambda c: {k: v for k, v in c.items() if k != "ranks"}, "missing or unknown keys: ranks"),
        (_key("program", "other"), "another program"),
        (_key("program_sha256", None), "another program"),
        (_key("capacities", {}), "capacities"),
        (_key("ranks", 3), "ranks is no list"),
        (_key("ranks", [1.5]), "ranks is no list"),
        (_key("ranks", [10**30]), "ranks is no list"),
        (_key("ranks", [[1], [2, 3]]), "ranks is no list"),
        (_key("ranks", [1]), "not one per instruction"),
        (_key("clocks", []), "clocks is no list"),
        (_key("clocks", [[1, 2, "x", 3]]), "clocks is no list"),
        (_key("clocks", {"0": 1}), "clocks is no list"),
        (lambda c: c | {"order": [-1] * len(c["order"])}, "order: no such clock"),
        (lambda c: c | {"order": [10**6] * len(c["order"])}, "order: no such clock"),
        (lambda c: c | {"ranks": [0] * len(c["ranks"])}, "ranks"),
        (lambda c: c | {"ranks": [-n for n in c["ranks"]]}, "ranks"),
        (lambda c: c | {"clocks": [[10**9] * 4 for _ in c["clocks"]]}, "beyond the end"),
    ],
)  # fmt: skip
def test_malformed_certificates(change: Callable[[dict[str, Any]], object], message: str) -> None:
    p = KINDS["flagged"]
    assert message in refusal(p, change(certificate(p)))


def _with(p: Program, **changes: object) -> Program:
    return replace(p, **changes)  # pyright: ignore[reportArgumentType]


def _first(p: Program, **changes: object) -> Program:
    run = replace(p.queues[0][0], **changes)  # pyright: ignore[reportArgumentType]
    return replace(p, queues=[[run, *p.queues[0][1:]], *p.queues[1:]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: _with(p, queues=[[], *p.queues[1:]]), "a queue is empty"),
        (lambda p: _with(p, queues=[]), "a queue is empty"),
        (lambda p: _with(p, queues=p.queues * 100), "too many"),
        (lambda p: _first(p, hi=10**30), "no such tiles"),
        (lambda p: _first(p, lo=-1), "no such tiles"),
        (lambda p: _first(p, hi=0), "no such tiles"),
        (lambda p: _first(p, kernel="nobody"), "no such tiles"),
        (lambda p: _first(p, waits=(Wait(10**30, 1),)), "no such counter"),
        (lambda p: _first(p, signals=(Signal(-1, 1),)), "no such counter"),
        (lambda p: _with(p, buffers={}), "no declared buffer"),
        (lambda p: _with(p, tensors={}, packs={}), "no declared"),
        (lambda p: _with(p, caches={}), "no declared cache"),
        (
            lambda p: _with(p, buffers=p.buffers | {"x": Buffer("x", "plain", 10**30, "f32")}),
            "out of range",
        ),
        (
            lambda p: _with(
                p, kernels={n: replace(k, n=10**30) if n == "embed" else k
                            for n, k in p.kernels.items()}
            ),
            "malformed",
        ),
        (
            lambda p: _with(
                p, kernels={n: replace(k, out=Ref("token")) if n == "embed" else k
                            for n, k in p.kernels.items()}
            ),
            "of type f32 or bf16",
        ),
        (lambda p: _with(p, ring=replace(p.ring, slots=0)) if p.ring else p, "empty dimension"),
    ],
)  # fmt: skip
def test_malformed_programs_are_refused_whatever_the_certificate(
    change: Callable[[Program], Program], message: str
) -> None:
    p = KINDS["flagged"]
    q = change(p)
    if q == p:
        pytest.skip("this program has no ring")
    assert message in refusal(q, renamed(q, certificate(p)))
