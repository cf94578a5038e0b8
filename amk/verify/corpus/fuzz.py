"""The verifier against the oracle, over the whole corpus."""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from amk.ir.program import Program
from amk.verify import forget, verify_program
from amk.verify.corpus.generator import (
    RECIPES,
    free_program,
    lower,
    random_program,
    random_recipe,
    safe_program,
)
from amk.verify.corpus.mutants import MUTANTS
from amk.verify.corpus.named import NAMED
from amk.verify.corpus.oracle import CAUTIONS, judge

REAL, RANDOM, FREE, CASES = "real-lowering", "random-program", "free-program", "named-case"
TRIES = 200
"""Programs to look through for one that a mutant can change."""


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
    """All rules that the verifier found broken."""
    caution: str
    """The documented rule by which the verifier refuses a safe program, or nothing."""

    @property
    def false_accept(self) -> bool:
        return bool(self.fault) and not self.violation

    @property
    def false_reject(self) -> bool:
        return not self.fault and bool(self.violation) and not self.caution


def sample(number: int, count: int, seed: int) -> Sample:
    """Program `number` of a corpus of `count`: named cases, real lowerings (all of them, or a tenth
    of the corpus), then random and free programs, a twentieth each, and mutants of lowerings and
    random programs, class after class."""
    rng = Random(f"{seed}/{number}")
    named, reals = min(len(NAMED), count), min(len(RECIPES), count // 10)
    if number < named:
        name = sorted(NAMED)[number]
        return Sample(CASES, name, NAMED[name].build())
    if number < named + reals:
        r = RECIPES[(number - named) * len(RECIPES) // reals]
        return Sample(REAL, str(r), lower(r))
    if number < named + max(reals, count // 20):
        return Sample(RANDOM, f"{seed}/{number}", random_program(rng))
    if number < named + max(reals, count // 20) + count // 20:
        return Sample(FREE, f"{seed}/{number}", free_program(rng))
    kind = list(MUTANTS)[number % len(MUTANTS)]
    for _ in range(TRIES):
        p = lower(random_recipe(rng)) if rng.random() < 0.5 else safe_program(rng)
        changed = MUTANTS[kind](p, rng)
        if changed is not None:
            return Sample(kind, f"{seed}/{number}", changed)
    raise AssertionError(f"{kind}: no program to change")


def outcome(s: Sample) -> Outcome:
    """Asks both. What the verifier proved before is forgotten: each program is proved anew."""
    forget()
    found = verify_program(s.program)
    fault = judge(s.program)
    caution = ""
    if found and not fault:
        caution = next((c for c in CAUTIONS if judge(s.program, (c,))), "")
        if not caution and judge(s.program, CAUTIONS):
            caution = "+".join(CAUTIONS)
    return Outcome(
        s.kind,
        s.name,
        f"{fault.kind}: {fault.text}" if fault else "",
        str(found[0]) if found else "",
        frozenset(v.rule for v in found),
        caution,
    )


def _numbered(job: tuple[int, int, int]) -> Outcome:
    return outcome(sample(*job))


def outcomes(count: int, seed: int, workers: int = 1) -> Iterator[Outcome]:
    """What both sides say of every program of a corpus, in no particular order."""
    jobs = [(number, count, seed) for number in range(count)]
    if workers == 1:
        yield from map(_numbered, jobs)
        return
    # Ctrl-C reaches every process of a terminal. Workers inherit that it is ignored: who started
    # them ends them.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pool = multiprocessing.get_context("spawn").Pool(workers)
    finally:
        signal.signal(signal.SIGINT, before)
    with pool:
        yield from pool.imap_unordered(_numbered, jobs, chunksize=25)


def summary(
    found: Iterable[Outcome], progress: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """The counts of a run: `count`, `unsafe`, `safe`, `false_accepts`, `false_rejects`,
    `conservative` by documented rule, `by_class`, and up to 20 `disagreements` by name."""
    by_class: dict[str, Counter[str]] = {}
    conservative: Counter[str] = Counter(dict.fromkeys(CAUTIONS, 0))
    total: Counter[str] = Counter()
    disagreements: list[dict[str, str]] = []
    for o in found:
        counts = by_class.setdefault(
            o.kind, Counter(count=0, unsafe=0, safe=0, false_accepts=0, false_rejects=0)
        )
        seen = {
            "count": 1,
            "unsafe": int(bool(o.fault)),
            "safe": int(not o.fault),
            "false_accepts": int(o.false_accept),
            "false_rejects": int(o.false_reject),
        }
        counts.update(seen)
        total.update(seen)
        if o.caution:
            conservative[o.caution] += 1
        if (o.false_accept or o.false_reject) and len(disagreements) < 20:
            disagreements.append(
                {"class": o.kind, "name": o.name, "oracle": o.fault, "verifier": o.violation}
            )
        progress()
    return {
        **{
            key: total[key] for key in ("count", "unsafe", "safe", "false_accepts", "false_rejects")
        },
        "conservative": dict(conservative),
        "by_class": {kind: dict(counts) for kind, counts in sorted(by_class.items())},
        "disagreements": disagreements,
    }
