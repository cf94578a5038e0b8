"""A vm program as plain data: what verifiers, interpreters and the CUDA emitter read.

`amk.dialects.vm` is the textual form of the same thing. Nothing here knows of xDSL.

Meaning of a program (docs/IR_SPEC.md, Execution model). Step t = 0, 1, ... of a launch runs every
queue once, with position pos = start + t. SM s runs its queue in order, step after step, without a
barrier between steps. An instruction waits for its counters, then reads, then writes, then signals.
A read of a `flagged` buffer waits, word by word, until the word carries the epoch that the reader
expects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from amk.ir.kernels import AnyAccess, Kernel

DTYPES = {"f32": 4, "bf16": 2, "i32": 4}
"""Element types and their bytes."""

SPACES = ("flagged", "plain", "local")
"""flagged: global memory, 64-bit words of a 32-bit payload and the 32-bit epoch that wrote it (two
bf16 or one f32 or i32 a word), relaxed single-copy atomic. plain: global memory, ordered by
counters. local: one copy per SM in shared memory, ordered by the SM's queue."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """`length` elements of `dtype` in `space`; within one step it holds `uses` values in turn. The
    word of use u in step t carries epoch t * uses + u + 1 (plus what earlier launches used up)."""

    name: str
    space: str
    length: int
    dtype: str
    uses: int = 1

    @property
    def word(self) -> int:
        """Elements in one flagged word."""
        return 4 // DTYPES[self.dtype]


@dataclass(frozen=True, slots=True)
class KvCache:
    """Keys and values: 2 x rows x heads x head_dim of `dtype`, in global memory, plain."""

    name: str
    rows: int
    heads: int
    head_dim: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """An immutable tensor of the checkpoint, under its name there."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Range:
    """Rows r of a tensor with lo <= r mod every < hi; `every` 0: with lo <= r < hi."""

    lo: int
    hi: int
    every: int = 0

    def fits(self, rows: int) -> bool:
        """Whether a tensor of `rows` rows has these, in whole periods."""
        every = self.every or rows
        return 0 <= self.lo < self.hi <= every and rows % every == 0

    def count(self, rows: int) -> int:
        """How many of `rows` rows they are."""
        return (self.hi - self.lo) * (rows // self.every if self.every else 1)


@dataclass(frozen=True, slots=True)
class Pack:
    """An immutable tensor made of others, row by row, once at load time.

    `layouts` has one entry per source. concat: the sources' rows one after the other, each in its
    layout: `rows` as they are, `rope` with rows i and i + rotary / 2 of every head made neighbors
    (2i, 2i + 1), for i below rotary / 2 (rotary 0: head_dim), which turns the rotate-half pairing
    of Hugging Face into pairs of adjacent rows; `plus_one` as they are, with 1 added to every
    element; `flat` a matrix as one vector, row after row. interleave: row j of source i becomes row
    j * len(sources) + i.

    `ranges` says which rows of each source are taken (None: all); it may be empty, which means all
    rows of every source.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    mode: str
    sources: tuple[str, ...]
    layouts: tuple[str, ...]
    head_dim: int = 0
    ranges: tuple[Range | None, ...] = ()
    rotary: int = 0

    def parts(self) -> list[tuple[str, str, Range | None]]:
        """Source, layout and range of each part."""
        ranges = self.ranges or (None,) * len(self.sources)
        return list(zip(self.sources, self.layouts, ranges, strict=True))


@dataclass(frozen=True, slots=True)
class RopeTable:
    """cos and sin of pos * inv_freq[i] in fp32, times `scale`; i < head_dim / 2."""

    name: str
    inv_freq: tuple[float, ...]
    scale: float = 1.0


SCOPES = ("gpu", "cta", "relaxed")
"""Scopes of a release or acquire. Between SMs, one at CTA scope is no more than a relaxed one."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Counter `counter` has reached `threshold` arrivals of this step: with A arrivals a step in
    all (the sum of the amounts of every signal), that is A * t + threshold in step t. Not `scaled`:
    `threshold` in every step. At scope gpu it is an acquire."""

    counter: int
    threshold: int
    scaled: bool = True
    scope: str = "gpu"


@dataclass(frozen=True, slots=True)
class Signal:
    """Add `amount` to `counter`: at scope gpu a release, after the instruction's writes; otherwise
    after its reads."""

    counter: int
    amount: int
    scope: str = "gpu"


@dataclass(frozen=True, slots=True)
class Run:
    """One instruction: tiles [lo, hi) of a kernel. With `fence`, its bulk copies, which read
    through the asynchronous proxy, and those of later instructions see what its SM can see."""

    kernel: str
    lo: int
    hi: int
    waits: tuple[Wait, ...] = ()
    signals: tuple[Signal, ...] = ()
    fence: bool = False


@dataclass(frozen=True, slots=True)
class Ring:
    """The shared-memory ring of an SM's weight stream, and what else its warps hand over.

    A slot holds 8 rows x `columns` columns of weights. Warps take slots round-robin; the loader
    copies `group` slots at a time, in the order of consumption, and keeps at most `window` copies
    in flight.

    `finishers` warps complete the row blocks that consumers have multiplied. There are entries for
    the partial sums of `depth` row blocks, and consumers run at most `lead` ahead of the slowest
    finisher. Where consumers complete row blocks themselves, partial sums take turns in a ring of
    `entries` (0: as many as that needs). Rows of caches come through `kv_buffers` buffers of
    `kv_bytes` bytes.
    """

    slots: int
    columns: int
    group: int
    consumers: int
    window: int
    finishers: int = 3
    depth: int = 8
    lead: int = 8
    entries: int = 0
    kv_buffers: int = 3
    kv_bytes: int = 8192


SLOT_ROWS = 8
"""Rows of one ring slot: the 8-column operand of mma.m16n8k16."""


@dataclass
class Declarations:
    """What every level below `model` declares; `kernels` keeps program order."""

    name: str
    buffers: dict[str, Buffer] = field(default_factory=dict[str, Buffer])
    caches: dict[str, KvCache] = field(default_factory=dict[str, KvCache])
    tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    packs: dict[str, Pack] = field(default_factory=dict[str, Pack])
    ropes: dict[str, RopeTable] = field(default_factory=dict[str, RopeTable])
    kernels: dict[str, Kernel] = field(default_factory=dict[str, Kernel])

    def weight(self, name: str) -> Tensor | Pack | None:
        return self.tensors.get(name) or self.packs.get(name)


@dataclass
class Program(Declarations):
    """A whole vm program. `queues[s]` is what SM s runs in each step, in order."""

    counters: int = 0
    """Number of counters; all are 0 when the first launch starts and are never reset."""
    ring: Ring | None = None
    queues: list[list[Run]] = field(default_factory=list[list[Run]])

    def accesses(self, run: Run) -> Iterator[AnyAccess]:
        return self.kernels[run.kernel].accesses(run.lo, run.hi)

    def arrivals(self) -> Counter[int]:
        """How far each counter gets in one step."""
        total = Counter[int]()
        for s in (s for queue in self.queues for run in queue for s in run.signals):
            total[s.counter] += s.amount
        return total


@dataclass(frozen=True, slots=True)
class CounterArray:
    """Counters of one family: tiles [bounds[j], bounds[j + 1]) signal counter j, one arrival a tile
    and step."""

    name: str
    family: str
    bounds: tuple[int, ...]


@dataclass
class TaskProgram(Declarations):
    """A task program: families in program order on logical buffers, each written by one family."""

    counters: dict[str, CounterArray] = field(default_factory=dict[str, CounterArray])
    homes: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """Where a logical buffer lives: physical buffer and use. A buffer without a home has one of its
    own."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Tiles [lo, hi) of a family, run by one SM as one instruction."""

    family: str
    lo: int
    hi: int


@dataclass
class SchedProgram(TaskProgram):
    """A task program and who runs it: `segments[s]` is the queue of SM s."""

    segments: list[list[Segment]] = field(default_factory=list[list[Segment]])
    ring: Ring | None = None
