"""Kernels: what an instruction computes, and from that alone what it reads and writes.

A kernel is a family of tiles: one frozen record that names its operands and its shape. An
instruction is a kernel and a range of its tiles. Everything that must know memory (verifiers,
interpreters, the CUDA emitter) asks `accesses`; no region is ever declared beside the kernel, so
there is no annotation that a verifier would merely believe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple


@dataclass(frozen=True, slots=True)
class Ref:
    """A place in a buffer: element `offset` of the `use`-th value that the buffer holds within one
    step.

    `use` is 0 until buffers are placed; a physical buffer with n uses holds n values in turn during
    one step.
    """

    buffer: str
    offset: int = 0
    use: int = 0

    def __str__(self) -> str:
        return (
            f"@{self.buffer}"
            + (f"+{self.offset}" if self.offset else "")
            + (f"#{self.use}" if self.use else "")
        )


class Access(NamedTuple):
    """Elements [lo, hi) of one value of a buffer, touched by an instruction in every step with
    position >= `since`."""

    buffer: str
    use: int
    lo: int
    hi: int
    write: bool
    since: int = 0
    previous: bool = False
    """The value is the one written in the step before (a read only)."""


class CacheAccess(NamedTuple):
    """Rows of a KV cache, for heads [lo, hi): row `pos` (a write), or rows [0, pos] (a read), where
    pos is the step's position. Only rows r with (r // chunk) % splits == split are touched; `chunk`
    0 means all rows. A read with a `window` touches rows above pos - window only.

    The safety of a read is a question of row pos, which is in every window, and of rows that no
    step writes again; so verifiers need not look at `window`.
    """

    cache: str
    lo: int
    hi: int
    write: bool
    chunk: int = 0
    splits: int = 1
    split: int = 0
    bulk: bool = False
    """A read by bulk copies, of all rows but one that the same instruction writes."""
    window: int = 0


class WeightAccess(NamedTuple):
    """Rows [lo, hi) of an immutable matrix or elements [lo, hi) of an immutable vector, read at any
    time."""

    weight: str
    lo: int
    hi: int
    streamed: bool
    """Fetched through the shared-memory ring, ahead of every wait."""
    by_data: bool = False
    """Which of these rows are read is decided by data: any of them may be, whatever the step."""
    since: int = 0
    """Position from which on they are read."""


AnyAccess = Access | CacheAccess | WeightAccess

LIMIT = 1 << 31
"""Sizes and counts of a kernel are below this, so that products of two fit 64 bits."""


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class Kernel:
    """Base of all kernels. Field types tell what a field is: `Ref` an operand in a buffer, `Weight`
    a symbol of an immutable tensor, `Cache` a symbol of a KV cache, `int`, `float` and `str` a
    constant of the shape."""

    mnemonic: ClassVar[str]

    @property
    def grid(self) -> int:
        """Number of tiles."""
        raise NotImplementedError

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        """What an instruction that runs tiles [lo, hi) touches: reads first, then writes.

        Reads complete before the first write of the same instruction becomes visible.
        """
        raise NotImplementedError

    def problems(self) -> Iterator[str]:
        """Why this record is no valid kernel, one line each."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in self.positive and not value > 0:
                yield f"{f.name} must be positive, got {value}"
            elif isinstance(value, int) and not 0 <= value < LIMIT:
                yield f"{f.name} must be from 0 to {LIMIT - 1}, got {value}"

    positive: ClassVar[tuple[str, ...]] = ("n", "tile")


class Weight(str):
    """Symbol of an immutable tensor."""


class Cache(str):
    """Symbol of a KV cache."""


def _read(ref: Ref, lo: int, hi: int, since: int = 0, previous: bool = False) -> Access:
    return Access(ref.buffer, ref.use, ref.offset + lo, ref.offset + hi, False, since, previous)


def _write(ref: Ref, lo: int, hi: int, since: int = 0) -> Access:
    return Access(ref.buffer, ref.use, ref.offset + lo, ref.offset + hi, True, since)


@dataclass(frozen=True)
class RowKernel(Kernel):
    """A kernel whose grid cuts `n` output rows into tiles of `tile` rows; the last tile may be
    short."""

    n: int
    tile: int

    @property
    def grid(self) -> int:
        return ceil_div(self.n, self.tile) if self.tile > 0 and self.n > 0 else 0

    def rows(self, lo: int, hi: int) -> tuple[int, int]:
        """Rows of tiles [lo, hi). Only the grid's last tile is short: a range past the grid stays
        out of bounds."""
        end = hi * self.tile
        return lo * self.tile, self.n if hi == self.grid else end


