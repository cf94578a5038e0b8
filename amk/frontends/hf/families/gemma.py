"""Gemma 1: norms by 1 + weight, a scaled embedding, GELU."""

from amk.frontends.hf.family import SQRT_HIDDEN, Family

FAMILY = Family(
    "gemma",
    "GemmaForCausalLM",
    defaults={
        "max_position_embeddings": 8192,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
        "hidden_act": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
        "bos_token_id": 2,
        "eos_token_id": 1,
    },
    plus_one=True,
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    activations={"gelu": "gelu_pytorch_tanh"},
    embedding_multiplier=SQRT_HIDDEN,
    only={
        "hidden_activation": (None, "gelu_pytorch_tanh"),
        "use_bidirectional_attention": (None, False),
    },
)
