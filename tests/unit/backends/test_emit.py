"""The emitted source: complete, deterministic, and without warnings or spills where nvcc is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest

from amk.backends.cuda.codes import CODES
from amk.backends.cuda.emit import emit
from amk.backends.cuda.layout import plan
from amk.backends.cuda.nvcc import Usage, find_nvcc, read_usage, run_nvcc
from amk.backends.cuda.tables import rows_ahead
from amk.backends.cuda.target import TARGETS, target_of
from amk.errors import AmkError
from amk.ir.capacity import MAX_SMS, SHARED_BYTES
from amk.ir.kernels import (
    KERNELS,
    Append,
    Argmax,
    Attention,
    Binary,
    Cache,
    Embed,
    Ref,
    Unary,
    Weight,
)
from amk.ir.program import Buffer, KvCache, Program, Ring, Run, Tensor
from amk.verify import verify_program
from tests.unit.batteries import BATTERIES, battery
from tests.unit.programs import Tiny, fused, unfused

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import small

SM90 = TARGETS["sm_90a"]


def other_warps() -> Program:
    """A program whose warps hand over by other sizes than usual."""
    p = fused(Tiny(dtype="bf16", splits=2, chunk=4, kv_heads=1))
    assert p.ring
    sizes = {"finishers": 2, "depth": 4, "lead": 3, "kv_buffers": 2, "kv_bytes": 4096}
    return replace(p, ring=replace(p.ring, **sizes))


CASES = {
    "f32": fused(Tiny()),
    "bf16 with bias": fused(Tiny(dtype="bf16", bias=True)),
    "splits": fused(Tiny(dtype="bf16", splits=2, chunk=4, kv_heads=1)),
    "splits of 64": fused(
        Tiny(sms=6, dtype="bf16", hidden=64, heads=4, kv_heads=2, head_dim=64, splits=3, chunk=16)
    ),
    "splits of 128": fused(
        Tiny(dtype="bf16", hidden=128, heads=4, kv_heads=1, head_dim=128, splits=3, chunk=16)
    ),
    "counters": fused(Tiny(sync="counters", splits=2, chunk=4, kv_heads=1)),
    "sampling": fused(Tiny(dtype="bf16", sampling=True, vocab=41)),
    "experts": fused(Tiny(dtype="bf16", experts=4, choices=2, inter=24)),
    "experts in f32": fused(Tiny(sync="counters", experts=33, choices=3, normalize=0)),
    "bounded experts": fused(Tiny(dtype="bf16", experts=4, choices=2, inter=24, limit=7.0)),
    "many experts": fused(
        Tiny(dtype="bf16", hidden=2048, inter=768, head_dim=64, tile=8, experts=128, choices=8)
    ),
    "unfused": unfused(Tiny(dtype="bf16")),
    "wide": fused(Tiny(dtype="bf16", hidden=2048, inter=4096, head_dim=64, heads=8, tile=8)),
    "other warps": other_warps(),
    **{
        f"{name}, {dtype}": battery(cases, dtype)
        for name, cases in BATTERIES.items()
        for dtype in ("f32", "bf16")
    },
}


def flagged_logits(vocab: int) -> Program:
    """A program whose argmax polls an odd number of words, which no pair of words would end."""
    program = unfused(Tiny(vocab=vocab))
    program.buffers["logits"] = replace(program.buffers["logits"], space="flagged")
    return program


needs_nvcc = pytest.mark.skipif(
    not (shutil.which("nvcc") or os.environ.get("NVCC")), reason="nvcc is not installed"
)


def test_every_kernel_has_a_template() -> None:
    assert set(CODES) == set(KERNELS.values())


def test_the_largest_target_is_the_one_that_programs_are_checked_for() -> None:
    assert max(t.sms for t in TARGETS.values()) == MAX_SMS
    assert max(t.shared for t in TARGETS.values()) == SHARED_BYTES


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", CASES)
def test_compiles_without_warnings_or_spills(case: str, target: str, tmp_path: Path) -> None:
    program = CASES[case]
    assert program.ring
    small = replace(program, ring=replace(program.ring, slots=8))  # fits every target
    made = emit(small, target=TARGETS[target])
    _, usage = run_nvcc(made.source, TARGETS[target], tmp_path)
    assert usage.warnings == ()
    assert usage.spill_bytes == 0
    assert 0 < usage.registers <= 65536 // made.threads // 8 * 8


WARNINGS = """\
ptxas warning : Local memory used for function 'amk_kernel', size of stack frame: 80 bytes
ptxas warning : Registers are spilled to local memory in function 'amk_kernel', 128 bytes \
spill stores, 212 bytes spill loads
"""
SAID = """\
ptxas info    : 2372 bytes gmem, 48 bytes cmem[4]
ptxas info    : Compiling entry function 'amk_pack_f32' for 'sm_80'
ptxas info    : Function properties for amk_pack_f32
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 18 registers, used 0 barriers, 388 bytes cmem[0]
ptxas info    : Compiling entry function 'amk_kernel' for 'sm_80'
ptxas info    : Function properties for amk_kernel
    {}
