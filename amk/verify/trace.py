"""Interleavings as trace events, which ui.perfetto.dev and chrome://tracing open.

One microsecond of the trace is one instruction; nothing is known of real times. Every SM has a
track, and another for the loader that streams the weights of its instructions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amk.ir.kernels import WeightAccess
from amk.ir.program import Program
from amk.verify.counterexample import Counterexample
from amk.verify.violation import Place

Event = dict[str, Any]


def trace(p: Program, found: Sequence[Counterexample]) -> Event:
    """A JSON object in the trace event format, with one process per counterexample."""
    events: list[Event] = []
    for number, example in enumerate(found):
        events += _process(p, number, example)
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _process(p: Program, number: int, example: Counterexample) -> list[Event]:
    name = f"{example.violation.rule}: {example.violation.message}"
    events: list[Event] = [_named("process_name", number, 0, name)]
    for sm in sorted({place.sm for place in (*example.runs, *example.pair)}):
        events.append(_named("thread_name", number, 2 * sm, f"SM {sm}"))
        events.append(_named("thread_name", number, 2 * sm + 1, f"SM {sm} loader"))
    shown = list(example.runs)
    shown += [place for place in example.pair if place not in shown]
    for time, place in enumerate(shown):
        events += _instruction(p, number, time, place, example)
    if len(example.pair) == 2:
        ends = [(shown.index(place), place) for place in example.pair]
        for phase, (time, place) in zip("sf", sorted(ends), strict=True):
            arrow = {"ph": phase, "id": number, "name": "nothing orders these", "cat": "violation"}
            events.append(arrow | {"pid": number, "tid": 2 * place.sm, "ts": time, "bp": "e"})
    return events


def _instruction(
    p: Program, number: int, time: int, place: Place, example: Counterexample
) -> list[Event]:
    run = p.queues[place.sm][place.index]
    what: Event = {"instruction": place.index, "step": place.step}
    what["waits"] = [f"counter {w.counter} >= {w.threshold}" for w in run.waits]
    what["signals"] = [f"counter {s.counter} += {s.amount}" for s in run.signals]
    event: Event = {
        "ph": "X",
        "pid": number,
        "tid": 2 * place.sm,
        "ts": time,
        "dur": 1,
        "cat": "instruction",
        "name": f"@{run.kernel}[{run.lo} to {run.hi}]",
        "args": what,
    }
    if place in example.pair:
        note = example.notes[example.pair.index(place)]
        event |= {"cat": "violation", "cname": "terrible", "name": f"!! {event['name']}"}
        what["violation"] = note
    streamed = [a for a in p.accesses(run) if isinstance(a, WeightAccess) and a.streamed]
    return [event] + [
        {
            "ph": "X",
            "pid": number,
            "tid": 2 * place.sm + 1,
            "ts": time,
            "dur": 1,
            "cat": "stream",
            "name": f"@{a.weight}[{a.lo} to {a.hi}]",
            "args": {},
        }
        for a in streamed
    ]


def _named(kind: str, process: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}