def _one_of(name: str, value: str, known: tuple[str, ...]) -> Iterator[str]:
    if value not in known:
        yield f"{name} must be one of {', '.join(known)}, got '{value}'"


def _not_negative(name: str, value: float) -> Iterator[str]:
    """Not NaN or infinite either."""
    if not 0 <= value < float("inf"):
        yield f"{name} must not be negative, got {value}"


def _rotary(head_dim: int, rotary: int) -> Iterator[str]:
    """Elements of a head that are rotated in pairs: `rotary`, or all of `head_dim` if 0."""
    if rotary > head_dim:
        yield f"rotary must be at most head_dim {head_dim}, got {rotary}"
    if (rotary or head_dim) % 2:
        yield f"{'rotary' if rotary else 'head_dim'} must be even, got {rotary or head_dim}"


@dataclass(frozen=True)
class Embed(RowKernel):
    """out[i] = table[token, i] (times `multiplier`), and the same in fp32 to `res` when given."""

    mnemonic: ClassVar[str] = "embed"
    token: Ref
    table: Weight
    out: Ref
    res: Ref | None = None
    multiplier: float = 1.0

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield _read(self.token, 0, 1, previous=True)
        yield _write(self.out, a, b)
        if self.res:
            yield _write(self.res, a, b)


ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "relu2")
"""Nonlinear functions of one number: x * sigmoid(x); x * Phi(x) with Phi the normal distribution;
the same with Phi approximated by tanh, or by sigmoid; max(x, 0); max(x, 0)^2."""

EPILOGUES = ("none", "rope", "activation", "gated", "residual", "logits")


