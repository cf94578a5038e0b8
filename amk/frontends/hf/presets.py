"""Configs of well-known models with their real shapes, for `random:PRESET`."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

from amk.errors import AmkError

LLAMA: Mapping[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "attention_bias": False,
    "mlp_bias": False,
}

SMOLLM2: Mapping[str, object] = {
    **LLAMA,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rope_theta": 100000.0,
    "rope_scaling": None,
    "rope_interleaved": False,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

LLAMA_3: Mapping[str, object] = {
    **LLAMA,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
}

LLAMA_3_2: Mapping[str, object] = {
    **LLAMA_3,
    "max_position_embeddings": 131072,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "tie_word_embeddings": True,
}

QWEN3: Mapping[str, object] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-06,
    "attention_bias": False,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rope_theta": 1000000.0,
    "rope_scaling": None,
    "use_sliding_window": False,
    "sliding_window": None,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
}


MIXTRAL: Mapping[str, object] = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


OLMOE: Mapping[str, object] = {
    "architectures": ["OlmoeForCausalLM"],
    "model_type": "olmoe",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "norm_topk_prob": False,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "eos_token_id": 50279,
}

QWEN3_MOE: Mapping[str, object] = {
    **QWEN3,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "norm_topk_prob": True,
    "tie_word_embeddings": False,
}


YARN_OF_GPT_OSS: dict[str, object] = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
GPT_OSS: dict[str, object] = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "attention_bias": True,
    "num_experts_per_tok": 4,
    "swiglu_limit": 7.0,
    "rope_theta": 150000.0,
    "tie_word_embeddings": False,
    "eos_token_id": 200002,
}


def shape(
    layers: int, hidden: int, heads: int, kv_heads: int, head_dim: int, intermediate: int
) -> Mapping[str, object]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "intermediate_size": intermediate,
    }


PRESETS: Mapping[str, Mapping[str, object]] = {
    "tiny": {
        **LLAMA,
        **shape(2, 64, 4, 2, 16, 160),
        "vocab_size": 256,
        "max_position_embeddings": 512,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "smollm2-135m": {**SMOLLM2, **shape(30, 576, 9, 3, 64, 1536)},
    "smollm2-360m": {**SMOLLM2, **shape(32, 960, 15, 5, 64, 2560)},
    "tinyllama-1.1b": {
        **LLAMA,
        **shape(22, 2048, 32, 4, 64, 5632),
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "llama-3.2-1b": {**LLAMA_3_2, **shape(16, 2048, 32, 8, 64, 8192)},
    "llama-3.2-3b": {**LLAMA_3_2, **shape(28, 3072, 24, 8, 128, 8192)},
    "llama-3-8b": {**LLAMA_3, **shape(32, 4096, 32, 8, 128, 14336)},
    "llama-3-70b": {**LLAMA_3, **shape(80, 8192, 64, 8, 128, 28672)},
    "mistral-7b": {
        **shape(32, 4096, 32, 8, 128, 14336),
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "hidden_act": "silu",
        "rms_norm_eps": 1e-05,
        "vocab_size": 32768,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "tiny-mixtral": {
        **MIXTRAL,
        **shape(2, 64, 4, 2, 16, 96),
        "vocab_size": 256,
        "max_position_embeddings": 512,
        "rope_theta": 10000.0,
    },
    "mixtral-8x7b": {
        **MIXTRAL,
        **shape(32, 4096, 32, 8, 128, 14336),
        "vocab_size": 32000,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
    },
    "tiny-olmoe": {
        **OLMOE,
        **shape(2, 64, 4, 4, 16, 48),
        "num_experts": 16,
        "num_experts_per_tok": 4,
        "vocab_size": 256,
        "max_position_embeddings": 512,
        "eos_token_id": 2,
    },
    "olmoe-1b-7b": {
        **OLMOE,
        **shape(16, 2048, 16, 16, 128, 1024),
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "vocab_size": 50304,
        "max_position_embeddings": 4096,
    },
    "tiny-qwen3-moe": {
        **QWEN3_MOE,
        **shape(2, 64, 4, 2, 32, 128),
        "moe_intermediate_size": 40,
        "num_experts": 24,
        "num_experts_per_tok": 6,
        "vocab_size": 256,
        "max_position_embeddings": 512,
    },
    "qwen3-30b-a3b": {
        **QWEN3_MOE,
        **shape(48, 2048, 32, 4, 128, 6144),
        "moe_intermediate_size": 768,
        "num_experts": 128,
        "num_experts_per_tok": 8,
    },
    "tiny-gpt-oss": {
        **GPT_OSS,
        **shape(2, 64, 4, 2, 16, 48),
        "num_local_experts": 8,
        "sliding_window": 32,
        "vocab_size": 256,
        "max_position_embeddings": 512,
        "eos_token_id": 2,
        "rope_scaling": YARN_OF_GPT_OSS,
    },
    "gpt-oss-20b": {
        **GPT_OSS,
        **shape(24, 2880, 64, 8, 64, 2880),
        "num_local_experts": 32,
        "sliding_window": 128,
        "vocab_size": 201088,
        "max_position_embeddings": 131072,
        "rope_scaling": YARN_OF_GPT_OSS,
    },
    "qwen2.5-0.5b": {
        **shape(24, 896, 14, 2, 64, 4864),
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "max_window_layers": 24,
        "use_sliding_window": False,
        "use_mrope": False,
        "tie_word_embeddings": True,
        "bos_token_id": 151643,
        "eos_token_id": 151643,
    },
    "qwen3-0.6b": {**QWEN3, **shape(28, 1024, 16, 8, 128, 3072), "tie_word_embeddings": True},
    "qwen3-8b": {**QWEN3, **shape(36, 4096, 32, 8, 128, 12288), "tie_word_embeddings": False},
    "smollm3-3b": {
        **shape(36, 2048, 16, 4, 128, 11008),
        "architectures": ["SmolLM3ForCausalLM"],
        "model_type": "smollm3",
        "vocab_size": 128256,
        "max_position_embeddings": 65536,
        "rope_theta": 5000000.0,
        "tie_word_embeddings": True,
        "eos_token_id": 128012,
    },
    "gemma-2-2b": {
        **shape(26, 2304, 8, 4, 256, 9216),
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        "vocab_size": 256000,
    },
    "gemma-3-1b": {
        **shape(26, 1152, 4, 1, 256, 6912),
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "max_position_embeddings": 32768,
        "sliding_window": 512,
        "vocab_size": 262144,
    },
    "phi-3-mini": {
        **shape(32, 3072, 32, 32, 96, 8192),
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "sliding_window": 2047,
        "vocab_size": 32064,
    },
    "olmo-2-1b": {
        **shape(16, 2048, 16, 16, 128, 8192),
        "architectures": ["Olmo2ForCausalLM"],
        "model_type": "olmo2",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-06,
        "rope_theta": 500000.0,
        "vocab_size": 100352,
        "eos_token_id": 100257,
    },
    "granite-3.1-2b": {
        **shape(40, 2048, 32, 8, 64, 8192),
        "architectures": ["GraniteForCausalLM"],
        "model_type": "granite",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-05,
        "rope_theta": 5000000.0,
        "embedding_multiplier": 12.0,
        "attention_multiplier": 0.015625,
        "residual_multiplier": 0.22,
        "logits_scaling": 8.0,
        "tie_word_embeddings": True,
        "vocab_size": 49155,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "stablelm-2-1.6b": {
        **shape(24, 2048, 32, 32, 64, 5632),
        "architectures": ["StableLmForCausalLM"],
        "model_type": "stablelm",
        "use_qkv_bias": True,
        "vocab_size": 100352,
        "bos_token_id": 100257,
        "eos_token_id": 100257,
    },
    "starcoder2-3b": {
        **shape(30, 3072, 24, 2, 128, 12288),
        "architectures": ["Starcoder2ForCausalLM"],
        "model_type": "starcoder2",
        "max_position_embeddings": 16384,
        "rope_theta": 999999.4420358813,
        "sliding_window": 4096,
        "vocab_size": 49152,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "pythia-160m": {
        "num_hidden_layers": 12,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "vocab_size": 50304,
        "eos_token_id": 0,
    },
}


def preset(name: str) -> dict[str, object]:
    """The config of a preset. Raises AmkError where there is none of this name."""
    if name not in PRESETS:
        raise AmkError(f"preset '{name}' is unknown (known: {', '.join(PRESETS)})")
    return deepcopy(dict(PRESETS[name]))
