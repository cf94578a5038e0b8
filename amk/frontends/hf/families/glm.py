"""GLM 4 (the models of 2024): one matrix of gate and up, half of each head rotates, neighbors."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family, Rope

FAMILY = Family(
    "glm",
    "GlmForCausalLM",
    defaults={
        "max_position_embeddings": 131072,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "rms_norm_eps": 1.5625e-07,
        "hidden_act": "silu",
        "attention_bias": True,
        "partial_rotary_factor": 0.5,
        "eos_token_id": [151329, 151336, 151338],
    },
    names=Names(gate_up="mlp.gate_up_proj"),
    qkv_bias="attention_bias",
    rope=Rope(partial="partial_rotary_factor", interleaved=True),
)
