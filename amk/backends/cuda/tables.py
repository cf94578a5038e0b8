"""The tables of a program in its CUDA source: who runs what, where everything lies."""

from __future__ import annotations

from amk.backends.cuda.codes import FIELDS
from amk.backends.cuda.layout import Layout
from amk.ir.kernels import Attention
from amk.ir.program import DTYPES, Run

LOOKAHEAD = 1 << 20
"""Bytes of an SM's weight stream before an attention tile at which its rows may come to L2."""


def tables(layout: Layout, records: list[list[int]], counters: bool, skips: bool) -> str:
    """Operands, queues, streams and the rest of a program, as C++; `skips` says whether steps whose
    next token is given leave out the head."""
    program = layout.program
    number = {name: i for i, name in enumerate(program.kernels)}
    events: list[list[int]] = [[0, 0, 0]]
    arrivals = program.arrivals()
    rows: list[list[int]] = []
    streams: list[list[int]] = []
    ahead: list[list[int]] = []
    for queue, stream in zip(program.queues, layout.streams, strict=True):
        slots = stream.slots + stream.padding
        given = stream.slots - stream.head * skips
        rest = -given % layout.ring.consumers
        tiles = rows_ahead(layout, queue)
        streams.append(
            [stream.at // 16, slots, stream.padding, given + rest, rest, len(queue), len(rows)]
            + [len(ahead), len(tiles)]
        )
        ahead += tiles
        for run in queue:
            at = 0
            if run.waits or run.signals:
                at = len(events)
                events.append([len(run.waits), len(run.signals), 0])
                events += [
                    [w.counter, w.threshold, arrivals[w.counter] if w.scaled else 0]
                    for w in run.waits
                ]
                events += [[s.counter, s.amount, 0] for s in run.signals]
            op = number[run.kernel]
            rows.append([op | records[op][0] << 20, run.lo, run.hi, at])
    ropes: list[list[int]] = []
    at = 0
    for r in program.ropes.values():
        ropes.append([layout.fixed.regions[r.name].at // 16, len(r.inv_freq), at])
        at += len(r.inv_freq) * 8
    parts = [
        "/// Operands of every kernel.",
        table("unsigned", "OPS", records, columns=FIELDS),
        "/// The queues: kernel and code << 20, tiles lo and hi, place of its counters in EVENTS.",
        table("unsigned", "QUEUES", rows, columns=4),
        "struct Stream {\n  unsigned from, slots, padding, slots_given, padding_given;\n"
        "  unsigned instructions, queue, ahead, tiles_ahead;\n};",
        "/// Per SM its weight stream (in units of 16 bytes), slots a step (and in one whose next\n"
        "/// token is given), queue, and attention tiles.",
        table("Stream", "STREAMS", streams, flat=True),
        "struct RowsAhead {\n  unsigned begin, end, head, row_bytes;\n"
        "  unsigned chunk, splits, split, window;\n};",
        "/// Attention tiles in the order of the queues.",
        table("RowsAhead", "ROWS_AHEAD", ahead or [[0] * 8], flat=True),
        "struct RopeRow {\n  unsigned from, pairs, at;\n};",
        table("RopeRow", "ROPE_ROWS", ropes or [[0, 0, 0]], flat=True),
    ]
    if counters:
        parts += [table("unsigned", "EVENTS", events, columns=3)]
    return "\n".join(parts) + "\n"


def rows_ahead(layout: Layout, queue: list[Run]) -> list[list[int]]:
    """`struct RowsAhead` (ring.cuh) of every attention tile of a queue.

    The loader is at most a ring ahead of the consumers: once it fetches what lies a ring behind the
    tile, the tile is done. Tiles do not look further back than the attention before them, so that
    L2 need not hold the rows of several layers.
    """
    ring, program = layout.ring, layout.program
    copies = ring.slots // ring.group
    found: list[list[int]] = []
    slots = before = 0
    for run in queue:
        kernel = program.kernels[run.kernel]
        slots += layout.slots(run)
        if not isinstance(kernel, Attention):
            continue
        cache = program.caches[kernel.cache]
        row = 2 * kernel.head_dim * DTYPES[cache.dtype]
        at = slots // ring.group
        begin = max(before, at - LOOKAHEAD // (ring.group * layout.slot_bytes))
        for tile in range(run.lo, run.hi):
            g, split = divmod(tile, kernel.splits)
            head = layout.caches.regions[kernel.cache].at + g * cache.rows * row
            chunk = kernel.chunk if kernel.splits > 1 else cache.rows
            found.append(
                [
                    begin,
                    at + copies + 1,
                    head // 16,
                    row,
                    chunk,
                    kernel.splits,
                    split,
                    kernel.window,
                ]
            )
        before = at
    return found


def table(
    ctype: str, name: str, rows: list[list[int]], *, columns: int = 0, flat: bool = False
) -> str:
    """A constant table; `flat` rows are structs, otherwise arrays of `columns` numbers (0: as many
    as the first row has)."""
    columns = columns or (len(rows[0]) if rows else 1)
    body = ",\n".join("{" + ",".join(map(str, row)) + "}" for row in rows or [[0] * columns])
    shape = f"[{max(1, len(rows))}]" + ("" if flat else f"[{columns}]")
    return f"__device__ const {ctype} {name}{shape} = {{\n{body}}};"
