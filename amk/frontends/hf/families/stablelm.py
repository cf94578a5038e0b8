"""StableLM: LayerNorm, a quarter of each head rotates, and options: norms of each query and key
head by a weight of its own, and attention parallel to the MLP."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family, Rope

FAMILY = Family(
    "stablelm",
    "StableLmForCausalLM",
    defaults={
        "max_position_embeddings": 4096,
        "num_key_value_heads": 32,
        "layer_norm_eps": 1e-5,
        "hidden_act": "silu",
        "partial_rotary_factor": 0.25,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    names=Names(q_norm="self_attn.q_layernorm", k_norm="self_attn.k_layernorm"),
    eps="layer_norm_eps",
    norm="layer",
    norm_bias=True,
    head_dim=False,
    qkv_bias="use_qkv_bias",
    qk_norm="heads list",
    qk_norm_if="qk_layernorm",
    rope=Rope(partial="partial_rotary_factor"),
    parallel="use_parallel_residual",
    one_norm_if_parallel=True,
)
