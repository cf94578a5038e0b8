"""gpt-oss: a mixture of experts with biases and bounded gates, attention with sinks, a window in
every second layer, YaRN whose bounds are no whole frequencies. MXFP4 weights are dequantized."""

from amk.frontends.hf.family import ROUTER_TRAINING, ExpertFields, Family, full_every

FAMILY = Family(
    "gpt_oss",
    "GptOssForCausalLM",
    defaults={
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "attention_bias": True,
        "sliding_window": 128,
        "rope_theta": 150000.0,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": 4096,
        },
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "swiglu_alpha": 1.702,
        "swiglu_limit": 7.0,
    },
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    sinks=True,
    window=True,
    layer_types=full_every(2, ""),
    experts=ExpertFields(
        "num_local_experts",
        "num_experts",
        "intermediate_size",
        normalize=True,
        bias=True,
        alpha="swiglu_alpha",
        limit="swiglu_limit",
        columns_first=True,
    ),
    quantized=("mxfp4",),
    irrelevant={
        **ROUTER_TRAINING,
        "initial_context_length": "rope_scaling says it to the code of transformers",
        "experts_per_token": "num_experts_per_tok says it to the code of transformers",
    },
)
