"""A Hugging Face config.json as a plain description of a decoder: `parse_config(dict)`.

A config that asks for anything that this description cannot say is refused by the name of the
field. Nothing here imports torch or transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from amk.errors import AmkError
from amk.frontends.hf.families import (
    FAMILIES,
    IRRELEVANT,
    ONLY,
    ExpertFields,
    Family,
    Switch,
)
from amk.frontends.hf.fields import Fields
from amk.frontends.hf.rope import read_rope

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Experts:
    """The MLP of a layer is `choices` of `count` experts of `width` elements each, weighted by
    their share of the router's softmax; with `normalize`, of what the chosen ones add up to."""

    count: int
    choices: int
    width: int
    normalize: bool

    def shapes(self, at: str, hidden: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the tensors of the MLP `at`."""
        return {
            f"{at}.gate.weight": (self.count, hidden),
            f"{at}.experts.gate_proj.weight": (self.count * self.width, hidden),
            f"{at}.experts.up_proj.weight": (self.count * self.width, hidden),
            f"{at}.experts.down_proj.weight": (self.count * hidden, self.width),
        }


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder of the Llama kind. Counts are elements, not bytes."""

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
    """Added to the mean square in every RMSNorm."""
    inv_freq: tuple[float, ...]
    """Rotary frequencies, head_dim / 2 values exact in float32."""
    rope_scale: float
    """Factor of cos and sin."""
    max_context: int
    """Positions that the model was made for."""
    tied: bool
    """The head's weight is the embedding's; there is no tensor `lm_head.weight`."""
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    experts: Experts | None = None
    """The MLP of every layer is a mixture of these."""
    bos: int | None = None
    eos: tuple[int, ...] = ()

    @property
    def attention_scale(self) -> float:
        """Factor of q k^T."""
        return self.head_dim**-0.5

    @property
    def q_size(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_size(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def head_weight(self) -> str:
        """Name of the tensor that makes logits of hidden states."""
        return "model.embed_tokens.weight" if self.tied else "lm_head.weight"

    @property
    def parameters(self) -> int:
        """Number of weights of the checkpoint."""
        count = 0
        for shape in tensor_shapes(self).values():
            n = 1
            for extent in shape:
                n *= extent
            count += n
        return count

    def check_tokens(self, tokens: Sequence[int], limit: int | None = None) -> None:
        """Raise AmkError unless `tokens` is a prompt: not empty, all in the vocabulary, and at most
        `limit` long (default: the model's context)."""
        if not tokens:
            raise AmkError("prompt is empty")
        for t in tokens:
            if not 0 <= t < self.vocab:
                raise AmkError(f"token id {t} is outside the vocabulary of {self.vocab}")
        limit = self.max_context if limit is None else limit
        if len(tokens) > limit:
            raise AmkError(f"context of {len(tokens)} tokens exceeds the limit of {limit}")


def tensor_shapes(config: DecoderConfig) -> dict[str, Shape]:
    """Names and shapes of the tensors of a checkpoint, in the order in which a step needs them."""
    c = config
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": (c.vocab, c.hidden)}

    def linear(name: str, rows: int, columns: int, bias: bool) -> None:
        shapes[f"{name}.weight"] = (rows, columns)
        if bias:
            shapes[f"{name}.bias"] = (rows,)

    for i in range(c.layers):
        at = f"model.layers.{i}"
        shapes[f"{at}.input_layernorm.weight"] = (c.hidden,)
        linear(f"{at}.self_attn.q_proj", c.q_size, c.hidden, c.qkv_bias)
        linear(f"{at}.self_attn.k_proj", c.kv_size, c.hidden, c.qkv_bias)
        linear(f"{at}.self_attn.v_proj", c.kv_size, c.hidden, c.qkv_bias)
        linear(f"{at}.self_attn.o_proj", c.hidden, c.q_size, c.o_bias)
        shapes[f"{at}.post_attention_layernorm.weight"] = (c.hidden,)
        if c.experts:
            shapes |= c.experts.shapes(f"{at}.mlp", c.hidden)
            continue
        linear(f"{at}.mlp.gate_proj", c.intermediate, c.hidden, c.mlp_bias)
        linear(f"{at}.mlp.up_proj", c.intermediate, c.hidden, c.mlp_bias)
        linear(f"{at}.mlp.down_proj", c.hidden, c.intermediate, c.mlp_bias)
    shapes["model.norm.weight"] = (c.hidden,)
    if not c.tied:
        shapes["lm_head.weight"] = (c.vocab, c.hidden)
    return shapes


def parse_config(config: Mapping[str, object], name: str = "") -> DecoderConfig:
    """The description of a config.json's content; `name` is for display (default: the model type).

    Raises AmkError, one line, for the first field that is missing, contradictory or not supported.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise AmkError("config field 'model_type' is missing")
    family = FAMILIES.get(model_type)
    if family is None:
        known = ", ".join(f.model_type for f in FAMILIES.values() if not f.refused)
        raise AmkError(f"model type '{model_type}' is not supported (supported: {known})")
    fields = Fields(config, model_type)
    fields.take("model_type")
    if fields.take("architectures") != [family.architecture]:
        raise fields.refuse("architectures")
    if family.refused:
        raise AmkError(f"family '{model_type}' needs {family.refused}, which is not supported yet")

    hidden, layers = fields.size("hidden_size"), fields.size("num_hidden_layers")
    heads = fields.size("num_attention_heads")
    kv_heads = fields.size("num_key_value_heads", family.kv_heads or heads)
    if heads % kv_heads:
        raise fields.refuse("num_key_value_heads", f"must divide num_attention_heads {heads}")
    if fields.take("head_dim", None) is None and hidden % heads:
        raise fields.refuse("hidden_size", f"must be a multiple of num_attention_heads {heads}")
    head_dim = fields.size("head_dim", hidden // heads)
    if head_dim % 2:
        raise AmkError(f"head_dim {head_dim} is odd, and rotary embedding pairs its elements")
    max_context = fields.size("max_position_embeddings", family.max_context)
    inv_freq, rope_scale = read_rope(fields, head_dim, max_context, family.theta)
    bos = fields.token_ids("bos_token_id")
    result = DecoderConfig(
        name=name or model_type,
        family=model_type,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=fields.size("intermediate_size"),
        vocab=fields.size("vocab_size"),
        eps=fields.number("rms_norm_eps", family.eps),
        inv_freq=inv_freq,
        rope_scale=rope_scale,
        max_context=max_context,
        tied=fields.flag("tie_word_embeddings", False),
        qkv_bias=_switch(fields, family.qkv_bias),
        o_bias=_switch(fields, family.o_bias),
        mlp_bias=_switch(fields, family.mlp_bias),
        experts=_experts(fields, family.experts) if family.experts else None,
        bos=bos[0] if bos else None,
        eos=fields.token_ids("eos_token_id"),
    )
    _check_windows(fields, family, result)
    fields.only({**ONLY, **family.only})
    fields.finish({**IRRELEVANT, **family.irrelevant}.keys())
    return result


def _switch(fields: Fields, switch: Switch) -> bool:
    return fields.flag(switch, False) if isinstance(switch, str) else switch


def _experts(fields: Fields, names: ExpertFields) -> Experts:
    count = fields.size(names.count, names.default_count)
    choices = fields.size("num_experts_per_tok", names.default_choices)
    if choices > count:
        raise fields.refuse("num_experts_per_tok", f"must not exceed {names.count} {count}")
    normalize = _switch(fields, names.normalize)
    return Experts(count, choices, fields.size(names.width), normalize)


def _check_windows(fields: Fields, family: Family, config: DecoderConfig) -> None:
    """Full attention in every layer: no sliding window that is shorter than the model's context."""
    if family.window is not None:
        present = "sliding_window" in fields.values
        window = fields.take("sliding_window", None) if present else family.window
        if window is not None and (
            isinstance(window, bool) or not isinstance(window, int) or window < config.max_context
        ):
            if present:
                raise fields.refuse("sliding_window")
            raise AmkError(
                f"config field 'sliding_window' is absent, which means {window} to Hugging Face, "
                f"and a window is not supported by family '{family.model_type}'"
            )
    layer_types = fields.take("layer_types", None)
    if layer_types is not None and layer_types != ["full_attention"] * config.layers:
        raise fields.refuse("layer_types")


def read_json(path: Path) -> dict[str, object]:
    """The object in a JSON file. Raises AmkError where there is no file, or no object in it."""
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AmkError(f"file '{path}' does not exist") from None
    except OSError as e:
        raise AmkError(f"file '{path}' cannot be read: {e.strerror}") from None
    except (ValueError, RecursionError) as e:
        raise AmkError(f"file '{path}' is not valid JSON: {str(e).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise AmkError(f"file '{path}' holds no JSON object")
    return cast(dict[str, object], value)
