"""Tokens, which are symbols to all rules but one."""

from __future__ import annotations

from amk.ir.kernels import Argmax, Embed, Gemv, Ref, Topk, Weight
from amk.ir.program import Program, Tensor
from amk.verify.corpus.named.sketch import N, Sketch, case

ROWS = 8


def chosen(logits: int, offset: int = 0) -> Program:
    """The token is the best of the candidates of a gemv; it is looked up in a table of 8 rows."""
    s = Sketch(1)
    s.p.tensors["head"] = Tensor("head", (logits, N), "f32")
    s.vector("x", "flagged")
    s.vector("y", "flagged", logits)
    s.vector("cand", "flagged", 2 * logits // 4 + offset)
    s.begin("x")
    head = Gemv(
        logits, 4, N, Weight("head"), Ref("x"), Ref("y"), epilogue="logits", cand=Ref("cand")
    )
    s.kernel("head", head)
    s.run(0, "head", 0, logits // 4)
    s.kernel("argmax", Argmax(logits // 4 - offset, Ref("cand", offset), Ref("token"), 1))
    s.run(0, "argmax", 0, 1)
    return s.p


@case(safe=True)
def token_among_as_many_as_the_table_has() -> Program:
    """Eight logits, eight rows."""
    return chosen(ROWS)


@case(safe=False)
def token_of_no_row() -> Program:
    """Twelve logits may choose token 11, of which the table has no row."""
    return chosen(12)


@case(safe=False)
def ids_read_as_a_token() -> Program:
    """An expert that was chosen is no token, though it is an integer that somebody writes: every SM
    has the step's token by a word that only who chooses one writes."""
    s = Sketch(1)
    s.vector("x", "flagged")
    s.vector("ids", "flagged", 2, dtype="i32")
    s.vector("weights", "flagged", 2)
    s.kernel("embed", Embed(N, 1, Ref("ids"), Weight("table"), Ref("x")))
    s.run(0, "embed")
    s.kernel("topk", Topk(N, 2, Ref("x"), Ref("ids"), Ref("weights")))
    s.run(0, "topk", 0, 1)
    return s.p


@case(safe=False)
def scores_read_as_rows() -> Program:
    """Pairs that begin in the middle of one: what is taken for a row is a score."""
    return chosen(ROWS, 1)
