"""VaultGemma: Gemma 2 without the norms behind attention and MLP."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import SQRT_HIDDEN, Family, full_every

FAMILY = Family(
    "vaultgemma",
    "VaultGemmaForCausalLM",
    defaults={
        "max_position_embeddings": 8192,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "tie_word_embeddings": True,
        "bos_token_id": 2,
        "eos_token_id": 1,
    },
    names=Names(pre_mlp="pre_feedforward_layernorm"),
    plus_one=True,
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    window=True,
    layer_types=full_every(2, pattern=""),
    attention_factor="query_pre_attn_scalar",
    attention_power=-0.5,
    softcap="attn_logit_softcapping",
    logits_softcap="final_logit_softcapping",
    activation="hidden_activation",
    embedding_multiplier=SQRT_HIDDEN,
)
