"""Distances between distributions, and bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from amk.frontends.hf.reference import perplexity
from amk.tools.statistics import divergences, interval, likelihoods

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((50, 20)).astype(np.float32)
TOKENS = [int(t) for t in RNG.integers(0, 20, 50)]


def test_no_divergence_from_oneself() -> None:
    assert np.allclose(divergences(LOGITS, LOGITS + 3), 0, atol=1e-7)


def test_divergence_of_a_coin() -> None:
    fair, biased = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    found = divergences(fair.astype(np.float32), biased.astype(np.float32))
    assert found[0] == pytest.approx(0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1), rel=1e-6)


def test_perplexity_is_of_the_likelihoods() -> None:
    losses = likelihoods(LOGITS, TOKENS)
    assert len(losses) == 49
    assert np.exp(losses.mean()) == pytest.approx(perplexity(LOGITS, TOKENS), rel=1e-12)


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(40):
        found = interval(np.random.default_rng(seed).standard_normal(200) + 5)
        low, high = found["interval"]
        assert low < found["mean"] < high
        assert high - low == pytest.approx(4 / 200**0.5, rel=0.3)
        covered += low < 5 < high
    assert covered >= 33


def test_the_same_values_give_the_same_interval() -> None:
    values = RNG.standard_normal(30)
    assert interval(values) == interval(values)
