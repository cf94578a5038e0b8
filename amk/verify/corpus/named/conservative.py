"""Where the verifier is conservative, and where it must be."""

from __future__ import annotations

from amk.ir.kernels import Argmax, Binary, Embed, Ref, Weight
from amk.ir.program import Program, Tensor
from amk.verify.corpus.generator import TILINGS, Recipe, lower
from amk.verify.corpus.mutants.edits import renamed, with_buffer
from amk.verify.corpus.named.sketch import N, Sketch, case


@case(safe=False)
def a_word_behind_a_signal_does_not_carry_it() -> Program:
    """SM 2 makes its arrival of the next step behind a word that SM 1 writes behind its own arrival
    of this one: that may still be on its way, so SM 3 counts two and has not acquired @d. An
    earlier rule of ours took the word for proof that the arrival had come."""
    s = Sketch(4)
    s.p.tensors["table"] = Tensor("table", (8, 1), "f32")
    for name in ("h", "f", "g", "r"):
        s.vector(name, "flagged", 1)
    s.vector("d", "plain", 1)
    for name in ("l", "k"):
        s.vector(name, "local", 1)

    def twice(name: str, x: str, out: str) -> None:
        s.kernel(name, Binary(1, 1, "add", Ref(x), Ref(x), Ref(out)))

    s.kernel("embed", Embed(1, 1, Ref("token"), Weight("table"), Ref("h")))
    s.run(0, "embed", 0, 1)
    twice("first", "h", "d")
    s.run(1, "first", 0, 1, signals={0: 1})
    twice("word", "h", "f")
    s.run(1, "word", 0, 1)
    twice("held", "g", "k")
    s.run(1, "held", 0, 1)
    s.kernel("second", Embed(1, 1, Ref("token"), Weight("table"), Ref("l")))
    s.run(2, "second", 0, 1, signals={0: 1})
    twice("told", "f", "r")
    s.run(2, "told", 0, 1)
    twice("reader", "d", "g")
    s.run(3, "reader", 0, 1, waits={0: 2})
    s.kernel("argmax", Argmax(1, Ref("r"), Ref("token")))
    s.run(0, "argmax", 0, 1)
    return s.p


@case(safe=True, conservative=True)
def arrivals_of_two_steps_mix() -> Program:
    """SM 1 makes its arrival of the next step before SM 0 makes that of this one. The threshold
    cannot be reached without SM 0, but that takes counting over two steps."""
    s = Sketch(3)
    s.vector("x", "plain")
    s.vector("own", "local", 1, dtype="i32")
    s.vector("it", "local")
    for name in ("y", "z", "sum"):
        s.vector(name, "flagged")
    s.kernel("embed", Embed(N, 1, Ref("token"), Weight("table"), Ref("x")))
    s.run(0, "embed", signals={0: 2})
    s.kernel("free", Embed(N, 1, Ref("own"), Weight("table"), Ref("it")))
    s.kernel("next", Argmax(N, Ref("it"), Ref("own")))
    s.run(1, "free", signals={0: 1})
    s.run(1, "next", 0, 1)
    s.kernel("beside", Embed(N, 1, Ref("token"), Weight("table"), Ref("z")))
    s.run(1, "beside")
    s.norm("norm", Ref("x"), Ref("y"))
    s.run(2, "norm", waits={0: 3})
    s.add("sum", Ref("y"), Ref("z"), Ref("sum"))
    s.run(0, "sum")
    return s.end(0, "sum")


@case(safe=True, conservative=True)
def guarded_poll_that_would_order() -> Program:
    """Partial results live where the activations did. A split writes them after it has polled its
    queries, which tells that the activations were read; but it does both from position 4 on only,
    and a poll that does not always happen counts for nothing."""
    tiling = TILINGS.index("rows=16 splits=2 chunk=4")
    p = lower(Recipe(shape=3, tiling=tiling, sms=2, sync="flags", fused=True, dtype="f32"))
    first = p.buffers["embed.y"]
    out = with_buffer(p, first.name, uses=2)
    return renamed(out, {"l0.attention.part": first.name}, lambda ref: 1)


@case(safe=True, conservative=True)
def release_that_a_third_sm_acquired() -> Program:
    """SM 0 reads element 3 only by itself, which proves nothing; but SM 1 has acquired what SM 0
    released behind its writes, so they are in memory before SM 2, who polls what SM 1 writes then,
    overwrites them. The verifier asks SM 2 itself."""
    s = Sketch(3)
    s.vector("b", "plain", uses=2)
    s.vector("y", "flagged")
    s.begin("b", signal=True)
    s.add("add", Ref("b"), Ref("b"), Ref("y"))
    s.run(0, "add", 3, 4)
    s.run(1, "add", 0, 3, waits={0: 1})
    s.norm("norm", Ref("y"), Ref("b", 0, 1))
    s.run(2, "norm", signals={1: 1})
    return s.end(0, "b", 1, waits={1: 1})


@case(safe=False)
def an_sm_reads_only_its_own_write() -> Program:
    """The same without the release: a plain read of one's own write may be answered before the
    write is in memory, and then another SM's later write to the place is lost under it."""
    s = Sketch(2)
    s.vector("b", "plain", uses=2)
    s.vector("y", "flagged")
    s.begin("b")
    s.add("add", Ref("b"), Ref("b"), Ref("y"))
    s.run(0, "add")
    s.norm("norm", Ref("y"), Ref("b", 0, 1))
    s.run(1, "norm", signals={0: 1})
    return s.end(0, "b", 1, waits={0: 1})
