"""GPT-NeoX and Pythia: LayerNorm, biases, one matrix with each head's query, key and value, a
quarter of each head rotates, attention and MLP are parallel with a norm each."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family, Rope

FAMILY = Family(
    "gpt_neox",
    "GPTNeoXForCausalLM",
    defaults={
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
        "attention_bias": True,
        "use_parallel_residual": True,
        "rotary_pct": 0.25,
        "bos_token_id": 0,
        "eos_token_id": 2,
    },
    names=Names(
        embed="gpt_neox.embed_in",
        layer="gpt_neox.layers",
        norm="gpt_neox.final_layer_norm",
        qkv="attention.query_key_value",
        o="attention.dense",
        gate="",
        up="mlp.dense_h_to_4h",
        down="mlp.dense_4h_to_h",
        renamed=(("embed_out.weight", "lm_head.weight"),),
        buffers=(".attention.bias", ".attention.masked_bias"),
    ),
    eps="layer_norm_eps",
    norm="layer",
    norm_bias=True,
    kv_heads=False,
    head_dim=False,
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    mlp_bias=True,
    grouped_qkv=True,
    rope=Rope(theta="rotary_emb_base", partial="rotary_pct"),
    parallel="use_parallel_residual",
)
