"""`amk run`: a file of any level in the interpreter of its level."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.utils.exceptions import DiagnosticException

from amk.dialects import model, sched, task, vm
from amk.errors import AmkError
from amk.frontends.hf.source import open_model
from amk.interpreters.decoder import Decoder
from amk.interpreters.faults import Deadlock, FaultError
from amk.interpreters.model import ModelInterpreter
from amk.interpreters.storage import Weights
from amk.interpreters.task import TaskInterpreter
from amk.interpreters.vm import VmInterpreter
from amk.ir.packs import F32, round_bf16
from amk.ir.program import Tensor
from amk.mlir import build_passes, load_module, make_context, one_line
from amk.tools.console import Result, Steps
from amk.tools.prompt import check_count, parse_ids
from amk.tools.verify import PROGRAMS, program_in, violations_of


def execute(
    file: Path,
    *,
    prompt_ids: str,
    max_tokens: int,
    weights: str | None,
    weight_seed: int,
    seed: int | None,
    check: bool,
) -> Result:
    """`tokens` that the program of `file` generates after `prompt_ids`, and its `level`.

    Without `check` the program must be proved first; with it, faults are found while it runs. Raises AmkError.
    """
    check_count("--max-tokens", max_tokens)
    prompt = parse_ids(prompt_ids)
    steps = Steps()
    with steps.step(f"reading {file}"):
        module = load_module(make_context(), file)
    level = PROGRAMS[type(program_in(module, str(file)))]
    if level in ("model", "task") and (check or seed is not None and level == "model"):
        raise AmkError(f"{file}: --check, --seed: a {level} program has no SMs to interleave")
    with steps.step("verifying"):
        program = _runnable(module, str(file))
        violations = [] if check else violations_of(program, str(file))
        if violations:
            raise AmkError(f"{file}: {violations[0]} (--check runs it all the same)")
    with steps.step("loading weights"):
        source = open_model(weights).weight if weights else random_weights(program, weight_seed)
        decoder = _interpreter(program, source, seed, check)
    with steps.step("running", len(prompt) + max_tokens - 1) as step:
        try:
            tokens = decoder.generate(prompt, max_tokens, on_token=lambda _: step.advance())
        except (FaultError, Deadlock) as error:
            raise AmkError(f"{file}: {error}") from error
    return {"tokens": tokens, "level": level, "file": str(file)}


def random_weights(program: Operation, seed: int) -> Weights:
    """Tensors of the shapes that `program` declares, the same for the same name, shape and seed.

    Matrices have standard deviation 1 / sqrt(columns), vectors are 1 +- 0.1 if norms and 0 +- 0.1 if not.
    """
    shapes = {t.name: t.shape for t in _tensors(program)}

    def make(name: str) -> F32:
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        shape = shapes[name]
        values = np.random.default_rng(list(digest)).standard_normal(shape, dtype=np.float32)
        values *= np.float32(shape[1] ** -0.5 if len(shape) == 2 else 0.1)
        return round_bf16(values + np.float32(name.endswith("norm.weight")))

    return make


def _tensors(program: Operation) -> Iterator[Tensor]:
    for op in model.declarations(program):
        if isinstance(op, model.WeightOp):
            yield op.plain()


def _runnable(module: ModuleOp, name: str) -> Operation:
    """The program of the module; a sched program lowered to the vm, where SMs have instructions."""
    program = program_in(module, name)
    try:
        if isinstance(program, sched.ProgramOp):
            for p in build_passes("convert-sched-to-vm"):
                p.apply(make_context(), module)
            return program_in(module, name)
    except DiagnosticException as error:
        raise AmkError(f"{name}: {one_line(error)}") from error
    return program


def _interpreter(program: Operation, weights: Weights, seed: int | None, check: bool) -> Decoder:
    match program:
        case model.ProgramOp():
            return ModelInterpreter(program, weights)
        case task.ProgramOp():
            return TaskInterpreter(task.program_of(program), weights, seed=seed)
        case _:
            assert isinstance(program, vm.ProgramOp)
            return VmInterpreter(vm.program_op_of(program), weights, seed=seed, check=check)


def show(result: Result, console: Console) -> None:
    """Print the tokens for a person."""
    console.print(",".join(map(str, result["tokens"])))