@dataclass(frozen=True)
class Gemv(RowKernel):
    """y = W x: `n` rows of `weight`, `k` columns, with what was fused before and after it.

    prologue   `norm`: x is replaced by x * norm / sqrt(mean(x^2) + eps)
    scale      y is multiplied by it, the bias included
    epilogue   none        out[i] = y[i]
               rope        rows below (heads + kv_heads) * head_dim are rotated in pairs (2i, 2i+1)
               by the step's position; of each head the first `rotary` rows, all if 0
               activation  out[i] = kind(y[i])
               gated       out[i] = kind(y[2i]) * y[2i+1]: n rows give n / 2 outputs
               residual    out[i] = y[i] + res_in[i]; res_out[i], if given, = the same in fp32
               logits      out[i] = y[i], or softcap * tanh(y[i] / softcap); per tile t the pair
               (largest out, its row) to cand[2t], cand[2t+1]
    """

    mnemonic: ClassVar[str] = "gemv"
    k: int
    weight: Weight
    x: Ref
    out: Ref
    norm: Weight | None = None
    eps: float = 0.0
    bias: Weight | None = None
    epilogue: str = "none"
    rope: Weight | None = None
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    res_in: Ref | None = None
    res_out: Ref | None = None
    cand: Ref | None = None
    scale: float = 1.0
    kind: str = ""
    rotary: int = 0
    softcap: float = 0.0

    positive: ClassVar[tuple[str, ...]] = ("n", "tile", "k")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.epilogue not in EPILOGUES:
            yield f"epilogue must be one of {', '.join(EPILOGUES)}, got '{self.epilogue}'"
        needs = {
            "rope": ("rope", "heads", "kv_heads", "head_dim"),
            "residual": ("res_in",),
            "logits": ("cand",),
        }
        for epilogue, names in needs.items():
            for name in names:
                if bool(getattr(self, name)) != (epilogue == self.epilogue):
                    what = "needs" if epilogue == self.epilogue else "does not take"
                    yield f"epilogue {self.epilogue} {what} '{name}'"
        for epilogue, name in (("residual", "res_out"), ("rope", "rotary"), ("logits", "softcap")):
            if getattr(self, name) and self.epilogue != epilogue:
                yield f"epilogue {self.epilogue} does not take '{name}'"
        if self.epilogue in ("activation", "gated"):
            yield from _one_of("kind", self.kind, ACTIVATIONS)
        elif self.kind:
            yield f"epilogue {self.epilogue} does not take 'kind'"
        yield from _not_negative("softcap", self.softcap)
        if self.epilogue in ("rope", "gated") and (self.tile % 2 or self.n % 2):
            odd = f"n {self.n} and tile {self.tile}"
            yield f"epilogue {self.epilogue} pairs rows: {odd} must be even"
        if self.epilogue == "rope":
            yield from _rotary(self.head_dim, self.rotary)
            if self.n != (self.heads + 2 * self.kv_heads) * self.head_dim:
                yield f"n must be (heads + 2 * kv_heads) * head_dim, got {self.n}"

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield WeightAccess(self.weight, a, b, True)
        if self.norm:
            yield WeightAccess(self.norm, 0, self.k, False)
        if self.bias:
            yield WeightAccess(self.bias, a, b, False)
        yield _read(self.x, 0, self.k)
        if self.res_in:
            yield _read(self.res_in, a, b)
        if self.epilogue == "gated":
            yield _write(self.out, a // 2, b // 2)
        else:
            yield _write(self.out, a, b)
        if self.res_out:
            yield _write(self.res_out, a, b)
        if self.cand:
            yield _write(self.cand, 2 * lo, 2 * hi)


@dataclass(frozen=True)
class Attention(Kernel):
    """softmax(scale * q K^T) V over rows [0, pos] of a KV cache, cut into `splits`
    (flash-decoding).

    Tile g * splits + s serves the query heads of KV head g over the rows r with (r // chunk) %
    splits == s. It does nothing while pos < s * chunk. When k and v are given, the tile that owns
    row pos also appends it. Split 0 merges the partial results (running maximum, sum, and
    unnormalized output of each query head) of all other active splits.

    window   only rows above pos - window count; a split without such a row leaves a sum of 0
    softcap  a score s counts as softcap * tanh(s / softcap)
    sinks    query head h has one more score, sinks[h], of a row of zeros
    q_norm   first every head of q is normalized: q * q_norm / sqrt(mean(q^2) + eps); and the row of
    k that is appended, alike, with k_norm
    rope     next both are rotated in pairs (2i, 2i+1) by the step's position; of each head the
    first `rotary` elements, all if 0
    halves   q and k hold elements i and i + rotary / 2 of a head as (2i, 2i+1); q_norm and k_norm
    do not
    """

    mnemonic: ClassVar[str] = "attention"
    heads: int
    kv_heads: int
    head_dim: int
    q: Ref
    out: Ref
    cache: Cache
    scale: float
    k: Ref | None = None
    v: Ref | None = None
    splits: int = 1
    chunk: int = 0
    part: Ref | None = None
    window: int = 0
    softcap: float = 0.0
    sinks: Weight | None = None
    q_norm: Weight | None = None
    k_norm: Weight | None = None
    eps: float = 0.0
    rope: Weight | None = None
    rotary: int = 0
    halves: int = 0

    positive: ClassVar[tuple[str, ...]] = ("heads", "kv_heads", "head_dim", "splits")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.kv_heads > 0 and self.heads % self.kv_heads:
            yield f"heads {self.heads} must be a multiple of kv_heads {self.kv_heads}"
        if (self.k is None) != (self.v is None):
            yield "k and v are given together or not at all"
        if self.splits > 1 and (self.part is None or self.chunk <= 0):
            yield f"{self.splits} splits need 'part' and a positive 'chunk'"
        yield from _not_negative("softcap", self.softcap)
        if (self.q_norm is None) != (self.k_norm is None):
            yield "q_norm and k_norm are given together or not at all"
        if (self.q_norm or self.rope) and not self.k:
            yield "norms and rope need 'k' and 'v': rows of the cache have been through them"
        if self.rope:
            yield from _rotary(self.head_dim, self.rotary)
        elif self.rotary or self.halves:
            yield "rotary and halves need 'rope'"
        if self.halves > 1:
            yield f"halves must be 0 or 1, got {self.halves}"

    @property
    def grid(self) -> int:
        return self.kv_heads * self.splits

    @property
    def group(self) -> int:
        """Query heads that share one KV head."""
        return self.heads // self.kv_heads

    @property
    def part_size(self) -> int:
        """fp32 elements of one partial result: group x head_dim outputs, then group maxima, then
        group sums."""
        return self.group * (self.head_dim + 2)

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        writes: list[AnyAccess] = []
        width = self.group * self.head_dim
        for tile in range(lo, hi):
            g, s = divmod(tile, self.splits)
            since = s * self.chunk
            for norm in (self.q_norm, self.k_norm):
                if norm:
                    yield WeightAccess(norm, 0, self.head_dim, False, since=since)
            yield _read(self.q, g * width, (g + 1) * width, since)
            for ref in (self.k, self.v):
                if ref:
                    yield _read(ref, g * self.head_dim, (g + 1) * self.head_dim, since)
            rows = (self.chunk, self.splits, s) if self.splits > 1 else (0, 1, 0)
            yield CacheAccess(self.cache, g, g + 1, False, *rows, bulk=True, window=self.window)
            if self.k:
                writes.append(CacheAccess(self.cache, g, g + 1, True, *rows))
            if s == 0:
                if self.sinks:
                    yield WeightAccess(self.sinks, g * self.group, (g + 1) * self.group, False)
                for other in range(1, self.splits):
                    assert self.part
                    at = (g * (self.splits - 1) + other - 1) * self.part_size
                    yield _read(self.part, at, at + self.part_size, other * self.chunk)
                writes.append(_write(self.out, g * width, (g + 1) * width))
            else:
                assert self.part
                at = (g * (self.splits - 1) + s - 1) * self.part_size
                writes.append(_write(self.part, at, at + self.part_size, since))
        yield from writes


@dataclass(frozen=True)
class Append(Kernel):
    """Row pos of a KV cache = (k, v). One tile per KV head."""

    mnemonic: ClassVar[str] = "append"
    kv_heads: int
    head_dim: int
    k: Ref
    v: Ref
    cache: Cache

    positive: ClassVar[tuple[str, ...]] = ("kv_heads", "head_dim")

    @property
    def grid(self) -> int:
        return self.kv_heads

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        yield _read(self.k, lo * self.head_dim, hi * self.head_dim)
        yield _read(self.v, lo * self.head_dim, hi * self.head_dim)
        yield CacheAccess(self.cache, lo, hi, True)


@dataclass(frozen=True)
class Norm(RowKernel):
    """Normalization of `groups` equal parts of x, each by itself; a tile reads all of the parts
    that it has rows of.

    weight (and bias) have one element for each of x, or, if `shared`, one for each of a part, the
    same for every part. With res_in, out is the sum of it and what was normalized; res_out, if
    given, is the same in fp32.
    """

    x: Ref
    weight: Weight
    eps: float
    out: Ref
    groups: int = 1
    shared: int = 0
    res_in: Ref | None = None
    res_out: Ref | None = None

    positive: ClassVar[tuple[str, ...]] = ("n", "tile", "groups")

    @property
    def size(self) -> int:
        """Elements of a part."""
        return self.n // self.groups

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.groups > 0 and self.n % self.groups:
            yield f"n {self.n} must be a multiple of groups {self.groups}"
        if self.shared > 1:
            yield f"shared must be 0 or 1, got {self.shared}"
        if self.res_out and not self.res_in:
            yield "res_out needs 'res_in'"

    def vectors(self) -> tuple[Weight, ...]:
        """The immutable operands."""
        return (self.weight,)

    def parts(self, a: int, b: int) -> tuple[int, int]:
        """The elements of x of the parts that rows [a, b) belong to."""
        return a // self.size * self.size, ceil_div(b, self.size) * self.size

    def scaling(self, a: int, b: int) -> tuple[int, int]:
        """The elements of weight that rows [a, b) are multiplied with."""
        if not self.shared:
            return a, b
        first = a // self.size * self.size
        return (a - first, b - first) if b <= first + self.size else (0, self.size)

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        for vector in self.vectors():
            yield WeightAccess(vector, *self.scaling(a, b), False)
        yield _read(self.x, *self.parts(a, b))
        if self.res_in:
            yield _read(self.res_in, a, b)
        yield _write(self.out, a, b)
        if self.res_out:
            yield _write(self.res_out, a, b)


@dataclass(frozen=True)
class RmsNorm(Norm):
    """out = x * weight / sqrt(mean(x^2) + eps), mean over a part of x."""

    mnemonic: ClassVar[str] = "rms_norm"


@dataclass(frozen=True)
class LayerNorm(Norm):
    """out = (x - mean(x)) * weight / sqrt(mean((x - mean(x))^2) + eps) + bias, means over a part of
    x."""

    mnemonic: ClassVar[str] = "layer_norm"
    bias: Weight | None = None

    def vectors(self) -> tuple[Weight, ...]:
        return (self.weight, self.bias) if self.bias else (self.weight,)


@dataclass(frozen=True)
class Rope(Kernel):
    """Rotary embedding of whole heads by the step's position. One tile per head.

    Of each head the first `rotary` elements (all if 0) are rotated, the others copied. Pairs are
    (i, i + rotary / 2), or neighbors (2i, 2i + 1) if `interleaved`.
    """

    mnemonic: ClassVar[str] = "rope"
    heads: int
    head_dim: int
    x: Ref
    rope: Weight
    out: Ref
    rotary: int = 0
    interleaved: int = 0

    positive: ClassVar[tuple[str, ...]] = ("heads", "head_dim")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from _rotary(self.head_dim, self.rotary)
        if self.interleaved > 1:
            yield f"interleaved must be 0 or 1, got {self.interleaved}"

    @property
    def grid(self) -> int:
        return self.heads

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        yield _read(self.x, lo * self.head_dim, hi * self.head_dim)
        yield _write(self.out, lo * self.head_dim, hi * self.head_dim)


BINARY_OPS = ("add", *(f"{kind}_mul" for kind in ACTIVATIONS))


@dataclass(frozen=True)
class Binary(RowKernel):
    """Elementwise out = a + b (add), or kind(a) * b for an activation (silu_mul and others)."""

    mnemonic: ClassVar[str] = "binary"
    op: str
    a: Ref
    b: Ref
    out: Ref

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from _one_of("op", self.op, BINARY_OPS)

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield _read(self.a, a, b)
        yield _read(self.b, a, b)
        yield _write(self.out, a, b)


UNARY_OPS = (*ACTIVATIONS, "scale", "softcap")


@dataclass(frozen=True)
class Unary(RowKernel):
    """Elementwise out = op(x) for an activation, value * x (scale), or value * tanh(x / value)
    (softcap)."""

    mnemonic: ClassVar[str] = "unary"
    op: str
    x: Ref
    out: Ref
    value: float = 1.0

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from _one_of("op", self.op, UNARY_OPS)
        if self.op in ACTIVATIONS and self.value != 1.0:
            yield f"op {self.op} does not take 'value'"
        if self.op == "softcap" and not 0 < self.value < float("inf"):
            yield f"softcap must be positive, got {self.value}"

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield _read(self.x, a, b)
        yield _write(self.out, a, b)


@dataclass(frozen=True)
class Argmax(Kernel):
    """The next token: the index of the largest of `n` logits, the lowest such index on a tie.

    With `pairs`, x holds n pairs (value, index) left by a gemv with epilogue logits; otherwise x
    holds n logits.
    """

    mnemonic: ClassVar[str] = "argmax"
    n: int
    x: Ref
    out: Ref
    pairs: int = 0

    positive: ClassVar[tuple[str, ...]] = ("n",)

    @property
    def grid(self) -> int:
        return 1

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        yield _read(self.x, 0, 2 * self.n if self.pairs else self.n)
        yield _write(self.out, lo, hi)


@dataclass(frozen=True)
class Sample(Kernel):
    """The next token, drawn from `n` logits with the parameters of the launch (amk.ir.sampling);
    for temperature 0 it is that of `Argmax`."""

    mnemonic: ClassVar[str] = "sample"
    n: int
    x: Ref
    out: Ref

    positive: ClassVar[tuple[str, ...]] = ("n",)

    @property
    def grid(self) -> int:
        return 1

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        yield _read(self.x, 0, self.n)
        yield _write(self.out, lo, hi)


@dataclass(frozen=True)
class Topk(Kernel):
    """The router of a mixture of experts: the `choices` largest of n logits, in falling order, the
    lowest index first on a tie.

    weights[j] = softmax(x)[ids[j]] over all n logits; with `normalize`, divided by the sum of the
    chosen ones (which is softmax over the chosen logits alone). One tile.
    """

    mnemonic: ClassVar[str] = "topk"
    n: int
    choices: int
    x: Ref
    ids: Ref
    weights: Ref
    normalize: int = 0

    positive: ClassVar[tuple[str, ...]] = ("n", "choices")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.choices > self.n:
            yield f"choices {self.choices} must not exceed n {self.n}"

    @property
    def grid(self) -> int:
        return 1

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        yield _read(self.x, 0, self.n)
        yield _write(self.ids, 0, self.choices)
        yield _write(self.weights, 0, self.choices)


@dataclass(frozen=True)
class MoeGateUp(RowKernel):
    """The gated half of the MLP of every chosen expert, laid out by choice: with width = n /
    choices, results j * width + i are silu(y[2i]) * y[2i+1], where y = W x' + b, W are rows [e *
    2 * width, (e + 1) * 2 * width) of `weight`, b these elements of `bias` (or zero), e = ids[j].
    x' is x, normalized if `norm` is given.

    With a `limit` L, gate y[2i] is at most L and up y[2i+1] within -L and L, and the result is
    gate * sigmoid(alpha * gate) * (up + 1).

    No region of a buffer depends on the ids. Rows of the weight do: those of all experts are
    claimed.
    """

    mnemonic: ClassVar[str] = "moe_gate_up"
    k: int
    choices: int
    experts: int
    weight: Weight
    ids: Ref
    x: Ref
    out: Ref
    norm: Weight | None = None
    eps: float = 0.0
    bias: Weight | None = None
    alpha: float = 0.0
    limit: float = 0.0

    positive: ClassVar[tuple[str, ...]] = ("n", "tile", "k", "choices", "experts")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if not 0 <= self.limit < float("inf"):
            yield f"limit must be positive, got {self.limit}"
        if self.alpha and not self.limit:
            yield "alpha needs 'limit'"
        if self.choices > 0 and self.n % self.choices:
            yield f"n {self.n} must be a multiple of choices {self.choices}"
        if 2 * self.experts * self.n >= LIMIT:
            yield f"{self.experts} experts of {self.n} rows are too many"

    @property
    def width(self) -> int:
        """Results of one expert."""
        return self.n // self.choices

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield WeightAccess(self.weight, 0, self.experts * 2 * self.width, False, True)
        if self.bias:
            yield WeightAccess(self.bias, 0, self.experts * 2 * self.width, False, True)
        if self.norm:
            yield WeightAccess(self.norm, 0, self.k, False)
        yield _read(self.ids, a // self.width, ceil_div(b, self.width))
        yield _read(self.x, 0, self.k)
        yield _write(self.out, a, b)


@dataclass(frozen=True)
class MoeDown(RowKernel):
    """The other half: out[i] = sum over choices j of weights[j] * (W_e x_j + b_e)[i] + res_in[i],
    where W_e are rows [e * n, (e + 1) * n) of `weight`, b_e these elements of `bias` (or zero), e =
    ids[j], and x_j is x[j * k to (j + 1) * k]. Without res_in nothing is added; res_out, if given,
    is the same in fp32.

    What is read of buffers does not depend on the ids: every choice is read, whoever made it.
    """

    mnemonic: ClassVar[str] = "moe_down"
    k: int
    choices: int
    experts: int
    weight: Weight
    ids: Ref
    weights: Ref
    x: Ref
    out: Ref
    res_in: Ref | None = None
    res_out: Ref | None = None
    bias: Weight | None = None

    positive: ClassVar[tuple[str, ...]] = ("n", "tile", "k", "choices", "experts")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.experts * self.n >= LIMIT:
            yield f"{self.experts} experts of {self.n} rows are too many"
        if self.res_out and not self.res_in:
            yield "res_out needs 'res_in'"

    def accesses(self, lo: int, hi: int) -> Iterator[AnyAccess]:
        a, b = self.rows(lo, hi)
        yield WeightAccess(self.weight, 0, self.experts * self.n, False, True)
        if self.bias:
            yield WeightAccess(self.bias, 0, self.experts * self.n, False, True)
        yield _read(self.ids, 0, self.choices)
        yield _read(self.weights, 0, self.choices)
        yield _read(self.x, 0, self.choices * self.k)
        if self.res_in:
            yield _read(self.res_in, a, b)
        yield _write(self.out, a, b)
        if self.res_out:
            yield _write(self.res_out, a, b)


KERNELS: dict[str, type[Kernel]] = {
    k.mnemonic: k
    for k in (
        Embed, Gemv, Attention, Append, RmsNorm, LayerNorm, Rope, Binary, Unary, Argmax, Sample,
        Topk, MoeGateUp, MoeDown,
    )
}  # fmt: skip
