"""A decoder by its features: `DecoderConfig`, and the tensors that it needs.

This is what the frontend understands of a config.json, whatever the family's fields are called; the
builder, random weights and checks of checkpoints read nothing else. Nothing here imports torch or
transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from math import prod
from typing import NamedTuple

from amk.errors import AmkError
from amk.ir.program import Range

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Names:
    """What the tensors of a family are called; an empty name means that there is none.

    Names of a layer's parts follow `layer.N.`; `.weight` and `.bias` are left out everywhere.
    """

    embed: str = "model.embed_tokens"
    layer: str = "model.layers"
    norm: str = "model.norm"
    head: str = "lm_head"
    pre_attention: str = "input_layernorm"
    """Norm of what attention reads. Without one it reads the residual stream itself."""
    post_attention: str = ""
    """Norm of what attention adds to the residual stream."""
    pre_mlp: str = "post_attention_layernorm"
    """Norm of what the MLP reads. Without one it reads what attention reads if both are parallel,
    else the residual stream."""
    post_mlp: str = ""
    q: str = "self_attn.q_proj"
    k: str = "self_attn.k_proj"
    v: str = "self_attn.v_proj"
    qkv: str = ""
    """One matrix of queries, keys and values, instead of three."""
    o: str = "self_attn.o_proj"
    sinks: str = "self_attn.sinks"
    """A logit for each query head, the whole name of the tensor."""
    q_norm: str = "self_attn.q_norm"
    k_norm: str = "self_attn.k_norm"
    mlp: str = "mlp"
    """A mixture of experts."""
    gate: str = "mlp.gate_proj"
    """Empty where the MLP is not gated."""
    up: str = "mlp.up_proj"
    gate_up: str = ""
    """One matrix of gate and up, instead of two."""
    down: str = "mlp.down_proj"
    renamed: tuple[tuple[str, str], ...] = ()
    """Older names in checkpoints, and what they are called today."""
    buffers: tuple[str, ...] = ()
    """Ends of the names of what old checkpoints hold beside weights: masks and the like."""


@dataclass(frozen=True)
class Layer:
    """What may differ from layer to layer."""

    rope: str | None = "rope"
    """The rotary table: `rope`, `rope.local`, or None where nothing rotates."""
    window: int | None = None
    """Positions that attention sees, its own included; None: all."""


@dataclass(frozen=True)
class Experts:
    """The MLP of a layer is `choices` of `count` experts of `width` elements each, weighted by
    their share of the router's softmax; with `normalize`, of what the chosen ones add up to."""

    count: int
    choices: int
    width: int
    normalize: bool
    bias: bool = False
    """Of the router, and of all matrices of experts."""
    alpha: float = 0.0
    limit: float = 0.0
    """Not 0: gate is at most this and up within this and its negative, and the result is gate *
    sigmoid(alpha * gate) * (up + 1)."""
    columns_first: bool = False
    """Checkpoints hold [experts, columns, rows], with rows of gate and up in turn."""

    def tensors(self, at: str, hidden: int) -> Iterator[tuple[str, TensorSpec]]:
        """The tensors of the MLP `at`."""
        rows = self.count * self.width
        yield f"{at}.gate.weight", TensorSpec((self.count, hidden), "matrix")
        yield f"{at}.experts.gate_proj.weight", TensorSpec((rows, hidden), "matrix")
        yield f"{at}.experts.up_proj.weight", TensorSpec((rows, hidden), "matrix")
        down = (self.count * hidden, self.width)
        yield f"{at}.experts.down_proj.weight", TensorSpec(down, "out")
        if self.bias:
            yield f"{at}.gate.bias", TensorSpec((self.count,), "bias")
            yield f"{at}.experts.gate_proj.bias", TensorSpec((rows,), "bias")
            yield f"{at}.experts.up_proj.bias", TensorSpec((rows,), "bias")
            yield f"{at}.experts.down_proj.bias", TensorSpec(down[:1], "bias")


class TensorSpec(NamedTuple):
    """A tensor of a checkpoint: its shape, and what it is for (`embed`, `matrix`, `out` of a matrix
    that adds to the residual stream, `norm`, `shift` of a norm that adds 1 to it, `bias`)."""

    shape: Shape
    role: str


