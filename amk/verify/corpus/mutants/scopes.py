"""Releases, acquires and fences that are none."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from amk.ir.program import SCOPES, Program
from amk.verify.corpus.mutants.edits import (
    all_changed,
    changed_signal,
    changed_wait,
    edited,
    mutant,
    some,
    with_queue,
)


@mutant
def acquire_weakened(p: Program, rng: Random) -> Program | None:
    """A wait that acquires nothing: at CTA scope, or relaxed."""
    return changed_wait(p, rng, lambda w: replace(w, scope=rng.choice(SCOPES[1:])))


@mutant
def release_weakened(p: Program, rng: Random) -> Program | None:
    return changed_signal(p, rng, lambda s: replace(s, scope=rng.choice(SCOPES[1:])))


@mutant
def counter_without_scope(p: Program, rng: Random) -> Program | None:
    """One counter is nothing but a number to all who use it."""
    if p.counters == 0:
        return None
    c = rng.randrange(p.counters)

    return all_changed(
        p,
        lambda w: replace(w, scope="relaxed") if w.counter == c else w,
        lambda s: replace(s, scope="relaxed") if s.counter == c else s,
    )


@mutant
def unknown_scope(p: Program, rng: Random) -> Program | None:
    return changed_wait(p, rng, lambda w: replace(w, scope=rng.choice(("", "warp", "GPU"))))


@mutant
def fence_dropped(p: Program, rng: Random) -> Program | None:
    where = some(p, rng, lambda run: run.fence)
    return where and edited(p, where, fence=False)


@mutant
def fence_moved(p: Program, rng: Random) -> Program | None:
    """To another instruction of the same SM, or of any."""
    where = some(p, rng, lambda run: run.fence)
    if where is None:
        return None
    sm = where[0] if rng.random() < 0.7 else rng.randrange(len(p.queues))
    to = (sm, rng.randrange(len(p.queues[sm])))
    return edited(edited(p, where, fence=False), to, fence=True)


@mutant
def fences_dropped(p: Program, rng: Random) -> Program | None:
    """All of one SM."""
    where = some(p, rng, lambda run: run.fence)
    if where is None:
        return None
    return with_queue(p, where[0], [replace(run, fence=False) for run in p.queues[where[0]]])
