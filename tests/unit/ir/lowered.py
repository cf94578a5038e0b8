"""Small and real decoders, lowered to plain programs."""

from __future__ import annotations

from dataclasses import replace

from amk.dialects import sched, task
from amk.frontends.hf.build import build_model
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.decoder import DecoderConfig
from amk.frontends.hf.presets import preset
from amk.ir.program import SchedProgram, TaskProgram
from amk.mlir import build_passes, make_context
from amk.passes.rewrite import programs


def config_of(name: str, **changes: object) -> DecoderConfig:
    return replace(parse_config(preset(name)), **changes)  # pyright: ignore[reportArgumentType]


def task_program(config: DecoderConfig, pipeline: str, dtype: str = "bf16") -> TaskProgram:
    """The plain task program after `pipeline`, with caches of 64 rows."""
    module = build_model(config, dtype, 64)
    for p in build_passes(pipeline):
        p.apply(make_context(), module)
    return task.program_of(programs(module, task.ProgramOp)[0])


def sched_program(config: DecoderConfig, pipeline: str) -> SchedProgram:
    module = build_model(config, "bf16", 64)
    for p in build_passes(pipeline):
        p.apply(make_context(), module)
    return sched.program_of(programs(module, sched.ProgramOp)[0])
