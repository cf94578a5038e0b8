"""A module at every level on its way down."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import ModuleOp

from amk.mlir import run_passes


def stages(module: ModuleOp, pipeline: Sequence[str]) -> list[ModuleOp]:
    """A copy of the module as it is, and after each part of the pipeline."""
    return [module.clone(), *(run_passes(part, module).clone() for part in pipeline)]
