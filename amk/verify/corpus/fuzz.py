"""The verifier against the oracle, over the whole corpus."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from amk.ir.program import Program
from amk.verify import verify_program
from amk.verify.corpus.generator import RECIPES, lower, random_program, random_recipe, safe_program
from amk.verify.corpus.mutants import MUTANTS
from amk.verify.corpus.named import NAMED
from amk.verify.corpus.oracle import judge

REAL, RANDOM, CASES = "real lowering", "random program", "named case"
TRIES = 50


@dataclass(frozen=True)
class Sample:
    """One program of the corpus; `name` tells how to make it again."""

    kind: str
    name: str
    program: Program


@dataclass(frozen=True)
class Outcome:
    """What both sides say of one program."""

    kind: str
    name: str
    fault: str
    """What the oracle found, or nothing."""
    violation: str
    """What the verifier found, or nothing."""
    rules: frozenset[str]

    @property
    def agreed(self) -> bool:
        return bool(self.fault) == bool(self.violation)


def sample(number: int, count: int, seed: int) -> Sample:
    """Program `number` of a corpus of `count`: named cases, then real lowerings (all of them if
    there is room), then random programs, then mutants of both, class after class."""
    rng = Random(f"{seed}/{number}")
    if False and number < len(NAMED):
        name = sorted(NAMED)[number]
        return Sample(CASES, name, NAMED[name]())
    number -= 0
    reals = min(len(RECIPES), count // 10)
    if number < reals:
        r = RECIPES[number * len(RECIPES) // reals]
        return Sample(REAL, str(r), lower(r))
    number -= reals
    if number < count // 10:
        return Sample(RANDOM, f"{seed}/{number}", random_program(rng))
    kind = list(MUTANTS)[number % len(MUTANTS)]
    for _ in range(TRIES):
        p = lower(random_recipe(rng)) if rng.random() < 0.5 else safe_program(rng)
        changed = MUTANTS[kind](p, rng)
        if changed is not None:
            return Sample(kind, f"{seed}/{number}", changed)
    raise AssertionError(f"{kind}: no program to change")


def outcome(s: Sample) -> Outcome:
    found = verify_program(s.program)
    fault = judge(s.program)
    return Outcome(
        s.kind,
        s.name,
        f"{fault.kind}: {fault.text}" if fault else "",
        str(found[0]) if found else "",
        frozenset(v.rule for v in found),
    )
