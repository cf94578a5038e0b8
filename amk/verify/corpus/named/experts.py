"""Mixtures of experts."""

from __future__ import annotations

from dataclasses import replace

from amk.ir.kernels import Argmax, Gemv, Kernel, MoeDown, MoeGateUp, Ref, Topk, Weight
from amk.ir.program import Program, Tensor
from amk.verify.corpus.named.sketch import N, Sketch, case

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
