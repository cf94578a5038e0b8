"""Jais 2: LayerNorm, biases, an MLP of two matrices with the square of ReLU."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family

FAMILY = Family(
    "jais2",
    "Jais2ForCausalLM",
    defaults={
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "hidden_act": "relu2",
        "attention_bias": True,
        "mlp_bias": True,
        "bos_token_id": 0,
        "eos_token_id": 150024,
    },
    names=Names(gate=""),
    eps="layer_norm_eps",
    norm="layer",
    norm_bias=True,
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    mlp_bias="mlp_bias",
)
