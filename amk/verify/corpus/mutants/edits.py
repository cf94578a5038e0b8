"""How to change a program, and the register of classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from random import Random
from typing import Any, TypeVar

from amk.ir.kernels import (
    Kernel,
    Ref,
)
from amk.ir.program import Program, Run, Signal, Wait

Mutant = Callable[[Program, Random], Program | None]
At = tuple[int, int]
"""SM and index of an instruction."""

MUTANTS: dict[str, Mutant] = {}


def mutant(f: Mutant) -> Mutant:
    """Registers a class under its function's name, in kebab case."""
    MUTANTS[f.__name__.replace("_", "-")] = f  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    return f


def at(p: Program, where: At) -> Run:
    return p.queues[where[0]][where[1]]


def with_queue(p: Program, sm: int, queue: list[Run]) -> Program:
    queues = list(p.queues)
    queues[sm] = queue
    return replace(p, queues=queues)


def edited(p: Program, where: At, **changes: Any) -> Program:
    """With another instruction in one place."""
    queue = list(p.queues[where[0]])
    queue[where[1]] = replace(queue[where[1]], **changes)
    return with_queue(p, where[0], queue)


def without(p: Program, where: At) -> Program:
    queue = list(p.queues[where[0]])
    del queue[where[1]]
    return with_queue(p, where[0], queue)


def inserted(p: Program, where: At, run: Run) -> Program:
    queue = list(p.queues[where[0]])
    queue.insert(where[1], run)
    return with_queue(p, where[0], queue)


def some(p: Program, rng: Random, good: Callable[[Run], object] = lambda run: True) -> At | None:
    """A random instruction of some kind."""
    places = [
        (s, i) for s, queue in enumerate(p.queues) for i, run in enumerate(queue) if good(run)
    ]
    return rng.choice(places) if places else None


def with_kernel(p: Program, name: str, **changes: Any) -> Program:
    return replace(p, kernels=p.kernels | {name: replace(p.kernels[name], **changes)})


def with_buffer(p: Program, name: str, **changes: Any) -> Program:
    return replace(p, buffers=p.buffers | {name: replace(p.buffers[name], **changes)})


def operands(p: Program) -> list[tuple[str, str, Ref]]:
    """Kernel, field and place of every operand in a buffer."""
    return [
        (name, f.name, ref)
        for name, k in p.kernels.items()
        for f in fields(k)
        if isinstance(ref := getattr(k, f.name), Ref)
    ]


def some_operand(
    p: Program, rng: Random, good: Callable[[Ref], object] = lambda ref: True
) -> tuple[str, str, Ref] | None:
    found = [entry for entry in operands(p) if good(entry[2])]
    return rng.choice(found) if found else None


def some_kernel(p: Program, rng: Random, kind: type[Kernel]) -> str | None:
    found = [name for name, k in p.kernels.items() if isinstance(k, kind)]
    return rng.choice(found) if found else None


def waiting(run: Run) -> object:
    return run.waits


def signaling(run: Run) -> object:
    return run.signals


T = TypeVar("T", Wait, Signal)


def changed_wait(
    p: Program,
    rng: Random,
    change: Callable[[Wait], Wait | None],
    good: Callable[[Wait], bool] = lambda w: True,
) -> Program | None:
    """With some wait that is `good` changed, or left out where `change` returns None."""
    where = some(p, rng, lambda run: any(map(good, run.waits)))
    return where and edited(p, where, waits=_one_changed(at(p, where).waits, rng, change, good))


def changed_signal(
    p: Program, rng: Random, change: Callable[[Signal], Signal | None]
) -> Program | None:
    """With some signal changed, or left out where `change` returns None."""
    where = some(p, rng, signaling)
    return where and edited(p, where, signals=_one_changed(at(p, where).signals, rng, change))


def _one_changed(
    items: tuple[T, ...],
    rng: Random,
    change: Callable[[T], T | None],
    good: Callable[[T], bool] = lambda x: True,
) -> tuple[T, ...]:
    i = rng.choice([i for i, x in enumerate(items) if good(x)])
    new = change(items[i])
    return (*items[:i], *(() if new is None else (new,)), *items[i + 1 :])


def waits_of_both(a: Run, b: Run) -> tuple[Wait, ...]:
    """Each once, in their order: sets of waits have none that two processes agree on."""
    return tuple(dict.fromkeys((*a.waits, *b.waits)))


def all_changed(
    p: Program, wait: Callable[[Wait], Wait], signal: Callable[[Signal], Signal]
) -> Program:
    """With every wait and every signal changed."""
    queues = [
        [
            replace(run, waits=tuple(map(wait, run.waits)), signals=tuple(map(signal, run.signals)))
            for run in queue
        ]
        for queue in p.queues
    ]
    return replace(p, queues=queues)


def renamed(
    p: Program, names: dict[str, str], use: Callable[[Ref], int] = lambda ref: ref.use
) -> Program:
    """With operands in other buffers and uses."""
    kernels = {
        name: replace(
            k,
            **{
                f.name: replace(ref, buffer=names[ref.buffer], use=use(ref))
                for f in fields(k)
                if isinstance(ref := getattr(k, f.name), Ref) and ref.buffer in names
            },
        )
        for name, k in p.kernels.items()
    }
    return replace(p, kernels=kernels)
