"""How far two models are apart, position by position, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amk.ir.packs import F32

F64 = NDArray[np.float64]
RESAMPLES = 10_000


def log_softmax(logits: F32) -> F64:
    """Natural logarithms of the probabilities: logits [..., vocab]."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def divergences(reference: F32, other: F32) -> F64:
    """KL divergence in nats of `other` from `reference` at every position: [n, vocab] to [n]."""
    rows: list[float] = []
    for a, b in zip(reference, other, strict=True):
        p, q = log_softmax(a), log_softmax(b)
        rows.append(float((np.exp(p) * (p - q)).sum()))
    return np.array(rows)


def likelihoods(logits: F32, tokens: Sequence[int]) -> F64:
    """Negative log-likelihood in nats of each of tokens[1:]; row i of `logits` predicts token
    i + 1."""
    pairs = zip(logits, tokens[1:], strict=False)
    return np.array([-float(log_softmax(row)[token]) for row, token in pairs])


def interval(values: F64, seed: int = 0) -> dict[str, Any]:
    """`mean` of `values` and its 95 % percentile `interval` over bootstrap resamples of the
    positions (Efron and Tibshirani, An introduction to the bootstrap, 1993)."""
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [
            values[rng.integers(0, len(values), (100, len(values)))].mean(axis=1)
            for _ in range(RESAMPLES // 100)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(values.mean()), "interval": [float(low), float(high)]}
