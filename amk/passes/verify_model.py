"""Prove the model programs of a module; changes nothing.

Runs what the `model.program` op's own verifier runs, at the point of a pipeline where it must hold,
and reports all problems instead of the first.

    model.program @decode { ... }   ->   the same, or an error
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.dialects import model
from amk.passes.rewrite import programs, report
from amk.verify.model import verify_model


@dataclass(frozen=True)
class VerifyModelPass(ModulePass):
    """Fail with every problem of the module's model programs."""

    name = "verify-model"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, model.ProgramOp):
            report(verify_model(program))
