"""Helium: Llama with rotary pairs that are neighbors."""

from amk.frontends.hf.family import Family, Rope

FAMILY = Family(
    "helium",
    "HeliumForCausalLM",
    defaults={
        "max_position_embeddings": 4096,
        "num_key_value_heads": 20,
        "head_dim": 128,
        "rms_norm_eps": 1e-8,
        "hidden_act": "silu",
        "rope_theta": 100000.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    qkv_bias="attention_bias",
    mlp_bias="mlp_bias",
    rope=Rope(interleaved=True),
)
