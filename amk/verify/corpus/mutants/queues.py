"""Instructions in other places: of a queue, or of another SM."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from amk.ir.capacity import MAX_SMS
from amk.ir.kernels import Embed, Ref, Weight
from amk.ir.program import Buffer, Program, Run, Tensor
from amk.verify.corpus.mutants.edits import (
    at,
    edited,
    inserted,
    mutant,
    some,
    waits_of_both,
    with_queue,
    without,
)


@mutant
def neighbors_swapped(p: Program, rng: Random) -> Program | None:
    sm = rng.randrange(len(p.queues))
    queue = list(p.queues[sm])
    if len(queue) < 2:
        return None
    i = rng.randrange(len(queue) - 1)
    queue[i], queue[i + 1] = queue[i + 1], queue[i]
    return with_queue(p, sm, queue)


@mutant
def queue_order_swapped(p: Program, rng: Random) -> Program | None:
    sm = rng.randrange(len(p.queues))
    queue = list(p.queues[sm])
    if len(queue) < 2:
        return None
    i, j = rng.sample(range(len(queue)), 2)
    queue[i], queue[j] = queue[j], queue[i]
    return with_queue(p, sm, queue)


@mutant
def queues_cross(p: Program, rng: Random) -> Program | None:
    """Neighbors are swapped on two SMs: with in-order queues, SMs may wait for each other though
    the graph of dependences has no cycle."""
    first = neighbors_swapped(p, rng)
    return first and neighbors_swapped(first, rng)


@mutant
def exchanged_between_sms(p: Program, rng: Random) -> Program | None:
    if len(p.queues) < 2:
        return None
    a, b = rng.sample(range(len(p.queues)), 2)
    x = (a, rng.randrange(len(p.queues[a])))
    y = (b, rng.randrange(len(p.queues[b])))
    run, other = at(p, x), at(p, y)
    out = with_queue(p, a, [*p.queues[a][: x[1]], other, *p.queues[a][x[1] + 1 :]])
    return with_queue(out, b, [*p.queues[b][: y[1]], run, *p.queues[b][y[1] + 1 :]])


@mutant
def moved_to_another_sm(p: Program, rng: Random) -> Program | None:
    where = some(p, rng)
    if where is None or len(p.queues) < 2:
        return None
    other = rng.choice([s for s in range(len(p.queues)) if s != where[0]])
    order = list(p.kernels)
    rank = order.index(at(p, where).kernel)
    place = sum(order.index(run.kernel) <= rank for run in p.queues[other])
    return without(inserted(p, (other, place), at(p, where)), where)


@mutant
def sms_renumbered(p: Program, rng: Random) -> Program | None:
    """Safe: queues do not know their SM."""
    return replace(p, queues=rng.sample(p.queues, len(p.queues)))


@mutant
def one_sm_too_many(p: Program, rng: Random) -> Program | None:
    """A block more than can be resident."""
    sink = Buffer("idle", "local", 1, "f32")
    kernel = Embed(1, 1, Ref("token"), Weight("idle.table"), Ref("idle"))
    more = MAX_SMS + 1 - len(p.queues)
    return replace(
        p,
        buffers=p.buffers | {"idle": sink},
        kernels=p.kernels | {"idle": kernel},
        tensors=p.tensors | {"idle.table": Tensor("idle.table", (32, 1), "f32")},
        queues=[*p.queues, *([Run("idle", 0, 1)] for _ in range(more))],
    )


@mutant
def sm_added_empty(p: Program, rng: Random) -> Program | None:
    return replace(p, queues=[*p.queues, []])


@mutant
def instruction_dropped(p: Program, rng: Random) -> Program | None:
    where = some(p, rng)
    return where and without(p, where)


@mutant
def instruction_duplicated(p: Program, rng: Random) -> Program | None:
    where = some(p, rng)
    if where is None:
        return None
    other = rng.randrange(len(p.queues))
    place = rng.choice((where, (other, rng.randrange(len(p.queues[other]) + 1))))
    run = at(p, where)
    return inserted(p, place, replace(run, signals=()) if rng.random() < 0.5 else run)


@mutant
def instruction_split(p: Program, rng: Random) -> Program | None:
    """A read is covered by two writers: safe where each still waits for what it needs."""
    where = some(p, rng, lambda run: run.hi - run.lo > 1)
    if where is None:
        return None
    run = at(p, where)
    cut = rng.randrange(run.lo + 1, run.hi)
    out = edited(p, where, lo=cut)
    return inserted(out, where, replace(run, hi=cut, signals=()))


@mutant
def instruction_split_over_sms(p: Program, rng: Random) -> Program | None:
    """One half moves to another SM, and so do half of the arrivals."""
    where = some(p, rng, lambda run: run.hi - run.lo > 1)
    if where is None or len(p.queues) < 2:
        return None
    run = at(p, where)
    cut = rng.randrange(run.lo + 1, run.hi)
    other = rng.choice([s for s in range(len(p.queues)) if s != where[0]])
    order = list(p.kernels)
    place = sum(order.index(r.kernel) <= order.index(run.kernel) for r in p.queues[other])
    split = any(s.amount > 1 for s in run.signals)
    mine = tuple(replace(s, amount=max(1, s.amount - 1)) for s in run.signals)
    its = tuple(replace(s, amount=1) for s in run.signals) if split else ()
    out = edited(p, where, hi=cut, signals=mine)
    return inserted(out, (other, place), replace(run, lo=cut, signals=its))


@mutant
def instructions_merged(p: Program, rng: Random) -> Program | None:
    """Two neighboring ranges become one instruction, with the waits and signals of both."""
    found = [
        (s, i)
        for s, q in enumerate(p.queues)
        for i in range(len(q) - 1)
        if q[i].kernel == q[i + 1].kernel and q[i].hi == q[i + 1].lo
    ]
    if not found:
        return None
    where = rng.choice(found)
    a, b = at(p, where), at(p, (where[0], where[1] + 1))
    out = without(p, (where[0], where[1] + 1))
    return edited(out, where, hi=b.hi, waits=waits_of_both(a, b), signals=a.signals + b.signals)
