"""Kernels touch exactly what their accesses say, and a range of tiles is the sum of its tiles."""

from __future__ import annotations

import numpy as np
import pytest

from amk.interpreters.kernels import EXECUTE, execute
from amk.interpreters.storage import Storage
from amk.interpreters.touched import RecordingMemory, Written, declared, mismatch
from amk.ir.kernels import KERNELS, Attention, Gemv, Kernel
from amk.ir.program import Program
from tests.unit.batteries import BATTERIES, battery
from tests.unit.programs import Tiny, fused, unfused, weights

SHAPES = [
    Tiny(rows=16, bias=True),
    Tiny(rows=16, splits=3, chunk=2, tile=6, heads=6, head_dim=4),
    Tiny(rows=16, dtype="bf16", splits=2, chunk=4, kv_heads=1),
    Tiny(rows=16, sampling=True),
]
MIXTURES = [
    Tiny(rows=16, experts=5, choices=2, inter=10),
    Tiny(rows=16, dtype="bf16", experts=3, choices=3, inter=12, normalize=0),
]
PROGRAMS = [
    *((t, build(t)) for t in SHAPES for build in (fused, unfused)),
    *((t, fused(t)) for t in MIXTURES),
]


def storage(t: Tiny, program: Program) -> Storage:
    """Memory full of numbers; the token is one of the vocabulary."""
    rng = np.random.default_rng(5)
    made = Storage(program, weights(t), 1)
    for array in (*made.shared.values(), *made.keys.values(), *made.values.values()):
        array[:] = rng.standard_normal(array.shape)
    made.shared["token"][:] = 7
    if t.experts:
        made.shared["ids"][:] = rng.integers(0, t.experts, len(made.shared["ids"]))
    return made


def run(kernel: Kernel, lo: int, hi: int, memory: Storage, pos: int) -> RecordingMemory:
    recorded = RecordingMemory(memory, 0, pos)
    execute(kernel, lo, hi, recorded)
    return recorded


def cells(writes: list[Written]) -> dict[tuple[str, int, int], np.ndarray]:
    """Every element written, by place."""
    found: dict[tuple[str, int, int], np.ndarray] = {}
    for w in writes:
        assert w.values is not None
        if w.cache:
            found[w.name, -1, w.lo] = w.values
        else:
            for i, value in enumerate(w.values):
                assert (w.name, w.use, w.lo + i) not in found
                found[w.name, w.use, w.lo + i] = value
    return found


def test_every_kernel_has_an_interpreter_and_is_tested_here() -> None:
    assert set(EXECUTE) == set(KERNELS.values())
    tested = [p for _, p in PROGRAMS] + [battery(cases) for cases in BATTERIES.values()]
    assert {type(k) for p in tested for k in p.kernels.values()} == set(EXECUTE)


@pytest.mark.parametrize(("t", "program"), PROGRAMS)
@pytest.mark.parametrize("pos", [0, 3, 9])
def test_a_kernel_touches_what_its_accesses_say(t: Tiny, program: Program, pos: int) -> None:
    memory = storage(t, program)
    rng = np.random.default_rng(pos)
    for kernel in program.kernels.values():
        lo = int(rng.integers(kernel.grid))
        for a, b in ((0, kernel.grid), (lo, lo + 1), (lo, kernel.grid)):
            recorded = run(kernel, a, b, memory, pos)
            assert mismatch(declared(kernel.accesses(a, b), pos), recorded.ranges) is None


@pytest.mark.parametrize(("t", "program"), PROGRAMS)
def test_tiles_one_by_one_are_the_range_at_once(t: Tiny, program: Program) -> None:
    memory, pos = storage(t, program), 9
    for kernel in program.kernels.values():
        once = cells(run(kernel, 0, kernel.grid, memory, pos).writes)
        tiles = [run(kernel, i, i + 1, memory, pos).writes for i in range(kernel.grid)]
        each = cells([w for writes in tiles for w in writes])
        assert once.keys() == each.keys()
        for place, value in once.items():
            np.testing.assert_allclose(value, each[place], rtol=2e-2, atol=1e-5)


def test_a_difference_between_accesses_and_touched_elements_is_reported() -> None:
    t, program = PROGRAMS[0]
    kernel = program.kernels["l0.o"]
    recorded = run(kernel, 0, 2, storage(t, program), 3)
    wrong = mismatch(declared(kernel.accesses(0, 3), 3), recorded.ranges)
    assert wrong is not None and "@" not in wrong and "[(0, 8)]" in wrong and "[(0, 12)]" in wrong


def test_a_split_attention_does_nothing_before_its_first_row() -> None:
    t, program = next((t, p) for t, p in PROGRAMS if t.splits == 3)
    kernel = program.kernels["l0.attn"]
    assert isinstance(kernel, Attention)
    recorded = run(kernel, 2, 3, storage(t, program), pos=3)  # split 2 starts at row 4
    assert not recorded.ranges and not recorded.writes


def test_candidates_prefer_the_lowest_row_on_a_tie() -> None:
    t, program = PROGRAMS[0]
    memory = storage(t, program)
    kernel = program.kernels["lm_head"]
    assert isinstance(kernel, Gemv)
    memory.immutable.made["lm_head.weight"] = np.zeros((t.vocab, t.hidden), np.float32)
    writes = run(kernel, 0, kernel.grid, memory, 0).writes
    pairs = next(w.values for w in writes if w.name == "cand")
    assert pairs is not None
    assert pairs[1::2].tolist() == list(range(0, t.vocab, t.tile))
