"""base ** x in float32, equal bit for bit to what PyTorch computes on an AVX-512 CPU.

RoPE frequencies are 1 / theta ** (2i / d), which Hugging Face computes in float32 PyTorch. PyTorch
takes blocks of 32 elements through SLEEF's vectorized `powf` (error up to 1 ulp) and what is left
through the C library's (practically correctly rounded). A position multiplies the error of a
frequency, so the same rounding is worth having.

This is SLEEF's `xpowf` (double-float arithmetic with FMA) on NumPy arrays. SLEEF is copyright Naoki
Shibata and contributors 2010 - 2025, distributed under the Boost Software License, Version 1.0
(https://www.boost.org/LICENSE_1_0.txt).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.floating[Any]]
"""Arrays of float32: the stubs of NumPy do not see that float32 operations stay float32."""

Pair = tuple[F32, F32]
"""An unevaluated sum of two float32 numbers, the second at most half an ulp of the first."""

BLOCK = 32
"""Elements of two AVX-512 vectors: the unit of PyTorch's vectorized loop."""


def powf(base: float, x: F32) -> F32:
    """base ** x; `base` positive and finite, `x` a vector of finite float32."""
    whole = len(x) // BLOCK * BLOCK
    with np.errstate(under="ignore"):
        head = _exp(_mul1(_log(np.full_like(x[:whole], base)), x[:whole]))
        tail = np.power(np.float64(np.float32(base)), x[whole:].astype(np.float64))
    head[x[:whole] == 0] = 1
    return np.concatenate([head, tail.astype(np.float32)])


def _f(value: float, like: F32) -> F32:
    return np.full_like(like, np.float32(value))


def _fma(a: F32, b: F32, c: F32) -> F32:
    """a * b + c rounded once: the float64 product is exact, the float64 sum is rounded to odd, and
    that to float32."""
    p, d = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    s = p + d
    t = s - p
    error = (p - (s - t)) + (d - t)
    bits = s.view(np.int64)
    step = np.where((error != 0) & (bits % 2 == 0), np.where((error > 0) == (s > 0), 1, -1), 0)
    return (bits + step).view(np.float64).astype(np.float32)


def _mul1(x: Pair, y: F32) -> Pair:
    s = x[0] * y
    return s, _fma(x[1], y, _fma(x[0], y, -s))


def _mul(x: Pair, y: Pair) -> Pair:
    s = x[0] * y[0]
    return s, _fma(x[0], y[1], _fma(x[1], y[0], _fma(x[0], y[0], -s)))


def _square(x: Pair) -> Pair:
    s = x[0] * x[0]
    return s, _fma(x[0] + x[0], x[1], _fma(x[0], x[0], -s))


def _add(x: Pair, y: Pair) -> Pair:
    """x + y for any magnitudes."""
    s = x[0] + y[0]
    v = s - x[0]
    return s, ((x[0] - (s - v)) + (y[0] - v)) + (x[1] + y[1])


def _add_smaller(x: Pair, y: Pair) -> Pair:
    """x + y for |x| >= |y|."""
    s = x[0] + y[0]
    return s, (((x[0] - s) + y[0]) + x[1]) + y[1]


def _add1(x: Pair, y: F32) -> Pair:
    s = x[0] + y
    v = s - x[0]
    return s, ((x[0] - (s - v)) + (y - v)) + x[1]


def _div(n: Pair, d: Pair) -> Pair:
    t = _f(1, d[0]) / d[0]
    s = n[0] * t
    u = _fma(t, n[0], -s)
    v = _fma(-d[1], t, _fma(-d[0], t, _f(1, t)))
    return s, _fma(s, v, _fma(n[1], t, u))


def _sum(x: F32, y: F32) -> Pair:
    """x + y exactly."""
    s = x + y
    v = s - x
    return s, (x - (s - v)) + (y - v)


def _poly(x: F32, *coefficients: float) -> F32:
    """Horner's rule, highest power first."""
    u = _f(coefficients[0], x)
    for c in coefficients[1:]:
        u = _fma(u, x, _f(c, x))
    return u


def _log(d: F32) -> Pair:
    """Natural logarithm: exponent * ln 2 + 2 artanh((m - 1) / (m + 1)) with 0.75 <= m < 1.5."""
    m, e = np.frexp(d)
    low = m < np.float32(0.75)
    m = np.where(low, m + m, m)
    exponent = np.where(low, e - 1, e).astype(np.float32)
    x = _div(_sum(_f(-1, m), m), _sum(_f(1, m), m))
    x2 = _square(x)
    t = _poly(
        x2[0], 0.240320354700088500976562, 0.285112679004669189453125, 0.400007992982864379882812
    )
    third = (_f(0.66666662693023681640625, m), _f(3.69183861259614332084311e-09, m))
    ln2 = (_f(0.69314718246459960938, m), _f(-1.904654323148236017e-09, m))
    s = _add_smaller(_mul1(ln2, exponent), (x[0] + x[0], x[1] + x[1]))
    return _add_smaller(s, _mul(_mul(x2, x), _add(_mul1(x2, t), third)))


def _exp(d: Pair) -> F32:
    """e ** d: 2 ** q times a polynomial of d - q ln 2."""
    q = np.rint((d[0] + d[1]) * _f(1.4426950408889634, d[0]))
    s = _add1(d, q * _f(-0.693145751953125, q))
    s = _add1(s, q * _f(-1.428606765330187045e-06, q))
    head = s[0] + s[1]
    s = (head, (s[0] - head) + s[1])
    u = _poly(
        head,
        0.00136324646882712841033936,
        0.00836596917361021041870117,
        0.0416710823774337768554688,
        0.166665524244308471679688,
        0.499999850988388061523438,
    )
    t = _add_smaller(s, _mul1(_square(s), u))
    one = _f(1, head)
    r = one + t[0]
    return np.ldexp(r + (((one - r) + t[0]) + t[1]), q.astype(np.int32)).astype(np.float32)
