"""Phi 3, 3.5 and 4: one matrix of queries, keys and values, one of gate and up; a part of each head
may rotate, and LongRoPE has other frequencies for sequences that begin long."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family, Rope

FAMILY = Family(
    "phi3",
    "Phi3ForCausalLM",
    defaults={
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 32000,
    },
    names=Names(qkv="self_attn.qkv_proj", gate_up="mlp.gate_up_proj"),
    head_dim=False,
    rope=Rope(
        partial="partial_rotary_factor",
        aliases={"su": "longrope", "yarn": "longrope"},
        types=("default", "longrope"),
        original="original_max_position_embeddings",
    ),
    window=True,
    only={
        "attention_bias": (False,),
        "mlp_bias": (False,),
        "lm_head_bias": (False,),
        "layer_types": (None,),
    },
    irrelevant={
        "auto_map": "code of the checkpoint, which is never run: transformers has its own",
        "full_attn_mod": "not read by the code of transformers",
        "interpolate_factor": "not read by the code of transformers",
    },
)
