"""Ways to change a program by a little: one function a class.

A mutant is given a safe program and random choices, and returns a changed program, or None where
the program has nothing of that kind to change. Whether the result is safe is the oracle's word:
to drop a wait that another one implies harms nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from random import Random
from typing import Any

from amk.ir.kernels import (
    Append,
    Attention,
    Binary,
    Cache,
    Embed,
    Gemv,
    Kernel,
    MoeDown,
    MoeGateUp,
    Ref,
    RowKernel,
    Topk,
    Weight,
)
from amk.ir.program import SCOPES, Buffer, Program, Ring, Run, Signal, Tensor, Wait

Mutant = Callable[[Program, Random], Program | None]
At = tuple[int, int]
"""SM and index of an instruction."""

MUTANTS: dict[str, Mutant] = {}


def mutant(f: Mutant) -> Mutant:
    """Registers a class under its function's name, in kebab case."""
    MUTANTS[f.__name__.replace("_", "-")] = f  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    return f


# How to change a program


def at(p: Program, where: At) -> Run:
    return p.queues[where[0]][where[1]]


def with_queue(p: Program, sm: int, queue: list[Run]) -> Program:
    queues = list(p.queues)
    queues[sm] = queue
    return replace(p, queues=queues)


def edited(p: Program, where: At, **changes: Any) -> Program:
    """With another instruction in one place."""
    queue = list(p.queues[where[0]])
    queue[where[1]] = replace(queue[where[1]], **changes)
    return with_queue(p, where[0], queue)


def without(p: Program, where: At) -> Program:
    queue = list(p.queues[where[0]])
    del queue[where[1]]
    return with_queue(p, where[0], queue)


def inserted(p: Program, where: At, run: Run) -> Program:
    queue = list(p.queues[where[0]])
    queue.insert(where[1], run)
    return with_queue(p, where[0], queue)


def some(p: Program, rng: Random, good: Callable[[Run], object] = lambda run: True) -> At | None:
    """A random instruction of some kind."""
    places = [
        (s, i) for s, queue in enumerate(p.queues) for i, run in enumerate(queue) if good(run)
    ]
    return rng.choice(places) if places else None


def with_kernel(p: Program, name: str, **changes: Any) -> Program:
    return replace(p, kernels=p.kernels | {name: replace(p.kernels[name], **changes)})


def with_buffer(p: Program, name: str, **changes: Any) -> Program:
    return replace(p, buffers=p.buffers | {name: replace(p.buffers[name], **changes)})


def operands(p: Program) -> list[tuple[str, str, Ref]]:
    """Kernel, field and place of every operand in a buffer."""
    return [
        (name, f.name, ref)
        for name, k in p.kernels.items()
        for f in fields(k)
        if isinstance(ref := getattr(k, f.name), Ref)
    ]


def some_operand(
    p: Program, rng: Random, good: Callable[[Ref], object] = lambda ref: True
) -> tuple[str, str, Ref] | None:
    found = [entry for entry in operands(p) if good(entry[2])]
    return rng.choice(found) if found else None


def some_kernel(p: Program, rng: Random, kind: type[Kernel]) -> str | None:
    found = [name for name, k in p.kernels.items() if isinstance(k, kind)]
    return rng.choice(found) if found else None


def waiting(run: Run) -> object:
    return run.waits


def signaling(run: Run) -> object:
    return run.signals


def changed_wait(p: Program, rng: Random, change: Callable[[Wait], Wait]) -> Program | None:
    where = some(p, rng, waiting)
    if where is None:
        return None
    waits = list(at(p, where).waits)
    i = rng.randrange(len(waits))
    waits[i] = change(waits[i])
    return edited(p, where, waits=tuple(waits))


def changed_signal(p: Program, rng: Random, change: Callable[[Signal], Signal]) -> Program | None:
    where = some(p, rng, signaling)
    if where is None:
        return None
    signals = list(at(p, where).signals)
    i = rng.randrange(len(signals))
    signals[i] = change(signals[i])
    return edited(p, where, signals=tuple(signals))


# Waits and signals


@mutant
def wait_dropped(p: Program, rng: Random) -> Program | None:
    where = some(p, rng, waiting)
    if where is None:
        return None
    waits = list(at(p, where).waits)
    del waits[rng.randrange(len(waits))]
    return edited(p, where, waits=tuple(waits))


@mutant
def waits_all_dropped(p: Program, rng: Random) -> Program | None:
    where = some(p, rng, waiting)
    return where and edited(p, where, waits=())


