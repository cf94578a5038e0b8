"""StarCoder 2: LayerNorm, biases everywhere, an MLP of two matrices, a sliding window."""

from amk.frontends.hf.decoder import Names
from amk.frontends.hf.family import Family

FAMILY = Family(
    "starcoder2",
    "Starcoder2ForCausalLM",
    defaults={
        "max_position_embeddings": 4096,
        "num_key_value_heads": 2,
        "norm_epsilon": 1e-5,
        "hidden_act": "gelu_pytorch_tanh",
        "use_bias": True,
        "tie_word_embeddings": True,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
    },
    names=Names(gate="", up="mlp.c_fc", down="mlp.c_proj"),
    eps="norm_epsilon",
    norm="layer",
    norm_bias=True,
    qkv_bias="use_bias",
    o_bias="use_bias",
    mlp_bias="use_bias",
    window=True,
    only={"layer_types": (None,), "mlp_type": ("default",), "norm_type": ("layer_norm",)},
)
