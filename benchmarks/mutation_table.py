"""Mutation testing of the verifier: which classes of unsafe programs slip through without a rule.

Each rule of the vm verifier is disabled in turn, over every unsafe program of the corpus. A program
is counted under a rule if it is accepted without it, or if the checks that come after it break
down on what it should have kept from them. Every rule must have a class that only it catches.

    python benchmarks/mutation_table.py [--count N] [--seed S] [--json]

Exit status 1 if some rule catches nothing by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context

from amk.ir.program import Program
from amk.verify import accesses_of
from amk.verify.corpus.fuzz import sample
from amk.verify.corpus.oracle import judge
from amk.verify.coverage import check_coverage
from amk.verify.experts import check_experts
from amk.verify.order import settled
from amk.verify.ring import check_ring
from amk.verify.roles import check_late, check_sizes
from amk.verify.structure import check_structure, check_words
from amk.verify.tokens import check_tokens
from amk.verify.violation import Violation

RULES = tuple(
    [f"E{i}" for i in range(1, 10)]
    + [f"L{i}" for i in range(1, 6)]
    + [f"K{i}" for i in range(1, 6)]
    + [f"C{i}" for i in range(1, 6)]
    + ["D1", "R1", "R2", "R3", "R4", "R5", "X1", "X2"]
)

Stage = Callable[[Program], Iterable[Violation]]
STAGES: tuple[Stage, ...] = (
    lambda p: [*check_structure(p), *check_ring(p, p.ring)],
    check_sizes,
    lambda p: [
        *check_words(p, accesses_of(p)),
        *check_coverage(p, accesses_of(p)),
        *check_experts(p, {run.kernel for queue in p.queues for run in queue}),
        *check_tokens(p, {run.kernel for queue in p.queues for run in queue}),
        *check_late(p, accesses_of(p)),
    ],
    lambda p: settled(p, accesses_of(p)).found,
)
"""The checks of `amk.verify.verify_program`; each runs only if those before it find nothing."""


def stage_rules(p: Program, without: str = "") -> set[str]:
    """The rules that the first stage with any violation finds broken, one rule left out."""
    for stage in STAGES:
        found = {v.rule for v in stage(p)} - {without}
        if found:
            return found
    return set()


def caught_alone(job: tuple[int, int, int]) -> tuple[str, str] | None:
    """Class of a program, and the rule without which nobody would refuse it."""
    s = sample(*job)
    rules = stage_rules(s.program)
    if len(rules) != 1 or judge(s.program) is None:
        return None
    rule = rules.pop()
    try:
        return None if stage_rules(s.program, without=rule) else (s.kind, rule)
    except Exception:
        return s.kind, rule


def results(count: int, seed: int) -> Iterator[tuple[str, str] | None]:
    with get_context("spawn").Pool(2) as pool:
        jobs = [(number, count, seed) for number in range(count)]
        yield from pool.imap_unordered(caught_alone, jobs, chunksize=25)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for number, found in enumerate(results(args.count, args.seed), 1):
        if found:
            table[found[1]][found[0]] += 1
        if sys.stderr.isatty() and number % 100 == 0:
            print(f"\r{number} of {args.count} programs", end="", file=sys.stderr)
    idle = [rule for rule in RULES if not table[rule]]
    if args.json:
        print(json.dumps({"rules": {r: dict(table[r]) for r in RULES}, "idle": idle}))
        return bool(idle)
    print("rule  false accepts without it, by class")
    for rule in RULES:
        classes = ", ".join(f"{kind} {n}" for kind, n in table[rule].most_common(5))
        more = len(table[rule]) - 5
        rest = f", and {more} more classes" if more > 0 else ""
        print(f"{rule:<5} {table[rule].total():>5}  {classes or 'NONE'}{rest}")
    return bool(idle)


if __name__ == "__main__":
    sys.exit(main())
