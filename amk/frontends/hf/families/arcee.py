"""Arcee's AFM: Llama with an MLP of two matrices and the square of ReLU."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family

FAMILY = Family(
    "arcee",
    "ArceeForCausalLM",
    defaults={
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "hidden_act": "relu2",
        "bos_token_id": 128000,
        "eos_token_id": 128001,
    },
    names=Names(gate=""),
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    mlp_bias="mlp_bias",
)
