"""What other systems get wrong: safe programs that a checker of whole buffers refuses, and unsafe
ones that were accepted."""

from __future__ import annotations

from amk.ir.kernels import Embed, Ref, Weight
from amk.ir.program import Program
from amk.verify.corpus.named.sketch import N, Sketch, case, pipeline

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
