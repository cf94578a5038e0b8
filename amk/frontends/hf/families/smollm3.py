"""SmolLM 3: every fourth layer does not rotate, and may have a sliding window."""

from typing import cast

from amk.frontends.hf.family import FULL, SLIDING, Family, Rope, listed_types
from amk.frontends.hf.fields import Fields


def rotates(fields: Fields, types: tuple[str, ...]) -> tuple[bool, ...]:
    """`no_rope_layers` has 1 for layers that rotate, in spite of its name; without it those rotate
    whose number is no multiple of `no_rope_layer_interval`."""
    interval = fields.size("no_rope_layer_interval")
    given = fields.take("no_rope_layers", None)
    if given is None:
        return tuple((i + 1) % interval != 0 for i in range(len(types)))
    if not isinstance(given, list) or [n for n in given if n not in (0, 1)]:
        raise fields.refuse("no_rope_layers", "must be a list of 0 and 1")
    if len(given) != len(types):
        raise fields.refuse("no_rope_layers", f"must have {len(types)} entries, one a layer")
    return tuple(n == 1 for n in cast(list[int], given))


def layer_types(fields: Fields, layers: int) -> tuple[str, ...]:
    some = fields.flag("use_sliding_window", False) and fields.given("sliding_window") is not None
    turning = rotates(fields, (FULL,) * layers)
    return listed_types(fields, tuple(FULL if turns or not some else SLIDING for turns in turning))


FAMILY = Family(
    "smollm3",
    "SmolLM3ForCausalLM",
    defaults={
        "max_position_embeddings": 32768,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "rope_theta": 2000000.0,
        "no_rope_layer_interval": 4,
        "tie_word_embeddings": True,
        "bos_token_id": 128000,
        "eos_token_id": 128001,
    },
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    mlp_bias="mlp_bias",
    rope=Rope(rotates=rotates),
    window="use_sliding_window",
    layer_types=layer_types,
    irrelevant={"max_window_layers": "not read by the code of transformers"},
)
