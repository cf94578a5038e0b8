"""The gate of `amk compile`: what is emitted computes what Hugging Face does, or nothing is.

Two programs run in the interpreter on the model's own weights, over the same tokens, and every
position is compared: one in fp32 for a few SMs, where a wrong epsilon already shows, and the one
that is to be emitted, if it is another. The tokens reach beyond position 100 and beyond every
sliding window; position 0 alone proves nothing, since there the rotary embedding is the identity
and softmax has one key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from amk.backends.cuda.fidelity import BEYOND, relative_error
from amk.compiler import Compiled, compile_model
from amk.errors import AmkError
from amk.frontends.hf.decoder import DecoderConfig
from amk.frontends.hf.source import Model
from amk.interpreters.vm import VmInterpreter
from amk.tools.console import Result, Step

MORE = 4
"""Positions that are compared past the last that matters."""

LIMITS = {"fp32": 3e-5, "bf16": 6e-2}
"""Largest norm of a difference of logits over the norm of the logits, both without their means.
Sums of fp32 in another order differ by about 1e-6. One rounding to bf16 is up to 4e-3; on tokens
that make no sense, tens of them add up to 3e-2 in SmolLM2."""

SMS = 8
"""SMs of the program in fp32: the fewer, the faster it is interpreted."""

SEED = 1
"""Of the tokens. Any will do: what is compared are logits, not sense."""


@dataclass(frozen=True)
class Verdict:
    """Positions that were compared, whether the last lies past every window, and the largest error
    by element type; or why nothing was compared."""

    positions: int = 0
    past_windows: bool = False
    errors: dict[str, float] | None = None
    why: str = ""

    def report(self) -> Result:
        """For `report.json`."""
        if self.errors is None:
            return {"passed": None, "why": self.why}
        errors = {dtype: float(f"{e:.2e}") for dtype, e in self.errors.items()}
        limits = {dtype: LIMITS[dtype] for dtype in errors}
        return {
            "passed": True, "positions": self.positions, "past_windows": self.past_windows,
            "errors": errors, "limits": limits,
        }  # fmt: skip


def gate(model: Model, compiled: Compiled, step: Step) -> Verdict:
    """Compare with Hugging Face. Raises AmkError where the numbers differ, and where there is not
    the memory to tell."""
    if model.path is None:
        return Verdict(why="random weights")
    config = model.config
    window = max((layer.window or 0 for layer in config.plan), default=0)
    length = min(max(BEYOND, window) + MORE, config.max_context)
    check_memory(config)
    ids = np.random.default_rng(SEED).integers(0, config.vocab, length).tolist()
    programs = {compiled.dtype: compiled}
    if compiled.dtype != "fp32":
        step.describe("compiling in fp32")
        sms = min(SMS, len(compiled.program.queues))
        programs["fp32"] = compile_model(
            config, num_sms=sms, dtype="fp32", max_context=length,
            arch=compiled.arch, sync=compiled.sync,
        )  # fmt: skip

    from amk.frontends.hf.reference import reference_logits

    errors: dict[str, float] = {}
    for dtype in sorted(programs, reverse=True):
        own = programs[dtype]
        count = min(length, own.max_context)
        step.describe(f"{count} positions of Hugging Face, {dtype}")
        expected = reference_logits(model, ids[:count], "f32" if dtype == "fp32" else dtype)
        decoder = VmInterpreter(own.program, model.weight)
        errors[dtype] = 0.0
        for pos, (token, want) in enumerate(zip(ids, expected, strict=False)):
            step.describe(f"position {pos} of {count}, {dtype}")
            _, logits = decoder.step(token, pos)
            error = relative_error(logits, want) if logits is not None else float("inf")
            errors[dtype] = max(errors[dtype], error)
            if not error <= LIMITS[dtype]:
                raise AmkError(
                    f"gate: logits of '{model.name}' in {dtype} differ from Hugging Face's at "
                    f"position {pos} by {error:.1e} of their norm, limit {LIMITS[dtype]:.0e}; "
                    "nothing was written"
                )
    return Verdict(length, length > window, errors)


def check_memory(config: DecoderConfig) -> None:
    """Two copies of the weights in fp32 must fit: Hugging Face's, and the interpreter's."""
    needed = 8 * config.parameters
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > free:
        raise AmkError(
            f"gate: comparing with Hugging Face takes {needed / 1e9:.0f} GB of memory, "
            f"{free / 1e9:.0f} GB are free; --no-gate compiles without"
        )
