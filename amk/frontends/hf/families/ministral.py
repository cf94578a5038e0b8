"""Ministral: Mistral with a sliding window in some layers."""

from amk.frontends.hf.family import SLIDING, Family, listed_types
from amk.frontends.hf.fields import Fields


def layer_types(fields: Fields, layers: int) -> tuple[str, ...]:
    fields.size("sliding_window")  # transformers has no mask without one
    return listed_types(fields, (SLIDING,) * layers)


FAMILY = Family(
    "ministral",
    "MinistralForCausalLM",
    defaults={
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "sliding_window": 4096,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    window=True,
    layer_types=layer_types,
)
