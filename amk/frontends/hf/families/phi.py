"""Phi 1, 1.5 and 2: attention and MLP are parallel and read one LayerNorm, biases everywhere, the
head's included, a part of each head rotates."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family, Rope

FAMILY = Family(
    "phi",
    "PhiForCausalLM",
    defaults={
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu_new",
        "partial_rotary_factor": 0.5,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    names=Names(
        norm="model.final_layernorm",
        pre_mlp="",
        o="self_attn.dense",
        gate="",
        up="mlp.fc1",
        down="mlp.fc2",
    ),
    eps="layer_norm_eps",
    norm="layer",
    norm_bias=True,
    head_dim=False,
    qkv_bias=True,
    o_bias=True,
    mlp_bias=True,
    head_bias=True,
    rope=Rope(partial="partial_rotary_factor"),
    parallel=True,
    only={"qk_layernorm": (False,)},
)