@mutant
def wait_one_too_few(p: Program, rng: Random) -> Program | None:
    """A partial threshold, where there is more than one arrival."""
    where = some(p, rng, lambda run: any(w.threshold > 1 for w in run.waits))
    if where is None:
        return None
    waits = list(at(p, where).waits)
    i = rng.choice([i for i, w in enumerate(waits) if w.threshold > 1])
    waits[i] = replace(waits[i], threshold=waits[i].threshold - 1)
    return edited(p, where, waits=tuple(waits))


@mutant
def wait_one_too_many(p: Program, rng: Random) -> Program | None:
    return changed_wait(p, rng, lambda w: replace(w, threshold=w.threshold + 1))


@mutant
def wait_threshold_zero(p: Program, rng: Random) -> Program | None:
    return changed_wait(p, rng, lambda w: replace(w, threshold=0))


@mutant
def wait_on_wrong_counter(p: Program, rng: Random) -> Program | None:
    if p.counters < 2:
        return None
    return changed_wait(p, rng, lambda w: replace(w, counter=rng.randrange(p.counters)))


@mutant
def counter_out_of_range(p: Program, rng: Random) -> Program | None:
    wrong = rng.choice((-1, p.counters, 2**31))
    if rng.random() < 0.5:
        return changed_wait(p, rng, lambda w: replace(w, counter=wrong))
    return changed_signal(p, rng, lambda s: replace(s, counter=wrong))


@mutant
def wait_duplicated(p: Program, rng: Random) -> Program | None:
    """The same wait twice, here or at a later instruction of the SM."""
    where = some(p, rng, waiting)
    if where is None:
        return None
    wait = rng.choice(at(p, where).waits)
    later = (where[0], rng.randrange(where[1], len(p.queues[where[0]])))
    return edited(p, later, waits=(*at(p, later).waits, wait))


@mutant
def wait_added(p: Program, rng: Random) -> Program | None:
    """A wait for all arrivals of a counter, anywhere: redundant, or a deadlock."""
    totals: dict[int, int] = {}
    for queue in p.queues:
        for run in queue:
            for s in run.signals:
                totals[s.counter] = totals.get(s.counter, 0) + s.amount
    if not totals:
        return None
    counter = rng.choice(sorted(totals))
    where = some(p, rng)
    assert where
    wait = Wait(counter, totals[counter])
    return edited(p, where, waits=(*at(p, where).waits, wait))


@mutant
def epoch_not_scaled(p: Program, rng: Random) -> Program | None:
    return changed_wait(p, rng, lambda w: replace(w, scaled=False))


@mutant
def wait_for_half(p: Program, rng: Random) -> Program | None:
    """A threshold of any part of the arrivals of a counter that several instructions signal."""
    return changed_wait(p, rng, lambda w: replace(w, threshold=rng.randint(1, w.threshold)))


@mutant
def wait_moved_later(p: Program, rng: Random) -> Program | None:
    """To the next instruction of the SM."""
    where = some(p, rng, waiting)
    if where is None or where[1] + 1 == len(p.queues[where[0]]):
        return None
    run, after = at(p, where), (where[0], where[1] + 1)
    out = edited(p, after, waits=tuple({*at(p, after).waits, *run.waits}))
    return edited(out, where, waits=())


@mutant
def wait_moved_earlier(p: Program, rng: Random) -> Program | None:
    """To the instruction ahead on the SM."""
    where = some(p, rng, waiting)
    if where is None or where[1] == 0:
        return None
    run, ahead = at(p, where), (where[0], where[1] - 1)
    out = edited(p, ahead, waits=tuple({*at(p, ahead).waits, *run.waits}))
    return edited(out, where, waits=())


@mutant
def signal_dropped(p: Program, rng: Random) -> Program | None:
    where = some(p, rng, signaling)
    if where is None:
        return None
    signals = list(at(p, where).signals)
    del signals[rng.randrange(len(signals))]
    return edited(p, where, signals=tuple(signals))


@mutant
def signal_duplicated(p: Program, rng: Random) -> Program | None:
    """An arrival too many: the threshold is reached before everybody came."""
    where = some(p, rng, signaling)
    if where is None:
        return None
    signals = at(p, where).signals
    other = some(p, rng)
    assert other
    target = rng.choice((where, other))
    return edited(p, target, signals=(*at(p, target).signals, rng.choice(signals)))


@mutant
def signal_to_wrong_counter(p: Program, rng: Random) -> Program | None:
    if p.counters < 2:
        return None
    return changed_signal(p, rng, lambda s: replace(s, counter=rng.randrange(p.counters)))


@mutant
def signal_of_wrong_amount(p: Program, rng: Random) -> Program | None:
    by = rng.choice((-1, 1, 1))
    return changed_signal(p, rng, lambda s: replace(s, amount=s.amount + by))


