"""What the compiler chooses by itself: how many SMs, and a ring that fits beside what else there
is."""

from __future__ import annotations

import pytest

from amk.backends.cuda.emit import emit
from amk.backends.cuda.target import target_of
from amk.compiler import Compiled, compile_model
from amk.errors import AmkError
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.decoder import DecoderConfig
from amk.frontends.hf.presets import preset


def layers_of(name: str, layers: int) -> DecoderConfig:
    """A preset with its first layers alone."""
    return parse_config(preset(name) | {"num_hidden_layers": layers}, name)


def sms(compiled: Compiled) -> int:
    return len(compiled.program.queues)


def test_no_more_sms_than_have_work() -> None:
    tiny = layers_of("tiny", 1)
    assert sms(compile_model(tiny)) == 40  # 2 x 160 rows of gate and up, 8 a tile
    assert sms(compile_model(tiny, most_sms=64)) == 40
    assert sms(compile_model(tiny, most_sms=24)) == 24
    assert sms(compile_model(layers_of("smollm2-135m", 1))) == target_of("sm_90a").sms


def test_as_many_sms_as_were_asked_for() -> None:
    tiny = layers_of("tiny", 1)
    assert sms(compile_model(tiny, num_sms=9, most_sms=24)) == 9
    with pytest.raises(AmkError, match="num-sms 41 exceeds the 40 tiles of the largest family"):
        compile_model(tiny, num_sms=41)


@pytest.mark.parametrize(
    ("name", "arch", "dtype", "columns"),
    [
        ("llama-3-70b", "sm_90a", "bf16", 256),
        ("llama-3-70b", "sm_120a", "bf16", 128),
        ("mixtral-8x7b", "sm_80", "fp32", 128),
        ("tinyllama-1.1b", "sm_120a", "fp32", 128),
    ],
)
def test_slots_are_narrow_where_wide_ones_do_not_fit(
    name: str, arch: str, dtype: str, columns: int
) -> None:
    """The input of the widest matrix of 70B takes 56 KiB in bf16, of the 99 that sm_120a has."""
    target = target_of(arch)
    program = compile_model(layers_of(name, 1), arch=arch, dtype=dtype, max_context=256).program
    assert program.ring
    assert program.ring.columns == columns
    assert program.ring.slots // program.ring.group >= 2
    assert emit(program, target=target).shared <= target.shared


def test_what_leaves_no_ring_is_refused() -> None:
    message = r"needs \d+ KiB of shared .* sm_80 has 163: compile with --dtype bf16"
    with pytest.raises(AmkError, match=message):
        compile_model(layers_of("llama-3-70b", 1), arch="sm_80", dtype="fp32", max_context=256)
