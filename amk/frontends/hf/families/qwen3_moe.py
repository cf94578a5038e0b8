"""Qwen 3 with a mixture of experts in every layer."""

from amk.frontends.hf.family import ROUTER_TRAINING, ExpertFields, Family

FAMILY = Family(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    defaults={
        "max_position_embeddings": 32768,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "sliding_window": 4096,
        "moe_intermediate_size": 768,
        "num_experts": 128,
        "num_experts_per_tok": 8,
    },
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    qk_norm="head",
    window="use_sliding_window",
    experts=ExpertFields(
        "num_experts", "num_local_experts", "moe_intermediate_size", normalize="norm_topk_prob"
    ),
    only={"decoder_sparse_step": (1,), "mlp_only_layers": (None, [])},
    irrelevant={
        **ROUTER_TRAINING,
        "max_window_layers": "no layer of this family goes by it",
    },
)
