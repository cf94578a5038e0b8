"""Mixtures of experts: the forms that checkpoints have, and Hugging Face at every position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from amk.errors import AmkError
from amk.frontends.hf.build import build_model
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.decoder import Experts
from amk.frontends.hf.experts import module_state
from amk.frontends.hf.presets import preset
from amk.frontends.hf.random_weights import RandomWeights
from amk.frontends.hf.reference import reference_greedy, reference_logits
from amk.frontends.hf.source import Model, open_model
from amk.interpreters.load import load_interpreter
from amk.ir.packs import F32
from amk.mlir import run_passes
from tests.unit.frontends.against import experts_used
from tests.unit.frontends.conftest import hf_model

TOKENS = np.random.default_rng(1).integers(0, 256, 56).tolist()
RING = "ring-kb=32 copy-kb=1 window-kb=4 consumers=4"
CASES: dict[str, dict[str, Any]] = {
    "mixtral": {},
    "all of three": {"num_local_experts": 3, "num_experts_per_tok": 3, "intermediate_size": 40},
    "one of five": {"num_local_experts": 5, "num_experts_per_tok": 1, "tie_word_embeddings": True},
}
FORMS = {"list": True, "stack": False}
"""Experts as a list of modules, as checkpoints have them, or as transformers' modules do."""


def saved(folder: Path, case: str, form: str = "list") -> Path:
    """A folder with a random model, in one of the two forms."""
    module = hf_model(preset("tiny-mixtral") | CASES[case])
    module.save_pretrained(folder, save_original_format=FORMS[form])
    return folder


def close(found: F32, expected: F32) -> None:
    """fp32 logits, relative to the largest of each position."""
    worst = np.abs(found - expected).max(axis=1) / np.abs(expected).max(axis=1)
    assert worst.max() < 1e-4, worst


@pytest.mark.parametrize("case", CASES)
def test_every_level_computes_what_hugging_face_does(case: str, tmp_path: Path) -> None:
    opened = open_model(str(saved(tmp_path, case)))
    module = build_model(opened.config, "fp32", 64)
    reference = load_interpreter(module.clone(), opened.weight)
    run_passes(f"fuse,to-task{{num-sms=5}},to-sched{{num-sms=5 {RING}}},to-vm", module)
    machine = load_interpreter(module, opened.weight)
    expected = reference_logits(opened, TOKENS)
    greedy = reference_greedy(opened, TOKENS[:5], 12)
    for decoder in (reference, machine):
        close(decoder.logits(TOKENS), expected)
        assert decoder.generate(TOKENS[:5], 12) == greedy
    used = experts_used(reference, TOKENS)
    assert opened.config.experts
    assert len(set[int]().union(*used)) == opened.config.experts.count, used


def test_unfused_levels_too(tmp_path: Path) -> None:
    opened = open_model(str(saved(tmp_path, "mixtral")))
    module = build_model(opened.config, "fp32", 64)
    run_passes(f"lower-unfused{{num-sms=5 sync=counters {RING}}}", module)
    machine = load_interpreter(module, opened.weight, seed=1)
    close(machine.logits(TOKENS[:6]), reference_logits(opened, TOKENS[:6]))


def test_both_forms_are_one_model(tmp_path: Path) -> None:
    one, other = (open_model(str(saved(tmp_path / form, "all of three", form))) for form in FORMS)
    assert one.tensors.keys() == other.tensors.keys()
    for name, info in one.tensors.items():
        assert other.tensors[name] == info
        np.testing.assert_array_equal(one.weight(name), other.weight(name))


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("mixtral-8x7b", 46.7),
        ("olmoe-1b-7b", 6.92),
        ("qwen3-30b-a3b", 30.53),
        ("gpt-oss-20b", 20.91),
    ],
)
def test_presets_have_the_published_size(name: str, billions: float) -> None:
    assert abs(parse_config(preset(name)).parameters / 1e9 - billions) < 0.01