ptxas info    : Used 168 registers, used 4 barriers, 496 bytes cmem[0], 24 bytes cmem[2]
"""


def test_usage_is_the_kernels_own_also_behind_warnings_that_name_it() -> None:
    fits = SAID.format("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads")
    spills = SAID.format("80 bytes stack frame, 128 bytes spill stores, 212 bytes spill loads")
    assert read_usage(fits) == Usage(168, 0, 0, ())
    assert read_usage(WARNINGS + spills) == Usage(168, 340, 80, tuple(WARNINGS.splitlines()))


def test_is_the_same_every_time_and_carries_the_hashes() -> None:
    one = emit(CASES["f32"], target=SM90, program_hash="abc", certificate_hash="def").source
    two = emit(CASES["f32"], target=SM90, program_hash="abc", certificate_hash="def").source
    assert one == two
    assert "// program     abc\n// certificate def\n" in one


def test_lines_are_counted_in_their_templates() -> None:
    source = emit(CASES["unfused"], target=SM90).source.splitlines()
    name, number, seen = "kernel.cu", 0, set[str]()
    for i, line in enumerate(source, 1):
        number += 1
        if match := re.fullmatch(r'#line (\d+) "(.*)"', line):
            number, name = int(match[1]) - 1, match[2]
            seen.add(name)
        elif name == "kernel.cu":
            assert number == i
        else:
            template = (files("amk.backends.cuda") / name).read_text().splitlines()
            assert line == (template[number - 1] if number <= len(template) else "") or (
                line.startswith("// ---- ")
            )
    assert {"runtime/ring.cuh", "kernels/gemv.cuh", "runtime/main.cuh", "kernel.cu"} <= seen


def test_rows_are_asked_for_once_the_attention_before_has_begun() -> None:
    program = fused(Tiny(dtype="bf16", layers=3, splits=2, chunk=4, rows=32, sms=3))
    layout = plan(program)
    assert program.ring
    copies = program.ring.slots // program.ring.group
    tiles = 0
    for queue in program.queues:
        found = rows_ahead(layout, queue)
        runs = [run for run in queue if isinstance(program.kernels[run.kernel], Attention)]
        assert len(found) == sum(run.hi - run.lo for run in runs)
        assert [row[0] for row in found] == sorted(row[0] for row in found)
        for (begin, end, *_), (after, *_) in pairwise(found):
            assert begin < end
            assert after == begin or after >= end - copies - 1
        for run, (_, _, head, row, chunk, splits, split, window) in zip(runs, found, strict=True):
            kernel = program.kernels[run.kernel]
            assert isinstance(kernel, Attention)
            cache, region = program.caches[kernel.cache], layout.caches.regions[kernel.cache]
            assert run.lo % splits == split
            assert (row, chunk, splits, window) == (2 * 2 * kernel.head_dim, 4, 2, 0)
            assert 16 * head == region.at + run.lo // splits * cache.rows * row
        tiles += len(found)
    assert tiles == 3 * 2 * 2


@needs_nvcc
def test_annotations_are_there_only_where_they_are_asked_for(tmp_path: Path) -> None:
    def code(annotate: bool) -> str:
        source = emit(CASES["f32"], target=SM90, annotate=annotate).source
        file = tmp_path / "kernel.cu"
        file.write_text(source.replace("#include <cuda_bf16.h>", ""))
        command = [find_nvcc(), "-E", SM90.gencode, str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    for sign in ("SHADOWS", "shadow_arrive", "shadow_take", ".exch.b64", ".exch.b32"):
        assert sign not in code(False)
        assert sign in code(True)


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("case", ["f32", "counters", "experts", "unfused", "other warps"])
def test_annotated_kernels_compile_without_warnings(case: str, tmp_path: Path) -> None:
    made = emit(CASES[case], target=SM90, annotate=True)
    _, usage = run_nvcc(made.source, SM90, tmp_path)
    assert [w for w in usage.warnings if "spill" not in w.lower()] == []


def test_every_wait_that_can_be_left_out_is_there() -> None:
    for wait, (_, _, left) in small.WAITS.items():
        source = small.without(wait, SM90)
        assert left in source
        assert small.WAITS[wait][1] not in source


def test_has_only_the_templates_in_use() -> None:
    assert "struct Binary" not in emit(CASES["f32"], target=SM90).source
    assert "counters_wait(const Cta" not in emit(CASES["f32"], target=SM90).source
    text = emit(CASES["unfused"], target=SM90).source
    assert "struct Binary" in text
    assert "counters_wait(const Cta" in text


def test_warps_hand_over_by_what_the_ring_says() -> None:
    p = CASES["other warps"]
    made = emit(p, target=SM90)
    for name, value in {
        "FINISHERS": 2, "DEPTH": 4, "LEAD": 3, "KV_BUFFERS": 2, "KV_BYTES": 4096,
    }.items():  # fmt: skip
        assert f"constexpr int {name} = {value};" in made.source
    assert p.ring
    assert made.threads == 32 * (p.ring.consumers + 1 + 2)
    usual = emit(CASES["splits"], target=SM90)
    assert made.shared < usual.shared


def test_whole_instructions_that_share_rows_with_finishers_await_them() -> None:
    joined = "      finished(c);\n      "
    assert f"{joined}MoeDown" in emit(CASES["experts"], target=SM90).source
    assert f"{joined}Attention" not in emit(CASES["experts"], target=SM90).source
    assert (
        joined not in emit(CASES["counters"], target=SM90).source
    )  # no finisher has anything to do


def test_a_head_in_two_parts_is_left_out_only_if_both_end_the_stream() -> None:
    p = CASES["f32"]
    queues: list[list[Run]] = []
    for queue in p.queues:
        at = next((i for i, run in enumerate(queue) if run.kernel == "lm_head"), None)
        if at is None or queue[at].hi - queue[at].lo < 2:
            queues.append(queue)
            continue
        run = queue[at]
        first, rest = replace(run, hi=run.lo + 1), replace(run, lo=run.lo + 1)
        queues.append([first, *queue[:at], rest, *queue[at + 1 :]])
    assert queues != p.queues
    text = emit(replace(p, queues=queues), target=SM90).source
    assert "constexpr bool SKIPS = false;" in text


def test_the_head_is_left_out_where_it_ends_every_stream() -> None:
    fits = CASES["f32"]
    assert "constexpr bool SKIPS = true;" in emit(fits, target=SM90).source
    queue = fits.queues[0]
    head = next(i for i, run in enumerate(queue) if run.kernel == "lm_head")
    moved = [*queue[: head - 1], queue[head], queue[head - 1], *queue[head + 1 :]]
    other = replace(fits, queues=[moved, *fits.queues[1:]])
    assert "constexpr bool SKIPS = false;" in emit(other, target=SM90).source
    assert "constexpr bool SKIPS = false;" in emit(CASES["unfused"], target=SM90).source


def test_layers_share_code() -> None:
    two, four = (emit(fused(Tiny(layers=n)), target=SM90).source for n in (2, 4))
    assert two.count("\nstruct Code") == four.count("\nstruct Code")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (replace(CASES["f32"], ring=None), "has no ring"),
        (
            replace(CASES["f32"], ring=Ring(800, 256, 2, 8, 4)),
            r"bytes of shared memory per SM, sm_90a has 232448",
        ),
        (fused(Tiny(heads=34, kv_heads=2)), "17 query heads share a KV head"),
        (fused(Tiny(head_dim=12)), "head_dim must be a multiple of 8"),
        (fused(Tiny(dtype="bf16", tile=2, sms=5)), "the tile 2 must be a multiple of 4"),
        (flagged_logits(41), "reads 41 elements at @logits"),
        (fused(Tiny(experts=4, choices=2, inter=22)), "k must be a multiple of 4, got 22"),
        (fused(Tiny(experts=34, choices=33)), "33 choices are more than 32"),
        (fused(Tiny(experts=1025, choices=2)), "1025 logits of experts are more than 1024"),
    ],
)
def test_refuses_what_it_cannot_run(program: Program, message: str) -> None:
    with pytest.raises(AmkError, match=message):
        emit(program, target=SM90)


def test_refuses_an_unknown_target() -> None:
    with pytest.raises(AmkError, match="arch 'sm_75' is not supported"):
        target_of("sm_75")


def widths(k: str, v: str, local: str = "f32") -> Program:
    """One attention whose k and v are buffers of these types, on two SMs, and a local buffer."""
    p = Program(
        "widths",
        tensors={"table": Tensor("table", (8, 8), "f32")},
        caches={"kv": KvCache("kv", 16, 1, 8, "f32")},
        ring=Ring(16, 256, 2, 8, 4),
    )
    types = {"token": "i32", "k": k, "v": v, "y": "f32", "z": "f32"}
    for name, dtype in types.items():
        p.buffers[name] = Buffer(name, "flagged", 1 if dtype == "i32" else 8, dtype)
    p.buffers["rows"] = Buffer("rows", "local", 8, local)
    at = {name: Ref(name) for name in p.buffers}
    p.kernels = {
        "embed": Embed(8, 8, at["token"], Weight("table"), at["k"]),
        "copy": Binary(8, 8, "add", at["k"], at["k"], at["v"]),
        "attention": Attention(1, 1, 8, at["k"], at["y"], Cache("kv"), 1.0, at["k"], at["v"]),
        "keep": Unary(8, 4, "silu", at["y"], at["rows"]),
        "leave": Unary(8, 4, "silu", at["rows"], at["z"]),
        "argmax": Argmax(8, at["z"], at["token"]),
    }
    first = [Run("embed", 0, 1), Run("copy", 0, 1), Run("attention", 0, 1, fence=True)]
    halves = [[Run("keep", i, i + 1), Run("leave", i, i + 1)] for i in (0, 1)]
    p.queues = [[*first, *halves[0], Run("argmax", 0, 1)], halves[1]]
    assert verify_program(p) == []
    return p


def test_keys_and_values_of_two_types_are_refused() -> None:
    message = "reads @k of bf16 in flagged memory and @v of f32 in flagged memory: they must be of"
    with pytest.raises(AmkError, match=message):
        emit(widths("bf16", "f32"), target=SM90)
    p = widths("f32", "f32")
    append = Append(1, 8, Ref("k"), Ref("v"), Cache("kv"))
    kernels = p.kernels | {"append": append}
    emit(replace(p, kernels=kernels), target=SM90)
    buffers = p.buffers | {"v": replace(p.buffers["v"], space="plain")}
    kernels.pop("attention")
    queues = [[run for run in queue if run.kernel != "attention"] for queue in p.queues]
    with pytest.raises(
        AmkError, match="@append reads @k of f32 in flagged memory and @v of f32 in"
    ):
        emit(replace(p, kernels=kernels, buffers=buffers, queues=queues), target=SM90)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_rows_of_local_memory_lie_where_there_is_room_for_them(dtype: str) -> None:
    """SM 1 has elements 4 to 7 of a local buffer, and memory for no others."""
    p = widths("f32", "f32", dtype)
    text = emit(p, target=SM90).source
    found = re.search(r"LOCAL_FIRST\[2\]\[1\] = \{\s*\{(\d+)\},\s*\{(\d+)\}", text)
    assert found
    first, second = map(int, found.groups())
    assert second + 4 * {"f32": 4, "bf16": 2}[dtype] == first


def test_a_step_has_one_token() -> None:
    p = widths("f32", "f32")
    p.buffers["other"] = Buffer("other", "flagged", 1, "i32")
    other = replace(p, kernels=p.kernels | {"again": Argmax(8, Ref("y"), Ref("other"))})
    message = "reads its token from @token, and tokens are left in @token, @other: one argmax"
    with pytest.raises(AmkError, match=message):
        emit(other, target=SM90)
    embed = Embed(8, 8, Ref("other"), Weight("table"), Ref("k"))
    with pytest.raises(AmkError, match="its token from @other, and tokens are left in @token:"):
        emit(replace(p, kernels=p.kernels | {"embed": embed}), target=SM90)


def test_matrix_instructions_need_an_even_number_of_partial_sums() -> None:
    """Behind these lies row pos, which is read 16 bytes at a time."""
    t = Tiny(dtype="bf16", hidden=256, head_dim=64, tile=8, layers=1, kv_heads=1)
    for heads, consumers in ((1, 8), (2, 7), (1, 7)):
        p = fused(replace(t, heads=heads))
        p = replace(p, ring=Ring(2 * consumers, 256, 1, consumers, 4))
        text = emit(p, target=SM90).source
        by_matrix = "bool MATRIX = true" if heads * consumers % 2 == 0 else "bool MATRIX = false"
        assert by_matrix in text
