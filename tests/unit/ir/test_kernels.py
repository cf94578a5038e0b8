"""Records that are no kernels say why."""

from __future__ import annotations

import pytest

from amk.ir.kernels import Attention, Cache, Gemv, Kernel, Ref, Rope, Unary, Weight
from amk.verify.corpus.wellformed import malformed
from tests.unit.programs import Tiny, fused

X, Y, W = Ref("x"), Ref("y"), Weight("w")


def attention(chunk: int) -> Kernel:
    return Attention(1, 1, 8, X, Y, Cache("kv"), 1.0, X, X, 4, chunk, Ref("part"))


def head(n: int) -> Kernel:
    return Gemv(n, 8, 8, W, X, Y, epilogue="logits", cand=Ref("cand"))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (Rope(2, 5, X, W, Y, 4), "head_dim must be even, got 5"),
        (Rope(2, 6, X, W, Y, 3), "rotary must be even, got 3"),
        (attention(1 << 29), "4 splits of chunks of 536870912 rows are too many"),
        (
            head((1 << 24) + 1),
            "rows of candidates are exact in fp32 up to 16777216, got n 16777217",
        ),
        (Unary(8, 8, "scale", X, Y, 3.5e38), "value must be a number of fp32, got 3.5e+38"),
        (Unary(8, 8, "scale", X, Y, float("nan")), "value must be a number of fp32, got nan"),
    ],
)
def test_what_is_no_kernel(kernel: Kernel, message: str) -> None:
    assert list(kernel.problems()) == [message]


def test_the_largest_that_are() -> None:
    largest = (Rope(2, 6, X, W, Y, 4), attention((1 << 29) - 1), head(1 << 24))
    for kernel in (*largest, Unary(8, 8, "scale", X, Y, 3.4e38)):
        assert not list(kernel.problems())


def test_real_programs_have_a_meaning() -> None:
    assert malformed(fused(Tiny())) is None
