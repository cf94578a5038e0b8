"""HyperCLOVA X: Granite's factors, and norms before and behind attention and MLP; the factor of a
branch comes behind its second norm."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family

FAMILY = Family(
    "hyperclovax",
    "HyperCLOVAXForCausalLM",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    names=Names(post_attention="post_norm1", post_mlp="post_norm2"),
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    mlp_bias="mlp_bias",
    attention_factor="attention_multiplier",
    embedding_multiplier="embedding_multiplier",
    residual_multiplier="residual_multiplier",
    logits_multiplier="logits_scaling",
    only={"use_post_norm": (True,)},
)
