"""`amk bench`: time per token on the GPU beside its baselines, never without a verdict."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from amk.compiler import compile_model
from amk.errors import AmkError
from amk.files import check_target
from amk.frontends.hf.source import open_model
from amk.tools.approve import Proof
from amk.tools.console import Result, Steps
from amk.tools.devices import Machine
from amk.tools.prompt import check_count, check_sms

BASELINES = ("graph", "compile", "hf")
LONGEST_TRACED = 256
"""Rows of the cache before a traced step, at most."""


def parse_contexts(text: str) -> list[int]:
    """Positive numbers from a text such as `128,4096`. Raises AmkError."""
    found: list[int] = []
    for part in text.split(","):
        if not part.strip().isdecimal() or int(part) < 1:
            raise AmkError(f"--context: '{part.strip()}' is no positive number")
        found.append(int(part))
    return sorted(set(found))


def parse_baselines(text: str) -> list[str]:
    """Names from a text such as `graph,compile,hf`; `none` for no baseline. Raises AmkError."""
    names = [part.strip() for part in text.split(",")]
    if names == ["none"]:
        return []
    for name in names:
        if name not in BASELINES:
            raise AmkError(
                f"--baselines: '{name}' is unknown (known: {', '.join(BASELINES)}, none)"
            )
    return list(dict.fromkeys(names))


def bench(
    name: str,
    *,
    context: str,
    baselines: str,
    launches: int,
    tokens: int,
    dtype: str,
    num_sms: int | None,
    sync: str,
    trace: Path | None,
) -> Result:
    """Measure. Every latency in the result has the verdict `pass`; `ok` says whether those of the
    compiled program all have. Raises AmkError.
    """
    contexts, others = parse_contexts(context), parse_baselines(baselines)
    check_count("--launches", launches)
    check_count("--tokens", tokens)
    check_sms(num_sms)
    if trace:
        check_target(trace)

    from amk.backends.cuda.gpu import find_gpu

    gpu = find_gpu()
    steps = Steps()
    with steps.step(f"opening {name}") as step:
        model = open_model(name, step.report)
        Machine(gpu.arch, gpu.sms, gpu.memory).check(model, dtype, num_sms)
    from amk.backends.cuda.bench import (
        PROBES,
        Bench,
        for_session,
        gpu_tensors,
        prompt_of,
        weight_bytes,
        write_trace,
    )
    from amk.backends.cuda.ceiling import read_ceiling
    from amk.backends.cuda.launch import Session
    from amk.backends.cuda.torch_gpu import out_of_memory, require_torch

    torch_version = require_torch()
    rows = max(contexts[-1] + tokens, max(PROBES) + 1)
    if rows > model.config.max_context:
        raise AmkError(
            f"--context: {rows} positions exceed the model's context of {model.config.limit}"
        )
    with out_of_memory():
        with steps.step("measuring the DRAM read ceiling"):
            ceiling = read_ceiling()
        began = perf_counter()
        with steps.step("compiling") as step:
            program = compile_model(
                model.config,
                num_sms=num_sms,
                most_sms=gpu.sms,
                dtype=dtype,
                max_context=rows,
                arch=gpu.arch,
                sync=sync,
                started=step.describe,
            ).program
        compiled = perf_counter()
        with steps.step("weights") as step:
            tensors = gpu_tensors(model, dtype, step.describe)
        drawn = perf_counter()
        with steps.step("loading") as step:
            proof = Proof.of(program)
            session = Session(
                program,
                for_session(tensors),
                approve=proof.approve,
                certificate_hash=proof.sha256,
            )
        loaded = perf_counter()
        with session, steps.step("measuring") as step:
            found = Bench(model, dtype, program, tensors, session, ceiling, step.describe).run(
                contexts, others, launches, tokens
            )
        if trace:
            with steps.step("tracing"):
                prompt = prompt_of(model.config, min(contexts[0], LONGEST_TRACED))
                write_trace(program, tensors, prompt, trace, ceiling, proof.approve)
    return {
        "model": name,
        "device": gpu.name,
        "dtype": dtype,
        "num_sms": len(program.queues),
        "sync": sync,
        "torch": torch_version,
        "ceiling_gbps": round(ceiling, 1),
        "weight_bytes": weight_bytes(model.config, dtype),
        "tokens": tokens,
        "launches": launches,
        "compile_seconds": round(compiled - began, 2),
        "weights_seconds": round(drawn - compiled, 2),
        "load_seconds": round(loaded - drawn, 2),
        "ok": all(entry["verdict"] == "pass" for entry in found["results"]),
        **found,
    }


def show(result: Result, console: Console) -> None:
    """Print the measurement for a person."""
    console.print(
        f"{result['model']}, {result['dtype']}, on {result['device']}: "
        f"median of {result['launches']} launches of {result['tokens']} tokens\n"
        f"DRAM read ceiling {result['ceiling_gbps'] / 1e3:.2f} TB/s, "
        f"weights {result['weight_bytes'] / 1e9:.3f} GB",
        markup=False,
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in (
        "context",
        "system",
        "us/token",
        "MB/token",
        "of the ceiling",
        "predicted",
        "first token",
        "verdict",
    ):
        table.add_column(head, justify="left" if head in ("system", "verdict") else "right")
    for i, mine in enumerate(result["results"]):
        rows = [("amk", mine)]
        rows += [(name, entries[i]) for name, entries in result["baselines"].items()]
        for name, entry in rows:
            table.add_row(*row(name, entry))
    console.print(table)


def row(name: str, entry: Result) -> tuple[str, ...]:
    """One system at one context; a latency only where the verdict is a pass."""
    if entry["verdict"] != "pass":
        reason = str(entry["reason"]).replace("[", "\\[")
        return (str(entry["context"]), name, "-", "-", "-", "-", "-", f"FAIL: {reason}")
    first, predicted = entry.get("time_to_first_token_us"), entry.get("predicted_us_per_token")
    worst = max(entry["fidelity"]["logits_error"])
    return (
        str(entry["context"]),
        name,
        f"{entry['us_per_token']:.1f}",
        f"{entry['bytes_per_token'] / 1e6:.1f}",
        f"{100 * entry['roofline_fraction']:.1f} %",
        f"{predicted:.1f}" if predicted else "",
        f"{first / 1e3:.1f} ms" if first else "",
        f"pass (logits within {worst:.1e})",
    )
