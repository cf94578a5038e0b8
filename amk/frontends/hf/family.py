"""What a model family is made of: `Family`, filled in by one file of `families/` for each.

A family names config fields where Hugging Face's code reads them, and says which features its code
has. `parse_config` makes a `DecoderConfig` of a family and a config.json; a field that the family
does not name is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.fields import Fields

Switch = bool | str
"""A fixed answer, or the name of the boolean config field that gives it (false where absent)."""

SQRT_HIDDEN = "sqrt(hidden_size)"
"""The multiplier of Gemma's embedding, which no field gives."""

FULL, SLIDING = "full_attention", "sliding_attention"
LayerTypes = Callable[[Fields, int], tuple[str, ...]]
"""From a config's fields and the number of layers to the type of each, `FULL` or `SLIDING`."""


def all_sliding(fields: Fields, layers: int) -> tuple[str, ...]:
    """Every layer has the window."""
    return (SLIDING,) * layers


def full_every(period: int, pattern: str = "sliding_window_pattern") -> LayerTypes:
    """As field `layer_types` says; without it every `period`-th layer is full, or as often as
    field `pattern` says."""

    def types(fields: Fields, layers: int) -> tuple[str, ...]:
        listed = fields.given("layer_types") is not None
        given = fields.given(pattern) if pattern else None
        if listed and given is not None and not isinstance(given, int | str):
            raise fields.refuse(pattern, "must be a number or a pattern of letters")
        every = period if listed or given is None else fields.size(pattern)
        default = tuple(SLIDING if (i + 1) % every else FULL for i in range(layers))
        return listed_types(fields, default)

    return types


def sliding_from(first: str) -> LayerTypes:
    """As field `layer_types` says; without it layers from number `first` (a field) on have the
    window, if there is one."""

    def types(fields: Fields, layers: int) -> tuple[str, ...]:
        start = fields.count(first, 0)
        some = fields.flag("use_sliding_window", False) and fields.given("sliding_window")
        default = tuple(SLIDING if some and i >= start else FULL for i in range(layers))
        return listed_types(fields, default)

    return types


def listed_types(fields: Fields, default: tuple[str, ...]) -> tuple[str, ...]:
    """Field `layer_types`, or the default."""
    given = fields.take("layer_types", list(default))
    if not isinstance(given, list) or len(given) != len(default):
        raise fields.refuse("layer_types", f"must have one entry for each of {len(default)} layers")
    if any(t not in (FULL, SLIDING) for t in given):
        raise fields.refuse("layer_types")
    return tuple(map(str, given))


def all_rotate(fields: Fields, types: tuple[str, ...]) -> tuple[bool, ...]:
    return (True,) * len(types)


@dataclass(frozen=True)
class Rope:
    """How a family rotates queries and keys."""

    theta: str = "rope_theta"
    """Field of the base, where `rope_parameters` does not give it."""
    partial: str = ""
    """Field of the rotating fraction of a head, likewise; empty: heads rotate whole."""
    interleaved: bool = False
    local_theta: str = ""
    """Field of the base of sliding layers; empty: all layers have one table."""
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    """Types that the family's code takes for another."""
    types: tuple[str, ...] = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")
    original: str = ""
    """Field of the config that overrides `original_max_position_embeddings` of its rope
    parameters."""
    rotates: Callable[[Fields, tuple[str, ...]], tuple[bool, ...]] = all_rotate
    """From fields and the types of the layers to which of them rotate."""


@dataclass(frozen=True)
class ExpertFields:
    """Where the config of a family with mixtures of experts says what they are."""

    count: str
    alias: str
    """Another name of that field: transformers writes what it read under one of the two."""
    width: str
    """The field that gives the elements of one expert."""
    normalize: Switch
    """Whether the weights of the chosen experts add up to 1."""
    choices: str = "num_experts_per_tok"
    bias: Switch = False
    alpha: str = ""
    limit: str = ""
    """Fields of the factor in the sigmoid and of the bounds of gate and up; empty: there are
    none."""
    columns_first: bool = False
    """As in `Experts`."""


