"""Mistral 7B, and the models with its code: Llama with a sliding window in every layer."""

from amk.frontends.hf.family import Family

FAMILY = Family(
    "mistral",
    "MistralForCausalLM",
    defaults={
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "sliding_window": 4096,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    window=True,
    only={"attention_bias": (False,), "mlp_bias": (False,), "layer_types": (None,)},
)
