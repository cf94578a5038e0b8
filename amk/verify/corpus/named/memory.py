"""What decides between order and visibility: flagged words and their epochs, scopes,
fences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from amk.ir.kernels import (
    Append,
    Argmax,
    Attention,
    Binary,
    Cache,
    Embed,
    Gemv,
    Ref,
    RmsNorm,
    Weight,
)
from amk.ir.program import KvCache, Program, Ring, Tensor
from amk.verify.corpus.generator import Recipe, lower
from amk.verify.corpus.mutants.edits import all_changed
from amk.verify.corpus.named.sketch import N, Sketch, case, pipeline
from amk.verify.corpus.named.systems import each_tile_waits_for_its_own


@case(safe=False)
def epochs_recur() -> Program:
    """Epochs that begin anew over a buffer that still holds them."""
    s = pipeline("flagged")
    s.run(0, "add")
    s.vector("x", "flagged", uses=2**16)
    return s.end(0, "y")


@case(safe=False)
def a_flagged_word_releases_nothing() -> Program:
    """Plain data, announced by a flagged word: its reader knows the order, and may see old data."""
    s = Sketch(2)
    s.vector("x", "plain")
    s.vector("word", "flagged")
    s.vector("seen", "local")
    s.vector("y", "flagged")
    s.begin("x")
    s.add("announce", Ref("x"), Ref("x"), Ref("word"))
    s.run(0, "announce")
    s.add("look", Ref("word"), Ref("word"), Ref("seen"))
    s.run(1, "look")
    s.norm("norm", Ref("x"), Ref("y"))
    s.run(1, "norm")
    return s.end(1, "y")


@case(safe=False)
def token_overtaken() -> Program:
    """Nothing ties a step to the one before: a fast SM overwrites x while a slow one reads it."""
    s = Sketch(2)
    s.vector("own", "local", 1, dtype="i32")
    s.vector("x", "flagged")
    s.vector("y", "flagged")
    s.vector("z", "local", 1)
    s.kernel("embed", Embed(N, 1, Ref("own"), Weight("table"), Ref("x")))
    s.run(0, "embed")
    s.kernel("pick", Argmax(N, Ref("x"), Ref("own")))
    s.run(0, "pick", 0, 1)
    s.add("add", Ref("x"), Ref("x"), Ref("y"))
    s.run(1, "add")
    return s.end(1, "y")


@case(safe=False)
def half_a_word_at_the_end() -> Program:
    """The last tile begins in the middle of a flagged word of two elements."""
    s = Sketch(1)
    s.vector("x", "flagged")
    s.vector("y", "flagged", N + 1, dtype="bf16")
    s.vector("z", "flagged")
    s.begin("x")
    s.add("add", Ref("x"), Ref("x"), Ref("y", 1))
    s.run(0, "add")
    s.add("more", Ref("y", 1), Ref("y", 1), Ref("z"))
    s.run(0, "more")
    return s.end(0, "z")


def merging(space: str) -> Sketch:
    """SM 1 merges a partial result that SM 0 writes, from position 2 on; SM 2 then overwrites it.

    One head; the second split is no attention tile but an ordinary kernel, which writes always.
    """
    s = Sketch(3)
    for name in ("x", "out", "y"):
        s.vector(name, "flagged")
    s.vector("part", space, N + 2, uses=2)
    s.p.caches["kv"] = KvCache("kv", 16, 1, N, "f32")
    s.begin("x")
    s.kernel("append", Append(1, N, Ref("x"), Ref("x"), Cache("kv")))
    s.run(1, "append", 0, 1)
    s.p.tensors["long"] = Tensor("long", (N + 2,), "f32")
    s.p.tensors["wide"] = Tensor("wide", (8, N + 2), "f32")
    s.kernel("part", Embed(N + 2, 1, Ref("token"), Weight("wide"), Ref("part")))
    s.run(0, "part", 0, N + 2)
    attention = Attention(
        1, 1, N, Ref("x"), Ref("out"), Cache("kv"), 1.0, None, None, 2, 2, Ref("part")
    )
    s.kernel("merge", attention)
    s.run(1, "merge", 0, 1)
    s.vector("held", "local", N + 2)
    s.vector("last", "flagged", N + 2)
    s.kernel("keep", Embed(N + 2, 1, Ref("token"), Weight("wide"), Ref("held")))
    s.add("mix", Ref("out"), Ref("out"), Ref("y"))
    s.run(2, "mix")
    s.run(2, "keep", 0, N + 2)
    s.kernel("over", Binary(N + 2, 1, "add", Ref("held"), Ref("held"), Ref("part", 0, 1)))
    s.run(2, "over", 0, N + 2)
    s.kernel("use", Binary(N + 2, 1, "add", Ref("part", 0, 1), Ref("part", 0, 1), Ref("last")))
    s.run(0, "use", 0, N + 2)
    return s


@case(safe=False)
def a_read_that_does_not_happen_sees_nothing() -> Program:
    """Below position 2 the merge does not read, so nothing says that the first write is done when
    the second is made."""
    s = merging("flagged")
    s.kernel("argmax", Argmax(N + 2, Ref("last"), Ref("token")))
    s.run(0, "argmax", 0, 1)
    return s.p


# Scopes and fences


def at_scope(p: Program, waits: str, signals: str) -> Program:
    """With all waits and signals at other scopes."""
    return all_changed(p, lambda w: replace(w, scope=waits), lambda x: replace(x, scope=signals))


@case(safe=False)
def acquire_at_cta_scope() -> Program:
    """The value is in memory, but what the reader's SM has cached of it is older."""
    return at_scope(each_tile_waits_for_its_own(), "cta", "gpu")


