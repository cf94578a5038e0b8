"""Gemma 3, the text models: as Gemma 2, with norms on query and key heads instead of soft caps, and
a rotary table of their own for the five of six layers that have a sliding window."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import SQRT_HIDDEN, Family, Rope, full_every

FAMILY = Family(
    "gemma3_text",
    "Gemma3ForCausalLM",
    defaults={
        "max_position_embeddings": 131072,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 2,
        "eos_token_id": 1,
    },
    names=Names(
        post_attention="post_attention_layernorm",
        pre_mlp="pre_feedforward_layernorm",
        post_mlp="post_feedforward_layernorm",
    ),
    plus_one=True,
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    qk_norm="head",
    rope=Rope(local_theta="rope_local_base_freq"),
    window=True,
    layer_types=full_every(6),
    attention_factor="query_pre_attn_scalar",
    attention_power=-0.5,
    logits_softcap="final_logit_softcapping",
    activation="hidden_activation",
    embedding_multiplier=SQRT_HIDDEN,
    only={
        "attn_logit_softcapping": (None,),
        "use_bidirectional_attention": (None, False),
    },
    irrelevant={
        "cache_implementation": "only how transformers stores its cache",
        "_sliding_window_pattern": "layer_types says it",
    },
)
