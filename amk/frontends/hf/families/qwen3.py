"""Qwen 3: an RMSNorm on every query and key head before the rotation."""

from amk.frontends.hf.family import Family, sliding_from

FAMILY = Family(
    "qwen3",
    "Qwen3ForCausalLM",
    defaults={
        "max_position_embeddings": 32768,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "sliding_window": 4096,
        "max_window_layers": 28,
    },
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    qk_norm="head",
    window="use_sliding_window",
    layer_types=sliding_from("max_window_layers"),
)
