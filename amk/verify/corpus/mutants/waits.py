"""Waits, signals and counters: dropped, moved, weakened, misdirected, too many, too few."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from amk.ir.kernels import (
    Binary,
    Embed,
    Ref,
    Weight,
)
from amk.ir.program import Buffer, Program, Run, Tensor, Wait
from amk.verify.corpus.mutants.edits import (
    all_changed,
    at,
    changed_signal,
    changed_wait,
    edited,
    inserted,
    mutant,
    signaling,
    some,
    waiting,
    waits_of_both,
)


@mutant
def wait_dropped(p: Program, rng: Random) -> Program | None:
    return changed_wait(p, rng, lambda w: None)


@mutant
def waits_all_dropped(p: Program, rng: Random) -> Program | None:
    where = some(p, rng, waiting)
    return where and edited(p, where, waits=())


@mutant
def wait_one_too_few(p: Program, rng: Random) -> Program | None:
    """A partial threshold, where there is more than one arrival."""
    return changed_wait(
        p, rng, lambda w: replace(w, threshold=w.threshold - 1), lambda w: w.threshold > 1
    )


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
    out = edited(p, after, waits=waits_of_both(at(p, after), run))
    return edited(out, where, waits=())


@mutant
def wait_moved_earlier(p: Program, rng: Random) -> Program | None:
    """To the instruction ahead on the SM."""
    where = some(p, rng, waiting)
    if where is None or where[1] == 0:
        return None
    run, ahead = at(p, where), (where[0], where[1] - 1)
    out = edited(p, ahead, waits=waits_of_both(at(p, ahead), run))
    return edited(out, where, waits=())


@mutant
def signal_dropped(p: Program, rng: Random) -> Program | None:
    return changed_signal(p, rng, lambda s: None)


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
    return all_changed(
        p,
        lambda w: replace(w, threshold=w.threshold * by) if w.counter == counter else w,
        lambda s: replace(s, amount=s.amount * by) if s.counter == counter else s,
    )


@mutant
def counters_shared(p: Program, rng: Random) -> Program | None:
    """Two counters become one, and its waiters wait for the arrivals of both."""
    if p.counters < 2:
        return None
    a, b = rng.sample(range(p.counters), 2)
    total = sum(s.amount for q in p.queues for r in q for s in r.signals if s.counter in (a, b))
    return all_changed(
        p,
        lambda w: Wait(a, total, w.scaled) if w.counter in (a, b) else w,
        lambda s: replace(s, counter=a) if s.counter == b else s,
    )


@mutant
def counters_shared_thresholds_kept(p: Program, rng: Random) -> Program | None:
    """Two counters become one; each waiter still waits for as many arrivals as before."""
    if p.counters < 2:
        return None
    a, b = rng.sample(range(p.counters), 2)
    return all_changed(
        p,
        lambda w: replace(w, counter=a) if w.counter == b else w,
        lambda s: replace(s, counter=a) if s.counter == b else s,
    )


@mutant
def counters_renumbered(p: Program, rng: Random) -> Program | None:
    """Safe: numbers mean nothing."""
    if p.counters < 2:
        return None
    new = rng.sample(range(p.counters), p.counters)
    return all_changed(
        p,
        lambda w: replace(w, counter=new[w.counter]),
        lambda s: replace(s, counter=new[s.counter]),
    )


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

    tensors = p.tensors | {"hand.table": Tensor("hand.table", (32, 1), "f32")}
    return replace(out, buffers=buffers, kernels=kernels, tensors=tensors)
