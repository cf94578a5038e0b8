"""Qwen 2 and 2.5: biases on queries, keys and values; upper layers may have a sliding window."""

from amk.frontends.hf.family import Family, sliding_from

FAMILY = Family(
    "qwen2",
    "Qwen2ForCausalLM",
    defaults={
        "max_position_embeddings": 32768,
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "sliding_window": 4096,
        "max_window_layers": 28,
    },
    qkv_bias=True,
    window="use_sliding_window",
    layer_types=sliding_from("max_window_layers"),
    only={"use_mrope": (False,), "mlp_bias": (False,)},
)
