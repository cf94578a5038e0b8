"""Who has which part of a block's shared memory."""

from __future__ import annotations

from collections.abc import Iterable

from amk.backends.cuda.codes import Code
from amk.backends.cuda.layout import Layout, align
from amk.ir.roles import ENTRY_BYTES


class SharedMemory:
    """Named places in a block's shared memory."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.size = 0

    def add(self, name: str, size: int, to: int = 16) -> int:
        self.places[name] = align(self.size, to)
        self.size = self.places[name] + size
        return self.places[name]


def shared_memory(
    layout: Layout,
    codes: Iterable[Code],
    instructions: int,
    candidates: int,
    annotate: bool = False,
) -> SharedMemory:
    """All places of a program's kernel. `instructions` is the length of its longest queue,
    `candidates` how many tiles of one instruction leave a candidate; `annotate` as in `emit`."""
    codes = list(codes)
    ring, shared = layout.ring, SharedMemory()
    shared.add("RING", ring.slots * layout.slot_bytes, 1024)
    shared.add("ZERO_AT", 0)
    shared.add("PARTS", layout.roles.entries * ENTRY_BYTES)
    shared.add("PRIVATE_PARTS", ring.depth * layout.roles.most_parts * ENTRY_BYTES)
    squares = align(max(c.squares for c in codes), 16)
    shared.add("SQUARES", 2 * squares)
    shared.add("PROGRESS", 4 * ring.finishers)
    shared.add("BEST", 8 * candidates)
    shared.add("STOP", 4)
    shared.add("STEP", 4, 4)
    shared.add("GONE", 4)
    shared.add("KV_GO", 4)
    end = shared.add("ZERO_END", 0)
    private = align(max(c.private for c in codes), 16)
    shared.add("STAGE", max(ring.consumers * private, *(c.stage for c in codes)), 128)
    together = align(max(c.together for c in codes), 16)
    shared.add("TOGETHER", 2 * together)
    shared.add("BARRIERS", 16 * (ring.slots // ring.group))
    shared.add("KV_BARRIERS", 16 * ring.kv_buffers)
    shared.add("TURNS_AT", 8 * ring.consumers)
    shared.add("ROPES", sum(8 * len(r.inv_freq) for r in layout.program.ropes.values()))
    shared.add("LOCALS", 4 * max(1, len(layout.locals)))
    for i, _ in enumerate(layout.locals):
        rows = max((per_sm[i][1] - per_sm[i][0] for per_sm in layout.local_rows), default=0)
        shared.add(f"LOCAL{i}", 4 * rows)
    shared.add("QUEUE_AT", 16 * instructions)
    shared.add("RECORDS", 128 * (ring.consumers + 1 + ring.finishers), 128)
    if annotate:
        shared.add("SHADOWS", 8 * (1 + ring.finishers))
    shared.places["PRIVATE_BYTES"] = private
    shared.places["TOGETHER_BYTES"] = together
    shared.places["SQUARES_BYTES"] = squares
    shared.places["ZEROED"] = end - shared.places["ZERO_AT"]
    return shared