@pytest.mark.parametrize("name", ["tiny-mixtral", "tiny-gpt-oss"])
def test_random_models_are_what_transformers_is_given(name: str) -> None:
    raw = preset(name)
    opened = Model("random", raw, RandomWeights(parse_config(raw), 1))
    assert isinstance(opened.checkpoint, RandomWeights)  # a GPU draws for itself
    decoder = load_interpreter(build_model(opened.config, "fp32", 64), opened.weight)
    close(decoder.logits(TOKENS), reference_logits(opened, TOKENS))


def test_module_state_puts_gate_before_up() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(12, 1)
    at = "l.mlp.experts."
    router = np.zeros((3, 1), np.float32)
    made = module_state(
        {
            "l.mlp.gate.weight": router,
            f"{at}gate_proj.weight": rows,
            f"{at}up_proj.weight": -rows,
            f"{at}down_proj.weight": rows,
        },
        Experts(3, 2, 4, True),
        np.concatenate,
    )
    assert made["l.mlp.experts.gate_up_proj"][1, :, 0].tolist() == [4, 5, 6, 7, -4, -5, -6, -7]
    assert made["l.mlp.experts.down_proj"].shape == (3, 4, 1)


LISTED = "model.layers.0.block_sparse_moe.experts."


class TestRefusals:
    def edited(self, folder: Path, change: dict[str, F32 | None], form: str = "list") -> str:
        """What opening a checkpoint says in which some tensors were changed, or dropped."""
        path = saved(folder, "mixtral", form) / "model.safetensors"
        tensors = {k: v for k, v in (load_file(path) | change).items() if v is not None}
        save_file(tensors, path, {"format": "pt"})
        with pytest.raises(AmkError) as refusal:
            open_model(str(folder))
        return str(refusal.value)

    def test_a_missing_expert(self, tmp_path: Path) -> None:
        message = self.edited(tmp_path, {f"{LISTED}3.w1.weight": None})
        stack = "model.layers.0.mlp.experts.gate_proj.weight"
        assert f"expert 3 of '{stack}' is missing from" in message

    def test_the_last_expert_missing(self, tmp_path: Path) -> None:
        message = self.edited(tmp_path, {f"{LISTED}7.w2.weight": None})
        assert "has shape 448x96, expected 512x96" in message

    def test_an_expert_too_many(self, tmp_path: Path) -> None:
        more: dict[str, F32 | None] = {f"{LISTED}8.w2.weight": np.zeros((64, 96), np.float32)}
        assert "has shape 576x96, expected 512x96" in self.edited(tmp_path, more)

    def test_an_expert_of_another_shape(self, tmp_path: Path) -> None:
        other: dict[str, F32 | None] = {f"{LISTED}1.w2.weight": np.zeros((64, 95), np.float32)}
        assert "differ in shape or type" in self.edited(tmp_path, other)

    def test_an_unknown_part_of_an_expert(self, tmp_path: Path) -> None:
        other: dict[str, F32 | None] = {f"{LISTED}0.w4.weight": np.zeros((64, 95), np.float32)}
        message = self.edited(tmp_path, other)
        assert "'model.layers.0.mlp.experts.w4.weight' in" in message and "not used" in message

    def test_experts_in_both_forms(self, tmp_path: Path) -> None:
        twice: dict[str, F32 | None] = {
            "model.layers.0.mlp.experts.0.down_proj.weight": np.zeros((64, 96), np.float32)
        }
        assert "in two forms" in self.edited(tmp_path, twice, "stack")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"num_experts_per_tok": 9}, "'num_experts_per_tok' = 9 must not exceed the 8 experts"),
            ({"num_experts_per_tok": 0}, "'num_experts_per_tok' = 0 must be a positive integer"),
            ({"num_local_experts": "8"}, "'num_local_experts' = \"8\" must be a positive"),
            ({"sliding_window": 0}, "'sliding_window' = 0 must be a positive integer"),
            ({"num_experts": 7}, "'num_experts' = 7 contradicts 'num_local_experts' = 8"),
            ({"hidden_act": "gelu"}, "'hidden_act' = \"gelu\" is not supported"),
            ({"shared_expert_intermediate_size": 8}, "'shared_expert_intermediate_size' = 8"),
        ],
    )
    def test_fields(self, changes: dict[str, object], message: str) -> None:
        with pytest.raises(AmkError, match=message):
            parse_config(preset("tiny-mixtral") | changes)
