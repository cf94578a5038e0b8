"""Hunyuan, the dense models: norms on query and key heads behind the rotation."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family, Rope

FAMILY = Family(
    "hunyuan_v1_dense",
    "HunYuanDenseV1ForCausalLM",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    names=Names(q_norm="self_attn.query_layernorm", k_norm="self_attn.key_layernorm"),
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    qk_norm="head",
    qk_norm_late=True,
    rope=Rope(types=("default",)),
    irrelevant={"eod_token_id": "not read by the code of transformers"},
)
