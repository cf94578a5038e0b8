"""Command-R7B and Command-A: as Command-R, with a sliding window in three of four layers; the
fourth does not rotate."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import SLIDING, Family, Rope, full_every
from amk.frontends.hf.fields import Fields


def rotates(fields: Fields, types: tuple[str, ...]) -> tuple[bool, ...]:
    return tuple(t == SLIDING for t in types)


FAMILY = Family(
    "cohere2",
    "Cohere2ForCausalLM",
    defaults={
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "hidden_act": "silu",
        "sliding_window": 4096,
        "logit_scale": 0.0625,
        "tie_word_embeddings": True,
        "bos_token_id": 5,
        "eos_token_id": 255001,
    },
    names=Names(pre_mlp=""),
    eps="layer_norm_eps",
    norm="layer",
    head_dim=False,
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    rope=Rope(interleaved=True, rotates=rotates),
    window=True,
    layer_types=full_every(4),
    parallel=True,
    logits_multiplier="logit_scale",
    only={
        "use_qk_norm": (False,),
        "use_parallel_block": (True,),
        "use_gated_activation": (True,),
        "position_embedding_type": ("rope_gptj",),
        "rotary_pct": (1.0,),
    },
    irrelevant={
        "cache_implementation": "only how transformers stores its cache",
        "layer_switch": "not read by the code of transformers",
        "order_of_interleaved_layers": "not read by the code of transformers",
        "use_embedding_sharing": "not read by the code of transformers",
        "use_parallel_embedding": "not read by the code of transformers",
    },
)
