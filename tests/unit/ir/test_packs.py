"""Packs, rotary tables and rounding hold what their definitions say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amk.errors import AmkError
from amk.ir.packs import Immutables, materialize, rope_table, round_bf16
from amk.ir.program import Pack, Range, RopeTable, Tensor

SOURCES = {
    "q": np.arange(16, dtype=np.float32).reshape(8, 2),
    "k": 100 + np.arange(8, dtype=np.float32).reshape(4, 2),
    "v": 200 + np.arange(8, dtype=np.float32).reshape(4, 2),
}


def get(name: str) -> np.ndarray:
    return SOURCES[name]


def test_bf16_rounds_to_nearest_even() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20000, dtype=np.uint32)
    ties = (bits & 0xFFFF0000) | 0x8000
    values = np.concatenate([bits, ties]).astype(np.uint32).view(np.float32)
    expected = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(round_bf16(values), expected)


def test_concat_makes_rotary_pairs_neighbors() -> None:
    pack = Pack("p", (16, 2), "f32", "concat", ("q", "k", "v"), ("rope", "rope", "rows"), 4)
    rows = materialize(pack, get)
    np.testing.assert_array_equal(rows[:8], SOURCES["q"][[0, 2, 1, 3, 4, 6, 5, 7]])
    np.testing.assert_array_equal(rows[8:12], SOURCES["k"][[0, 2, 1, 3]])
    np.testing.assert_array_equal(rows[12:], SOURCES["v"])


def test_interleave_alternates_sources() -> None:
    pack = Pack("p", (8, 2), "f32", "interleave", ("k", "v"), ("rows", "rows"))
    rows = materialize(pack, get)
    np.testing.assert_array_equal(rows[0::2], SOURCES["k"])
    np.testing.assert_array_equal(rows[1::2], SOURCES["v"])


def test_a_pack_of_one_dimension_is_a_bias() -> None:
    pack = Pack("b", (8,), "f32", "concat", ("k", "v"), ("rope", "rows"), 4)
    biases = {"k": np.arange(4, dtype=np.float32), "v": np.arange(4, 8, dtype=np.float32)}
    assert materialize(pack, biases.__getitem__).tolist() == [0, 2, 1, 3, 4, 5, 6, 7]


def test_rows_of_each_head_of_one_tensor() -> None:
    """Each head's query, key and value one after the other, as GPT-NeoX stores them."""
    both = (Range(0, 2, 4), Range(2, 4, 4))
    pack = Pack("p", (8, 2), "f32", "concat", ("q", "q"), ("rows", "rope"), 2, both)
    rows = materialize(pack, get)
    np.testing.assert_array_equal(rows, SOURCES["q"][[0, 1, 4, 5, 2, 3, 6, 7]])


def test_rows_of_one_tensor_are_interleaved() -> None:
    halves = (Range(0, 4), Range(4, 8))
    pack = Pack("p", (8, 2), "f32", "interleave", ("q", "q"), ("rows", "rows"), 0, halves)
    np.testing.assert_array_equal(materialize(pack, get), SOURCES["q"][[0, 4, 1, 5, 2, 6, 3, 7]])


def test_one_is_added_before_anything_is_rounded() -> None:
    tiny = {"w": np.array([2.0**-10, -1.0], np.float32)}
    for dtype, first in (("f32", 1 + 2.0**-10), ("bf16", 1.0)):
        pack = Pack("p", (2,), dtype, "concat", ("w",), ("plus_one",))
        assert materialize(pack, tiny.__getitem__).tolist() == [first, 0.0]


def test_a_matrix_becomes_a_vector() -> None:
    pack = Pack("p", (8,), "f32", "concat", ("k",), ("flat",))
    np.testing.assert_array_equal(materialize(pack, get), SOURCES["k"].reshape(-1))


@pytest.mark.parametrize(
    "pack",
    [
        Pack("p", (9, 2), "f32", "interleave", ("k", "v"), ("rows", "rows")),
        Pack("p", (12, 2), "f32", "interleave", ("q", "v"), ("rows", "rows")),
        Pack("p", (8, 2), "f32", "concat", ("q",), ("rope",), 3),
        Pack("p", (8, 2), "f32", "concat", ("q",), ("columns",)),
        Pack("p", (8, 2), "f32", "stack", ("q",), ("rows",)),
        Pack("p", (8, 2), "f32", "concat", ("q",), ("rows",), 0, (Range(0, 9),)),
        Pack("p", (3, 2), "f32", "concat", ("q",), ("rows",), 0, (Range(0, 1, 3),)),
    ],
)
def test_a_pack_that_its_sources_cannot_make_is_refused(pack: Pack) -> None:
    with pytest.raises(AmkError):
        materialize(pack, get)


def test_rope_table_is_cos_and_sin_of_position_times_frequency() -> None:
    table = rope_table(RopeTable("r", (1.0, 0.25), scale=2.0), rows=5)
    assert table.shape == (5, 2, 2)
    np.testing.assert_allclose(table[3, 0], 2 * np.cos([3.0, 0.75]), rtol=1e-6)
    np.testing.assert_allclose(table[3, 1], 2 * np.sin([3.0, 0.75]), rtol=1e-6)


def test_checkpoint_tensors_are_checked_against_their_declaration() -> None:
    def made(tensor: Tensor) -> Immutables:
        return Immutables({"q": tensor}, {}, {}, get, rows=1)

    with pytest.raises(AmkError, match="must have shape"):
        made(Tensor("q", (8, 3), "f32"))["q"]
    with pytest.raises(AmkError, match="not declared"):
        made(Tensor("q", (8, 2), "f32"))["k"]
    assert made(Tensor("q", (8, 2), "bf16"))["q"].dtype == np.float32