@mutant
def signal_moved_earlier(p: Program, rng: Random) -> Program | None:
    """To the instruction ahead on the SM, before the writes that it announces."""
    where = some(p, rng, signaling)
    if where is None or where[1] == 0:
        return None
    ahead = (where[0], where[1] - 1)
    out = edited(p, ahead, signals=at(p, ahead).signals + at(p, where).signals)
    return edited(out, where, signals=())


@mutant
def signal_moved_later(p: Program, rng: Random) -> Program | None:
    where = some(p, rng, signaling)
    if where is None or where[1] + 1 == len(p.queues[where[0]]):
        return None
    after = (where[0], where[1] + 1)
    out = edited(p, after, signals=at(p, after).signals + at(p, where).signals)
    return edited(out, where, signals=())


@mutant
def counter_preset(p: Program, rng: Random) -> Program | None:
    """An instruction at the head of a queue adds to a counter what others should bring; the
    thresholds count it, so that nothing looks amiss."""
    where = some(p, rng, signaling)
    if where is None:
        return None
    signal = rng.choice(at(p, where).signals)
    head = (rng.randrange(len(p.queues)), 0)
    return edited(p, head, signals=(*at(p, head).signals, signal))


@mutant
def counter_overflows(p: Program, rng: Random) -> Program | None:
    """All amounts and thresholds of one counter are scaled up, and stay consistent."""
    where = some(p, rng, signaling)
    if where is None:
        return None
    counter, by = at(p, where).signals[0].counter, rng.choice((2, 1 << 10, 1 << 15, 1 << 20))
    queues = [
        [
            replace(
                run,
                waits=tuple(
                    replace(w, threshold=w.threshold * by) if w.counter == counter else w
                    for w in run.waits
                ),
                signals=tuple(
                    replace(s, amount=s.amount * by) if s.counter == counter else s
                    for s in run.signals
                ),
            )
            for run in queue
        ]
        for queue in p.queues
    ]
    return replace(p, queues=queues)


@mutant
def counters_shared(p: Program, rng: Random) -> Program | None:
    """Two counters become one, and its waiters wait for the arrivals of both."""
    if p.counters < 2:
        return None
    a, b = rng.sample(range(p.counters), 2)
    total = sum(s.amount for q in p.queues for r in q for s in r.signals if s.counter in (a, b))
    queues = [
        [
            replace(
                run,
                waits=tuple(
                    Wait(a, total, w.scaled) if w.counter in (a, b) else w for w in run.waits
                ),
                signals=tuple(replace(s, counter=a) if s.counter == b else s for s in run.signals),
            )
            for run in queue
        ]
        for queue in p.queues
    ]
    return replace(p, queues=queues)


@mutant
def counters_shared_thresholds_kept(p: Program, rng: Random) -> Program | None:
    """Two counters become one; each waiter still waits for as many arrivals as before."""
    if p.counters < 2:
        return None
    a, b = rng.sample(range(p.counters), 2)
    queues = [
        [
            replace(
                run,
                waits=tuple(replace(w, counter=a) if w.counter == b else w for w in run.waits),
                signals=tuple(replace(s, counter=a) if s.counter == b else s for s in run.signals),
            )
            for run in queue
        ]
        for queue in p.queues
    ]
    return replace(p, queues=queues)


@mutant
def counters_renumbered(p: Program, rng: Random) -> Program | None:
    """Safe: numbers mean nothing."""
    if p.counters < 2:
        return None
    new = rng.sample(range(p.counters), p.counters)
    queues = [
        [
            replace(
                run,
                waits=tuple(replace(w, counter=new[w.counter]) for w in run.waits),
                signals=tuple(replace(s, counter=new[s.counter]) for s in run.signals),
            )
            for run in queue
        ]
        for queue in p.queues
    ]
    return replace(p, queues=queues)