class Part(NamedTuple):
    """Rows of a tensor that are a matrix of the model; `rows` None: all of them."""

    tensor: str
    rows: Range | None


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder-only language model. Counts are elements, not bytes. The defaults of its features
    are those of Llama."""

    name: str
    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    eps: float
    """Added to the mean square (or the variance) in every norm."""
    inv_freq: tuple[float, ...]
    """Rotary frequencies, half as many as elements rotate, exact in float32; empty if none do."""
    rope_scale: float
    """Factor of cos and sin."""
    max_context: int
    """Positions for which one program is what Hugging Face computes."""
    tied: bool
    """The head's weight is the embedding's; there is no tensor of its own."""
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    experts: Experts | None = None
    """The MLP of every layer is a mixture of these."""
    head_bias: bool = False
    context_ends: str = ""
    """Why max_context is less than the config promises."""
    long_inv_freq: tuple[float, ...] = ()
    """LongRoPE: frequencies of a sequence that begins with more tokens than max_context."""
    long_context: int = 0
    """Positions of such a sequence."""
    bos: int | None = None
    eos: tuple[int, ...] = ()
    names: Names = Names()
    norm: str = "rms"
    """`rms` (RMSNorm) or `layer` (LayerNorm)."""
    norm_bias: bool = False
    plus_one: bool = False
    """Norms multiply by 1 + weight."""
    qk_norm: str = ""
    """Norms of queries and keys: `head` (each head alone, one weight for all), `heads` (each head
    alone, a weight for each), `heads list` (those weights one tensor each), `whole` (all heads
    together), or none."""
    qk_norm_late: bool = False
    """They come after the rotation, not before it."""
    grouped_qkv: bool = False
    """Rows of a single qkv matrix are sorted by KV head: its queries, its key, its value. Else all
    queries come first, then all keys."""
    interleaved: bool = False
    """Rotary pairs are neighbors (2i, 2i + 1), not (i, i + n / 2)."""
    local_inv_freq: tuple[float, ...] = ()
    """Frequencies of the layers whose table is `rope.local`."""
    local_rope_scale: float = 1.0
    plan: tuple[Layer, ...] = ()
    """One entry for each layer; empty: all are `Layer()`."""
    attention_factor: float | None = None
    """Factor of q k^T; None: 1 / sqrt(head_dim)."""
    sinks: bool = False
    """The softmax of each query head counts one more logit, that of a value of zero."""
    softcap: float | None = None
    """Attention scores s become softcap * tanh(s / softcap)."""
    activation: str = "silu"
    """One of `amk.dialects.model.Activation`."""
    parallel: bool = False
    """Attention and MLP both read the residual stream as it was before the layer."""
    embedding_multiplier: float = 1.0
    cast_multiplier: bool = False
    """The embedding's multiplier is rounded to the type of the weights, as the family's code
    does."""
    residual_multiplier: float = 1.0
    logits_multiplier: float = 1.0
    logits_softcap: float | None = None

    def for_prompt(self, length: int) -> DecoderConfig:
        """The decoder of a sequence whose prompt has `length` tokens."""
        if not self.long_inv_freq or length <= self.max_context:
            return self
        return replace(
            self,
            inv_freq=self.long_inv_freq,
            max_context=self.long_context,
            context_ends="",
            long_inv_freq=(),
            long_context=0,
        )

    @property
    def limit(self) -> str:
        """max_context for messages, with the reason where the config promises more."""
        return f"{self.max_context}" + (self.context_ends and f" ({self.context_ends})")

    @property
    def attention_scale(self) -> float:
        """Factor of q k^T."""
        return self.head_dim**-0.5 if self.attention_factor is None else self.attention_factor

    @property
    def q_size(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_size(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def rotary(self) -> int:
        """Elements of each head that rotate."""
        return 2 * len(self.inv_freq)

    @property
    def embed_weight(self) -> str:
        return f"{self.names.embed}.weight"

    @property
    def head_weight(self) -> str:
        """Name of the tensor that makes logits of hidden states."""
        return self.embed_weight if self.tied else f"{self.names.head}.weight"

    @property
    def gated(self) -> bool:
        return bool(self.names.gate or self.names.gate_up)

    @property
    def plain(self) -> bool:
        """Whether it has no feature that Llama lacks, and Llama's names."""
        own = {
            "context_ends",
            "long_inv_freq",
            "long_context",
            "qkv_bias",
            "o_bias",
            "mlp_bias",
            "bos",
            "eos",
            "plan",
        }
        features = [f for f in fields(self) if f.default is not MISSING and f.name not in own]
        same = all(getattr(self, f.name) == f.default for f in features)
        return same and all(layer == Layer() for layer in self.plan)

    @property
    def parameters(self) -> int:
        """Number of weights of the checkpoint."""
        return sum(prod(spec.shape) for spec in tensors(self).values())

    def layer(self, i: int) -> Layer:
        return self.plan[i] if self.plan else Layer()

    def at(self, i: int) -> str:
        """Prefix of the tensors of layer i."""
        return f"{self.names.layer}.{i}"

    def qkv(self, i: int) -> tuple[Part, Part, Part]:
        """The matrices of queries, keys and values of layer i."""
        n, at = self.names, self.at(i)
        if not n.qkv:
            q, k, v = (Part(f"{at}.{name}", None) for name in (n.q, n.k, n.v))
            return q, k, v
        one, q, d = f"{at}.{n.qkv}", self.q_size, self.kv_size
        every = 0
        if self.grouped_qkv:
            q, d = q // self.kv_heads, self.head_dim
            every = q + 2 * d
        ranges = (Range(0, q, every), Range(q, q + d, every), Range(q + d, q + 2 * d, every))
        q, k, v = (Part(one, r) for r in ranges)
        return q, k, v

    def gate_up(self, i: int) -> tuple[Part, Part]:
        """The matrices of gate and up of layer i."""
        n, at, size = self.names, self.at(i), self.intermediate
        if not n.gate_up:
            return Part(f"{at}.{n.gate}", None), Part(f"{at}.{n.up}", None)
        one = f"{at}.{n.gate_up}"
        return Part(one, Range(0, size)), Part(one, Range(size, 2 * size))

    def check_tokens(self, tokens: Sequence[int], limit: int | None = None) -> None:
        """Raise AmkError unless `tokens` is a prompt: not empty, all in the vocabulary, and at most
        `limit` long (default: the model's context)."""
        if not tokens:
            raise AmkError("prompt is empty")
        for t in tokens:
            if not 0 <= t < self.vocab:
                raise AmkError(f"token id {t} is outside the vocabulary of {self.vocab}")
        most = self.max_context if limit is None else limit
        if len(tokens) > most:
            end = self.limit if limit is None else str(limit)
            raise AmkError(f"context of {len(tokens)} tokens exceeds the limit of {end}")


