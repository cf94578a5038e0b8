"""What a user would run instead, on the same weights and device, and the fp32 reference to trust.

`Decode` is a decoder in plain PyTorch with fused QKV and gate-up projections and a static KV cache;
`graph` replays it from a CUDA graph, `compile` does so after torch.compile (max-autotune) of every
layer, and `hf` is Hugging Face's own `generate`. All start from KV rows of the fp32 reference.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
import transformers

from amk.errors import AmkError
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.decoder import DecoderConfig
from amk.frontends.hf.experts import module_state
from amk.ir.packs import F32

Tensors = Mapping[str, torch.Tensor]
LIBRARY: Any = transformers


@dataclass(frozen=True, slots=True)
class Timed:
    """Tokens of one run of a system, and what they took in microseconds."""

    tokens: list[int]
    microseconds: float


class System(Protocol):
    """Something to measure: at a context, run after run."""

    def prepare(self, prompt: Sequence[int], first: int, tokens: int) -> None:
        """Be ready to continue `prompt` and the token `first` by `tokens` tokens."""
        ...

    def run(self) -> Timed:
        """Do so once, from the same state each time."""
        ...

    def logits(self) -> F32:
        """Logits [vocab] of the last step of the last run."""
        ...


def hugging_face(raw: Mapping[str, object], tensors: Tensors, dtype: torch.dtype) -> Any:
    """transformers' own module over `tensors`, which it shares where they have `dtype`."""
    LIBRARY.logging.set_verbosity_error()
    device = next(iter(tensors.values())).device
    config = LIBRARY.AutoConfig.for_model(**deepcopy(dict(raw)))
    with torch.device(device):
        module = LIBRARY.AutoModelForCausalLM.from_config(config, dtype=dtype)
    held = {name: t.to(dtype) for name, t in tensors.items()}
    c = parse_config(raw)
    state = module_state(held, c.experts, torch.cat)
    state.setdefault(f"{c.names.head}.weight", state[c.embed_weight])
    module.load_state_dict(state, assign=True)
    module.generation_config.eos_token_id = None
    module.generation_config.pad_token_id = 0
    return module.eval()


def shorten(past: Any, length: int) -> None:
    """Forgets all rows of a transformers cache from `length` on; `crop` has changed its meaning
    between versions."""
    for layer in past.layers:
        layer.keys, layer.values = layer.keys[..., :length, :], layer.values[..., :length, :]


