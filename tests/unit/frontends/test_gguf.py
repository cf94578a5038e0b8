"""GGUF: config, names and row order come back as Hugging Face has them; damage is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from amk.frontends.hf.checkpoint import TensorInfo
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.decoder import tensor_shapes
from amk.frontends.hf.gguf_file import NAMES, hf_name, unpermute
from amk.frontends.hf.presets import preset
from amk.frontends.hf.random_weights import RandomWeights
from amk.frontends.hf.reference import reference_logits
from amk.frontends.hf.source import Model, open_model
from tests.unit.refusal import refusal

F32 = NDArray[np.float32]
Write = Callable[..., Path]


def permute(x: F32, heads: int) -> F32:
    """llama.cpp's conversion of q and k rows, as its convert_hf_to_gguf.py writes it."""
    shape = (heads, 2, x.shape[0] // heads // 2, *x.shape[1:])
    return np.ascontiguousarray(x.reshape(shape).swapaxes(1, 2).reshape(x.shape))


def gguf_name(name: str) -> str:
    """llama.cpp's name of one of Hugging Face's tensors."""
    back = {v: k for k, v in NAMES.items()}
    stem, kind = name.rsplit(".", 1)
    if stem in back:
        return f"{back[stem]}.{kind}"
    _, _, layer, inner = stem.split(".", 3)
    return f"blk.{layer}.{back[inner]}.{kind}"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(arch, fields, drop, extra): a GGUF file of the preset `tiny`."""

    def make(
        arch: str = "llama",
        fields: dict[str, Any] | None = None,
        drop: tuple[str, ...] = (),
        extra: dict[str, F32] | None = None,
        q8: bool = False,
    ) -> Path:
        path = tmp_path / "tiny.gguf"
        weights = RandomWeights(parse_config(qwen(arch) if "qwen" in arch else preset("tiny")))
        writer: Any = gguf.GGUFWriter(path, arch)
        metadata: dict[str, Any] = {
            "block_count": 2, "context_length": 512, "embedding_length": 64,
            "feed_forward_length": 160, "attention.head_count": 4, "attention.head_count_kv": 2,
            "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0,
            "rope.dimension_count": 16, "vocab_size": 256,
        } | (fields or {})  # fmt: skip
        for key, value in metadata.items():
            if value is not None:
                add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
                add[type(value)](f"{arch}.{key}", value)
        writer.add_uint32("tokenizer.ggml.bos_token_id", 1)
        writer.add_uint32("tokenizer.ggml.eos_token_id", 2)
        for name in weights.tensors:
            if name in drop:
                continue
            values = weights.read(name)
            if arch == "llama" and ".q_proj." in name:
                values = permute(values, 4)
            if arch == "llama" and ".k_proj." in name:
                values = permute(values, 2)
            if q8 and values.shape[-1] % 32 == 0 and values.ndim == 2:
                kind = gguf.GGMLQuantizationType.Q8_0
                packed = gguf.quants.quantize(values, kind)
                writer.add_tensor(gguf_name(name), packed, raw_dtype=kind)
            else:
                writer.add_tensor(gguf_name(name), values)
        for name, values in (extra or {}).items():
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return make


def qwen(arch: str) -> dict[str, object]:
    """The preset `tiny` as a Qwen 2 or 3."""
    raw = preset("tiny") | {"model_type": arch, "architectures": [f"{arch.title()}ForCausalLM"]}
    if arch == "qwen2":
        del raw["attention_bias"]
    del raw["mlp_bias"]
    return raw


def test_names() -> None:
    assert hf_name("blk.12.attn_q.bias") == "model.layers.12.self_attn.q_proj.bias"
    assert hf_name("output.weight") == "lm_head.weight"
    assert hf_name("rope_freqs.weight") == "rope_freqs.weight"
    for name in tensor_shapes(parse_config(preset("qwen2.5-0.5b") | {"num_hidden_layers": 3})):
        assert hf_name(gguf_name(name)) == name


def test_unpermute_undoes_permute() -> None:
    for shape in ((12, 5), (12,)):
        x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        assert np.array_equal(unpermute(permute(x, 3), 3), x)
        assert not np.array_equal(permute(x, 3), x)


def test_llama(write: Write) -> None:
    model = open_model(str(write()))
    c = model.config
    assert (c.name, c.family, c.tied, c.bos, c.eos) == ("tiny", "llama", True, 1, (2,))
    assert c.inv_freq == parse_config(preset("tiny")).inv_freq
    assert c.eps == float(np.float32(1e-5)), "as stored, and as transformers reads it"
    weights = RandomWeights(parse_config(preset("tiny")))
    assert set(model.tensors) == set(weights.tensors)
    for name in weights.tensors:
        assert np.array_equal(model.weight(name), weights.read(name)), name


def test_reference_reads_the_same(write: Write) -> None:
    """transformers, with its own reading of names and row order, has the same tensors."""
    model = open_model(str(write(q8=True)))
    state = model.reference().state_dict()
    assert model.tensors["model.norm.weight"] == TensorInfo((64,), "f32")
    assert model.tensors["model.embed_tokens.weight"] == TensorInfo((256, 64), "q8_0")
    for name in model.tensors:
        assert np.array_equal(model.weight(name), state[name].numpy()), name
    inv = model.reference().model.rotary_emb.inv_freq.numpy()
    assert np.allclose(inv, model.config.inv_freq, rtol=2e-7, atol=0)
    assert model.reference().config.rms_norm_eps == model.config.eps


def test_qwen2_rows_are_not_permuted(write: Write) -> None:
    model = open_model(str(write("qwen2", {"rope.dimension_count": None})))
    weights = RandomWeights(parse_config(qwen("qwen2")))
    name = "model.layers.1.self_attn.q_proj"
    for kind in ("weight", "bias"):
        assert np.array_equal(model.weight(f"{name}.{kind}"), weights.read(f"{name}.{kind}"))


def test_qwen3_has_norms_on_heads(write: Write) -> None:
    length = {"attention.key_length": 16, "rope.dimension_count": None}
    model = open_model(str(write("qwen3", length)))
    raw = qwen("qwen3")
    weights = RandomWeights(parse_config(raw))
    assert model.config.qk_norm == "head" and model.config.head_dim == 16
    assert set(model.tensors) == set(weights.tensors)
    for name in weights.tensors:
        assert np.array_equal(model.weight(name), weights.read(name)), name


YARN = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 128, "rope.scaling.yarn_beta_fast": 8.0,
    "rope.scaling.yarn_beta_slow": 2.0, "rope.scaling.attn_factor": 1.0,
}  # fmt: skip
LINEAR = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
FACTORS = {"rope_freqs.weight": np.linspace(1, 8, 8, dtype=np.float32)}


@pytest.mark.parametrize(
    ("fields", "extra", "scaling"),
    [
        (LINEAR, {}, {"rope_type": "linear", "factor": 4.0}),
        (
            YARN,
            {},
            {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 128,
                "beta_fast": 8.0,
                "beta_slow": 2.0,
            },
        ),
        (
            {"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0},
            {},
            {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 512},
        ),
        (
            {},
            FACTORS,
            {
                "rope_type": "longrope",
                "short_factor": FACTORS["rope_freqs.weight"].tolist(),
                "long_factor": [1.0] * 8,
                "attention_factor": 1.0,
            },
        ),
    ],
    ids=["linear", "yarn", "yarn by default", "factors"],
)
def test_scaled_rotation(
    write: Write, fields: dict[str, Any], extra: dict[str, F32], scaling: dict[str, Any]
) -> None:
    """Equal to a safetensors model with that scaling, and transformers is told of it."""
    model = open_model(str(write(fields=fields, extra=extra)))
    raw = preset("tiny") | {"rope_scaling": scaling, "rms_norm_eps": float(np.float32(1e-5))}
    same = Model("same", raw, RandomWeights(parse_config(raw)))
    assert model.config.inv_freq == same.config.inv_freq != parse_config(preset("tiny")).inv_freq
    assert model.config.rope_scale == same.config.rope_scale
    assert model.config.max_context == 512
    ids = [5, 9, 200, 31, 7, 64, 100]
    expected = reference_logits(same, ids)
    np.testing.assert_allclose(reference_logits(model, ids), expected, rtol=1e-4, atol=1e-4)
    plain = reference_logits(open_model("random:tiny"), ids)
    assert np.abs(plain - expected)[-1].max() > 0.01


def test_two_scalings_contradict(write: Write) -> None:
    path = write(fields=LINEAR, extra=FACTORS)
    assert refusal(lambda: open_model(str(path))).startswith(
        "config field 'llama.rope.scaling.type' = \"linear\" contradicts tensor 'rope_freqs.weight'"
    )


def test_an_output_matrix_unties_the_head(write: Write) -> None:
    head = np.ones((256, 64), np.float32)
    model = open_model(str(write(extra={"output.weight": head})))
    assert not model.config.tied
    assert np.array_equal(model.weight("lm_head.weight"), head)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rope.scaling.type": "yarn"}, "config field 'llama.rope.scaling.factor' is missing"),
        (YARN | {"rope.scaling.attn_factor": 0.5},
         "config field 'llama.rope.scaling.attn_factor' = 0.5 is not supported"),
        (YARN | {"rope.scaling.yarn_ext_factor": 0.5},
         "config field 'llama.rope.scaling.yarn_ext_factor' = 0.5 is not supported"),
        (YARN | {"rope.scaling.yarn_log_multiplier": 0.1},
         "config field 'llama.rope.scaling.yarn_log_multiplier' = 0.1"),
        ({"rope.scaling.type": "longrope"},
         "config field 'llama.rope.scaling.type' = \"longrope\" is not supported"),
        ({"rope.scaling.original_context_length": 128},
         "config field 'llama.rope.scaling.original_context_length' = 128 is not supported"),
        ({"rope.scale_linear": 2.0}, "config field 'llama.rope.scale_linear' = 2.0 is not"),
        ({"rope.scaling.factor": 4.0}, "config field 'llama.rope.scaling.factor' = 4.0 is not"),
        ({"attention.sliding_window": 64}, "config field 'llama.attention.sliding_window' = 64 is"),
        ({"expert_count": 8}, "config field 'llama.expert_count' = 8 is not supported by family"),
        ({"brand_new": 1}, "config field 'llama.brand_new' = 1 is not supported by family 'llama'"),
        ({"rope.dimension_count": 8, "attention.key_length": 16},
         "config field 'llama.rope.dimension_count' = 8 is not supported"),
        ({"attention.value_length": 8}, "config field 'llama.attention.value_length' = 8 is not"),
        ({"block_count": None}, "config field 'llama.block_count' is missing"),
        ({"attention.head_count": 0}, "config field 'llama.attention.head_count' = 0 must be a"),
        ({"attention.head_count": 3}, "config field 'num_key_value_heads' = 2 must divide"),
        ({"block_count": 3}, "tensor 'model.layers.2.input_layernorm.weight' and 8 more"),
    ],
)  # fmt: skip
def test_metadata_is_strict(write: Write, fields: dict[str, Any], message: str) -> None:
    path = write(fields=fields)
    assert refusal(lambda: open_model(str(path))).startswith(message)


def test_tensors_are_strict(write: Write) -> None:
    path = write(drop=("model.layers.0.mlp.up_proj.weight",))
    message = refusal(lambda: open_model(str(path)))
    assert message == f"tensor 'model.layers.0.mlp.up_proj.weight' is missing from '{path}'"
    path = write(extra={"rope_freqs.weight": np.ones(7, np.float32)})
    message = refusal(lambda: open_model(str(path)))
    assert message.startswith("config field 'rope_scaling.short_factor' = [1.0, 1.0, 1.0, ")
    path = write(extra={"blk.0.attn_extra.weight": np.ones(7, np.float32)})
    message = refusal(lambda: open_model(str(path)))
    assert message == f"tensor 'blk.0.attn_extra.weight' in '{path}' is not used by family 'llama'"
    path = write(drop=("model.norm.weight",), extra={"output_norm.weight": np.ones(63, np.float32)})
    message = refusal(lambda: open_model(str(path)))
    assert message == f"tensor 'model.norm.weight' in '{path}' has shape 63, expected 64"


def test_not_a_number(write: Write) -> None:
    bad = np.full(64, np.nan, np.float32)
    path = write(drop=("model.norm.weight",), extra={"output_norm.weight": bad})
    model = open_model(str(path))
    message = refusal(lambda: model.weight("model.norm.weight"))
    assert message == f"tensor 'model.norm.weight' in '{path}' holds NaN or infinite values"


def test_unknown_architecture(write: Write) -> None:
    path = write("gemma2")
    message = refusal(lambda: open_model(str(path)))
    assert message.startswith(f"architecture 'gemma2' of '{path}' is not supported (supported: ")


def test_truncation_and_garbage(write: Write) -> None:
    path = write()
    whole = path.read_bytes()
    for n in [*range(0, 700, 9), *range(700, len(whole), 20011), len(whole) - 1]:
        path.write_bytes(whole[:n])
        message = refusal(lambda: open_model(str(path)))
        assert message.startswith(f"file '{path}' is "), message
    path.write_bytes(b"GGUF" + b"\xff" * 4096)
    assert "is truncated or corrupt" in refusal(lambda: open_model(str(path)))
    path.write_bytes(b"PK\3\4")
    assert refusal(lambda: open_model(str(path))).startswith(f"file '{path}' is no GGUF file")
    path.unlink()
    assert refusal(lambda: open_model(str(path))) == f"file '{path}' does not exist"
