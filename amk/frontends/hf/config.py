"""A Hugging Face config.json as a plain description of a decoder: `parse_config(dict)`.

A config that asks for anything that this description cannot say is refused by the name of the
field. Nothing here imports torch or transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from amk.errors import AmkError
from amk.frontends.hf.decoder import DecoderConfig, Experts, Layer
from amk.frontends.hf.families import FAMILIES
from amk.frontends.hf.family import (
    FULL,
    IRRELEVANT,
    ONLY,
    SLIDING,
    SQRT_HIDDEN,
    Family,
    Switch,
    all_sliding,
)
from amk.frontends.hf.fields import Fields
from amk.frontends.hf.rope import RopeReader

ACTIVATIONS: Mapping[str, str] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu2",
}
"""Hugging Face's names of the activation functions of the model dialect."""

MOST = 1 << 12
WIDEST = 1 << 20
"""Of layers and experts, and of rows and columns: far beyond any model that exists, so that a
damaged config is refused at once."""


def parse_config(config: Mapping[str, object], name: str = "") -> DecoderConfig:
    """The description of a config.json's content; `name` is for display (default: the model type).

    Raises AmkError, one line, for the first field that is missing, contradictory or not supported.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise AmkError("config field 'model_type' is missing")
    family = FAMILIES.get(model_type)
    if family is None:
        raise AmkError(
            f"model type '{model_type}' is not supported (supported: {', '.join(FAMILIES)})"
        )
    fields = Fields(config, model_type, defaults=family.defaults)
    fields.take("model_type")
    if fields.take("architectures") != [family.architecture]:
        raise fields.refuse("architectures")
    result = _read(fields, family, name or model_type)
    _quantization(fields, family)
    fields.only({**ONLY, **family.only})
    fields.finish({**IRRELEVANT, **family.irrelevant}.keys())
    return result


def _read(fields: Fields, family: Family, name: str) -> DecoderConfig:
    hidden = fields.size("hidden_size", most=WIDEST)
    layers = fields.size("num_hidden_layers", most=MOST)
    heads, kv_heads, head_dim = _heads(fields, family, hidden)
    ropes = RopeReader(fields, family.rope, head_dim)
    plan = _plan(fields, family, layers, ropes.max_context)
    used = {layer.rope for layer in plan or (Layer(),)}
    inv_freq, rope_scale = ropes.read(FULL) if "rope" in used else ((), 1.0)
    local_inv_freq, local_scale = ropes.read(SLIDING) if "rope.local" in used else ((), 1.0)
    parallel = _switch(fields, family.parallel)
    names = family.names
    if parallel and family.one_norm_if_parallel:
        names = replace(names, pre_mlp="")
    bos = fields.token_ids("bos_token_id")
    return DecoderConfig(
        name=name,
        family=family.model_type,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=fields.size("intermediate_size", most=WIDEST),
        vocab=fields.size("vocab_size", most=16 * WIDEST),
        eps=fields.number(family.eps),
        inv_freq=inv_freq,
        rope_scale=rope_scale,
        max_context=ropes.max_context,
        context_ends=ropes.context_ends,
        long_inv_freq=ropes.long_inv_freq,
        long_context=ropes.positions if ropes.long_inv_freq else 0,
        tied=fields.flag("tie_word_embeddings", False),
        qkv_bias=_switch(fields, family.qkv_bias),
        o_bias=_switch(fields, family.o_bias),
        mlp_bias=_switch(fields, family.mlp_bias),
        experts=_experts(fields, family),
        head_bias=_switch(fields, family.head_bias),
        bos=bos[0] if bos else None,
        eos=fields.token_ids("eos_token_id"),
        names=names,
        norm=family.norm,
        norm_bias=_switch(fields, family.norm_bias),
        plus_one=family.plus_one,
        qk_norm=family.qk_norm if _switch(fields, family.qk_norm_if) else "",
        qk_norm_late=family.qk_norm_late,
        grouped_qkv=family.grouped_qkv,
        interleaved=family.rope.interleaved,
        local_inv_freq=local_inv_freq,
        local_rope_scale=local_scale,
        plan=plan,
        attention_factor=_attention_factor(fields, family, head_dim),
        sinks=_switch(fields, family.sinks),
        softcap=_number(fields, family.softcap),
        activation=_activation(fields, family),
        parallel=parallel,
        embedding_multiplier=_embedding_multiplier(fields, family, hidden),
        cast_multiplier=family.embedding_multiplier == SQRT_HIDDEN,
        residual_multiplier=_number(fields, family.residual_multiplier) or 1.0,
        logits_multiplier=_logits_multiplier(fields, family),
        logits_softcap=_number(fields, family.logits_softcap),
    )


def _heads(fields: Fields, family: Family, hidden: int) -> tuple[int, int, int]:
    """Query heads, KV heads, and elements of a head."""
    heads = fields.size("num_attention_heads", most=MOST)
    kv_heads = fields.size("num_key_value_heads", heads) if family.kv_heads else heads
    if heads % kv_heads:
        raise fields.refuse("num_key_value_heads", f"must divide num_attention_heads {heads}")
    given = fields.given("head_dim") if family.head_dim else None
    if not family.head_dim:
        fields.only({"head_dim": (None, hidden // heads)})
    if given is None and hidden % heads:
        raise fields.refuse("hidden_size", f"must be a multiple of num_attention_heads {heads}")
    if given is None:
        return heads, kv_heads, hidden // heads
    return heads, kv_heads, fields.size("head_dim", most=WIDEST)


def _plan(fields: Fields, family: Family, layers: int, context: int) -> tuple[Layer, ...]:
    """Window and rotary table of each layer."""
    window: int | None = None
    types = (FULL,) * layers
    if family.window:
        types = family.layer_types(fields, layers)
        size = fields.given("sliding_window")
        if size is not None:
            size = fields.size("sliding_window")
        window = size if _switch(fields, family.window) else None
        if window is None and SLIDING in types and family.layer_types is not all_sliding:
            raise fields.refuse("sliding_window", "leaves sliding layers without a window")
    elif fields.take("layer_types", [FULL] * layers) != [FULL] * layers:
        raise fields.refuse("layer_types")
    if window is not None and window >= context:
        window = None
    local = "rope.local" if family.rope.local_theta else "rope"
    rotates = family.rope.rotates(fields, types)
    ropes = {FULL: "rope", SLIDING: local}
    windows = {FULL: None, SLIDING: window}
    plan = tuple(
        Layer(ropes[t] if turns else None, windows[t])
        for t, turns in zip(types, rotates, strict=True)
    )
    return plan if set(plan) != {Layer()} else ()


def _switch(fields: Fields, switch: Switch) -> bool:
    return fields.flag(switch, False) if isinstance(switch, str) else switch


def _experts(fields: Fields, family: Family) -> Experts | None:
    names = family.experts
    if names is None:
        return None
    if _activation(fields, family) != "silu":
        raise fields.refuse(family.activation)
    given = [name for name in (names.count, names.alias) if name in fields.values]
    count = fields.size(given[0] if given else names.count, most=MOST)
    if given and fields.size(given[-1]) != count:
        raise fields.refuse(given[-1], f"contradicts '{given[0]}' = {count}")
    choices = fields.size(names.choices)
    if choices > count:
        raise fields.refuse(names.choices, f"must not exceed the {count} experts")
    return Experts(
        count,
        choices,
        fields.size(names.width, most=WIDEST),
        _switch(fields, names.normalize),
        _switch(fields, names.bias),
        _number(fields, names.alpha) or 0.0,
        _number(fields, names.limit) or 0.0,
        names.columns_first,
    )


def _quantization(fields: Fields, family: Family) -> None:
    """Refuse weights in a form that is not read."""
    if fields.given("quantization_config") is None:
        return
    inner = fields.inner("quantization_config")
    if inner.given("quant_method") not in family.quantized:
        raise fields.refuse("quantization_config")
    # which modules are meant is seen by their tensors
    inner.finish(("modules_to_not_convert", "dequantize"))


def _number(fields: Fields, name: str) -> float | None:
    """A positive number, or None where the family has no such field or it is null."""
    return fields.number(name) if name and fields.given(name) is not None else None


def _attention_factor(fields: Fields, family: Family, head_dim: int) -> float | None:
    """The factor that a config gives; None where it is 1 / sqrt(head_dim)."""
    factor = _number(fields, family.attention_factor)
    factor = factor if factor is None else factor**family.attention_power
    return None if factor == head_dim**-0.5 else factor


def _activation(fields: Fields, family: Family) -> str:
    name = fields.text(family.activation)
    name = family.activations.get(name, name)
    if name not in ACTIVATIONS:
        raise fields.refuse(family.activation)
    return ACTIVATIONS[name]


def _embedding_multiplier(fields: Fields, family: Family, hidden: int) -> float:
    if family.embedding_multiplier == SQRT_HIDDEN:
        return hidden**0.5
    return _number(fields, family.embedding_multiplier) or 1.0


def _logits_multiplier(fields: Fields, family: Family) -> float:
    divisor = _number(fields, family.logits_divisor) or 1.0
    return (_number(fields, family.logits_multiplier) or 1.0) / divisor


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
