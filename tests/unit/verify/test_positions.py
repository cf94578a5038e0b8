"""Caches are proved for all positions at once; here every position is tried."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from amk.ir.kernels import Append, Attention, Cache
from amk.ir.program import Program
from amk.verify import verify_program
from amk.verify.corpus.generator import safe_program
from amk.verify.corpus.mutants import MUTANTS
from amk.verify.corpus.oracle import CAUTIONS, Execution, judge, rows
from tests.unit.programs import Tiny, fused, unfused

KINDS = (
    "chunk-changed",
    "one-tile-chunked-otherwise",
    "append-left-to-nobody",
    "row-appended-twice",
    "cache-of-another-layer",
    "part-read-by-position",
    "instruction-dropped",
)


def at_every_position(p: Program, steps: int = 3) -> bool:
    """Whether launches from every position are without fault."""
    return all(
        Execution(p, min(steps, rows(p) - start), start).fault() is None for start in range(rows(p))
    )


@pytest.mark.parametrize("splits,chunk", [(1, 0), (2, 1), (2, 3), (3, 1), (3, 2), (4, 2)])
@pytest.mark.parametrize("sync", ["flagged", "counters"])
def test_compiled_programs_are_safe_at_every_position(splits: int, chunk: int, sync: str) -> None:
    p = fused(Tiny(layers=1, rows=14, splits=splits, chunk=chunk, sync=sync))
    assert verify_program(p) == []
    assert at_every_position(p)


def test_an_append_of_its_own_is_safe_at_every_position() -> None:
    p = unfused(Tiny(layers=1, rows=10))
    assert verify_program(p) == []
    assert at_every_position(p)


def test_changed_programs_are_accepted_only_if_every_position_is_safe() -> None:
    seen: Counter[bool] = Counter()
    number = 0
    while min(seen[True], seen[False]) < 20:
        number += 1
        rng = Random(f"positions/{number}")
        p = safe_program(rng)
        changed = MUTANTS[KINDS[number % len(KINDS)]](p, rng) if p.caches else None
        fault = judge(changed) if changed is not None else None
        if changed is None or (fault and fault.kind in ("malformed", "ring", "warps")):
            continue
        accepted = not verify_program(changed)
        safe = at_every_position(changed)
        assert accepted == safe or (safe and judge(changed, CAUTIONS)), number
        seen[accepted] += 1


def test_the_positions_that_are_tried_suffice() -> None:
    """The oracle picks few positions; it says the same as all of them."""
    checked = 0
    for number in range(400):
        rng = Random(f"picked/{number}")
        p = safe_program(rng)
        changed = MUTANTS[KINDS[number % len(KINDS)]](p, rng) if p.caches else None
        if changed is None:
            continue
        fault = judge(changed)
        if fault is None or fault.kind not in ("malformed", "ring", "warps", "deadlock"):
            assert (fault is None) == at_every_position(changed), number
            checked += 1
    assert checked > 20


def test_a_row_that_is_right_only_at_first_is_found() -> None:
    """A tile of the second split takes other chunks: nothing is wrong below position 2."""
    p = fused(Tiny(layers=1, rows=14, splits=2, chunk=2))
    attention = p.kernels["l0.attn"]
    assert isinstance(attention, Attention)
    p.kernels["l0.append"] = Append(
        attention.kv_heads, attention.head_dim, attention.q, attention.q, Cache("kv0")
    )
    odd = MUTANTS["one-tile-chunked-otherwise"](p, Random(1))
    assert odd is not None
    assert verify_program(odd)
    assert not at_every_position(odd)
