"""Llama 1 to 3, SmolLM 2, TinyLlama, and whatever else has their code."""

from amk.frontends.hf.family import Family

FAMILY = Family(
    "llama",
    "LlamaForCausalLM",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    mlp_bias="mlp_bias",
    only={"rope_interleaved": (False,), "sliding_window": (None,)},
    irrelevant={"is_llama_config": "a mark of the nanotron converter"},
)
