"""Let the buffers of different layers share memory.

Buffers of one kind (the same space, type, length and role) take turns in `period` physical buffers;
each turn is a `use`, and flagged words tell uses apart by their epoch. That reuse is safe is not
assumed: the schedule with shared buffers must pass the race check, and the period doubles until it
does.

    task.buffer @l0.qkv.y : flagged<960xbf16>
    task.buffer @l1.qkv.y : flagged<960xbf16>
    ->
    task.buffer @l0.qkv.y : flagged<960xbf16> in @qkv.y use 0
    task.buffer @l1.qkv.y : flagged<960xbf16> in @qkv.y use 1
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import PassFailedException

from amk.ir.program import Buffer, SchedProgram
from amk.passes.rewrite import rewrite_scheds
from amk.verify.sched import verify_sched


@dataclass(frozen=True)
class PlaceBuffersPass(ModulePass):
    """Place the buffers of every sched program; `period` physical buffers to a kind, 0 for no
    sharing."""

    name = "place-buffers"
    period: int = 1

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if self.period < 0:
            raise PassFailedException(f"period must not be negative, got {self.period}")
        rewrite_scheds(op, self.place)

    def place(self, p: SchedProgram) -> None:
        kinds: dict[Buffer, list[str]] = defaultdict(list)
        for b in p.buffers.values():
            kinds[replace(b, name=role(b.name))].append(b.name)
        period, most = self.period, max(map(len, kinds.values()), default=1)
        while 0 < period < most:
            p.homes = homes(kinds, period)
            if not verify_sched(p):
                return
            period *= 2
        p.homes = {}


def role(name: str) -> str:
    """What a buffer is for, without its layer: `l3.qkv.y` is `qkv.y`."""
    head, _, rest = name.partition(".")
    return rest if rest and head[:1] == "l" and head[1:].isdigit() else name


def homes(kinds: dict[Buffer, list[str]], period: int) -> dict[str, tuple[str, int]]:
    """Buffers of a kind in turn: number i of a kind is use i // period of physical buffer i %
    period."""
    out: dict[str, tuple[str, int]] = {}
    for kind, names in kinds.items():
        if len(names) == 1:
            continue
        for i, name in enumerate(names):
            where = kind.name if period == 1 else f"{kind.name}.{i % period}"
            out[name] = (where, i // period)
    return out
