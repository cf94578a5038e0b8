"""Cases with a history: failures of other systems and of earlier ones of our own, each as small as
it can be, with what is right.

`safe` is what a person works out on paper; tests hold the oracle and the verifier to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from amk.ir.kernels import (
    Append,
    Argmax,
    Attention,
    Binary,
    Cache,
    Embed,
    Gemv,
    Kernel,
    MoeDown,
    MoeGateUp,
    Ref,
    RmsNorm,
    Topk,
    Weight,
)
from amk.ir.program import Buffer, KvCache, Program, Ring, Run, Signal, Tensor, Wait
from amk.verify.corpus.generator import TILINGS, Recipe, lower
from amk.verify.corpus.mutants.edits import all_changed, renamed, with_buffer


@dataclass(frozen=True)
class Case:
    """A program, what is right, and why it is here."""

    build: Callable[[], Program]
    safe: bool
    about: str
    conservative: bool = False
    """The verifier refuses it though it is safe: a rule of docs/IR_SPEC.md says so."""


NAMED: dict[str, Case] = {}


def case(
    safe: bool, conservative: bool = False
) -> Callable[[Callable[[], Program]], Callable[[], Program]]:
    """Registers a case under its function's name, in kebab case."""

    def register(build: Callable[[], Program]) -> Callable[[], Program]:
        name = build.__name__.replace("_", "-")
        NAMED[name] = Case(build, safe, build.__doc__ or "", conservative)
        return build

    return register


N = 4
"""Elements of every vector."""


