"""OLMo 3: as OLMo 2, with a sliding window in three of four layers, which have a rotary table of
their own: only the other one is scaled."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family, Rope, full_every

FAMILY = Family(
    "olmo3",
    "Olmo3ForCausalLM",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "rope_theta": 500000.0,
        "sliding_window": 4096,
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
    rope=Rope(local_theta="rope_theta"),
    window=True,
    layer_types=full_every(4, pattern=""),
    only={"rope_theta": (None, 500000.0)},
)