def tensor_shapes(config: DecoderConfig) -> dict[str, Shape]:
    """Names and shapes of the tensors of a checkpoint, in the order in which a step needs them."""
    return {name: spec.shape for name, spec in tensors(config).items()}


def tensors(config: DecoderConfig) -> dict[str, TensorSpec]:
    """The tensors of a checkpoint, in the order in which a step needs them."""
    return dict(_tensors(config))


def _tensors(c: DecoderConfig) -> Iterator[tuple[str, TensorSpec]]:
    n = c.names
    yield c.embed_weight, TensorSpec((c.vocab, c.hidden), "embed")
    for i in range(c.layers):
        at = c.at(i)
        yield from _norm(c, at, n.pre_attention)
        if n.qkv:
            yield from _linear(f"{at}.{n.qkv}", c.q_size + 2 * c.kv_size, c.hidden, c.qkv_bias)
        else:
            for name, size in ((n.q, c.q_size), (n.k, c.kv_size), (n.v, c.kv_size)):
                yield from _linear(f"{at}.{name}", size, c.hidden, c.qkv_bias)
        for name, heads in ((n.q_norm, c.heads), (n.k_norm, c.kv_heads)):
            for tensor in qk_norm_weights(c, f"{at}.{name}", heads):
                yield tensor, _norm_spec(c, _qk_norm_shape(c, heads))
        if c.sinks:
            yield f"{at}.{n.sinks}", TensorSpec((c.heads,), "bias")
        yield from _linear(f"{at}.{n.o}", c.hidden, c.q_size, c.o_bias, "out")
        yield from _norm(c, at, n.post_attention)
        yield from _norm(c, at, n.pre_mlp)
        if c.experts:
            yield from c.experts.tensors(f"{at}.{n.mlp}", c.hidden)
            yield from _norm(c, at, n.post_mlp)
            continue
        if n.gate_up:
            yield from _linear(f"{at}.{n.gate_up}", 2 * c.intermediate, c.hidden, c.mlp_bias)
        else:
            for name in filter(None, (n.gate, n.up)):
                yield from _linear(f"{at}.{name}", c.intermediate, c.hidden, c.mlp_bias)
        yield from _linear(f"{at}.{n.down}", c.hidden, c.intermediate, c.mlp_bias, "out")
        yield from _norm(c, at, n.post_mlp)
    yield from _norm(c, "", n.norm)
    if not c.tied:
        yield f"{n.head}.weight", TensorSpec((c.vocab, c.hidden), "matrix")
    if c.head_bias:
        yield f"{n.head}.bias", TensorSpec((c.vocab,), "bias")


def _linear(
    name: str, rows: int, columns: int, bias: bool, role: str = "matrix"
) -> Iterator[tuple[str, TensorSpec]]:
    yield f"{name}.weight", TensorSpec((rows, columns), role)
    if bias:
        yield f"{name}.bias", TensorSpec((rows,), "bias")


def _norm_spec(c: DecoderConfig, shape: Shape) -> TensorSpec:
    return TensorSpec(shape, "shift" if c.plus_one else "norm")


def _norm(c: DecoderConfig, at: str, name: str) -> Iterator[tuple[str, TensorSpec]]:
    if not name:
        return
    name = f"{at}.{name}" if at else name
    yield f"{name}.weight", _norm_spec(c, (c.hidden,))
    if c.norm_bias:
        yield f"{name}.bias", TensorSpec((c.hidden,), "bias")


def qk_norm_weights(c: DecoderConfig, name: str, heads: int) -> list[str]:
    """The tensors that are the weight of the norm `name` of queries or keys."""
    if c.qk_norm == "heads list":
        return [f"{name}.norms.{i}.weight" for i in range(heads)]
    return [f"{name}.weight"] if c.qk_norm else []


def _qk_norm_shape(c: DecoderConfig, heads: int) -> Shape:
    shapes = {"whole": (heads * c.head_dim,), "heads": (heads, c.head_dim)}
    return shapes.get(c.qk_norm, (c.head_dim,))