@mutant
def release_dropped(p: Program, rng: Random) -> Program | None:
    """A counter is replaced by a flagged word that the signaller writes and the waiter polls: the
    order remains, what was released and acquired is gone."""
    where = some(p, rng, waiting)
    if where is None:
        return None
    wait = rng.choice(at(p, where).waits)
    sources = [
        (s, i)
        for s, queue in enumerate(p.queues)
        for i, run in enumerate(queue)
        if any(x.counter == wait.counter for x in run.signals)
    ]
    buffers, kernels, out = dict(p.buffers), dict(p.kernels), p
    buffers["hand.none"] = Buffer("hand.none", "local", 1, "f32")
    for number, source in enumerate(sources):
        buffers[f"hand{number}"] = Buffer(f"hand{number}", "flagged", 1, "f32")
        # Out of local memory that this SM fills itself, into a word; and from the word into memory
        # that nobody reads.
        zero, word = Ref("hand.none"), Ref(f"hand{number}")
        sink = Buffer(f"hand{number}.got", "local", 1, "f32")
        buffers[sink.name] = sink
        kernels["hand.fill"] = Embed(1, 1, Ref("token"), Weight("hand.table"), zero)
        kernels[f"hand{number}.put"] = Binary(1, 1, "add", zero, zero, word)
        kernels[f"hand{number}.get"] = Binary(1, 1, "add", word, word, Ref(sink.name))
        put = Run(f"hand{number}.put", 0, 1)
        fill = Run("hand.fill", 0, 1)
        out = inserted(out, (source[0], source[1] + 1), put)
        out = inserted(out, (source[0], source[1] + 1), fill)
        if source[0] == where[0] and source[1] < where[1]:
            where = (where[0], where[1] + 2)
    if len({s for s, _ in sources}) < len(sources):
        return None
    waits = tuple(w for w in at(out, where).waits if w is not wait)
    out = edited(out, where, waits=waits)
    for number in range(len(sources)):
        out = inserted(out, where, Run(f"hand{number}.get", 0, 1))
    from amk.ir.program import Tensor

    tensors = p.tensors | {"hand.table": Tensor("hand.table", (32, 1), "f32")}
    return replace(out, buffers=buffers, kernels=kernels, tensors=tensors)


# Scopes and fences


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

    def weak(x: Wait | Signal) -> str:
        return "relaxed" if x.counter == c else x.scope

    queues = [
        [
            replace(
                run,
                waits=tuple(replace(w, scope=weak(w)) for w in run.waits),
                signals=tuple(replace(s, scope=weak(s)) for s in run.signals),
            )
            for run in queue
        ]
        for queue in p.queues
    ]
    return replace(p, queues=queues)


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


# Queues


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
    return edited(
        out, where, hi=b.hi, waits=tuple({*a.waits, *b.waits}), signals=a.signals + b.signals
    )


# Tiles


def changed_range(
    p: Program, rng: Random, lo: int, hi: int, good: Callable[[Run], object]
) -> Program | None:
    where = some(p, rng, good)
    if where is None:
        return None
    run = at(p, where)
    return edited(p, where, lo=run.lo + lo, hi=run.hi + hi)


@mutant
def tile_shifted(p: Program, rng: Random) -> Program | None:
    by = rng.choice((-1, 1))
    return changed_range(p, rng, by, by, lambda r: r.lo + by >= 0 and r.hi + by <= grid(p, r))


def grid(p: Program, run: Run) -> int:
    return p.kernels[run.kernel].grid


@mutant
def tile_enlarged(p: Program, rng: Random) -> Program | None:
    return changed_range(p, rng, 0, 1, lambda r: r.hi < grid(p, r))


@mutant
def tile_out_of_bounds(p: Program, rng: Random) -> Program | None:
    if rng.random() < 0.3:
        return changed_range(p, rng, -1, 0, lambda r: r.lo == 0)
    return changed_range(p, rng, 0, rng.choice((1, 1, 5)), lambda r: r.hi == grid(p, r))


@mutant
def tile_missing(p: Program, rng: Random) -> Program | None:
    """The last tile of an instruction is not run; with one tile, none is left."""
    return changed_range(p, rng, 0, -1, lambda r: True)


@mutant
def tile_size_changed(p: Program, rng: Random) -> Program | None:
    """Of a kernel, whose instructions keep their numbers of tiles."""
    name = some_kernel(p, rng, RowKernel)
    if name is None:
        return None
    kernel = p.kernels[name]
    assert isinstance(kernel, RowKernel)
    return with_kernel(p, name, tile=max(1, kernel.tile + rng.choice((-1, 1, -2, 2))))


@mutant
def rows_changed(p: Program, rng: Random) -> Program | None:
    """A kernel has a row more or less than its weights and buffers."""
    name = some_kernel(p, rng, RowKernel)
    if name is None:
        return None
    kernel = p.kernels[name]
    assert isinstance(kernel, RowKernel)
    return with_kernel(p, name, n=max(1, kernel.n + rng.choice((-2, -1, 1, 2))))


@mutant
def operand_shifted(p: Program, rng: Random) -> Program | None:
    """An operand begins some elements further on, in a buffer that may be large enough."""
    found = some_operand(p, rng)
    if found is None:
        return None
    name, of, ref = found
    by = rng.choice((1, 2, 4, -1))
    if rng.random() < 0.5:
        p = with_buffer(p, ref.buffer, length=p.buffers[ref.buffer].length + abs(by))
    return with_kernel(p, name, **{of: replace(ref, offset=ref.offset + by)})


# Buffers


