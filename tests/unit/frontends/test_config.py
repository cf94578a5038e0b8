"""Configs: understood as Hugging Face understands them, or refused by the name of a field."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from amk.errors import AmkError
from amk.frontends.hf.config import parse_config, read_json
from amk.frontends.hf.decoder import tensor_shapes
from amk.frontends.hf.families import FAMILIES
from amk.frontends.hf.presets import PRESETS, preset

BILLIONS = {
    "smollm2-135m": 0.1345,
    "smollm2-360m": 0.3618,
    "tinyllama-1.1b": 1.1000,
    "llama-3.2-1b": 1.2358,
    "llama-3.2-3b": 3.2127,
    "llama-3-8b": 8.0303,
    "llama-3-70b": 70.5537,
    "mistral-7b": 7.2480,
    "qwen2.5-0.5b": 0.4940,
    "qwen3-0.6b": 0.5960,
    "qwen3-8b": 8.1907,
    "smollm3-3b": 3.0751,
    "gemma-2-2b": 2.6143,
    "gemma-3-1b": 0.9999,
    "phi-3-mini": 3.8211,
    "olmo-2-1b": 1.4849,
    "granite-3.1-2b": 2.5335,
    "stablelm-2-1.6b": 1.6445,
    "starcoder2-3b": 3.0304,
    "pythia-160m": 0.1623,
}
"""Published sizes, a tied head counted once."""


def without(config: dict[str, object], *names: str) -> dict[str, object]:
    return {k: v for k, v in config.items() if k not in names}


def tiny(**changes: object) -> dict[str, object]:
    return preset("tiny") | changes


def mistral(**changes: object) -> dict[str, object]:
    return (
        tiny(model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=None)
        | changes
    )


def qwen2(**changes: object) -> dict[str, object]:
    base = tiny(model_type="qwen2", architectures=["Qwen2ForCausalLM"])
    return without(base, "attention_bias") | changes


@pytest.mark.parametrize("name", BILLIONS)
def test_presets_have_the_published_number_of_weights(name: str) -> None:
    config = parse_config(preset(name))
    assert round(config.parameters / 1e9, 4) == pytest.approx(BILLIONS[name], abs=1e-4)


def test_unknown_preset() -> None:
    with pytest.raises(AmkError, match="preset 'nope' is unknown \\(known: tiny, "):
        preset("nope")


REFUSED: list[tuple[dict[str, object], str]] = [
    ({}, "config field 'model_type' is missing"),
    (tiny(model_type="gpt2"), "model type 'gpt2' is not supported (supported: "),
    (without(tiny(), "architectures"), "config field 'architectures' is missing"),
    (
        tiny(architectures=["LlamaForSequenceClassification"]),
        "config field 'architectures' = [\"LlamaForSequenceClassification\"] is not supported",
    ),
    (without(tiny(), "hidden_size"), "config field 'hidden_size' is missing"),
    (tiny(num_hidden_layers=0), "config field 'num_hidden_layers' = 0 must be a positive integer"),
    (tiny(vocab_size="256"), "config field 'vocab_size' = \"256\" must be a positive integer"),
    (tiny(hidden_size=True), "config field 'hidden_size' = true must be a positive integer"),
    (tiny(head_dim=0), "config field 'head_dim' = 0 must be a positive integer"),
    (tiny(head_dim=15), "head_dim 15 is odd, and rotary embedding pairs its elements"),
    (
        without(tiny(hidden_size=66), "head_dim"),
        "config field 'hidden_size' = 66 must be a multiple of num_attention_heads 4",
    ),
    (
        tiny(num_key_value_heads=3),
        "config field 'num_key_value_heads' = 3 must divide num_attention_heads 4",
    ),
    (tiny(num_key_value_heads=8), "config field 'num_key_value_heads' = 8 must divide"),
    (tiny(rms_norm_eps=0), "config field 'rms_norm_eps' = 0 must be positive and finite"),
    (tiny(rms_norm_eps=float("nan")), "config field 'rms_norm_eps' = NaN must be positive"),
    (tiny(rms_norm_eps=1e300), "config field 'rms_norm_eps' = 1e+300 must be positive and finite"),
    (tiny(rope_theta=10**400), "config field 'rope_theta' = 1000000"),
    (tiny(hidden_size=1 << 21), "config field 'hidden_size' = 2097152 must be at most 1048576"),
    (
        tiny(num_hidden_layers=1 << 40),
        "config field 'num_hidden_layers' = 1099511627776 must be at most 4096",
    ),
    (tiny(max_position_embeddings=1 << 31), "config field 'max_position_embeddings' = 2147483648"),
    (tiny(eos_token_id=[1, 1 << 32]), "config field 'eos_token_id' = [1, 4294967296] must be a"),
    (tiny(tie_word_embeddings=1), "config field 'tie_word_embeddings' = 1 must be true or false"),
    (
        tiny(hidden_act="mish"),
        "config field 'hidden_act' = \"mish\" is not supported by family 'llama'",
    ),
    (
        tiny(attn_logit_softcapping=50.0),
        "config field 'attn_logit_softcapping' = 50.0 is not supported by family 'llama'",
    ),
    (tiny(auto_map={"AutoModel": "x.Y"}), "config field 'auto_map' = {\"AutoModel\": \"x.Y\"} is"),
    (
        tiny(quantization_config={"quant_method": "gptq", "group_size": 128, "x" * 80: 1}),
        'config field \'quantization_config\' = {"quant_method": "gptq", ',
    ),
    (tiny(sliding_window=128), "config field 'sliding_window' = 128 is not supported by family"),
    (tiny(eos_token_id=-1), "config field 'eos_token_id' = -1 must be a token id or a list"),
    (tiny(rope_theta=0), "config field 'rope_theta' = 0 must be positive and finite"),
    (
        tiny(partial_rotary_factor=0.5),
        "config field 'partial_rotary_factor' = 0.5 is not supported by family 'llama'",
    ),
    (
        tiny(rope_scaling={"type": "dynamic"}),
        "config field 'rope_scaling.factor' is missing",
    ),
    (
        tiny(rope_scaling={"rope_type": "proportional", "factor": 2.0}),
        "config field 'rope_scaling.rope_type' = \"proportional\" is not supported by family",
    ),
    (
        tiny(rope_scaling={"rope_type": "longrope", "short_factor": [1.0] * 7}),
        "config field 'rope_scaling.short_factor' = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0] must be a",
    ),
    (
        tiny(rope_scaling={"rope_type": "longrope", "short_factor": [1.0] * 7 + [0.0]}),
        "config field 'rope_scaling.short_factor' = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0] must",
    ),
    (
        tiny(rope_scaling={"rope_type": "linear"}),
        "config field 'rope_scaling.factor' is missing",
    ),
    (
        tiny(rope_scaling={"rope_type": "linear", "factor": 2.0, "truncate": True}),
        "config field 'rope_scaling.truncate' = true is not supported by family 'llama'",
    ),
    (
        tiny(rope_scaling={"rope_type": "linear", "type": "yarn", "factor": 2.0}),
        "config field 'rope_scaling.type' = \"yarn\" is not supported by family 'llama'",
    ),
    (
        tiny(rope_scaling={"type": "linear", "factor": 2.0}, rope_parameters={"type": "default"}),
        "config field 'rope_scaling' = {\"type\": \"linear\", \"factor\": 2.0} contradicts",
    ),
    (
        tiny(rope_parameters={"rope_type": "default", "rope_theta": 5.0}),
        "config field 'rope_theta' = 10000.0 contradicts 'rope_parameters.rope_theta' = 5.0",
    ),
    (
        tiny(rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                           "high_freq_factor": 4.0}),
        "config field 'rope_scaling.high_freq_factor' = 4.0 must exceed low_freq_factor 4.0",
    ),
    (tiny(rope_scaling="linear"), "config field 'rope_scaling' = \"linear\" must be an object"),
    (mistral(sliding_window=0), "config field 'sliding_window' = 0 must be a positive integer"),
    (mistral(sliding_window="4"), "config field 'sliding_window' = \"4\" must be a positive"),
    (
        qwen2(layer_types=["full_attention", "sliding_attention"], sliding_window=None),
        "config field 'sliding_window' = null leaves sliding layers without a window",
    ),
    (qwen2(layer_types=["full_attention"]), "config field 'layer_types' = [\"full_attention\"]"),
    (qwen2(layer_types=["full_attention", "mamba"]), "config field 'layer_types' = [\"full_atten"),
    (tiny(layer_types=["full_attention", "sliding_attention"]), "config field 'layer_types' = ["),
    (qwen2(attention_bias=False), "config field 'attention_bias' = false is not supported by"),
]  # fmt: skip


def test_yarn_of_two_tables_rounds_its_bounds() -> None:
    """transformers does not see `truncate` in a table of its own, so false is refused."""
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    gemma = preset("gemma-3-1b")
    assert parse_config(gemma | {"rope_scaling": yarn}).inv_freq != parse_config(gemma).inv_freq
    with pytest.raises(AmkError, match="'rope_scaling.truncate' = false is not supported"):
        parse_config(gemma | {"rope_scaling": yarn | {"truncate": False}})


@pytest.mark.parametrize(("config", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refusals_name_the_field(config: dict[str, object], message: str) -> None:
    with pytest.raises(AmkError) as caught:
        parse_config(config)
    text = str(caught.value)
    assert text.startswith(message)
    assert "\n" not in text and not text.endswith(".")


def test_every_field_of_every_preset_is_needed_or_known() -> None:
    """An unknown field is refused wherever it stands, and whatever it is worth."""
    for name in PRESETS:
        for value in (None, False, 0, 1.0, "x", [], {}):
            with pytest.raises(AmkError, match="config field 'brand_new' = .* is not supported"):
                parse_config(preset(name) | {"brand_new": value})


def windows(config: dict[str, object]) -> list[int | None]:
    parsed = parse_config(config)
    return [parsed.layer(i).window for i in range(parsed.layers)]


def test_a_window_as_wide_as_the_context_is_no_window() -> None:
    assert windows(mistral(sliding_window=512, max_position_embeddings=512)) == [None, None]
    config = without(mistral(max_position_embeddings=4096), "sliding_window")
    assert windows(config) == [None, None]


def test_which_layers_have_a_window() -> None:
    assert windows(mistral(sliding_window=9)) == [9, 9]
    silent = without(mistral(max_position_embeddings=8192), "sliding_window")
    assert windows(silent) == [4096, 4096], "what Hugging Face assumes"
    assert windows(mistral(sliding_window=None)) == [None, None]
    upper = qwen2(use_sliding_window=True, sliding_window=9, max_window_layers=1)
    assert windows(upper) == [None, 9]
    assert windows(upper | {"use_sliding_window": False}) == [None, None]
    listed = upper | {"layer_types": ["sliding_attention", "full_attention"]}
    assert windows(listed) == [9, None]


def test_qwen2_has_biases_on_q_k_and_v_only() -> None:
    config = parse_config(qwen2())
    assert (config.qkv_bias, config.o_bias, config.mlp_bias) == (True, False, False)
    shapes = tensor_shapes(config)
    assert shapes["model.layers.1.self_attn.k_proj.bias"] == (32,)
    assert "model.layers.1.self_attn.o_proj.bias" not in shapes


def test_llama_biases_and_tokens() -> None:
    config = parse_config(tiny(attention_bias=True, mlp_bias=True, eos_token_id=[2, 5]))
    assert (config.qkv_bias, config.o_bias, config.mlp_bias) == (True, True, True)
    assert (config.bos, config.eos) == (1, (2, 5))
    assert parse_config(tiny(eos_token_id=None, bos_token_id=None)).eos == ()


def test_untied_head_is_a_tensor_of_its_own() -> None:
    assert "lm_head.weight" not in tensor_shapes(parse_config(tiny()))
    assert parse_config(tiny()).head_weight == "model.embed_tokens.weight"
    untied = parse_config(tiny(tie_word_embeddings=False))
    assert tensor_shapes(untied)[untied.head_weight] == (256, 64)


def test_what_transformers_saves_is_accepted_and_means_the_same() -> None:
    """Configs of transformers with every field at its default, and those that it derives."""
    import transformers

    small: dict[str, Any] = {
        "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "vocab_size": 99,
    }  # fmt: skip
    for cls, extra in (
        (transformers.LlamaConfig, {}),
        (transformers.LlamaConfig, {"head_dim": 20, "attention_bias": True}),
        (transformers.MistralConfig, {"sliding_window": None, "num_key_value_heads": 1}),
        (transformers.Qwen2Config, {"num_key_value_heads": 2}),
    ):
        make: Any = cls
        theirs = make(**small, **extra)
        saved = json.loads(theirs.to_json_string(use_diff=False))
        saved["architectures"] = [FAMILIES[theirs.model_type].architecture]
        ours = parse_config(saved)
        assert ours.heads == theirs.num_attention_heads
        assert ours.kv_heads == theirs.num_key_value_heads
        assert ours.head_dim == (getattr(theirs, "head_dim", None) or 12)
        assert ours.eps == theirs.rms_norm_eps
        assert ours.max_context == theirs.max_position_embeddings
        assert ours.tied == theirs.tie_word_embeddings


def test_defaults_are_those_of_transformers() -> None:
    """A config that gives sizes only means what transformers takes it to mean."""
    import transformers

    sizes = {
        "hidden_size": 1280, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 160, "vocab_size": 300000,
    }  # fmt: skip
    for name, family in FAMILIES.items():
        theirs: Any = transformers.AutoConfig.for_model(name, **sizes)
        saved = json.loads(theirs.to_json_string(use_diff=False))
        named = {"model_type": name, "architectures": [family.architecture]}
        assert parse_config(sizes | named) == parse_config(saved | named), name
        ours = parse_config(sizes | named)
        assert ours.kv_heads == (getattr(theirs, "num_key_value_heads", None) or 160)
        assert ours.eps == getattr(theirs, family.eps)
        assert ours.tied == theirs.tie_word_embeddings


@pytest.mark.parametrize(
    ("tokens", "limit", "message"),
    [
        ([], None, "prompt is empty"),
        ([1, 256], None, "token id 256 is outside the vocabulary of 256"),
        ([-1], None, "token id -1 is outside the vocabulary of 256"),
        ([1] * 513, None, "context of 513 tokens exceeds the limit of 512"),
        ([1] * 9, 8, "context of 9 tokens exceeds the limit of 8"),
    ],
)
def test_prompts_are_checked(tokens: list[int], limit: int | None, message: str) -> None:
    with pytest.raises(AmkError, match=message):
        parse_config(tiny()).check_tokens(tokens, limit)


def test_a_good_prompt_passes() -> None:
    parse_config(tiny()).check_tokens([0, 255] * 256)


def test_unreadable_json(tmp_path: Any) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(AmkError, match="does not exist"):
        read_json(path)
    path.write_text("{")
    with pytest.raises(AmkError, match="config.json' is not valid JSON: "):
        read_json(path)
    path.write_text("[1]")
    with pytest.raises(AmkError, match="holds no JSON object"):
        read_json(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(AmkError, match="is not valid JSON"):
        read_json(path)
    with pytest.raises(AmkError, match="cannot be read: Is a directory"):
        read_json(tmp_path)


def test_nothing_imports_torch() -> None:
    """Configs, presets, the builder and opening a random model work without torch and fast."""
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from amk.frontends.hf.build import build_model\n"
        "from amk.frontends.hf.source import open_model\n"
        "build_model(open_model('random:llama-3-8b').config, 'bf16', 64)\n"
        "assert not {'torch', 'transformers', 'huggingface_hub', 'gguf'} & set(sys.modules)\n"
        "print(time.perf_counter() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2
