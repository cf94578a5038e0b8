"""OLMoE: a mixture of experts in every layer, norms over all queries and over all keys."""

from amk.frontends.hf.family import ROUTER_TRAINING, ExpertFields, Family

FAMILY = Family(
    "olmoe",
    "OlmoeForCausalLM",
    defaults={
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "eos_token_id": 50279,
    },
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    qk_norm="whole",
    experts=ExpertFields(
        "num_experts", "num_local_experts", "intermediate_size", normalize="norm_topk_prob"
    ),
    only={"clip_qkv": (None,)},
    irrelevant=ROUTER_TRAINING,
)
