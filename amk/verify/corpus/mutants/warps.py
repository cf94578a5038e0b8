"""What the warps of an SM hand over by."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from amk.ir.kernels import Gemv
from amk.ir.program import Program
from amk.verify.corpus.mutants.edits import at, edited, inserted, mutant, some


@mutant
def warps_of_another_number(p: Program, rng: Random) -> Program | None:
    """Other sizes, which are right if they fit each other."""
    if p.ring is None:
        return None
    depth = rng.randint(1, 9)
    sizes = {"finishers": rng.randint(1, 4), "depth": depth, "lead": rng.randint(1, depth)}
    buffers = {"kv_buffers": rng.randint(1, 4), "kv_bytes": 128 * rng.randint(1, 4)}
    return replace(p, ring=replace(p.ring, **sizes, **buffers))


@mutant
def warps_ahead_of_their_entries(p: Program, rng: Random) -> Program | None:
    """Consumers fill entries again that a slow finisher has yet to read; or may never fill one."""
    if p.ring is None:
        return None
    depth = rng.randint(1, 8)
    lead = depth + rng.randint(1, 4) if rng.random() < 0.7 else rng.randint(-1, 1)
    return replace(p, ring=replace(p.ring, depth=depth, lead=max(lead, 0)))


@mutant
def warps_without_a_place(p: Program, rng: Random) -> Program | None:
    """None of something, or too small, or more warps than a block has."""
    if p.ring is None:
        return None
    changes = (
        {"finishers": 0},
        {"finishers": rng.randint(27, 32)},
        {"depth": 0, "lead": 0},
        {"kv_buffers": 0},
        {"kv_bytes": 0},
        {"kv_bytes": rng.randint(1, 512)},
        {"kv_bytes": 16},
    )
    return replace(p, ring=replace(p.ring, **rng.choice(changes)))


@mutant
def warps_with_too_few_entries(p: Program, rng: Random) -> Program | None:
    """A ring of partial sums that is too short for the ring of weights."""
    if p.ring is None or not any(isinstance(k, Gemv) for k in p.kernels.values()):
        return None
    most = p.ring.slots + p.ring.consumers
    return replace(p, ring=replace(p.ring, entries=rng.randint(1, most + 2)))


@mutant
def row_blocks_of_one_number(p: Program, rng: Random) -> Program | None:
    """So many positions that numbers of row blocks begin anew before a launch ends."""
    if p.ring is None or not p.caches:
        return None
    rows = rng.choice((2**31 - 1, 2**30, 2**29, 2**28))
    return replace(p, caches={name: replace(c, rows=rows) for name, c in p.caches.items()})


@mutant
def rows_cut_within_a_block(p: Program, rng: Random) -> Program | None:
    """One gemv in tiles of 4 rows, and two instructions of one: row blocks of the second begin
    elsewhere, so other finishers have them."""
    where = some(
        p,
        rng,
        lambda run: (
            isinstance(k := p.kernels[run.kernel], Gemv)
            and k.tile % 4 == 0
            and k.cand is None
            and (k.res_in is not None or rng.random() < 0.1)
            and not (run.waits or run.signals)
        ),
    )
    if p.ring is None or where is None:
        return None
    name = at(p, where).kernel
    k = p.kernels[name]
    assert isinstance(k, Gemv)
    finer, more = replace(k, tile=4), k.tile // 4
    queues = [
        [
            replace(run, lo=run.lo * more, hi=min(run.hi * more, finer.grid))
            if run.kernel == name
            else run
            for run in queue
        ]
        for queue in p.queues
    ]
    q = replace(p, kernels=p.kernels | {name: finer}, queues=queues)
    run = at(q, where)
    if run.hi - run.lo < 2:
        return None
    cut = rng.randint(run.lo + 1, run.hi - 1)
    rest = replace(run, lo=cut)
    return inserted(edited(q, where, hi=cut), (where[0], where[1] + 1), rest)


@mutant
def results_that_nobody_polls(p: Program, rng: Random) -> Program | None:
    """A gemv leaves its results in a use of a buffer that is overwritten unread."""
    names = [
        (name, k)
        for name, k in p.kernels.items()
        if isinstance(k, Gemv)
        and k.epilogue == "none"
        and p.buffers[k.out.buffer].space == "flagged"
    ]
    if p.ring is None or not names:
        return None
    name, k = rng.choice(names)
    b = p.buffers[k.out.buffer]
    first = replace(k, out=replace(k.out, use=b.uses))
    queues = [
        [
            new
            for run in queue
            for new in ((replace(run, kernel="unread"), run) if run.kernel == name else (run,))
        ]
        for queue in p.queues
    ]
    buffers = p.buffers | {b.name: replace(b, uses=b.uses + 1)}
    return replace(p, buffers=buffers, kernels=p.kernels | {"unread": first}, queues=queues)
