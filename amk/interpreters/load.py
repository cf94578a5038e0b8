"""The interpreter of a module, whatever level it is at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from amk.dialects import model, sched, task, vm
from amk.errors import AmkError
from amk.interpreters.decoder import Decoder
from amk.interpreters.storage import Weights
from amk.ir.packs import F32
from amk.ir.program import Tensor

LEVELS = (model.ProgramOp, task.ProgramOp, sched.ProgramOp, vm.ProgramOp)


def random_weights(tensors: Mapping[str, Tensor], seed: int = 0) -> Weights:
    """Weights that are a function of name, shape and `seed`: vectors that scale are near 1, others
    normal with deviation 1 / sqrt(columns)."""

    def get(name: str) -> F32:
        shape = tensors[name].shape
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        values = rng.standard_normal(shape, dtype=np.float32)
        if "norm" in name:
            return 1 + np.multiply(0.1, values, dtype=np.float32)
        return np.multiply(values, shape[-1] ** -0.5, dtype=np.float32)

    return get


def program_op(module: ModuleOp) -> Operation:
    """The one program of a module. Raises AmkError if there is not exactly one."""
    found = [op for op in module.body.block.ops if isinstance(op, LEVELS)]
    if len(found) != 1:
        names = ", ".join(op.name for op in LEVELS)
        raise AmkError(f"module must hold one of {names}, it holds {len(found)}")
    return found[0]


def load_interpreter(
    module: ModuleOp,
    weights: Weights | None = None,
    *,
    weight_seed: int = 0,
    seed: int | None = None,
    check: bool = False,
) -> Decoder:
    """An interpreter for the program in `module`; a sched program is first lowered to vm.

    Without `weights` they are random, from `weight_seed`. `seed` interleaves SMs at random (task:
    the tiles of a family), `check` runs vm and sched under shadow memory.
    """
    op = program_op(module)
    tensors = {
        d.sym_name.data: d.plain() for d in model.declarations(op) if isinstance(d, model.WeightOp)
    }
    get = weights or random_weights(tensors, weight_seed)
    if isinstance(op, model.ProgramOp):
        from amk.interpreters.model import ModelInterpreter

        return ModelInterpreter(op, get)
    if isinstance(op, task.ProgramOp):
        from amk.interpreters.task import TaskInterpreter

        return TaskInterpreter(task.program_of(op), get, seed=seed)
    if isinstance(op, sched.ProgramOp):
        from amk.passes.convert_sched_to_vm import ConvertSchedToVmPass

        module = module.clone()
        ConvertSchedToVmPass().apply(Context(), module)
    from amk.interpreters.vm import VmInterpreter

    return VmInterpreter(vm.program_of(module), get, check=check, seed=seed)
