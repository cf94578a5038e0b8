"""The proofs: plain functions from a plain program to what is wrong with it."""

from __future__ import annotations

from copy import copy
from typing import NamedTuple, cast

from amk.ir.kernels import AnyAccess
from amk.ir.program import Program
from amk.verify.coverage import check_coverage
from amk.verify.experts import check_experts
from amk.verify.order import Start, settled
from amk.verify.ring import check_ring
from amk.verify.roles import check_late, check_sizes
from amk.verify.structure import check_structure, check_words
from amk.verify.tokens import check_tokens
from amk.verify.uncollected import uncollected
from amk.verify.violation import Place, Violation


class _Proof(NamedTuple):
    program: Program
    found: list[Violation]
    starts: list[Start]
    """The second step, as far as it ran; nothing where other violations came first."""


_proved: list[_Proof] = []
"""The last programs checked, so that a pass boundary does not prove again what has not changed."""
REMEMBERED = 2


def verify_program(p: Program) -> list[Violation]:
    """Everything that is wrong with a vm program; empty when it is safe in every interleaving, at
    every position, over any number of steps and launches."""
    return _proof(p).found


def second_step(p: Program) -> list[Start]:
    """The second step of the run that proves `p`. `p` has no violation of structure and no
    deadlock."""
    return _proof(p).starts or settled(p, accesses_of(p)).starts


def _proof(p: Program) -> _Proof:
    for proof in _proved:
        if proof.program == p:
            return proof
    with uncollected():
        found, starts = _verify(p)
    # A copy: who changes `p` in place afterwards must not be told what held before.
    kept = copy(p)
    for name, value in vars(p).items():
        if isinstance(value, dict | list):
            setattr(kept, name, copy(cast(object, value)))
    kept.queues = [list(queue) for queue in p.queues]
    _proved.insert(0, _Proof(kept, found, starts))
    del _proved[REMEMBERED:]
    return _proved[0]


def forget() -> None:
    """Make the next proof start from nothing."""
    _proved.clear()


def _verify(p: Program) -> tuple[list[Violation], list[Start]]:
    found = [*check_structure(p), *check_ring(p, p.ring)] or [*check_sizes(p)]
    if found:
        return found, []
    accesses = accesses_of(p)
    run = dict.fromkeys(run.kernel for queue in p.queues for run in queue)
    found = [*check_words(p, accesses), *check_coverage(p, accesses), *check_experts(p, run)]
    found += [*check_tokens(p, run), *check_late(p, accesses)]
    if found:
        return found, []
    run = settled(p, accesses)
    return run.found, run.starts


def accesses_of(p: Program) -> dict[Place, list[AnyAccess]]:
    """What each instruction of a program without violations of structure touches."""
    return {
        Place(sm, i): list(p.accesses(run))
        for sm, queue in enumerate(p.queues)
        for i, run in enumerate(queue)
    }


__all__ = ["Place", "Violation", "accesses_of", "forget", "second_step", "verify_program"]
