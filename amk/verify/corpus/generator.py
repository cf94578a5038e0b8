"""Programs to try the verifier on: real lowerings, and random ones.

Real lowerings come through the ordinary passes, for SHAPES x TILINGS x SMS, with both ways to
synchronize, both element types, fused and not, in turn; all of them must be accepted. Random
programs are small graphs of elementwise, normalizing, matrix and attention kernels whose tiles go
to any SM, synchronized by whatever mixture of flagged words, counters and queue order suffices.
Free programs are tiny, and synchronized by guesswork: most are unsafe, and those that are not are
safe for reasons that nobody had in mind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from random import Random

from amk.ir.kernels import (
    Access,
    Append,
    Argmax,
    Attention,
    Binary,
    Cache,
    CacheAccess,
    Embed,
    Gemv,
    Kernel,
    Ref,
    RmsNorm,
    Weight,
)
from amk.ir.program import (
    Buffer,
    KvCache,
    Program,
    Ring,
    Run,
    Signal,
    Tensor,
    Wait,
)
from amk.verify.corpus.oracle import judge


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder. A vocabulary of 20 blocks of 8 rows has a tile for each of 1 to 5 SMs."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inter: int
    vocab: int
    tied: bool = True
    bias: bool = False
    experts: int = 0
    """A mixture of this many experts of `inter` elements, of which two are chosen."""


SHAPES = (
    Shape(1, 16, 2, 1, 8, 24, 160),
    Shape(1, 32, 4, 2, 8, 32, 153, bias=True),
    Shape(1, 24, 3, 1, 8, 40, 158, tied=False),
    Shape(1, 40, 2, 2, 12, 16, 155),
    Shape(2, 16, 2, 2, 8, 16, 160),
    Shape(2, 32, 4, 1, 8, 48, 157, bias=True),
    Shape(2, 48, 6, 3, 8, 32, 154),
    Shape(1, 20, 1, 1, 16, 28, 159, tied=False),
    Shape(3, 16, 2, 1, 8, 16, 160),
    Shape(1, 64, 8, 4, 8, 64, 156),
    Shape(2, 24, 4, 4, 4, 24, 154, bias=True),
    Shape(1, 36, 3, 3, 6, 20, 158, tied=False, bias=True),
    Shape(1, 16, 2, 1, 8, 12, 160, experts=3),
    Shape(2, 24, 3, 1, 8, 20, 157, experts=5),
)
TILINGS = (
    "rows=8",
    "rows=16",
    "rows=8 splits=2 chunk=2",
    "rows=8 splits=3 chunk=1",
    "rows=24",
    "rows=16 splits=2 chunk=4",
)
SMS = (1, 2, 3, 4, 5)
ROWS = 16
"""Rows of the KV caches."""


@dataclass(frozen=True)
class Recipe:
    """How a real lowering is made."""

    shape: int
    tiling: int
    sms: int
    sync: str
    fused: bool
    dtype: str


def _recipes() -> tuple[Recipe, ...]:
    out: list[Recipe] = []
    for n, (shape, tiling, sms) in enumerate(product(range(len(SHAPES)), range(len(TILINGS)), SMS)):
        turn = n + shape + tiling
        sync = ("flags", "counters")[turn % 2]
        out.append(Recipe(shape, tiling, sms, sync, turn % 3 != 2, ("f32", "bf16")[turn // 2 % 2]))
    return tuple(out)


RECIPES = _recipes()


@cache
def lower(r: Recipe) -> Program:
    """The program of a recipe, through the passes of the named pipelines."""
    from amk.dialects.vm import program_of
    from amk.frontends.hf.build import build_model
    from amk.frontends.hf.decoder import DecoderConfig, Experts
    from amk.mlir import run_passes

    s = SHAPES[r.shape]
    config = DecoderConfig(
        name="corpus", family="llama", hidden=s.hidden, layers=s.layers, heads=s.heads,
        kv_heads=s.kv_heads, head_dim=s.head_dim, intermediate=s.inter, vocab=s.vocab, eps=1e-5,
        inv_freq=tuple(10000.0 ** (-2 * i / s.head_dim) for i in range(s.head_dim // 2)),
        rope_scale=1.0, max_context=ROWS, tied=s.tied, qkv_bias=s.bias, o_bias=s.bias,
        mlp_bias=False, experts=Experts(s.experts, 2, s.inter, True) if s.experts else None,
    )  # fmt: skip
    pipeline = [
        *(["fuse"] if r.fused else []),
        f"to-task{{sync={r.sync} num-sms={r.sms} {TILINGS[r.tiling]}}}",
        f"to-sched{{num-sms={r.sms} ring-kb=8 copy-kb=1 window-kb=2 consumers=2}}",
        "to-vm",
    ]
    return program_of(run_passes(",".join(pipeline), build_model(config, r.dtype, ROWS)))


def random_recipe(rng: Random) -> Recipe:
    """A recipe of a small program."""
    return rng.choice(SMALL)


SMALL = tuple(
    r for r in RECIPES if r.sms > 1 and SHAPES[r.shape].layers <= 2 and (r.fused or r.shape < 2)
)


class _Random:
    """Builds one random program."""

    def __init__(self, rng: Random):
        self.rng = rng
        self.n = rng.choice((4, 6, 8, 12))
        self.sms = rng.choice((1, 2, 2, 3, 3, 4))
        self.flags = rng.random()
        self.p = Program(
            "random",
            buffers={"token": Buffer("token", "flagged", 1, "i32")},
            tensors={
                "table": Tensor("table", (32, self.n), "f32"),
                "norm": Tensor("norm", (self.n,), "f32"),
                "square": Tensor("square", (self.n, self.n), "f32"),
            },
            ring=Ring(slots=4, columns=16, group=1, consumers=2, window=2),
            queues=[[] for _ in range(self.sms)],
        )
        self.unused: list[Ref] = []

    def ref(self, length: int | None = None, dtype: str = "f32") -> Ref:
        """A new value: in a buffer of its own, or now and then another use of an old buffer."""
        space = "flagged" if self.rng.random() < self.flags else "plain"
        old = [
            b
            for b in self.p.buffers.values()
            if (b.space, b.length, b.dtype) == (space, length or self.n, dtype)
        ]
        if old and self.rng.random() < 0.25:
            b = self.rng.choice(old)
            self.p.buffers[b.name] = replace(b, uses=b.uses + 1)
            return Ref(b.name, 0, b.uses)
        name = f"b{len(self.p.buffers)}"
        self.p.buffers[name] = Buffer(name, space, length or self.n, dtype)
        return Ref(name)

    def build(self) -> Program:
        rng, n = self.rng, self.n
        tile = rng.choice((1, 2, 2, 3, 4))
        first = self.ref()
        self.family("embed", Embed(n, tile, Ref("token"), Weight("table"), first))
        values = [first]
        self.unused = [first]
        for i in range(rng.randint(1, 5)):
            out = self.ref()
            x = self.take(values)
            tile = rng.choice((1, 2, 3, 4))
            kind = rng.choice(("add", "add", "norm", "gemv", "attention"))
            name = f"k{i}"
            if kind == "add":
                kernel: Kernel = Binary(n, tile, "add", x, self.take(values), out)
            elif kind == "norm":
                kernel = RmsNorm(n, tile, x, Weight("norm"), 1e-5, out)
            elif kind == "gemv":
                kernel = Gemv(n, tile, n, Weight("square"), x, out)
            else:
                kernel = self.attention(name, x, self.take(values), self.take(values), out)
            self.family(name, kernel)
            values.append(out)
            self.unused.append(out)
        while len(self.unused) > 1:
            out = self.ref()
            a, b = self.unused.pop(0), self.unused.pop(0)
            self.family(f"sum{len(self.unused)}.{out.buffer}", Binary(n, tile, "add", a, b, out))
            self.unused.append(out)
        self.family("argmax", Argmax(n, self.unused.pop(), Ref("token")))
        return self.p

    def take(self, values: list[Ref]) -> Ref:
        """An operand, preferably one that nobody has used."""
        if self.unused and self.rng.random() < 0.7:
            return self.unused.pop(self.rng.randrange(len(self.unused)))
        return self.rng.choice(values)

    def attention(self, name: str, q: Ref, k: Ref, v: Ref, out: Ref) -> Kernel:
        heads = self.n // 2
        cache = Cache(f"{name}.kv")
        self.p.caches[cache] = KvCache(cache, ROWS, heads, 2, "f32")
        splits = self.rng.choice((1, 1, 2, 3))
        if self.rng.random() < 0.3:
            self.family(f"{name}.append", Append(heads, 2, k, v, cache))
            return Attention(heads, heads, 2, q, out, cache, 1.0)
        part = self.ref(heads * (splits - 1) * 4) if splits > 1 else None
        return Attention(heads, heads, 2, q, out, cache, 1.0, k, v, splits, 2 if part else 0, part)

    def family(self, name: str, kernel: Kernel) -> None:
        """Cut the grid at random and give the pieces to random SMs."""
        rng, p = self.rng, self.p
        p.kernels[name] = kernel
        some = (rng.randrange(kernel.grid) for _ in range(rng.randint(0, 3)))
        cuts = sorted({0, kernel.grid, *some})
        pieces = list(zip(cuts, cuts[1:], strict=False))
        if isinstance(kernel, Attention):
            pieces = [(t, t + 1) for t in range(kernel.grid)]
            pieces.sort(key=lambda piece: piece[0] % kernel.splits == 0)
        for lo, hi in pieces:
            p.queues[rng.randrange(self.sms)].append(Run(name, lo, hi))


Region = tuple[str, int, int, int]
"""Plain memory: buffer, use, elements; or a cache and heads."""


def _plain(p: Program, run: Run, write: bool) -> list[Region]:
    out: list[Region] = []
    for a in p.accesses(run):
        if isinstance(a, CacheAccess) and a.write == write:
            out.append((a.cache, 0, a.lo, a.hi))
        elif isinstance(a, Access) and a.write == write and p.buffers[a.buffer].space == "plain":
            out.append((a.buffer, a.use, a.lo, a.hi))
    return out


def synchronize(p: Program, rng: Random) -> Program:
    """Adds the counters that plain memory needs: one for each instruction that writes some, or one
    for all instructions of a kernel, in which case readers wait for all of them."""
    places = [(sm, i) for sm, queue in enumerate(p.queues) for i in range(len(queue))]
    writes = {at: _plain(p, p.queues[at[0]][at[1]], True) for at in places}
    joint = {k for k, v in p.kernels.items() if not isinstance(v, Attention) and rng.random() < 0.5}
    waits: dict[tuple[int, int], dict[int, int]] = {at: {} for at in places}
    signals: dict[tuple[int, int], Signal] = {}
    counters: dict[object, int] = {}
    totals: dict[object, int] = {}
    for sm, i in places:
        kernel = p.queues[sm][i].kernel
        key = kernel if kernel in joint else (sm, i)
        if writes[sm, i]:
            amount = rng.choice((1, 1, 2))
            counter = counters.setdefault(key, len(counters))
            totals[key] = totals.get(key, 0) + amount
            signals[sm, i] = Signal(counter, amount)
    for sm, i in places:
        for memory, use, lo, hi in _plain(p, p.queues[sm][i], False):
            for other in places:
                kernel = p.queues[other[0]][other[1]].kernel
                key = kernel if kernel in joint else other
                ahead = other[0] == sm and other[1] < i
                if other == (sm, i) or (ahead and rng.random() < 0.8):
                    continue
                for its, its_use, a, b in writes[other]:
                    if (its, its_use) == (memory, use) and a < hi and lo < b:
                        waits[sm, i][counters[key]] = totals[key]
    queues = [
        [
            replace(
                run,
                waits=tuple(Wait(*w) for w in sorted(waits[sm, i].items())),
                signals=(signals[sm, i],) if (sm, i) in signals else (),
                fence=any(isinstance(a, CacheAccess) and a.bulk for a in p.accesses(run)),
            )
            for i, run in enumerate(queue)
        ]
        for sm, queue in enumerate(p.queues)
    ]
    return replace(p, queues=queues, counters=len(counters))


def random_program(rng: Random) -> Program:
    """A random program; safe, unless values share a buffer that should not."""
    while True:
        built = _Random(rng).build()
        if all(built.queues):
            return synchronize(built, rng)


def safe_program(rng: Random) -> Program:
    """A random program that the oracle finds safe."""
    while True:
        p = random_program(rng)
        if judge(p) is None:
            return p


def free_program(rng: Random) -> Program:
    """A random program of values of one element, each made by one instruction of any SM."""
    sms, counters = rng.randint(2, 4), rng.randint(1, 3)
    p = Program(
        "free",
        buffers={"token": Buffer("token", "flagged", 1, "i32")},
        tensors={"table": Tensor("table", (8, 1), "f32")},
        counters=counters,
    )
    made: list[tuple[str, list[str]]] = []
    """Kernel, and what it reads of its own step; kernel and result have one name."""
    for i in range(rng.randint(3, 7)):
        name, names = f"v{i}", [n for n, _ in made]
        p.buffers[name] = Buffer(name, rng.choice(("flagged", "flagged", "plain")), 1, "f32")
        if not names or rng.random() < 0.2:
            p.kernels[name] = Embed(1, 1, Ref("token"), Weight("table"), Ref(name))
            made.append((name, []))
        else:
            a, b = rng.choice(names[-3:]), rng.choice(names)
            p.kernels[name] = Binary(1, 1, "add", Ref(a), Ref(b), Ref(name))
            made.append((name, [a, b]))
    last = made[-1][0]
    p.kernels["argmax"] = Argmax(1, Ref(last), Ref("token"))
    made.append(("argmax", [last]))
    counter = {name: rng.randrange(counters) for name, _ in made}
    plain = {x for _, reads in made for x in reads if p.buffers[x].space == "plain"}
    signals = {name for name, _ in made if name in plain or rng.random() < 0.2}
    totals = [sum(counter[name] == c for name in signals) for c in range(counters)]
    queues: list[list[Run]] = [[] for _ in range(sms)]
    for name, reads in made:
        on = {counter[x] for x in reads if x in plain}
        on |= {c for c in range(counters) if totals[c] and rng.random() < 0.08}
        waits = (
            Wait(c, totals[c] if rng.random() < 0.8 else rng.randint(1, totals[c]))
            for c in sorted(on)
        )
        told = (Signal(counter[name], 1),) if name in signals else ()
        if rng.random() < 0.1:
            told = (*told, Signal(rng.randrange(counters), 1))
        rng.choice(queues).append(Run(name, 0, 1, tuple(waits), told))
    for queue in queues:
        if len(queue) > 1 and rng.random() < 0.2:
            i = rng.randrange(len(queue) - 1)
            queue[i], queue[i + 1] = queue[i + 1], queue[i]
    return replace(p, queues=[queue for queue in queues if queue])