@mutant
def wrong_use(p: Program, rng: Random) -> Program | None:
    """A reader or writer names another value of the same buffer."""
    found = some_operand(p, rng, lambda ref: p.buffers[ref.buffer].uses > 1)
    if found is None:
        return None
    name, of, ref = found
    uses = p.buffers[ref.buffer].uses
    return with_kernel(p, name, **{of: replace(ref, use=(ref.use + rng.randrange(1, uses)) % uses)})


@mutant
def use_that_nobody_writes(p: Program, rng: Random) -> Program | None:
    """A buffer gets one more use, which one operand names."""
    found = some_operand(p, rng)
    if found is None:
        return None
    name, of, ref = found
    uses = p.buffers[ref.buffer].uses
    out = with_buffer(p, ref.buffer, uses=uses + 1)
    return with_kernel(out, name, **{of: replace(ref, use=uses)})


@mutant
def uses_permuted(p: Program, rng: Random) -> Program | None:
    """The values of a buffer take other turns than their epochs say."""
    many = [b for b in p.buffers.values() if b.uses > 1]
    if not many:
        return None
    b = rng.choice(many)
    turn = rng.sample(range(b.uses), b.uses)
    return renamed(p, {b.name: b.name}, lambda ref: turn[ref.use])


def renamed(
    p: Program, names: dict[str, str], use: Callable[[Ref], int] = lambda ref: ref.use
) -> Program:
    """With operands in other buffers and uses."""
    kernels = {
        name: replace(
            k,
            **{
                f.name: replace(ref, buffer=names[ref.buffer], use=use(ref))
                for f in fields(k)
                if isinstance(ref := getattr(k, f.name), Ref) and ref.buffer in names
            },
        )
        for name, k in p.kernels.items()
    }
    return replace(p, kernels=kernels)


def alike(p: Program, rng: Random) -> tuple[Buffer, Buffer] | None:
    """Two buffers that could share memory."""
    pairs = [
        (a, b)
        for a in p.buffers.values()
        for b in p.buffers.values()
        if a.name != b.name and (a.space, a.dtype, a.length) == (b.space, b.dtype, b.length)
    ]
    return rng.choice(pairs) if pairs else None


@mutant
def buffers_share_memory(p: Program, rng: Random) -> Program | None:
    """Two buffers become uses of one: safe where each is read before the other is written."""
    pair = alike(p, rng)
    if pair is None:
        return None
    a, b = pair
    out = with_buffer(p, a.name, uses=a.uses + b.uses)
    del out.buffers[b.name]
    return renamed(out, {b.name: a.name}, lambda ref: ref.use + a.uses)


@mutant
def buffers_of_a_kind_share_memory(p: Program, rng: Random) -> Program | None:
    """All buffers of one kind become uses of one."""
    pair = alike(p, rng)
    if pair is None:
        return None
    kind = [
        b
        for b in p.buffers.values()
        if (b.space, b.dtype, b.length) == (pair[0].space, pair[0].dtype, pair[0].length)
    ]
    uses, out = 0, replace(p, buffers=dict(p.buffers))
    for b in kind:
        first = uses
        out = renamed(out, {b.name: "shared"}, lambda ref, first=first: ref.use + first)
        uses += b.uses
        del out.buffers[b.name]
    out.buffers["shared"] = replace(kind[0], name="shared", uses=uses)
    return out


@mutant
def buffer_aliased(p: Program, rng: Random) -> Program | None:
    """Two buffers become one, and the values of both the same value."""
    pair = alike(p, rng)
    if pair is None:
        return None
    out = with_buffer(p, pair[0].name, uses=max(pair[0].uses, pair[1].uses))
    return renamed(out, {pair[1].name: pair[0].name})


@mutant
def operand_in_wrong_buffer(p: Program, rng: Random) -> Program | None:
    found = some_operand(p, rng)
    if found is None:
        return None
    name, of, ref = found
    return with_kernel(p, name, **{of: replace(ref, buffer=rng.choice(list(p.buffers)), use=0)})


@mutant
def buffer_undersized(p: Program, rng: Random) -> Program | None:
    b = rng.choice(list(p.buffers.values()))
    return with_buffer(p, b.name, length=b.length - rng.choice((1, 1, 2, b.length)))


@mutant
def buffer_oversized(p: Program, rng: Random) -> Program | None:
    """Safe, except where all of an output is to be written."""
    b = rng.choice(list(p.buffers.values()))
    return with_buffer(p, b.name, length=b.length + rng.choice((1, 2, 8)))


@mutant
def epoch_recurs(p: Program, rng: Random) -> Program | None:
    """So many uses that 32 bits of epoch are used up too soon."""
    b = rng.choice(list(p.buffers.values()))
    return with_buffer(p, b.name, uses=rng.choice((1 << 14, (1 << 15) + 1, 1 << 16, 1 << 20)))


