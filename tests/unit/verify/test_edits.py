"""A compiled program, edited by hand in its text, is rejected whenever shadow memory sees it fail.

Edits are those of a slip of the hand: a wait, a signal, an increment or an instruction is deleted,
or two instructions that depend on each other change places.
"""

from __future__ import annotations

import re
from functools import cache
from random import Random

import pytest

from amk.dialects.vm import program_of
from amk.frontends.hf.build import build_model
from amk.frontends.hf.source import open_model
from amk.interpreters.shadow import find_fault
from amk.ir.program import Program
from amk.mlir import make_context, parse_module, print_module, run_passes
from amk.tools.verify import program_in, violations_of

EDITS = 100
"""Unsafe edits in each mode."""


@cache
def text(sync: str) -> list[str]:
    """The lines of 30-vm.mlir."""
    pipeline = f"fuse,to-task{{sync={sync} splits=2 chunk=4}},to-sched{{num-sms=4}},to-vm"
    module = build_model(open_model("random:tiny").config, "fp32", 32)
    return print_module(run_passes(pipeline, module)).splitlines()


def edit(lines: list[str], rng: Random) -> tuple[list[str], str] | None:
    """Another text, and what was done; None where that cannot be done to the line."""
    runs = [i for i, line in enumerate(lines) if line.strip().startswith("vm.run")]
    i = rng.choice(runs)
    line, out = lines[i], list(lines)
    what = rng.choice(("wait", "signal", "increment", "instruction", "swap"))
    wait = re.search(r" wait ((?:\d+ >= \d+(?: once)?(?:, )?)+)", line)
    signal = re.search(r" signal ((?:\d+ \+= \d+(?:, )?)+)", line)
    if what == "wait" and wait:
        parts = wait[1].split(", ")
        del parts[rng.randrange(len(parts))]
        rest = f" wait {', '.join(parts)}" if parts else ""
        rest += " " if wait[0].endswith(" ") and parts else ""
        out[i] = line[: wait.start()] + rest + line[wait.end() :]
    elif what == "signal" and signal:
        out[i] = line[: signal.start()] + line[signal.end() :]
    elif what == "increment" and signal and "+= 1" not in signal[1]:
        out[i] = re.sub(r"\+= (\d+)", lambda m: f"+= {int(m[1]) - 1}", line)
    elif what == "instruction":
        del out[i]
    elif what == "swap" and i + 1 in runs:
        out[i], out[i + 1] = out[i + 1], out[i]
    else:
        return None
    return out, f"{what}: {line.strip()}"


def fails(p: Program, rng: Random) -> bool:
    """Whether shadow memory sees a fault in some interleaving."""
    sms = range(len(p.queues))
    ways = [{}, *({"favor": s} for s in sms), *({"delay": s} for s in sms)]
    ways += [{"seed": rng.randrange(1000)} for _ in range(3)]
    return any(find_fault(p, steps=3, pos=pos, **how) for pos in (0, 3) for how in ways)


@pytest.mark.parametrize("sync", ["counters", "flags"])
def test_every_edit_that_fails_is_rejected_by_name(sync: str) -> None:
    rng, ctx, unsafe = Random(sync), make_context(), 0
    while unsafe < EDITS:
        edited = edit(text(sync), rng)
        if edited is None:
            continue
        module = parse_module(ctx, "\n".join(edited[0]), "edited")
        violations = violations_of(program_in(module, "edited"), "edited")
        if not violations:
            assert not fails(program_of(module), rng), edited[1]
        elif fails(program_of(module), rng):
            unsafe += 1
            named = [v for v in violations if re.search(r"instruction \d+ of SM \d+", v)]
            assert named, (edited[1], violations)


@pytest.mark.parametrize("sync", ["counters", "flags"])
def test_the_text_itself_is_safe(sync: str) -> None:
    module = parse_module(make_context(), "\n".join(text(sync)), "text")
    assert violations_of(program_in(module, "text"), "text") == []
    assert not fails(program_of(module), Random(0))
