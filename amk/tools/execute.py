"""`amk run`: a file of any level in the interpreter of its level."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from xdsl.utils.exceptions import DiagnosticException

from amk.errors import AmkError
from amk.frontends.hf.source import open_model
from amk.interpreters.faults import Deadlock, FaultError
from amk.interpreters.load import load_interpreter
from amk.mlir import load_module, make_context, one_line
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

    A program must be proved before it runs, but not with `check`, which finds its faults while it
    runs. Raises AmkError.
    """
    check_count("--max-tokens", max_tokens)
    prompt = parse_ids(prompt_ids)
    steps = Steps()
    with steps.step(f"reading {file}"):
        module = load_module(make_context(), file)
        program = program_in(module, str(file))
    level = PROGRAMS[type(program)]
    for flag, given, levels in (
        ("--seed", seed is not None, ("task", "sched", "vm")),
        ("--check", check, ("sched", "vm")),
    ):
        if given and level not in levels:
            raise AmkError(f"{flag}: {file} is a {level} program, not {' or '.join(levels)}")
    if not check:
        with steps.step("verifying"):
            violations = violations_of(program, str(file))
        if violations:
            raise AmkError(f"{file}: {violations[0]} (--check runs it all the same)")
    with steps.step("running", max_tokens) as step:
        try:
            decoder = load_interpreter(
                module,
                None if weights is None else open_model(weights).weight,
                weight_seed=weight_seed,
                seed=seed,
                check=check,
            )
            tokens = decoder.generate(prompt, max_tokens, on_token=lambda _: step.advance())
        except (FaultError, Deadlock) as error:
            raise AmkError(f"{file}: {error}") from error
        except DiagnosticException as error:
            raise AmkError(f"{file}: {one_line(error)}") from error
    return {"tokens": tokens, "level": level, "file": str(file)}


def show(result: Result, console: Console) -> None:
    """Print the tokens for a person."""
    console.print(",".join(map(str, result["tokens"])))
