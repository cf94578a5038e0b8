"""Drawn tokens: exact where arithmetic is, distributed as Hugging Face says, and reproducible."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from amk.errors import AmkError
from amk.ir.packs import F32
from amk.ir.sampling import (
    SATURATED,
    Sampling,
    distances,
    draw,
    masses,
    philox,
    random_word,
    shares,
)

LOGITS = (3 * np.random.default_rng(1).standard_normal(40)).astype(np.float32)


def test_philox_gives_the_published_numbers() -> None:
    """The known answers of the authors' own library (Random123, kat_vectors)."""
    assert philox((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    known = (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)
    assert philox(pi, (0xA4093822, 0x299F31D0)) == known


def test_random_words_differ_by_seed_position_and_row() -> None:
    words = {random_word(s, p, r) for s in (0, 1, 1 << 40) for p in range(50) for r in range(2)}
    assert len(words) == 300


def test_masses_are_those_of_exp() -> None:
    far = np.array([0, 1, 1 << 20, 1 << 26, 5 << 26, 20 << 26, SATURATED], np.uint32)
    want = np.exp(-far.astype(np.float64) / 2**26) * 2**40
    assert np.allclose(masses(far).astype(np.float64), want, rtol=2e-8, atol=1)
    assert masses(far)[0] == 1 << 40 and masses(far)[-1] == 0


def test_masses_shrink_with_distance() -> None:
    far = np.arange(0, 1 << 32, 1 << 18, dtype=np.uint64).astype(np.uint32)
    mass = masses(far).astype(np.int64)
    assert (np.diff(mass) <= 0).all()


def chances(logits: F32, sampling: Sampling) -> np.ndarray:
    """The probability of each token."""
    mass = shares(logits, sampling).astype(np.float64)
    return mass / mass.sum()


def hugging_face(sampling: Sampling, logits: F32) -> np.ndarray:
    """The probabilities from which transformers' `generate` would draw."""
    library = transformers
    scores = torch.from_numpy(logits)[None] / sampling.temperature
    if sampling.top_k:
        scores = library.TopKLogitsWarper(sampling.top_k)(None, scores)  # pyright: ignore
    if sampling.top_p < 1:
        scores = library.TopPLogitsWarper(sampling.top_p)(None, scores)  # pyright: ignore
    return scores.double().softmax(-1)[0].numpy()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0),
        Sampling(0.5),
        Sampling(3.0),
        Sampling(1.0, top_k=1),
        Sampling(1.0, top_k=7),
        Sampling(2.0, top_k=39),
        Sampling(1.0, top_k=400),
        Sampling(1.0, top_p=0.01),
        Sampling(1.0, top_p=0.5),
        Sampling(2.0, top_p=0.999),
        Sampling(0.8, top_k=12, top_p=0.9),
    ],
    ids=str,
)
def test_probabilities_are_those_of_hugging_face(sampling: Sampling) -> None:
    mine, theirs = chances(LOGITS, sampling), hugging_face(sampling, LOGITS)
    assert ((mine > 0) == (theirs > 1e-11)).all()  # a mass has 40 bits
    assert np.allclose(mine, theirs, atol=1e-6)


def test_draws_are_distributed_so() -> None:
    sampling = Sampling(1.5, top_k=20, top_p=0.95, seed=11)
    want = chances(LOGITS, sampling)
    count = 20_000
    found = np.bincount([draw(LOGITS, sampling, pos) for pos in range(count)], minlength=40)
    assert (found[want == 0] == 0).all()
    expected = want[want > 0] * count
    chi = float(((found[want > 0] - expected) ** 2 / expected).sum())
    freedom = int((want > 0).sum()) - 1
    assert chi < freedom + 4 * math.sqrt(2 * freedom)


def test_a_seed_and_a_position_decide() -> None:
    one = [draw(LOGITS, Sampling(1.0, seed=3), pos) for pos in range(64)]
    assert one == [draw(LOGITS, Sampling(1.0, seed=3), pos) for pos in range(64)]
    assert one != [draw(LOGITS, Sampling(1.0, seed=4), pos) for pos in range(64)]
    assert len(set(one)) > 5


def test_temperature_0_is_the_lowest_best() -> None:
    logits = np.array([1, 5, 5, 0], np.float32)
    assert draw(logits, Sampling(0.0, top_k=3, seed=9), 7) == 1


def test_equals_stay_together() -> None:
    logits = np.array([2, 1, 1, 1, 0], np.float32)
    assert (chances(logits, Sampling(1.0, top_k=2)) > 0).tolist() == [True] * 4 + [False]
    assert (chances(logits, Sampling(1.0, top_p=0.6)) > 0).tolist() == [True] * 4 + [False]


@given(
    st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=30),
    st.floats(0.01, 50),
    st.integers(0, 40),
    st.floats(0.01, 1),
    st.integers(0, 1000),
)
def test_what_is_drawn_may_be_drawn(
    logits: list[float], temperature: float, top_k: int, top_p: float, pos: int
) -> None:
    row, sampling = np.array(logits, np.float32), Sampling(temperature, top_k, top_p)
    assert chances(row, sampling)[draw(row, sampling, pos)] > 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_still_gives_a_token(bad: float) -> None:
    row = LOGITS.copy()
    row[5] = bad
    assert 0 <= draw(row, Sampling(1.0, top_k=3, top_p=0.5), 0) < 40
    row[:] = bad
    assert 0 <= draw(row, Sampling(1.0), 0) < 40


def test_distances_saturate() -> None:
    far = distances(np.array([100, 99, 36.5, 36, -100], np.float32), 1.0)
    assert far.tolist() == [0, 1 << 26, int(63.5 * 2**26), SATURATED, SATURATED]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("seed", -1),
        ("seed", 1 << 64),
    ],
)
def test_refuses_what_means_nothing(field: str, value: float) -> None:
    with pytest.raises(AmkError, match=field.replace("_", "-")):
        Sampling(**{field: value})  # pyright: ignore[reportArgumentType]


def test_extreme_temperatures_stay_finite() -> None:
    assert draw(LOGITS, Sampling(1e-300), 3) == int(LOGITS.argmax())
    assert math.isfinite(Sampling(5e-324).inverse)
    assert np.allclose(chances(LOGITS, Sampling(1e30)), 1 / 40)
    assert np.allclose(chances(LOGITS, Sampling(1e300)), 1 / 40)
