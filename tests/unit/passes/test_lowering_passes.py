"""Passes below the model level: what a lit test of a small program cannot show."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.exceptions import PassFailedException

from amk.dialects import sched
from amk.frontends.hf.build import build_model
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.presets import preset
from amk.ir.kernels import Gemv, Ref, Weight, ceil_div
from amk.ir.program import Buffer, Ring
from amk.mlir import print_module, run_passes
from amk.passes.place_buffers import homes, role
from amk.passes.plan_stream import best_columns
from amk.passes.rewrite import REPORTED, programs, report
from amk.verify.ring import check_ring
from amk.verify.sched import verify_sched


def lowered(name: str, layers: int, pipeline: str) -> ModuleOp:
    raw = preset(name) | {"num_hidden_layers": layers}
    return run_passes(pipeline, build_model(parse_config(raw), "bf16", 64))


def test_a_schedule_is_a_function_of_the_program() -> None:
    pipeline = "fuse,to-task{num-sms=7 sync=counters splits=2 chunk=16},to-sched{num-sms=7},to-vm"
    first = print_module(lowered("tiny", 2, pipeline))
    assert print_module(lowered("tiny", 2, pipeline)) == first


@pytest.mark.parametrize("sync", ["flags", "counters"])
def test_deep_models_need_no_more_memory_than_shallow_ones(sync: str) -> None:
    """Sharing ends at a period, whatever the number of layers."""
    sizes: list[int] = []
    for layers in (4, 8):
        pipeline = f"fuse,to-task{{num-sms=4 sync={sync}}},to-sched{{num-sms=4}}"
        (op,) = programs(lowered("tiny", layers, pipeline), sched.ProgramOp)
        p = sched.program_of(op)
        sizes.append(len({p.homes.get(name, (name, 0))[0] for name in p.buffers}))
        assert verify_sched(p) == []
    assert sizes[0] == sizes[1] < 24


@pytest.mark.parametrize(
    "options",
    ["", "ring-kb=100", "copy-kb=3 consumers=7", "window-kb=1", "copy-kb=500 ring-kb=99"],
)
@pytest.mark.parametrize("model", ["smollm2-135m", "llama-3.2-1b", "llama-3-8b"])
def test_every_planned_ring_follows_the_rules(model: str, options: str) -> None:
    pipeline = f"fuse,to-task,convert-task-to-sched,plan-stream{{{options}}}"
    (op,) = programs(lowered(model, 1, pipeline), sched.ProgramOp)
    p = sched.program_of(op)
    assert isinstance(p.ring, Ring)
    assert list(check_ring(p, p.ring)) == []


@pytest.mark.parametrize(("k", "columns"), [(576, 192), (2048, 256), (896, 224), (40, 64)])
def test_columns_that_pad_least(k: int, columns: int) -> None:
    assert best_columns([Gemv(8, 8, k, Weight("w"), Ref("x"), Ref("y"))]) == columns
    padded = ceil_div(k, columns) * columns
    assert all(padded <= ceil_div(k, c) * c for c in range(32, 257, 32))


def test_slot_width_is_bounded() -> None:
    matrix = Gemv(8, 8, 768, Weight("w"), Ref("x"), Ref("y"))
    widths = {most: best_columns([matrix], most) for most in (32, 70, 128, 224, 1000)}
    assert widths == {32: 32, 70: 64, 128: 128, 224: 192, 1000: 256}


def test_roles_forget_the_layer() -> None:
    names = ("l3.qkv.y", "l12.o.res", "logits", "lm_head.pairs", "layer.x", "l.x")
    roles = ["qkv.y", "o.res", "logits", "lm_head.pairs", "layer.x", "l.x"]
    assert [role(name) for name in names] == roles


def test_buffers_of_a_kind_take_turns() -> None:
    kind = Buffer("q.y", "flagged", 8, "f32")
    names = [f"l{i}.q.y" for i in range(5)]
    found = homes({kind: names}, 2)
    assert [found[name] for name in names] == [
        ("q.y.0", 0), ("q.y.1", 0), ("q.y.0", 1), ("q.y.1", 1), ("q.y.0", 2),
    ]  # fmt: skip
    assert homes({kind: names[:1]}, 1) == {}


def test_reports_are_brief() -> None:
    report([])
    with pytest.raises(PassFailedException) as raised:
        report([f"problem {i}" for i in range(REPORTED + 3)])
    lines = str(raised.value).splitlines()
    assert len(lines) == REPORTED + 1 and lines[-1] == "and 3 more"