@case(safe=False)
def release_that_is_relaxed() -> Program:
    """The counter may arrive ahead of what it counts."""
    return at_scope(each_tile_waits_for_its_own(), "gpu", "relaxed")


@case(safe=True, conservative=True)
def relaxed_signal_that_would_order() -> Program:
    """SM 0 overwrites x when SM 1 has read it. A signal comes behind the reads, release or not, and
    nothing else is asked of it here."""
    s = Sketch(2)
    s.vector("x", "flagged", uses=2)
    for name in ("y", "z"):
        s.vector(name, "flagged")
    s.begin("x")
    s.add("add", Ref("x"), Ref("x"), Ref("y"))
    s.run(1, "add", signals={0: 1})
    s.kernel("again", Embed(N, 1, Ref("token"), Weight("table"), Ref("x", 0, 1)))
    s.run(0, "again", waits={0: 1})
    s.add("sum", Ref("x", 0, 1), Ref("y"), Ref("z"))
    s.run(1, "sum")
    return at_scope(s.end(0, "z"), "gpu", "relaxed")


def with_fences(keep: Callable[[int], bool]) -> Program:
    """A real lowering; `keep` says which instructions of a queue have a fence."""
    p = lower(Recipe(shape=4, tiling=0, sms=2, sync="flags", fused=True, dtype="f32"))
    queues = [[replace(run, fence=keep(i)) for i, run in enumerate(queue)] for queue in p.queues]
    return replace(p, queues=queues)


@case(safe=False)
def rows_copied_without_a_fence() -> Program:
    """Rows of the cache are written by ordinary stores and read by bulk copies, which go another
    way to memory: one SM and its own order are not enough."""
    return with_fences(lambda i: False)


@case(safe=True)
def one_fence_a_step() -> Program:
    """The fence at the head of a queue does for all its bulk copies of older rows: each row was
    written a step ago."""
    return with_fences(lambda i: i == 0)


@case(safe=False)
def two_values_of_one_place_at_once() -> Program:
    """An instruction writes an element for two values of a buffer: nothing says which stays."""
    s = Sketch(1)
    s.vector("x", "flagged")
    s.vector("y", "flagged", uses=2)
    s.begin("x")
    out, res = Ref("y", 0, 0), Ref("y", 0, 1)
    s.kernel("norm", RmsNorm(N, 1, Ref("x"), Weight("norm"), 1e-5, out, 1, 0, Ref("x"), res))
    s.run(0, "norm")
    return s.end(0, "y", use=1)


@case(safe=False)
def late_words_that_are_read_from_a_position_on() -> Program:
    """Finishers leave words that only a later split polls: ahead of its first position nothing
    proves that they have come before the next value does."""
    return late_words(split=1)


@case(safe=True)
def late_words_that_are_always_read() -> Program:
    """The same, polled by the split that is always active."""
    return late_words(split=0)


def late_words(split: int) -> Program:
    """A gemv that finishers complete leaves b, split `split` of an attention polls it, and b takes
    another value on the same SM."""
    s = Sketch(1)
    s.p.ring = Ring(8, 16, 2, 4, 2)
    s.p.tensors["square"] = Tensor("square", (N, N), "f32")
    s.p.caches["kv"] = KvCache("kv", 16, 1, N, "f32")
    s.vector("x", "flagged")
    s.vector("b", "flagged", uses=2)
    s.vector("part", "flagged", N + 2)
    s.vector("y", "flagged")
    s.begin("x")
    s.kernel("square", Gemv(N, N, N, Weight("square"), Ref("x"), Ref("b")))
    s.run(0, "square", 0, 1)
    for i in (1, 0):
        q = Ref("b") if i == split else Ref("x")
        kernel = Attention(
            1, 1, N, q, Ref("y"), Cache("kv"), 1.0, Ref("x"), Ref("x"), 2, 4, Ref("part")
        )
        s.kernel(f"split{i}", kernel)
        s.run(0, f"split{i}", i, i + 1)
        s.p.queues[0][-1] = replace(s.p.queues[0][-1], fence=True)
    s.kernel("copy", Binary(N, N, "add", Ref("y"), Ref("y"), Ref("b", 0, 1)))
    s.run(0, "copy", 0, 1)
    return s.end(0, "b", use=1)
