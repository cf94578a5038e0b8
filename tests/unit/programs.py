"""Small Llama programs built by hand from plain dataclasses, and a straightforward reference.

`fused` has the kernels and the synchronisation of compiled programs, in either mode; `unfused` has
one kernel per operator, a barrier after each, and covers the kernels that `fused` does not have.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from amk.ir.kernels import (
    Append,
    Argmax,
    Attention,
    Binary,
    Cache,
    Embed,
    Gemv,
    Kernel,
    MoeDown,
    MoeGateUp,
    Ref,
    RmsNorm,
    Rope,
    Sample,
    Topk,
    Weight,
)
from amk.ir.packs import F32
from amk.ir.program import (
    Buffer,
    KvCache,
    Pack,
    Program,
    Ring,
    RopeTable,
    Run,
    Signal,
    Tensor,
    Wait,
)

ALPHA = 1.5
"""The factor in the sigmoid of bounded experts."""


@dataclass(frozen=True)
class Tiny:
    """Sizes of a small Llama and how its program is cut."""

    layers: int = 2
    hidden: int = 32
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 8
    inter: int = 48
    vocab: int = 40
    rows: int = 32
    sms: int = 3
    tile: int = 4
    sync: str = "flagged"
    dtype: str = "f32"
    bias: bool = False
    splits: int = 1
    chunk: int = 0
    experts: int = 0
    choices: int = 0
    """A mixture of this many experts, of which so many are chosen; without, one MLP."""
    normalize: int = 1
    limit: float = 0.0
    """Experts have biases, and gate and up are bounded by this; 0: neither."""
    eps: float = 1e-5
    theta: float = 10000.0
    sampling: bool = False

    @property
    def q_rows(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_rows(self) -> int:
        return self.kv_heads * self.head_dim


def tensors(t: Tiny) -> dict[str, Tensor]:
    """The checkpoint, under Hugging Face's names."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (t.vocab, t.hidden)}
    for i in range(t.layers):
        at = f"model.layers.{i}."
        for name, rows in (("q", t.q_rows), ("k", t.kv_rows), ("v", t.kv_rows)):
            shapes[at + f"self_attn.{name}_proj.weight"] = (rows, t.hidden)
            if t.bias:
                shapes[at + f"self_attn.{name}_proj.bias"] = (rows,)
        shapes[at + "self_attn.o_proj.weight"] = (t.hidden, t.q_rows)
        mlp, each = at + "mlp.", max(1, t.experts)
        if t.experts:
            shapes[mlp + "router.weight"] = (t.experts, t.hidden)
        if t.limit:
            shapes[mlp + "gate_proj.bias"] = shapes[mlp + "up_proj.bias"] = (each * t.inter,)
            shapes[mlp + "down_proj.bias"] = (each * t.hidden,)
        shapes[mlp + "gate_proj.weight"] = (each * t.inter, t.hidden)
        shapes[mlp + "up_proj.weight"] = (each * t.inter, t.hidden)
        shapes[mlp + "down_proj.weight"] = (each * t.hidden, t.inter)
        shapes[at + "input_layernorm.weight"] = (t.hidden,)
        shapes[at + "post_attention_layernorm.weight"] = (t.hidden,)
    shapes["model.norm.weight"] = (t.hidden,)
    shapes["lm_head.weight"] = (t.vocab, t.hidden)
    return {name: Tensor(name, shape, t.dtype) for name, shape in shapes.items()}


def weights(t: Tiny, seed: int = 0) -> Callable[[str], F32]:
    """Random weights by name, float32."""
    shapes = {name: tensor.shape for name, tensor in tensors(t).items()}

    def get(name: str) -> F32:
        rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
        values = rng.standard_normal(shapes[name]).astype(np.float32)
        return 1 + 0.1 * values if "norm" in name else values / np.float32(shapes[name][-1] ** 0.5)

    return get


