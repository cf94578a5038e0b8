"""What each supported model family is made of: one entry per `model_type`.

To add a family whose parts are all known: write an entry, and a test that compares it with
Hugging Face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from amk.frontends.hf.rope import DEFAULT_THETA

Switch = bool | str
"""A fixed answer, or the name of the boolean config field that gives it (false where absent)."""


@dataclass(frozen=True)
class ExpertFields:
    """Where the config of a family with mixtures of experts says what they are; numbers are what
    Hugging Face assumes where it is silent."""

    count: str
    default_count: int
    default_choices: int
    width: str
    """The field that gives the elements of one expert."""
    normalize: Switch
    """Whether the weights of the chosen experts add up to 1."""


@dataclass(frozen=True)
class Family:
    """A decoder of the Llama kind: rotary embedding, RMSNorm before attention and before a gated
    SiLU MLP.

    `max_context`, `kv_heads`, `window`, `eps` and `theta` are what Hugging Face assumes where a
    config is silent.
    """

    model_type: str
    architecture: str
    max_context: int
    kv_heads: int | None = None
    """Default number of KV heads; None: as many as query heads."""
    window: int | None = None
    """Default sliding window; None: the family has none unless the config gives one."""
    eps: float = 1e-6
    theta: float = DEFAULT_THETA
    qkv_bias: Switch = False
    o_bias: Switch = False
    mlp_bias: Switch = False
    experts: ExpertFields | None = None
    """The MLP is a mixture of experts."""
    only: Mapping[str, tuple[object, ...]] = field(default_factory=dict[str, tuple[object, ...]])
    """Fields of which only these values are supported; absence is."""
    irrelevant: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields that change nothing here, and why."""
    refused: str = ""
    """What the family needs and amk does not have yet."""


ROUTER_TRAINING: Mapping[str, str] = {
    "output_router_logits": "only about what a Python call returns",
    "router_aux_loss_coef": "only for training",
    "router_jitter_noise": "only for training",
}

FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            "llama",
            "LlamaForCausalLM",
            max_context=2048,
            qkv_bias="attention_bias",
            o_bias="attention_bias",
            mlp_bias="mlp_bias",
            only={"rope_interleaved": (False,), "sliding_window": (None,)},
            irrelevant={
                "pretraining_tp": "only splits a product into equal parts",
                "is_llama_config": "a mark of the nanotron converter",
            },
        ),
        Family(
            "mistral",
            "MistralForCausalLM",
            max_context=131072,
            kv_heads=8,
            window=4096,
            only={"attention_bias": (False,), "mlp_bias": (False,)},
        ),
        Family(
            "mixtral",
            "MixtralForCausalLM",
            max_context=131072,
            kv_heads=8,
            eps=1e-5,
            theta=1e6,
            experts=ExpertFields("num_local_experts", 8, 2, "intermediate_size", True),
            only={"sliding_window": (None,)},
            irrelevant=ROUTER_TRAINING,
        ),
        Family(
            "qwen2",
            "Qwen2ForCausalLM",
            max_context=32768,
            kv_heads=32,
            qkv_bias=True,
            only={
                "use_sliding_window": (False,),
                "use_mrope": (False,),
                "mlp_bias": (False,),
            },
            irrelevant={
                "sliding_window": "use_sliding_window is false",
                "max_window_layers": "use_sliding_window is false",
            },
        ),
        Family(
            "qwen3",
            "Qwen3ForCausalLM",
            max_context=32768,
            refused="qk-norm (an RMSNorm on every query and key head)",
        ),
    )
}

ONLY: Mapping[str, tuple[object, ...]] = {
    "hidden_act": ("silu", "swish"),
    "is_encoder_decoder": (False,),
    "is_decoder": (False, True),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False,),
    "partial_rotary_factor": (None, 1.0),
    "layer_norm_eps": (None,),
    "quantization_config": (None,),
    "per_layer_config": (None,),
    "pruned_heads": (None, {}),
}
"""Fields that any family may have, with the values that mean what amk does."""

REASONS: Mapping[str, str] = {
    "only for training": """
        attention_dropout hidden_dropout resid_pdrop embd_pdrop initializer_range tf_legacy_loss""",
    "says where the config came from": """
        _name_or_path _model_name_or_path name_or_path transformers_version""",
    "each tensor of the checkpoint says its own element type": "torch_dtype dtype",
    "only about what a Python call returns": """
        use_cache return_dict output_attentions output_hidden_states torchscript""",
    "only for classification heads": """
        id2label label2id num_labels problem_type finetuning_task task_specific_params""",
    "not used in greedy decoding of one sequence": """
        pad_token_id unk_token_id sep_token_id cls_token_id decoder_start_token_id prefix""",
    "a default of sampling, not of the model": """
        do_sample temperature top_k top_p typical_p num_beams num_beam_groups num_return_sequences
        diversity_penalty length_penalty repetition_penalty max_length min_length early_stopping
        no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids begin_suppress_tokens
        suppress_tokens forced_bos_token_id forced_eos_token_id exponential_decay_length_penalty
        remove_invalid_values output_scores return_dict_in_generate""",
    "only splits a product into equal parts": "chunk_size_feed_forward",
    "only for another framework": "use_bfloat16 transformers.js_config",
}

IRRELEVANT: Mapping[str, str] = {
    name: why for why, names in REASONS.items() for name in names.split()
}
"""Fields that any family may have and that change nothing, and why."""