@mutant
def flagged_read_without_poll(p: Program, rng: Random) -> Program | None:
    """A flagged buffer becomes plain: its readers do not wait for its words any more."""
    found = [b.name for b in p.buffers.values() if b.space == "flagged"]
    return with_buffer(p, rng.choice(found), space="plain") if found else None


@mutant
def plain_made_flagged(p: Program, rng: Random) -> Program | None:
    """Safe: what counters order, polls order too; unless a word is cut."""
    found = [b.name for b in p.buffers.values() if b.space == "plain"]
    return with_buffer(p, rng.choice(found), space="flagged") if found else None


@mutant
def shared_made_local(p: Program, rng: Random) -> Program | None:
    b = rng.choice(list(p.buffers.values()))
    return with_buffer(p, b.name, space="local") if b.space != "local" else None


@mutant
def local_made_shared(p: Program, rng: Random) -> Program | None:
    found = [b.name for b in p.buffers.values() if b.space == "local"]
    space = rng.choice(("plain", "flagged"))
    return with_buffer(p, rng.choice(found), space=space) if found else None


@mutant
def word_cut(p: Program, rng: Random) -> Program | None:
    """A flagged buffer holds two elements a word, and tiles may begin in the middle of one."""
    found = [b.name for b in p.buffers.values() if b.space == "flagged" and b.dtype == "f32"]
    if not found:
        return None
    out = with_buffer(p, rng.choice(found), dtype="bf16")
    return tile_size_changed(out, rng) if rng.random() < 0.5 else out


@mutant
def wrong_dtype(p: Program, rng: Random) -> Program | None:
    b = rng.choice(list(p.buffers.values()))
    return with_buffer(
        p, b.name, dtype=rng.choice([d for d in ("f32", "bf16", "i32") if d != b.dtype])
    )


@mutant
def weight_of_wrong_shape(p: Program, rng: Random) -> Program | None:
    if not p.tensors:
        return None
    t = rng.choice(list(p.tensors.values()))
    i = rng.randrange(len(t.shape))
    by = rng.choice((-1, 1))
    shape = (*t.shape[:i], t.shape[i] + by, *t.shape[i + 1 :])
    return replace(p, tensors=p.tensors | {t.name: replace(t, shape=shape)})


@mutant
def write_to_a_weight(p: Program, rng: Random) -> Program | None:
    """A kernel's output is the symbol of an immutable tensor."""
    outs = [(name, of) for name, of, _ in operands(p) if of in ("out", "res_out", "part", "cand")]
    if not outs or not p.tensors:
        return None
    name, of = rng.choice(outs)
    return with_kernel(p, name, **{of: Ref(rng.choice(list(p.tensors)))})


@mutant
def undeclared_symbol(p: Program, rng: Random) -> Program | None:
    kind = rng.choice(("buffers", "kernels", "tensors", "caches"))
    table = dict(getattr(p, kind))
    if not table:
        return None
    del table[rng.choice(list(table))]
    return replace(p, **{kind: table})


@mutant
def step_runs_ahead(p: Program, rng: Random) -> Program | None:
    """The chain from one token to the next is cut: embed takes a token that is made at the head of
    the same queue, so a fast SM overwrites what a slow one still reads for the token before."""
    name = some_kernel(p, rng, Embed)
    if name is None:
        return None
    from amk.ir.kernels import Argmax

    buffers = p.buffers | {
        "free": Buffer("free", "local", 1, "i32"),
        "seed": Buffer("seed", "local", 1, "f32"),
    }
    kernels = p.kernels | {
        name: replace(p.kernels[name], token=Ref("free")),  # pyright: ignore[reportCallIssue]
        "free.seed": Embed(1, 1, Ref("free"), Weight("free.table"), Ref("seed")),
        "free.next": Argmax(1, Ref("seed"), Ref("free")),
    }
    from amk.ir.program import Tensor

    tensors = p.tensors | {"free.table": Tensor("free.table", (32, 1), "f32")}
    ahead = [Run("free.seed", 0, 1), Run("free.next", 0, 1)]
    queues = [
        [*queue, *ahead] if any(r.kernel == name for r in queue) else queue for queue in p.queues
    ]
    return replace(p, buffers=buffers, kernels=kernels, tensors=tensors, queues=queues)


# Caches


@mutant
def cache_of_another_layer(p: Program, rng: Random) -> Program | None:
    names = [n for n, k in p.kernels.items() if isinstance(k, Attention | Append)]
    if not names or len(p.caches) < 2:
        return None
    return with_kernel(p, rng.choice(names), cache=Cache(rng.choice(list(p.caches))))