def inv_freq(t: Tiny) -> tuple[float, ...]:
    return tuple(t.theta ** (-2 * i / t.head_dim) for i in range(t.head_dim // 2))


def reference(t: Tiny, get: Callable[[str], F32], ids: list[int], last: bool = False) -> np.ndarray:
    """Logits [len(ids), vocab] in float64, written from the model's definition; with `last`, of the
    last position alone, [1, vocab], in memory that grows with len(ids) only."""

    def w(name: str) -> np.ndarray:
        return get(name).astype(np.float64)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + t.eps) * w(name)

    def rotate(x: np.ndarray) -> np.ndarray:
        half = t.head_dim // 2
        # the one product that is fp32 by definition: far positions feel its rounding
        angles = np.arange(len(ids), dtype=np.float32)[:, None] * np.array(inv_freq(t), np.float32)
        cos, sin = (np.tile(f(angles), 2)[:, None, :] for f in (np.cos, np.sin))
        return x * cos + np.concatenate([-x[..., half:], x[..., :half]], -1) * sin

    n = len(ids)
    x = w("model.embed_tokens.weight")[ids]
    for i in range(t.layers):
        at = f"model.layers.{i}."
        h = norm(x, at + "input_layernorm.weight")

        def heads(name: str, h: np.ndarray = h, at: str = at) -> np.ndarray:
            y = h @ w(at + f"self_attn.{name}_proj.weight").T
            if t.bias:
                y = y + w(at + f"self_attn.{name}_proj.bias")
            return y.reshape(n, -1, t.head_dim)

        q, k, v = rotate(heads("q")), rotate(heads("k")), heads("v")
        k, v = (np.repeat(a, t.heads // t.kv_heads, axis=1) for a in (k, v))
        if last and i == t.layers - 1:
            q, x = q[-1:], x[-1:]
        scores = np.einsum("qhd,khd->hqk", q, k) * t.head_dim**-0.5
        if len(q) == n:
            scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        o = np.einsum("hqk,khd->qhd", p, v).reshape(len(q), -1)
        x = x + o @ w(at + "self_attn.o_proj.weight").T
        h = norm(x, at + "post_attention_layernorm.weight")
        each = max(1, t.experts)

        def experts(name: str, shape: str, h: np.ndarray, each: int = each, at: str = at):
            name = at + f"mlp.{name}_proj"
            matrices = w(name + ".weight").reshape(each, -1, h.shape[-1])
            y = np.einsum(shape, h, matrices)
            return y + w(name + ".bias").reshape(each, -1) if t.limit else y

        gate, up = (experts(name, "th,eih->tei", h) for name in ("gate", "up"))
        if t.limit:
            gate, up = np.minimum(gate, t.limit), np.clip(up, -t.limit, t.limit) + 1
        sharp = ALPHA if t.limit else 1.0
        made = experts("down", "tei,ehi->teh", gate / (1 + np.exp(-sharp * gate)) * up)
        shares = np.ones((len(x), 1))
        if t.experts:
            scores = h @ w(at + "mlp.router.weight").T
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            shares /= shares.sum(-1, keepdims=True)
            least = np.sort(shares)[:, -t.choices, None]
            shares = np.where(shares >= least, shares, 0)
            if t.normalize:
                shares /= shares.sum(-1, keepdims=True)
        x = x + np.einsum("te,teh->th", shares, made)
    return norm(x, "model.norm.weight") @ w("lm_head.weight").T


class Builder:
    """Adds kernels to a program, their tiles to queues, and the waits of one of the two modes."""

    def __init__(self, t: Tiny, name: str) -> None:
        self.t = t
        self.program = Program(
            name,
            tensors=tensors(t),
            ropes={"rope": RopeTable("rope", inv_freq(t))},
            ring=Ring(slots=16, columns=256, group=2, consumers=8, window=4),
            queues=[[] for _ in range(t.sms)],
        )
        self.add_buffer("token", "flagged", 1, "i32")
        self.arrivals: dict[str, tuple[int, int]] = {}

    def add_buffer(self, name: str, space: str, length: int, dtype: str, uses: int = 1) -> None:
        self.program.buffers[name] = Buffer(name, space, length, dtype, uses)

    def shared(self, name: str, length: int, dtype: str = "f32", uses: int = 1) -> None:
        """A buffer in the space of the program's mode."""
        space = "flagged" if self.t.sync == "flagged" else "plain"
        self.add_buffer(name, space, length, dtype, uses)

    def family(
        self, name: str, kernel: Kernel, after: tuple[str, ...] = (), only: list[int] | None = None
    ) -> None:
        """Runs the tiles of `kernel` (or `only` these) once the groups `after` have arrived.

        Tiles go to SMs in contiguous ranges, so that kernels of one grid put a tile on one SM. The
        group of arrivals is called `name`; the kernel may be added in several groups.
        """
        problems = list(kernel.problems())
        assert not problems, problems
        kernel_name = name.split("/")[0]
        self.program.kernels[kernel_name] = kernel
        tiles = list(range(kernel.grid)) if only is None else only
        runs: list[tuple[int, int, int]] = []
        for tile in tiles:
            sm = tile * self.t.sms // kernel.grid
            if runs and runs[-1][0] == sm and runs[-1][2] == tile:
                runs[-1] = (sm, runs[-1][1], tile + 1)
            else:
                runs.append((sm, tile, tile + 1))
        waits: tuple[Wait, ...] = ()
        signals: tuple[Signal, ...] = ()
        if self.t.sync == "counters":
            counter = self.program.counters
            self.program.counters += 1
            waits = tuple(Wait(*self.arrivals[group]) for group in after)
            signals = (Signal(counter, 1),)
            self.arrivals[name] = counter, len(runs)
        for sm, lo, hi in runs:
            fence = isinstance(self.program.kernels[kernel_name], Attention)
            self.program.queues[sm].append(Run(kernel_name, lo, hi, waits, signals, fence))


def fused(t: Tiny) -> Program:
    """Five kernels a layer, as compiled programs have them."""
    b = Builder(t, "tiny")
    act, uses = t.dtype, 2 * t.layers + 1
    cand = 2 * -(-t.vocab // t.tile)
    b.shared("x", t.hidden, act, uses)
    b.add_buffer("res", "local", t.hidden, "f32", uses)
    b.shared("qkv", t.q_rows + 2 * t.kv_rows, act, t.layers)
    b.shared("attn", t.q_rows, act, t.layers)
    b.shared("h", max(1, t.choices) * t.inter, act, t.layers)
    if t.experts:
        b.shared("scores", t.experts, "f32", t.layers)
        b.shared("ids", t.choices, "i32", t.layers)
        b.shared("shares", t.choices, "f32", t.layers)
    b.shared("cand", cand, "f32")
    if t.sampling:
        b.shared("logits", t.vocab)
    else:
        b.add_buffer("logits", "plain", t.vocab, "f32")
    group = t.heads // t.kv_heads
    if t.splits > 1:
        size = group * (t.head_dim + 2)
        b.shared("part", t.kv_heads * (t.splits - 1) * size, "f32", t.layers)

    def res(use: int) -> Ref:
        return Ref("res", 0, use)

    token = Ref("token")
    embedding = Weight("model.embed_tokens.weight")
    b.family("embed", Embed(t.hidden, t.tile, token, embedding, Ref("x"), res(0)))
    last = "embed"
    for i in range(t.layers):
        at, use = f"model.layers.{i}.", 2 * i
        qkv = pack(b, i, "qkv", tuple(f"self_attn.{n}_proj.weight" for n in "qkv"))
        bias = None
        if t.bias:
            bias = pack(b, i, "qkv_bias", tuple(f"self_attn.{n}_proj.bias" for n in "qkv"))
        gate_up = pack(b, i, "gate_up", ("mlp.gate_proj.weight", "mlp.up_proj.weight"))
        rows = t.q_rows + 2 * t.kv_rows
        b.program.caches[f"kv{i}"] = KvCache(f"kv{i}", t.rows, t.kv_heads, t.head_dim, t.dtype)
        b.family(
            f"l{i}.qkv",
            Gemv(
                rows, t.tile, t.hidden, qkv, Ref("x", 0, use), Ref("qkv", 0, i),
                Weight(at + "input_layernorm.weight"), t.eps, bias, "rope", Weight("rope"),
                t.heads, t.kv_heads, t.head_dim,
            ),
            (last,),
        )  # fmt: skip
        attention = Attention(
            t.heads, t.kv_heads, t.head_dim, Ref("qkv", 0, i), Ref("attn", 0, i),
            Cache(f"kv{i}"), t.head_dim**-0.5, Ref("qkv", t.q_rows, i),
            Ref("qkv", t.q_rows + t.kv_rows, i), t.splits, t.chunk,
            Ref("part", 0, i) if t.splits > 1 else None,
        )  # fmt: skip
        tiles = range(attention.grid)
        last = f"l{i}.attn/merge"
        if t.splits > 1:
            parts = [tile for tile in tiles if tile % t.splits]
            b.family(f"l{i}.attn/part", attention, (f"l{i}.qkv",), parts)
        merges = [tile for tile in tiles if tile % t.splits == 0]
        after = (f"l{i}.attn/part",) if t.splits > 1 else ()
        b.family(last, attention, (f"l{i}.qkv", *after), merges)
        b.family(
            f"l{i}.o",
            Gemv(
                t.hidden, t.tile, t.q_rows, Weight(at + "self_attn.o_proj.weight"),
                Ref("attn", 0, i), Ref("x", 0, use + 1), epilogue="residual",
                res_in=res(use), res_out=res(use + 1),
            ),
            (last,),
        )  # fmt: skip
        if t.experts:
            last = mixture(b, i, gate_up, res)
            continue
        b.family(
            f"l{i}.gate_up",
            Gemv(
                2 * t.inter, t.tile, t.hidden, gate_up, Ref("x", 0, use + 1), Ref("h", 0, i),
                Weight(at + "post_attention_layernorm.weight"), t.eps, None, "gated", kind="silu",
            ),
            (f"l{i}.o",),
        )  # fmt: skip
        last = f"l{i}.down"
        b.family(
            last,
            Gemv(
                t.hidden, t.tile, t.inter, Weight(at + "mlp.down_proj.weight"), Ref("h", 0, i),
                Ref("x", 0, use + 2), epilogue="residual", res_in=res(use + 1),
                res_out=res(use + 2),
            ),
            (f"l{i}.gate_up",),
        )  # fmt: skip
    b.family(
        "lm_head",
        Gemv(
            t.vocab, t.tile, t.hidden, Weight("lm_head.weight"), Ref("x", 0, uses - 1),
            Ref("logits"), Weight("model.norm.weight"), t.eps, None, "logits", cand=Ref("cand"),
        ),
        (last,),
    )  # fmt: skip
    if t.sampling:
        b.family("sample", Sample(t.vocab, Ref("logits"), token), ("lm_head",))
    else:
        b.family("argmax", Argmax(cand // 2, Ref("cand"), token, 1), ("lm_head",))
    return b.program


def mixture(b: Builder, i: int, gate_up: Weight, res: Callable[[int], Ref]) -> str:
    """The MLP of layer i with experts: router, choice, and both halves. Gives the last family."""
    t, at, use, own = b.t, f"model.layers.{i}.", 2 * i + 1, f"l{i}."
    norm, x = Weight(at + "post_attention_layernorm.weight"), Ref("x", 0, use)
    scores, ids, shares, h = (Ref(name, 0, i) for name in ("scores", "ids", "shares", "h"))
    halves = ("mlp.gate_proj.bias", "mlp.up_proj.bias")
    bias = pack(b, i, "gate_up_bias", halves) if t.limit else None
    router = Weight(at + "mlp.router.weight")
    b.family(
        own + "router", Gemv(t.experts, t.tile, t.hidden, router, x, scores, norm, t.eps),
        (own + "o",),
    )  # fmt: skip
    b.family(
        own + "topk", Topk(t.experts, t.choices, scores, ids, shares, t.normalize),
        (own + "router",),
    )  # fmt: skip
    b.family(
        own + "gate_up",
        MoeGateUp(
            t.choices * t.inter, t.tile, t.hidden, t.choices, t.experts, gate_up, ids, x, h, norm,
            t.eps, bias, ALPHA if t.limit else 0.0, t.limit,
        ),
        (own + "o", own + "topk"),
    )  # fmt: skip
    b.family(
        own + "down",
        MoeDown(
            t.hidden, t.tile, t.inter, t.choices, t.experts, Weight(at + "mlp.down_proj.weight"),
            ids, shares, h, Ref("x", 0, use + 1), res(use), res(use + 1),
            Weight(at + "mlp.down_proj.bias") if t.limit else None,
        ),
        (own + "topk", own + "gate_up"),
    )  # fmt: skip
    return own + "down"


def pack(b: Builder, layer: int, name: str, sources: tuple[str, ...]) -> Weight:
    """Declares a fused weight of a layer."""
    parts = [b.program.tensors[f"model.layers.{layer}.{s}"] for s in sources]
    mode = "interleave" if "gate_up" in name else "concat"
    layouts = ("rope", "rope", "rows") if mode == "concat" else ("rows", "rows")
    shape = (sum(p.shape[0] for p in parts), *parts[0].shape[1:])
    full = f"layers.{layer}.{name}"
    names = tuple(p.name for p in parts)
    head_dim = b.t.head_dim if mode == "concat" else 0
    b.program.packs[full] = Pack(full, shape, b.t.dtype, mode, names, layouts, head_dim)
    return Weight(full)


def unfused(t: Tiny) -> Program:
    """One kernel per operator and a plain buffer per value. All instructions of a kernel wait for
    all of the kernel before, so the counters make a chain that orders everything."""
    b = Builder(replace(t, sync="counters"), "tiny-unfused")
    last: tuple[str, ...] = ()

    def add(name: str, kernel: Kernel) -> None:
        nonlocal last
        b.family(name, kernel, last)
        last = (name,)

    def value(name: str, length: int, dtype: str = t.dtype) -> Ref:
        b.add_buffer(name, "plain", length, dtype)
        return Ref(name)

    def linear(name: str, weight: str, x: Ref, rows: int, columns: int) -> Ref:
        out = value(name, rows)
        bias = weight.replace(".weight", ".bias")
        known = Weight(bias) if bias in b.program.tensors else None
        add(name, Gemv(rows, t.tile, columns, Weight(weight), x, out, bias=known))
        return out

    def norm(name: str, weight: str, x: Ref) -> Ref:
        out = value(name, t.hidden)
        add(name, RmsNorm(t.hidden, t.tile, x, Weight(weight), t.eps, out))
        return out

    def binary(name: str, op: str, n: int, x: Ref, y: Ref) -> Ref:
        out = value(name, n)
        add(name, Binary(n, t.tile, op, x, y, out))
        return out

    x = value("x0", t.hidden)
    add("embed", Embed(t.hidden, t.tile, Ref("token"), Weight("model.embed_tokens.weight"), x))
    for i in range(t.layers):
        at, own = f"model.layers.{i}.", f"l{i}."
        b.program.caches[f"kv{i}"] = KvCache(f"kv{i}", t.rows, t.kv_heads, t.head_dim, t.dtype)
        h = norm(own + "norm", at + "input_layernorm.weight", x)
        q = linear(own + "q", at + "self_attn.q_proj.weight", h, t.q_rows, t.hidden)
        k = linear(own + "k", at + "self_attn.k_proj.weight", h, t.kv_rows, t.hidden)
        v = linear(own + "v", at + "self_attn.v_proj.weight", h, t.kv_rows, t.hidden)
        q_turned, k_turned = value(own + "qr", t.q_rows), value(own + "kr", t.kv_rows)
        add(own + "q_rope", Rope(t.heads, t.head_dim, q, Weight("rope"), q_turned))
        add(own + "k_rope", Rope(t.kv_heads, t.head_dim, k, Weight("rope"), k_turned))
        cache = Cache(f"kv{i}")
        add(own + "append", Append(t.kv_heads, t.head_dim, k_turned, v, cache))
        attn = value(own + "attn", t.q_rows)
        scale = t.head_dim**-0.5
        add(
            own + "attention",
            Attention(t.heads, t.kv_heads, t.head_dim, q_turned, attn, cache, scale),
        )
        o = linear(own + "o", at + "self_attn.o_proj.weight", attn, t.hidden, t.q_rows)
        x = binary(own + "x", "add", t.hidden, x, o)
        h = norm(own + "norm2", at + "post_attention_layernorm.weight", x)
        gate = linear(own + "gate", at + "mlp.gate_proj.weight", h, t.inter, t.hidden)
        up = linear(own + "up", at + "mlp.up_proj.weight", h, t.inter, t.hidden)
        act = binary(own + "act", "silu_mul", t.inter, gate, up)
        down = linear(own + "down", at + "mlp.down_proj.weight", act, t.hidden, t.inter)
        x = binary(own + "y", "add", t.hidden, x, down)
    x = norm("norm", "model.norm.weight", x)
    logits = value("logits", t.vocab, "f32")
    add("lm_head", Gemv(t.vocab, t.tile, t.hidden, Weight("lm_head.weight"), x, logits))
    add("argmax", Argmax(t.vocab, logits, Ref("token")))
    return b.program
