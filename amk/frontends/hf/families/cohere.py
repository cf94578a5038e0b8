"""Command-R: attention and MLP are parallel and read one LayerNorm without bias, rotary pairs are
neighbors, logits have a factor; Command-R+ normalizes each query and key head."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family, Rope

FAMILY = Family(
    "cohere",
    "CohereForCausalLM",
    defaults={
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "hidden_act": "silu",
        "rope_theta": 500000.0,
        "logit_scale": 0.0625,
        "tie_word_embeddings": True,
        "bos_token_id": 5,
        "eos_token_id": 255001,
    },
    names=Names(pre_mlp=""),
    eps="layer_norm_eps",
    norm="layer",
    qkv_bias="attention_bias",
    o_bias="attention_bias",
    qk_norm="heads",
    qk_norm_if="use_qk_norm",
    rope=Rope(interleaved=True),
    parallel=True,
    logits_multiplier="logit_scale",
    irrelevant={"model_max_length": "not read by the code of transformers"},
)
