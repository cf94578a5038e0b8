"""OLMo 2: norms behind attention and MLP instead of before them, and one over all queries and one
over all keys."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family

FAMILY = Family(
    "olmo2",
    "Olmo2ForCausalLM",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "eos_token_id": 50279,
    },
    names=Names(
        pre_attention="",
        post_attention="post_attention_layernorm",
        pre_mlp="",
        post_mlp="post_feedforward_layernorm",
    ),
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    qk_norm="whole",
)
