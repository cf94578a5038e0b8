"""Seed-OSS: Llama with wide heads and biases on queries, keys and values."""

from amk.frontends.hf.family import Family

FAMILY = Family(
    "seed_oss",
    "SeedOssForCausalLM",
    defaults={
        "max_position_embeddings": 524288,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "attention_bias": True,
        "bos_token_id": 0,
        "eos_token_id": 2,
    },
    qkv_bias="attention_bias",
    o_bias="attention_out_bias",
    mlp_bias="mlp_bias",
)