@dataclass(frozen=True)
class Family:
    """One `model_type`. Constants say what the family's code does; names are those of fields."""

    model_type: str
    architecture: str
    defaults: Mapping[str, object]
    """What Hugging Face assumes where a config is silent."""
    names: Names = Names()
    eps: str = "rms_norm_eps"
    norm: str = "rms"
    norm_bias: Switch = False
    plus_one: bool = False
    kv_heads: bool = True
    """Whether `num_key_value_heads` is read; else there is one for each query head."""
    head_dim: bool = True
    """Whether `head_dim` is read; else it is hidden_size / num_attention_heads, and may only be
    that."""
    qkv_bias: Switch = False
    o_bias: Switch = False
    mlp_bias: Switch = False
    head_bias: Switch = False
    qk_norm: str = ""
    """As in `DecoderConfig`."""
    qk_norm_if: Switch = True
    qk_norm_late: bool = False
    grouped_qkv: bool = False
    rope: Rope = Rope()
    window: Switch = False
    """Whether field `sliding_window` is read."""
    layer_types: LayerTypes = all_sliding
    """Which layers have the window."""
    attention_factor: str = ""
    """Field of the factor of q k^T; empty: 1 / sqrt(head_dim)."""
    attention_power: int | float = 1
    """To which that field is raised."""
    sinks: Switch = False
    softcap: str = ""
    logits_softcap: str = ""
    activation: str = "hidden_act"
    activations: Mapping[str, str] = field(default_factory=dict[str, str])
    """Activation functions that the family's code takes for another."""
    parallel: Switch = False
    one_norm_if_parallel: bool = False
    """With parallel attention and MLP there is no norm of the MLP's own."""
    embedding_multiplier: str = ""
    """A field, or `SQRT_HIDDEN`."""
    residual_multiplier: str = ""
    logits_multiplier: str = ""
    logits_divisor: str = ""
    experts: ExpertFields | None = None
    """The MLP is a mixture of experts."""
    quantized: tuple[str, ...] = ()
    """Values of `quantization_config.quant_method` whose tensors are read."""
    only: Mapping[str, tuple[object, ...]] = field(default_factory=dict[str, tuple[object, ...]])
    """Fields of which only these values are supported; absence is."""
    irrelevant: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields that change nothing here, and why."""


ONLY: Mapping[str, tuple[object, ...]] = {
    "is_encoder_decoder": (False,),
    "is_decoder": (False, True),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False,),
    "per_layer_config": (None,),
    "pruned_heads": (None, {}),
}
"""Fields that any family may have, with the values that mean what amk does."""

ROUTER_TRAINING: Mapping[str, str] = {
    "output_router_logits": "only about what a Python call returns",
    "router_aux_loss_coef": "only for training",
    "router_jitter_noise": "only for training",
}
"""Fields of families with experts that change nothing."""

REASONS: Mapping[str, str] = {
    "only for training": """
        attention_dropout hidden_dropout resid_pdrop embd_pdrop residual_dropout embedding_dropout
        initializer_range tf_legacy_loss""",
    "says where the config came from": """
        _name_or_path _model_name_or_path name_or_path transformers_version""",
    "each tensor of the checkpoint says its own element type": "torch_dtype dtype",
    "only about what a Python call returns": """
        use_cache return_dict output_attentions output_hidden_states torchscript""",
    "only for classification heads": """
        id2label label2id num_labels problem_type finetuning_task task_specific_params
        classifier_dropout""",
    "not used in greedy decoding of one sequence": """
        pad_token_id unk_token_id sep_token_id cls_token_id decoder_start_token_id prefix""",
    "a default of sampling, not of the model": """
        do_sample temperature top_k top_p typical_p num_beams num_beam_groups num_return_sequences
        diversity_penalty length_penalty repetition_penalty max_length min_length early_stopping
        no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids begin_suppress_tokens
        suppress_tokens forced_bos_token_id forced_eos_token_id exponential_decay_length_penalty
        remove_invalid_values output_scores return_dict_in_generate""",
    "only splits a product into equal parts": "chunk_size_feed_forward pretraining_tp",
    "only for another framework": "use_bfloat16 transformers.js_config",
}

IRRELEVANT: Mapping[str, str] = {
    name: why for why, names in REASONS.items() for name in names.split()
}
"""Fields that any family may have and that change nothing, and why."""