@dataclass
class Sketch:
    """A program in the making: vectors of N elements, kernels of one-element tiles."""

    sms: int
    p: Program = field(init=False)

    def __post_init__(self) -> None:
        self.p = Program(
            "case",
            tensors={
                "table": Tensor("table", (8, N), "f32"),
                "norm": Tensor("norm", (N,), "f32"),
            },
            queues=[[] for _ in range(self.sms)],
        )
        self.vector("token", "flagged", 1, dtype="i32")

    def vector(
        self, name: str, space: str, length: int = N, uses: int = 1, dtype: str = "f32"
    ) -> None:
        self.p.buffers[name] = Buffer(name, space, length, dtype, uses)

    def kernel(self, name: str, kernel: Kernel) -> None:
        self.p.kernels[name] = kernel

    def add(self, name: str, a: Ref, b: Ref, out: Ref) -> None:
        """Elementwise: tile i reads and writes element i."""
        self.kernel(name, Binary(N, 1, "add", a, b, out))

    def norm(self, name: str, x: Ref, out: Ref) -> None:
        """Every tile reads all of x."""
        self.kernel(name, RmsNorm(N, 1, x, Weight("norm"), 1e-5, out))

    def run(
        self,
        sm: int,
        kernel: str,
        lo: int = 0,
        hi: int = N,
        waits: dict[int, int] | None = None,
        signals: dict[int, int] | None = None,
    ) -> None:
        w = tuple(Wait(c, n) for c, n in (waits or {}).items())
        s = tuple(Signal(c, n) for c, n in (signals or {}).items())
        named = [x.counter for x in (*w, *s)]
        self.p.counters = (
            max(self.p.counters, *(c + 1 for c in named)) if named else self.p.counters
        )
        self.p.queues[sm].append(Run(kernel, lo, hi, w, s))

    def begin(self, out: str, halves: int = 1, signal: bool = False) -> None:
        """embed, on SM 0, or half of it each on SMs 0 and 1; arrival i on counter i."""
        self.kernel("embed", Embed(N, 1, Ref("token"), Weight("table"), Ref(out)))
        for i in range(halves):
            part = {i: 1} if signal else None
            self.run(i, "embed", i * N // halves, (i + 1) * N // halves, signals=part)

    def end(self, sm: int, x: str, use: int = 0, waits: dict[int, int] | None = None) -> Program:
        """argmax of x, which closes the step."""
        self.kernel("argmax", Argmax(N, Ref(x, 0, use), Ref("token")))
        self.run(sm, "argmax", 0, 1, waits)
        return self.p


def pipeline(space: str = "plain") -> Sketch:
    """Two SMs, each with half of x and of y; element i of y needs element i of x alone."""
    s = Sketch(2)
    s.vector("x", space)
    s.vector("y", "flagged")
    s.begin("x", 2, signal=space == "plain")
    s.add("add", Ref("x"), Ref("x"), Ref("y"))
    return s


# What a checker of whole buffers refuses


@case(safe=True)
def each_tile_waits_for_its_own() -> Program:
    """Tiles start when their tiles are ready; a checker of whole buffers wants a join."""
    s = pipeline()
    s.run(0, "add", 2, 4, waits={1: 1})
    s.run(1, "add", 0, 2, waits={0: 1})
    return s.end(0, "y")


@case(safe=True)
def disjoint_tiles_share_a_counter() -> Program:
    """Two writers, one counter, waited for in full."""
    s = Sketch(2)
    s.vector("x", "plain")
    s.vector("y", "flagged")
    s.kernel("embed", Embed(N, 1, Ref("token"), Weight("table"), Ref("x")))
    s.run(0, "embed", 0, 2, signals={0: 1})
    s.run(1, "embed", 2, 4, signals={0: 1})
    s.norm("norm", Ref("x"), Ref("y"))
    s.run(0, "norm", 0, 2, waits={0: 2})
    s.run(1, "norm", 2, 4, waits={0: 2})
    return s.end(0, "y")


@case(safe=True)
def read_covered_by_two_writers() -> Program:
    """A read that no single write covers, but two together do."""
    s = pipeline("flagged")
    s.run(1, "add")
    return s.end(1, "y")


@case(safe=True)
def redundant_waits() -> Program:
    """Waits that queue order, or another wait, implies."""
    s = pipeline()
    s.run(0, "add", 0, 2, waits={0: 1, 1: 1})
    s.run(1, "add", 2, 4, waits={0: 1, 1: 1})
    return s.end(0, "y", waits={0: 1, 1: 1})


@case(safe=True)
def memory_reused_after_its_last_reader() -> Program:
    """x and z are one buffer; z is written by whoever has seen that x was read."""
    s = Sketch(2)
    s.vector("x", "flagged", uses=2)
    s.vector("y", "flagged")
    s.begin("x")
    s.norm("up", Ref("x"), Ref("y"))
    s.run(1, "up")
    s.norm("down", Ref("y"), Ref("x", 0, 1))
    s.run(0, "down")
    return s.end(1, "x", 1)


@case(safe=True)
def first_of_two_arrivals_of_one_sm() -> Program:
    """A partial threshold, exact because one SM makes both arrivals, in order."""
    s = Sketch(2)
    s.vector("x", "plain")
    s.vector("y", "flagged")
    s.kernel("embed", Embed(N, 1, Ref("token"), Weight("table"), Ref("x")))
    s.run(0, "embed", 0, 2, signals={0: 1})
    s.run(0, "embed", 2, 4, signals={0: 1})
    s.add("add", Ref("x"), Ref("x"), Ref("y"))
    s.run(1, "add", 0, 2, waits={0: 1})
    s.run(0, "add", 2, 4)
    return s.end(1, "y")


# Failures of other systems


@case(safe=False)
def residual_edge_stripped() -> Program:
    """Edges of the residual stream were dropped by layer, though events are per tile: the tile of
    another SM is read without waiting for it."""
    s = pipeline()
    s.run(0, "add", 0, 3)
    s.run(1, "add", 3, 4)
    return s.end(0, "y")


@case(safe=False)
def only_the_first_edge_has_an_event() -> Program:
    """Two edges lead from one operator to another; only the first carried its event."""
    s = Sketch(3)
    s.vector("x", "plain")
    s.vector("y", "flagged")
    s.begin("x", 2, signal=True)
    s.norm("norm", Ref("x"), Ref("y"))
    s.run(2, "norm", waits={0: 1})
    return s.end(0, "y")


@case(safe=False)
def finite_capacity_deadlock() -> Program:
    """One slot for two values, consumed in the other order: a schedule verifier that did not model
    the slot accepted it."""
    s = Sketch(2)
    s.vector("slot", "plain", uses=2)
    s.vector("a", "local")
    s.vector("b", "local")
    s.vector("y", "flagged")
    s.kernel("embed", Embed(N, 1, Ref("token"), Weight("table"), Ref("slot")))
    s.kernel("again", Embed(N, 1, Ref("token"), Weight("table"), Ref("slot", 0, 1)))
    s.run(0, "embed", signals={0: 1})
    s.run(0, "again", waits={2: 1}, signals={1: 1})
    s.add("second", Ref("slot", 0, 1), Ref("slot", 0, 1), Ref("b"))
    s.add("first", Ref("slot"), Ref("slot"), Ref("a"))
    s.add("both", Ref("a"), Ref("b"), Ref("y"))
    s.run(1, "second", waits={1: 1})
    s.run(1, "first", waits={0: 1}, signals={2: 1})
    s.run(1, "both")
    return s.end(0, "y")


@case(safe=False)
def in_order_queues_cross() -> Program:
    """The graph of dependences has no cycle; the two queues have."""
    s = Sketch(2)
    for name in ("x", "a", "b", "y"):
        s.vector(name, "flagged")
    s.begin("x", 2)
    s.norm("a", Ref("x"), Ref("a"))
    s.norm("b", Ref("x"), Ref("b"))
    s.norm("of_a", Ref("a"), Ref("y"))
    s.vector("z", "flagged")
    s.add("of_b", Ref("b"), Ref("b"), Ref("z"))
    s.run(0, "of_a")
    s.run(0, "b")
    s.run(1, "of_b")
    s.run(1, "a")
    s.vector("sum", "flagged")
    s.add("sum", Ref("y"), Ref("z"), Ref("sum"))
    s.run(0, "sum")
    return s.end(0, "sum")


@case(safe=False)
def tile_past_the_grid() -> Program:
    """Out of bounds by one tile."""
    s = pipeline("flagged")
    s.run(0, "add", 0, 2)
    s.run(1, "add", 2, 5)
    return s.end(0, "y")


@case(safe=False)
def read_that_nobody_covers() -> Program:
    """One element of what is read was never written."""
    s = pipeline()
    s.run(0, "add", 0, 2, waits={1: 1})
    s.run(1, "add", 3, 4)
    return s.end(0, "y")


@case(safe=False)
def plain_read_that_nobody_covers() -> Program:
    """The same in memory that does not even block."""
    s = Sketch(1)
    s.vector("x", "plain")
    s.vector("y", "flagged")
    s.kernel("embed", Embed(N, 1, Ref("token"), Weight("table"), Ref("x")))
    s.run(0, "embed", 0, 3)
    s.add("add", Ref("x"), Ref("x"), Ref("y"))
    s.run(0, "add")
    return s.end(0, "y")


@case(safe=False)
def output_is_a_weight() -> Program:
    """A kernel writes to an immutable tensor."""
    s = pipeline("flagged")
    s.add("add", Ref("x"), Ref("x"), Ref("norm"))
    s.run(0, "add")
    return s.end(0, "x")


@case(safe=False)
def buffer_too_small() -> Program:
    """A page with room for less than is written to it."""
    s = pipeline("flagged")
    s.run(0, "add")
    s.vector("y", "flagged", N - 1)
    return s.end(0, "y")


@case(safe=False)
def counter_set_in_advance() -> Program:
    """Something that comes too early makes the arrival that others wait for."""
    s = Sketch(2)
    s.vector("x", "plain")
    s.vector("y", "flagged")
    s.vector("z", "local")
    s.begin("x")
    s.kernel("early", Embed(N, 1, Ref("token"), Weight("table"), Ref("z")))
    s.run(1, "early", signals={0: 1})
    s.norm("norm", Ref("x"), Ref("y"))
    s.run(1, "norm", waits={0: 1})
    return s.end(1, "y")


# Bugs that were met while performance was measured


def with_ring(ring: Ring) -> Program:
    s = pipeline("flagged")
    s.run(0, "add")
    return replace(s.end(0, "y"), ring=ring)


@case(safe=False)
def ring_slot_with_two_consumers() -> Program:
    """40 slots and 14 warps: a parity wait one lap behind passes early."""
    return with_ring(Ring(40, 16, 1, 14, 10))


@case(safe=False)
def ring_of_less_than_a_lap() -> Program:
    """14 warps that take 4 slots each look 56 slots ahead, in a ring of 40."""
    return with_ring(Ring(40, 16, 4, 56, 10))


@case(safe=False)
def nine_row_blocks_in_entries_for_eight() -> Program:
    """A consumer that runs 9 row blocks ahead of the finishers fills entries that wait."""
    return with_ring(Ring(8, 16, 2, 4, 2, depth=8, lead=9))


@case(safe=True)
def one_row_block_at_a_time() -> Program:
    """Entries for one row block: consumers wait for every finisher, but for nothing else."""
    return with_ring(Ring(8, 16, 2, 4, 2, finishers=1, depth=1, lead=1, kv_buffers=1))


@case(safe=False)
def epochs_recur() -> Program:
    """Epochs that begin anew over a buffer that still holds them."""
    s = pipeline("flagged")
    s.run(0, "add")
    s.vector("x", "flagged", uses=2**16)
    return s.end(0, "y")


@case(safe=True)
def ring_of_whole_laps() -> Program:
    """42 slots and 14 warps."""
    return with_ring(Ring(42, 16, 7, 14, 3))


# What decides between order and visibility


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
    return at_scope(NAMED["each-tile-waits-for-its-own"].build(), "cta", "gpu")


@case(safe=False)
def release_that_is_relaxed() -> Program:
    """The counter may arrive ahead of what it counts."""
    return at_scope(NAMED["each-tile-waits-for-its-own"].build(), "gpu", "relaxed")


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


# Where the verifier is conservative


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


@case(safe=True, conservative=True)
def ring_whose_copies_cannot_overtake() -> Program:
    """Slots change hands, but with one copy in flight no lap is missed."""
    return with_ring(Ring(4, 16, 1, 3, 1))


def collected_by_consumers(entries: int) -> Program:
    """A gemv whose x is plain, so that consumers complete its row blocks, of one slot each."""
    s = Sketch(1)
    s.p.tensors |= {"square": Tensor("square", (N, N), "f32")}
    s.vector("x", "plain")
    s.vector("y", "flagged")
    s.begin("x")
    s.kernel("product", Gemv(N, 1, N, Weight("square"), Ref("x"), Ref("y")))
    s.run(0, "product")
    return replace(s.end(0, "y"), ring=Ring(4, 16, 1, 2, 2, entries=entries))


@case(safe=True, conservative=True)
def entries_that_no_warp_fills_twice() -> Program:
    """Every consumer collects what it has left itself, so an entry for each would do."""
    return collected_by_consumers(2)


@case(safe=True)
def entries_for_the_worst_case() -> Program:
    """A ring of slots, a lap of consumers and a row block, less one."""
    return collected_by_consumers(6)


# Mixtures of experts


EXPERTS, CHOICES, WIDTH = 3, 2, 2


def mixture(logits: int = EXPERTS, computed: int = CHOICES) -> Sketch:
    """Two of three experts, chosen by the largest of `logits`; `computed` choices get results."""
    s = Sketch(2)
    s.p.tensors |= {
        "router": Tensor("router", (logits, N), "f32"),
        "gate_up": Tensor("gate_up", (EXPERTS * 2 * WIDTH, N), "f32"),
        "down": Tensor("down", (EXPERTS * N, WIDTH), "f32"),
    }
    s.vector("x", "flagged")
    s.vector("scores", "flagged", logits)
    s.vector("ids", "flagged", CHOICES, dtype="i32")
    s.vector("weights", "flagged", CHOICES)
    s.vector("h", "flagged", CHOICES * WIDTH)
    s.vector("y", "flagged")
    s.begin("x")
    s.kernel("router", Gemv(logits, 1, N, Weight("router"), Ref("x"), Ref("scores")))
    s.run(1, "router", 0, logits)
    s.kernel("topk", Topk(logits, CHOICES, Ref("scores"), Ref("ids"), Ref("weights")))
    s.run(0, "topk", 0, 1)
    s.kernel("gate_up", gate_up(computed, "ids"))
    s.run(1, "gate_up", 0, WIDTH)
    if computed > 1:
        s.run(0, "gate_up", WIDTH, computed * WIDTH)
    return s


def gate_up(choices: int, ids: str) -> Kernel:
    x, h = Ref("x"), Ref("h")
    weight = Weight("gate_up")
    return MoeGateUp(choices * WIDTH, 1, N, choices, EXPERTS, weight, Ref(ids), x, h)


def combined(s: Sketch) -> Program:
    """Half of the sum over choices on each SM."""
    ids, weights, h, y = (Ref(name) for name in ("ids", "weights", "h", "y"))
    weight = Weight("down")
    s.kernel("down", MoeDown(N, 1, WIDTH, CHOICES, EXPERTS, weight, ids, weights, h, y))
    s.run(1, "down", 0, 2)
    s.run(0, "down", 2, 4)
    return s.end(1, "y")


@case(safe=True)
def results_laid_out_by_choice() -> Program:
    """A mixture of experts whose buffers do not know which experts were chosen."""
    return combined(mixture())


@case(safe=False)
def results_laid_out_by_expert() -> Program:
    """Every expert has its place, and those that were not chosen leave theirs as it was: the
    reader finds results of another token, or waits for good."""
    s = mixture()
    s.vector("h", "flagged", EXPERTS * WIDTH)
    s.p.tensors["wide"] = Tensor("wide", (N, EXPERTS * WIDTH), "f32")
    s.kernel("down", Gemv(N, 1, EXPERTS * WIDTH, Weight("wide"), Ref("h"), Ref("y")))
    s.run(1, "down")
    return s.end(1, "y")


@case(safe=False)
def choice_that_nobody_computes() -> Program:
    """The sum takes two choices, of which only one has results."""
    return combined(mixture(computed=1))


@case(safe=False)
def ids_of_more_experts() -> Program:
    """The router has a logit more than there are experts: an id may lie behind the last."""
    return combined(mixture(logits=EXPERTS + 1))


@case(safe=False)
def token_as_expert() -> Program:
    """An index of something else takes the place of an expert id."""
    s = mixture()
    s.vector("best", "flagged", 1, dtype="i32")
    s.kernel("best", Argmax(N, Ref("x"), Ref("best")))
    s.run(0, "best", 0, 1)
    s.vector("h2", "flagged", WIDTH)
    other = replace(gate_up(1, "best"), out=Ref("h2"))
    s.kernel("other", other)
    s.run(1, "other", 0, WIDTH)
    return combined(s)
