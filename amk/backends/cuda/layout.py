"""Where everything lies: the buffers, caches, weights and shared memory of a program on one GPU.

The emitter writes these numbers into the kernel, the launcher allocates and fills what they
describe. Both compute them from the program alone, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from amk.errors import AmkError
from amk.ir.kernels import (
    Attention,
    Embed,
    Gemv,
    Kernel,
    MoeDown,
    MoeGateUp,
    Norm,
    ceil_div,
)
from amk.ir.packs import row_order
from amk.ir.program import DTYPES, SLOT_ROWS, Pack, Program, Ring, Run, Tensor
from amk.ir.roles import Roles

ALIGN = 256
"""Bytes; every buffer, cache, table and stream starts at a multiple. Guard words lie between
buffers."""

GUARD = 0x5AFEC0DE
"""What the words between buffers hold; a launch must leave them alone."""


SECTOR, SPREAD = 32, 4
"""Bytes of a sector of L2, and the lines that a line of flagged words takes: each of its sectors
has one for itself. All SMs poll the same words, and a line serves one sector at a time."""


def align(n: int, to: int = ALIGN) -> int:
    return ceil_div(n, to) * to


@dataclass(frozen=True, slots=True)
class Region:
    """`size` bytes at byte `at` of an allocation."""

    at: int
    size: int


class Arena:
    """Regions one after the other, with a guard between them."""

    def __init__(self) -> None:
        self.regions: dict[str, Region] = {}
        self.size = ALIGN

    def add(self, name: str, size: int) -> None:
        self.regions[name] = Region(self.size, size)
        self.size = align(self.size + size + 16)

    def guards(self) -> list[Region]:
        """What lies before, between and after the regions."""
        out: list[Region] = []
        at = 0
        for region in self.regions.values():
            out.append(Region(at, region.at - at))
            at = region.at + region.size
        return [*out, Region(at, self.size - at)]


@dataclass(frozen=True, slots=True)
class Stream:
    """What one SM streams in a step: `slots` slots from byte `at` of the packed weights, then
    `padding` empty ones, so that every step starts with the first consumer warp. The last `head`
    slots are those of the language-model head, 0 where another matrix follows it."""

    at: int
    slots: int
    padding: int
    head: int = 0


@dataclass
class Layout:
    """All memory of a program; `shared` is filled by the emitter."""

    program: Program
    ring: Ring
    streamed: str
    """Element type of all streamed weights."""
    words: Arena
    caches: Arena
    fixed: Arena
    streams: list[Stream]
    locals: list[str]
    """Names of the local buffers, in order of their numbers."""
    local_rows: list[list[tuple[int, int]]] = field(default_factory=list[list[tuple[int, int]]])
    """Per SM and local buffer the elements [lo, hi) that the SM touches."""

    @cached_property
    def roles(self) -> Roles:
        """What each warp of an SM does."""
        return Roles(self.program, self.ring)

    def slots(self, run: Run) -> int:
        """Slots of the stream that an instruction takes."""
        kernel = self.program.kernels[run.kernel]
        return self.roles.blocks(run) * self.slices(kernel.k) if isinstance(kernel, Gemv) else 0

    @property
    def slot_bytes(self) -> int:
        return SLOT_ROWS * self.ring.columns * DTYPES[self.streamed]

    @property
    def stream_bytes(self) -> int:
        last = self.streams[-1]
        return last.at + (last.slots + last.padding) * self.slot_bytes

    def slices(self, k: int) -> int:
        """Slots of one row block of a weight with k columns."""
        return self.roles.slices(k)


def weight(program: Program, name: str) -> Tensor | Pack:
    found = program.tensors.get(name) or program.packs.get(name)
    if found is None:
        raise AmkError(f"weight @{name} is neither a tensor nor a pack of the program")
    return found


def gemvs(program: Program) -> dict[str, Gemv]:
    return {name: k for name, k in program.kernels.items() if isinstance(k, Gemv)}


def tables(kernel: Kernel) -> list[str]:
    """Immutable tensors that a kernel reads in place, matrices of experts left out."""
    if isinstance(kernel, Gemv):
        return [w for w in (kernel.norm, kernel.bias) if w]
    if isinstance(kernel, Norm):
        return list(kernel.vectors())
    if isinstance(kernel, Attention):
        return [w for w in (kernel.sinks, kernel.q_norm, kernel.k_norm) if w]
    if isinstance(kernel, Embed):
        return [kernel.table]
    if isinstance(kernel, MoeGateUp):
        return [w for w in (kernel.norm, kernel.bias) if w]
    if isinstance(kernel, MoeDown):
        return [kernel.bias] if kernel.bias else []
    return []


def expert_matrices(program: Program) -> list[str]:
    """Matrices of all experts of a layer, which are read in place too."""
    kernels = program.kernels.values()
    return [k.weight for k in kernels if isinstance(k, MoeGateUp | MoeDown)]


def max_rows(program: Program) -> int:
    """Positions that the program can serve."""
    return min((c.rows for c in program.caches.values()), default=1)


def vocabulary(program: Program) -> int:
    """Tokens that every table of the program has a row for."""
    tables = (k.table for k in program.kernels.values() if isinstance(k, Embed))
    return min((weight(program, name).shape[0] for name in tables), default=1 << 31)


def plan(program: Program) -> Layout:
    """The layout of a program; `AmkError` when it has no ring or mixes the types of streamed
    weights."""
    ring = program.ring
    if ring is None:
        raise AmkError(f"program '{program.name}' has no ring; plan its stream first")
    types = {weight(program, k.weight).dtype for k in gemvs(program).values()}
    if len(types) > 1:
        raise AmkError(f"streamed weights must share one dtype, got {', '.join(sorted(types))}")
    streamed = types.pop() if types else "bf16"
    per_chunk = 64 // DTYPES[streamed]
    if ring.columns % per_chunk:
        raise AmkError(
            f"ring columns must be a multiple of {per_chunk} for {streamed}, got {ring.columns}"
        )
    if ring.slots % ring.consumers or ring.slots % ring.group or ring.consumers % ring.group:
        raise AmkError(
            "ring slots must be a multiple of its consumers and of its group, and consumers of "
            f"the group, got slots {ring.slots}, consumers {ring.consumers}, group {ring.group}"
        )

    words, caches, fixed = Arena(), Arena(), Arena()
    local: list[str] = []
    for b in program.buffers.values():
        if b.space == "flagged":
            words.add(b.name, align(ceil_div(b.length, b.word) * 8, SECTOR) * SPREAD)
        elif b.space == "plain":
            words.add(b.name, b.length * DTYPES[b.dtype])
        else:
            local.append(b.name)
    for c in program.caches.values():
        caches.add(c.name, 2 * c.rows * c.heads * c.head_dim * DTYPES[c.dtype])

    def add_fixed(name: str) -> None:
        if name not in fixed.regions:
            t = weight(program, name)
            fixed.add(name, int(np.prod(t.shape)) * DTYPES[t.dtype])

    for kernel in program.kernels.values():
        for name in tables(kernel):
            add_fixed(name)
    for r in program.ropes.values():
        fixed.add(r.name, max_rows(program) * len(r.inv_freq) * 8)
    # last, because only their records count in ALIGN: all else must lie below 2^32 * 16 bytes
    for name in expert_matrices(program):
        add_fixed(name)

    layout = Layout(program, ring, streamed, words, caches, fixed, [], local)
    at = 0
    families = gemvs(program)
    for queue in program.queues:
        slots = head = 0
        for run in queue:
            if run.kernel not in families:
                continue
            more = layout.slots(run)
            head = head + more if families[run.kernel].epilogue == "logits" else 0
            slots += more
        padding = -slots % ring.consumers
        layout.streams.append(Stream(at, slots, padding, head))
        at += (slots + padding) * layout.slot_bytes
    layout.local_rows = [_touched(program, local, s) for s in range(len(program.queues))]
    return layout


def _touched(program: Program, local: list[str], sm: int) -> list[tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for run in program.queues[sm]:
        for a in program.accesses(run):
            name = getattr(a, "buffer", None)
            if name in local:
                lo, hi = found.get(name, (1 << 31, 0))
                found[name] = (min(lo, a.lo), max(hi, a.hi))
    return [found.get(name, (0, 0)) for name in local]


U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Packing:
    """Row `from_row[i]` of checkpoint tensor `source` goes to byte 16 * `to[i]` of the packed
    stream."""

    source: str
    k: int
    from_row: U32
    to: U64


def source_rows(program: Program, name: str) -> list[tuple[str, U32, U32]]:
    """Where the rows of weight `name` come from: per source tensor its name, the rows of `name`
    that it makes, and its own rows, in step."""
    w = weight(program, name)
    if isinstance(w, Tensor):
        rows = np.arange(w.shape[0], dtype=np.uint32)
        return [(w.name, rows, rows)]
    out: list[tuple[str, U32, U32]] = []
    if w.mode not in ("concat", "interleave"):
        raise AmkError(f"pack @{name} has unknown mode '{w.mode}'")
    at, step = 0, len(w.sources) if w.mode == "interleave" else 1
    for source, how, taken in w.parts():
        if how not in ("rows", "rope"):
            raise AmkError(f"pack @{name} has layout '{how}', which does not keep rows")
        rows = _length(program, source)
        mine = row_order(how, taken, rows, w.head_dim, w.rotary).astype(np.uint32)
        made = at + step * np.arange(len(mine))
        out.append((source, made.astype(np.uint32), mine))
        at += 1 if w.mode == "interleave" else len(mine)
    return out


def _length(program: Program, source: str) -> int:
    if source in program.tensors:
        return program.tensors[source].shape[0]
    raise AmkError(f"pack source @{source} is no tensor of the program")


def packings(layout: Layout) -> list[Packing]:
    """How every streamed weight is packed, in the order of the stream's first use."""
    program, families = layout.program, gemvs(layout.program)
    where: dict[str, tuple[list[int], list[U64]]] = {}
    for queue, stream in zip(program.queues, layout.streams, strict=True):
        slot = 0
        for run in queue:
            kernel = families.get(run.kernel)
            if kernel is None:
                continue
            lo, hi = kernel.rows(run.lo, run.hi)
            r = np.arange(hi - lo, dtype=np.uint64)
            slices = layout.slices(kernel.k)
            first = stream.at + (slot + r // SLOT_ROWS * slices) * layout.slot_bytes
            to = ((first + r % SLOT_ROWS * 64) // 16).astype(np.uint64)
            rows, places = where.setdefault(kernel.weight, ([], []))
            rows.extend(range(lo, hi))
            places.append(to)
            slot += ceil_div(hi - lo, SLOT_ROWS) * slices
    out: list[Packing] = []
    for name, (rows, places) in where.items():
        k = weight(program, name).shape[1]
        target = np.concatenate(places)
        wanted = np.asarray(rows, dtype=np.int64)
        for source, made, own in source_rows(program, name):
            table = np.full(int(max(made.max(), wanted.max())) + 1, -1, dtype=np.int64)
            table[made] = own
            mine = table[wanted]
            pick = mine >= 0
            out.append(Packing(source, k, mine[pick].astype(np.uint32), target[pick]))
    return out
