"""gpt-oss: experts with biases and bounded gates, sinks, windows, YaRN, weights in MXFP4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from amk.errors import AmkError
from amk.frontends.hf.experts import dequantized
from amk.frontends.hf.source import open_model
from tests.unit.frontends.against import LEVELS, check_experts, errors, prompt, save_random

YARN: dict[str, Any] = {
    "rope_type": "yarn", "factor": 4.0, "beta_fast": 4.0, "beta_slow": 1.0, "truncate": False,
    "original_max_position_embeddings": 16,
}  # fmt: skip
SMALL: dict[str, Any] = {
    "num_local_experts": 5, "num_experts_per_tok": 2, "head_dim": 8, "sliding_window": 5,
    "rope_scaling": YARN, "rope_theta": 100.0,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "plain": SMALL,
    "tight bounds": SMALL | {"swiglu_limit": 0.4, "swiglu_alpha": 2.5},
    "no biases of attention, tied": SMALL
    | {"attention_bias": False, "tie_word_embeddings": True, "num_key_value_heads": 4},
    "listed layers": SMALL
    | {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
    "one of four, whole bounds": SMALL
    | {"num_local_experts": 4, "num_experts_per_tok": 1, "rope_scaling": YARN | {"truncate": True}},
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_logits_and_tokens(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    check_experts(tmp_path, level, "gpt_oss", **changes)


def quantize(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Gives a checkpoint random experts in MXFP4; returns its tensors."""
    model = open_model(str(folder))
    rng = np.random.default_rng(seed)
    held: dict[str, Any] = dict(file_tensors(folder))
    for name in [n for n in held if n.endswith("_proj") and ".experts." in n]:
        count, columns, rows = held.pop(name).shape
        blocks = rng.integers(0, 256, (count, rows, columns // 32, 16), dtype=np.uint8)
        held[f"{name}_blocks"] = blocks
        held[f"{name}_scales"] = rng.integers(121, 127, blocks.shape[:3], dtype=np.uint8)
    assert model.config.experts
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    return held


def file_tensors(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


MXFP4: dict[str, Any] = SMALL | {"hidden_size": 64, "intermediate_size": 32}


def test_mxfp4_is_what_transformers_makes_of_it(tmp_path: Path) -> None:
    """Its own dequantization, in its own module."""
    module = save_random(tmp_path, "gpt_oss", **MXFP4)
    held = quantize(tmp_path)
    state = module.state_dict()
    convert: Any = convert_moe_packed_tensors
    for name in [n for n in held if n.endswith("_blocks")]:
        at = name.removesuffix("_blocks")
        blocks, scales = (torch.from_numpy(held[at + end]) for end in ("_blocks", "_scales"))
        state[at] = convert(blocks, scales, dtype=torch.float32)
        assert state[at].abs().max() > 1
        np.testing.assert_array_equal(
            dequantized(blocks.numpy(), scales.numpy()).swapaxes(1, 2), state[at].numpy()
        )
    module.load_state_dict(state)
    model = open_model(str(tmp_path))
    assert {t.dtype for n, t in model.tensors.items() if "proj.weight" in n} == {"f32", "bf16"}
    ids = prompt(model)
    with torch.inference_mode():
        expected = module(torch.tensor([ids]), use_cache=False).logits[0].numpy()
    assert errors(model_logits(model, ids), expected).max() < 2e-5
    reference = model.reference()
    with torch.inference_mode():
        found = reference(torch.tensor([ids]), use_cache=False).logits[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def model_logits(model: Any, ids: list[int]) -> Any:
    from amk.frontends.hf.build import build_model
    from amk.interpreters.load import load_interpreter

    return load_interpreter(build_model(model.config, "fp32", len(ids)), model.weight).logits(ids)


def test_blocks_without_scales_are_refused(tmp_path: Path) -> None:
    save_random(tmp_path, "gpt_oss", **MXFP4)
    held = quantize(tmp_path)
    name = "model.layers.1.mlp.experts.down_proj"
    held.pop(f"{name}_scales")
    save_file(held, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(AmkError, match=f"'{name}_blocks' in .* has no scales of its shape"):
        open_model(str(tmp_path))


def test_another_quantization_is_refused(tmp_path: Path) -> None:
    save_random(tmp_path, "gpt_oss", **SMALL)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(AmkError, match="'quantization_config' = .*gptq.* is not"):
        open_model(str(tmp_path))