class Reference:
    """Hugging Face in fp32: logits after any tokens, and the KV rows of a prompt."""

    def __init__(self, raw: Mapping[str, object], tensors: Tensors) -> None:
        self.module = hugging_face(raw, tensors, torch.float32)
        self.device = next(iter(tensors.values())).device
        self.past: Any = None
        self.length = 0

    @torch.inference_mode()
    def feed(self, prompt: Sequence[int], keep: int = 1) -> F32:
        """A new sequence; logits of its last `keep` positions: [keep, vocab]."""
        ids = torch.tensor([list(prompt)], device=self.device)
        past = LIBRARY.DynamicCache()  # one that a config makes forgets what a window has passed
        out = self.module(ids, past_key_values=past, use_cache=True, logits_to_keep=keep)
        self.past, self.length = out.past_key_values, len(prompt)
        return out.logits[0].float().cpu().numpy()

    @torch.inference_mode()
    def follow(self, tokens: Sequence[int]) -> F32:
        """Logits after each of `tokens` behind the sequence, which then is as before."""
        shorten(self.past, self.length)
        ids = torch.tensor([list(tokens)], device=self.device)
        out = self.module(ids, past_key_values=self.past, use_cache=True)
        shorten(self.past, self.length)
        return out.logits[0].float().cpu().numpy()

    def rows(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer: [kv_heads, length, head_dim] each, keys rotated."""
        at = self.past.layers[layer]
        return at.keys[0, :, : self.length], at.values[0, :, : self.length]


Linear = tuple[torch.Tensor, torch.Tensor | None]
"""Weight and bias."""


class Layer(NamedTuple):
    """The weights of one layer, projections that share their input put together."""

    qkv: Linear
    o: Linear
    gate_up: Linear
    down: Linear
    norm_in: torch.Tensor
    norm_post: torch.Tensor


def norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def make_layer(c: DecoderConfig) -> Callable[..., torch.Tensor]:
    """One layer at one position: x [1, hidden] to [1, hidden]; writes row `pos` of the caches
    [kv_heads, rows, head_dim]; `hidden_rows` [rows] is true behind the position."""
    group = c.heads // c.kv_heads

    def turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        a, b = x.float().chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)

    def layer(
        x: torch.Tensor,
        w: Layer,
        keys: torch.Tensor,
        values: torch.Tensor,
        pos: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        hidden_rows: torch.Tensor,
    ) -> torch.Tensor:
        y = F.linear(norm(x, w.norm_in, c.eps), *w.qkv)
        q, k, v = y.split([c.q_size, c.kv_size, c.kv_size], -1)
        q = turn(q.view(c.kv_heads, group, c.head_dim), cos, sin)
        k = turn(k.view(c.kv_heads, 1, c.head_dim), cos, sin)
        keys.index_copy_(1, pos, k)
        values.index_copy_(1, pos, v.view(c.kv_heads, 1, c.head_dim))
        scores = torch.bmm(q * c.attention_scale, keys.transpose(1, 2))
        weights = scores.float().masked_fill(hidden_rows, -torch.inf).softmax(-1).to(x.dtype)
        x = x + F.linear(torch.bmm(weights, values).view(1, c.q_size), *w.o)
        gate, up = F.linear(norm(x, w.norm_post, c.eps), *w.gate_up).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, *w.down)

    return layer


def make_tail(c: DecoderConfig) -> Callable[..., torch.Tensor]:
    """Logits [1, vocab] of x [1, hidden]."""

    def tail(x: torch.Tensor, weight: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        return F.linear(norm(x, weight, c.eps), head)

    return tail


class Weights:
    """The weights of a model for `Decode`; the fused ones are copies."""

    def __init__(self, c: DecoderConfig, tensors: Tensors) -> None:
        def linear(at: str, *names: str) -> Linear:
            weights = [tensors[f"{at}.{name}_proj.weight"] for name in names]
            biases = [tensors.get(f"{at}.{name}_proj.bias") for name in names]
            there = [b for b in biases if b is not None]
            weight = torch.cat(weights) if len(weights) > 1 else weights[0]
            return weight, torch.cat(there) if there else None

        self.layers = [
            Layer(
                qkv=linear(f"{at}.self_attn", "q", "k", "v"),
                o=linear(f"{at}.self_attn", "o"),
                gate_up=linear(f"{at}.mlp", "gate", "up"),
                down=linear(f"{at}.mlp", "down"),
                norm_in=tensors[f"{at}.input_layernorm.weight"],
                norm_post=tensors[f"{at}.post_attention_layernorm.weight"],
            )
            for at in (f"model.layers.{i}" for i in range(c.layers))
        ]
        self.embedding = tensors["model.embed_tokens.weight"]
        self.norm = tensors["model.norm.weight"]
        self.head = tensors[c.head_weight]


class Decode:
    """The decoder in plain PyTorch, one position at a time, greedy; works on any device."""

    def __init__(self, c: DecoderConfig, weights: Weights, reference: Reference) -> None:
        self.c, self.w, self.reference = c, weights, reference
        self.layer = make_layer(c)
        self.tail = make_tail(c)

    def prepare(self, prompt: Sequence[int], first: int, tokens: int) -> None:
        c, like = self.c, self.w.embedding
        rows, device = len(prompt) + tokens, like.device
        shape = (c.kv_heads, rows, c.head_dim)
        self.keys = [torch.zeros(shape, dtype=like.dtype, device=device) for _ in self.w.layers]
        self.values = [torch.zeros_like(k) for k in self.keys]
        for i, (k, v) in enumerate(zip(self.keys, self.values, strict=True)):
            old_keys, old_values = self.reference.rows(i)
            k[:, : len(prompt)], v[:, : len(prompt)] = old_keys, old_values
        angle = torch.outer(
            torch.arange(rows, dtype=torch.float32), torch.tensor(c.inv_freq, dtype=torch.float32)
        )
        self.cos = (angle.cos() * c.rope_scale).to(device)
        self.sin = (angle.sin() * c.rope_scale).to(device)
        self.numbers = torch.arange(rows, device=device)
        self.token = torch.tensor([first], device=device)
        self.pos = torch.tensor([len(prompt)], device=device)
        self.made = torch.zeros(rows, dtype=torch.long, device=device)
        self.last = torch.zeros(c.vocab, dtype=like.dtype, device=device)
        self.start, self.first, self.count = len(prompt), first, tokens

    def rewind(self) -> None:
        self.token.fill_(self.first)
        self.pos.fill_(self.start)

    def step(self) -> None:
        """One token, from embedding to the choice of the next; all state stays on the device."""
        x = F.embedding(self.token, self.w.embedding)
        cos, sin = self.cos[self.pos], self.sin[self.pos]
        hidden_rows = self.numbers > self.pos
        for w, k, v in zip(self.w.layers, self.keys, self.values, strict=True):
            x = self.layer(x, w, k, v, self.pos, cos, sin, hidden_rows)
        logits = self.tail(x, self.w.norm, self.w.head)
        self.last.copy_(logits[0])
        self.token.copy_(logits.argmax(-1))
        self.made.index_copy_(0, self.pos, self.token)
        self.pos.add_(1)

    @torch.inference_mode()
    def run(self) -> Timed:
        self.rewind()
        begin = perf_counter()
        for _ in range(self.count):
            self.step()
        tokens = self.tokens()
        return Timed(tokens, (perf_counter() - begin) * 1e6)

    def tokens(self) -> list[int]:
        return [int(t) for t in self.made[self.start :].tolist()]

    def logits(self) -> F32:
        return self.last.float().cpu().numpy()


class Graph(Decode):
    """`Decode`, captured once per context in a CUDA graph."""

    def prepare(self, prompt: Sequence[int], first: int, tokens: int) -> None:
        with torch.no_grad():
            super().prepare(prompt, first, tokens)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self.rewind()
                    self.step()
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            self.rewind()
            with torch.cuda.graph(self.graph):
                self.step()

    def run(self) -> Timed:
        self.rewind()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(self.count):
            self.graph.replay()
        end.record()
        end.synchronize()
        return Timed(self.tokens(), begin.elapsed_time(end) * 1e3)


class Compiled(Graph):
    """`Graph` with every layer and the head under torch.compile, max-autotune."""

    def __init__(self, c: DecoderConfig, weights: Weights, reference: Reference) -> None:
        super().__init__(c, weights, reference)
        torch.compiler.reset()
        quiet: Any = importlib.import_module("torch._inductor.select_algorithm")
        quiet.PRINT_AUTOTUNE = False  # or every candidate is told on standard error
        how: dict[str, Any] = {"mode": "max-autotune-no-cudagraphs", "dynamic": False}
        self.layer = torch.compile(self.layer, **how)
        self.tail = torch.compile(self.tail, **how)


class Generate:
    """Hugging Face `generate`, greedy, with its default cache, behind a prefilled prompt."""

    def __init__(self, module: Any, most_tokens: int = 32) -> None:
        self.module, self.most = module, most_tokens

    @torch.inference_mode()
    def prepare(self, prompt: Sequence[int], first: int, tokens: int) -> None:
        device = self.module.device
        self.ids = torch.tensor([[*prompt, first]], device=device)
        self.past = self.module(self.ids[:, :-1], use_cache=True, logits_to_keep=1).past_key_values
        self.count, self.made = min(tokens, self.most), list[int]()

    @torch.inference_mode()
    def run(self) -> Timed:
        length = self.ids.shape[1]
        shorten(self.past, length - 1)
        torch.cuda.synchronize()
        begin = perf_counter()
        out = self.module.generate(
            self.ids,
            attention_mask=torch.ones_like(self.ids),
            past_key_values=self.past,
            max_new_tokens=self.count,
            do_sample=False,
        )
        self.made = [int(t) for t in out[0, length:].tolist()]
        return Timed(self.made, (perf_counter() - begin) * 1e6)

    @torch.inference_mode()
    def logits(self) -> F32:
        length = self.ids.shape[1]
        shorten(self.past, length - 1)
        fed = torch.tensor([[int(self.ids[0, -1]), *self.made[:-1]]], device=self.module.device)
        out = self.module(fed, past_key_values=self.past, use_cache=True, logits_to_keep=1)
        return np.asarray(out.logits[0, -1].float().cpu().numpy())


NAMES = ("graph", "compile", "hf")


def make_baseline(
    name: str, raw: Mapping[str, object], c: DecoderConfig, tensors: Tensors, reference: Reference
) -> System:
    """The baseline called `name`, one of NAMES."""
    if name == "hf":
        dtype = next(t.dtype for t in tensors.values())
        return Generate(hugging_face(raw, tensors, dtype))
    if not c.plain:
        raise AmkError(f"baseline '{name}' computes Llama's layers only, not family '{c.family}'")
    weights = Weights(c, tensors)
    return Graph(c, weights, reference) if name == "graph" else Compiled(c, weights, reference)
