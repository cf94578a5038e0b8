"""ERNIE 4.5, the dense models: Llama with rotary pairs that are neighbors."""

from amk.frontends.hf.family import Family, Rope

FAMILY = Family(
    "ernie4_5",
    "Ernie4_5ForCausalLM",
    defaults={
        "max_position_embeddings": 131072,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    qkv_bias="use_bias",
    o_bias="use_bias",
    mlp_bias="use_bias",
    rope=Rope(interleaved=True),
)
