"""GLM 4 (0414): as GLM, with norms before and behind attention and MLP."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family, Rope

FAMILY = Family(
    "glm4",
    "Glm4ForCausalLM",
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
    names=Names(
        post_attention="post_self_attn_layernorm",
        post_mlp="post_mlp_layernorm",
        gate_up="mlp.gate_up_proj",
    ),
    qkv_bias="attention_bias",
    rope=Rope(partial="partial_rotary_factor", interleaved=True),
)
