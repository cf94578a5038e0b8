"""EXAONE 4: norms behind attention and MLP and on query and key heads; a sliding window in three of
four layers, and then the fourth does not rotate."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import SLIDING, Family, Rope, full_every
from amk.frontends.hf.fields import Fields


def rotates(fields: Fields, types: tuple[str, ...]) -> tuple[bool, ...]:
    everywhere = fields.given("sliding_window") is None
    return tuple(everywhere or t == SLIDING for t in types)


FAMILY = Family(
    "exaone4",
    "Exaone4ForCausalLM",
    defaults={
        "max_position_embeddings": 2048,
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "sliding_window": 4096,
        "bos_token_id": 0,
        "eos_token_id": 2,
    },
    names=Names(
        pre_attention="",
        post_attention="post_attention_layernorm",
        pre_mlp="",
        post_mlp="post_feedforward_layernorm",
    ),
    qk_norm="head",
    rope=Rope(rotates=rotates),
    window=True,
    layer_types=full_every(4),
)