@mutant
def chunk_changed(p: Program, rng: Random) -> Program | None:
    """Splits take other rows than before: all of them together, or those of one kernel."""
    names = [n for n, k in p.kernels.items() if isinstance(k, Attention) and k.splits > 1]
    if not names:
        return None
    name = rng.choice(names)
    kernel = p.kernels[name]
    assert isinstance(kernel, Attention)
    return with_kernel(p, name, chunk=max(1, kernel.chunk + rng.choice((-1, 1, 2))))


@mutant
def one_tile_chunked_otherwise(p: Program, rng: Random) -> Program | None:
    """One attention tile takes its rows by another chunk: right at some positions only."""
    where = some(
        p, rng, lambda r: isinstance(k := p.kernels.get(r.kernel), Attention) and k.splits > 1
    )
    if where is None:
        return None
    run = at(p, where)
    kernel = p.kernels[run.kernel]
    assert isinstance(kernel, Attention)
    other = replace(kernel, chunk=kernel.chunk + rng.choice((1, 2)))
    kernels = p.kernels | {f"{run.kernel}.odd": other}
    return edited(replace(p, kernels=kernels), where, kernel=f"{run.kernel}.odd")


@mutant
def append_left_to_nobody(p: Program, rng: Random) -> Program | None:
    """One attention tile does not append its row, or an append is gone."""
    where = some(
        p,
        rng,
        lambda r: (
            isinstance(k := p.kernels.get(r.kernel), Append)
            or (isinstance(k, Attention) and k.k is not None)
        ),
    )
    if where is None:
        return None
    run = at(p, where)
    kernel = p.kernels[run.kernel]
    if isinstance(kernel, Append):
        return without(p, where)
    kernels = p.kernels | {f"{run.kernel}.mute": replace(kernel, k=None, v=None)}  # pyright: ignore[reportCallIssue]
    return edited(replace(p, kernels=kernels), where, kernel=f"{run.kernel}.mute")


