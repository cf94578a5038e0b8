"""Memory: shared too early, of the wrong kind, size or type."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from amk.ir.kernels import (
    Embed,
    Ref,
    Weight,
)
from amk.ir.program import Buffer, Program, Run, Tensor
from amk.verify.corpus.mutants.edits import (
    mutant,
    operands,
    renamed,
    some_kernel,
    some_operand,
    with_buffer,
    with_kernel,
)
from amk.verify.corpus.mutants.tiles import tile_size_changed


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

    tensors = p.tensors | {"free.table": Tensor("free.table", (32, 1), "f32")}
    ahead = [Run("free.seed", 0, 1), Run("free.next", 0, 1)]
    queues = [
        [*queue, *ahead] if any(r.kernel == name for r in queue) else queue for queue in p.queues
    ]
    return replace(p, buffers=buffers, kernels=kernels, tensors=tensors, queues=queues)
