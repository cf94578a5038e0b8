"""Mixtral: Mistral with a mixture of experts for an MLP."""

from amk.frontends.hf.family import ROUTER_TRAINING, ExpertFields, Family

FAMILY = Family(
    "mixtral",
    "MixtralForCausalLM",
    defaults={
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "rope_theta": 1000000.0,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    experts=ExpertFields("num_local_experts", "num_experts", "intermediate_size", normalize=True),
    window=True,
    irrelevant=ROUTER_TRAINING,
)