@mutant
def row_appended_twice(p: Program, rng: Random) -> Program | None:
    """An append of its own, beside the one in attention; or the same one twice."""
    names = [n for n, k in p.kernels.items() if isinstance(k, Attention) and k.k and k.v]
    if not names:
        return None
    k = p.kernels[rng.choice(names)]
    assert isinstance(k, Attention) and k.k and k.v
    kernels = p.kernels | {"again": Append(k.kv_heads, k.head_dim, k.k, k.v, k.cache)}
    sm = rng.randrange(len(p.queues))
    tile = rng.randrange(k.kv_heads)
    place = (sm, rng.randint(len(p.queues[sm]) // 2, len(p.queues[sm])))
    return inserted(replace(p, kernels=kernels), place, Run("again", tile, tile + 1))


@mutant
def cache_shortened(p: Program, rng: Random) -> Program | None:
    """Fewer heads, or heads of another size."""
    if not p.caches:
        return None
    c = rng.choice(list(p.caches.values()))
    new = (
        replace(c, heads=c.heads - 1) if rng.random() < 0.5 else replace(c, head_dim=c.head_dim + 2)
    )
    return replace(p, caches=p.caches | {c.name: new})


@mutant
def part_read_by_position(p: Program, rng: Random) -> Program | None:
    """Partial results are plain memory without counters, or live where another value does."""
    names = [n for n, k in p.kernels.items() if isinstance(k, Attention) and k.part]
    if not names:
        return None
    name = rng.choice(names)
    kernel = p.kernels[name]
    assert isinstance(kernel, Attention) and kernel.part
    part = p.buffers[kernel.part.buffer]
    if rng.random() < 0.3:
        return with_buffer(p, part.name, space="plain" if part.space == "flagged" else "flagged")
    other = [
        b.name
        for b in p.buffers.values()
        if b.dtype == "f32" and b.length >= part.length and b.name != part.name
    ]
    if not other:
        return None
    host = rng.choice(other)
    b = p.buffers[host]
    out = with_buffer(p, host, uses=b.uses + part.uses)
    return renamed(out, {part.name: host}, lambda ref: ref.use + b.uses)


# The ring


# Mixtures of experts


@mutant
def expert_gone(p: Program, rng: Random) -> Program | None:
    """A matrix has an expert less, and its reader knows; the router does not, or is told too."""
    name = some_kernel(p, rng, rng.choice((MoeGateUp, MoeDown)))
    if name is None:
        return None
    k = p.kernels[name]
    assert isinstance(k, MoeGateUp | MoeDown)
    whole = p.weight(k.weight)
    if whole is None or k.experts < 2:
        return None
    rows = whole.shape[0] // k.experts * (k.experts - 1)
    fewer = Tensor(f"{k.weight}.fewer", (rows, *whole.shape[1:]), whole.dtype)
    p = replace(p, tensors=p.tensors | {fewer.name: fewer})
    return with_kernel(p, name, experts=k.experts - 1, weight=Weight(fewer.name))


@mutant
def router_wider(p: Program, rng: Random) -> Program | None:
    """A router looks at more values than there are experts, in a buffer that has them or not."""
    name = some_kernel(p, rng, Topk)
    if name is None:
        return None
    k = p.kernels[name]
    assert isinstance(k, Topk)
    wider = with_kernel(p, name, n=k.n + 1)
    if rng.random() < 0.5:
        wider = with_buffer(wider, k.x.buffer, length=p.buffers[k.x.buffer].length + 1)
    return wider


@mutant
def choice_left_out(p: Program, rng: Random) -> Program | None:
    """The router, or one half of the experts, takes a choice less than the others."""
    name = some_kernel(p, rng, rng.choice((Topk, MoeGateUp, MoeDown)))
    if name is None:
        return None
    k = p.kernels[name]
    assert isinstance(k, Topk | MoeGateUp | MoeDown)
    if k.choices < 2:
        return None
    changes: dict[str, int] = {"choices": k.choices - 1}
    if isinstance(k, MoeGateUp):
        changes["n"] = k.width * (k.choices - 1)
    return with_kernel(p, name, **changes)


@mutant
def ids_of_another(p: Program, rng: Random) -> Program | None:
    """Expert ids, or their weights, of another layer; or the token where an id should be."""
    name = some_kernel(p, rng, rng.choice((MoeGateUp, MoeDown)))
    if name is None:
        return None
    k = p.kernels[name]
    assert isinstance(k, MoeGateUp | MoeDown)
    others = [ref for ref in (getattr(o, "ids", None) for o in p.kernels.values()) if ref]
    ids = rng.choice([*others, Ref("token")])
    return with_kernel(p, name, ids=ids)


def some_ring(p: Program, rng: Random) -> Ring | None:
    """A ring small enough to be explored, which is safe for the program."""
    if p.ring is None:
        return None
    slots, group, consumers, window = rng.choice(
        (
            (4, 1, 2, 2),
            (4, 2, 2, 2),
            (6, 1, 3, 3),
            (6, 3, 3, 1),
            (8, 2, 4, 2),
            (4, 1, 4, 3),
            (4, 2, 4, 1),
        )
    )
    return Ring(slots, 16, group, consumers, window)


@mutant
def ring_without_one_consumer_a_slot(p: Program, rng: Random) -> Program | None:
    """MEASURED: 40 slots and 14 warps. Slots change hands from lap to lap."""
    ring = some_ring(p, rng)
    if ring is None:
        return None
    return replace(
        p, ring=replace(ring, consumers=rng.choice((2, 3, 4, 5)), group=rng.choice((1, 2)))
    )


@mutant
def ring_looks_too_far_ahead(p: Program, rng: Random) -> Program | None:
    """Copies in flight exceed the ring, or consumers do."""
    ring = some_ring(p, rng)
    if ring is None:
        return None
    if rng.random() < 0.5:
        return replace(p, ring=replace(ring, window=ring.window + rng.randint(1, 6)))
    return replace(p, ring=replace(ring, consumers=ring.slots + rng.randint(0, 4)))


@mutant
def ring_resized(p: Program, rng: Random) -> Program | None:
    ring = some_ring(p, rng)
    return ring and replace(p, ring=replace(ring, slots=rng.randint(0, 12), window=1))


@mutant
def ring_copies_cut(p: Program, rng: Random) -> Program | None:
    """Copies that are no part of the ring, or of a lap of the warps."""
    ring = some_ring(p, rng)
    return ring and replace(p, ring=replace(ring, group=rng.randint(0, 6), window=1))


@mutant
def ring_larger_than_an_sm(p: Program, rng: Random) -> Program | None:
    ring = some_ring(p, rng)
    if ring is None:
        return None
    return replace(p, ring=replace(ring, columns=rng.choice((24, 250, 512, 2048, 4096))))


@mutant
def ring_of_mixed_weights(p: Program, rng: Random) -> Program | None:
    """One matrix has another element type than the rest."""
    name = some_kernel(p, rng, Gemv)
    if name is None:
        return None
    kernel = p.kernels[name]
    assert isinstance(kernel, Gemv)
    for table in ("tensors", "packs"):
        held = getattr(p, table)
        t = held.get(kernel.weight)
        if t is not None:
            other = "bf16" if t.dtype == "f32" else "f32"
            return replace(p, **{table: held | {t.name: replace(t, dtype=other)}})
    return None
