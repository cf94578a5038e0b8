"""Small and real decoders, lowered to plain programs."""

from __future__ import annotations

from dataclasses import replace

from amk.dialects import sched, task
from amk.frontends.hf.build import build_model
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.decoder import DecoderConfig
from amk.frontends.hf.presets import preset
from amk.ir.program import SchedProgram, TaskProgram
from amk.mlir import run_passes
from amk.passes.rewrite import programs


def config_of(name: str, **changes: object) -> DecoderConfig:
    return replace(parse_config(preset(name)), **changes)  # pyright: ignore[reportArgumentType]


def task_program(config: DecoderConfig, pipeline: str, dtype: str = "bf16") -> TaskProgram:
    """The plain task program after `pipeline`, with caches of 64 rows."""
    module = run_passes(pipeline, build_model(config, dtype, 64))
    return task.program_of(programs(module, task.ProgramOp)[0])


def sched_program(config: DecoderConfig, pipeline: str) -> SchedProgram:
    module = run_passes(pipeline, build_model(config, "bf16", 64))
    return sched.program_of(programs(module, sched.ProgramOp)[0])
