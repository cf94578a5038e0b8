"""Nemotron: LayerNorm by 1 + weight, half of each head rotates, an MLP of two matrices with the
square of ReLU."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family, Rope

FAMILY = Family(
    "nemotron",
    "NemotronForCausalLM",
    defaults={
        "max_position_embeddings": 4096,
        "norm_eps": 1e-5,
        "hidden_act": "relu2",
        "partial_rotary_factor": 0.5,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
    names=Names(gate=""),
    eps="norm_eps",
    norm="layer",
    norm_bias=True,
    plus_one=True,
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    mlp_bias="mlp_bias",
    rope=Rope(partial="partial_rotary_factor"),
)
