"""Hugging Face, the model, its tasks and its instructions compute the same, on random small models.

Each example draws a config (sizes that are no round numbers, biases, tied or not, grouped queries,
heads that are not hidden / heads wide), a machine (SMs, splits of attention) and a pipeline (fused
or not, flags or counters), and compares logits at every position of a prompt.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from amk.frontends.hf.build import build_model
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.presets import LLAMA
from amk.frontends.hf.random_weights import RandomWeights
from amk.frontends.hf.reference import reference_logits
from amk.frontends.hf.source import Model
from amk.interpreters.load import load_interpreter
from amk.ir.kernels import ceil_div
from amk.ir.packs import F32
from amk.ir.program import SLOT_ROWS
from tests.unit.stages import stages

ROWS = 24
"""Rows of the KV caches, and the longest prompt."""
TOLERANCE = 1e-5
"""Largest error of fp32 logits, relative to the largest logit of the position: sums in another
order."""
BF16_TOLERANCE = 0.02
"""The same in bf16: 8 bits of mantissa (a relative error of 0.4 % each time that a value is
rounded), a few roundings a layer, and fused programs round less often than the model does."""

PROJECTION_BIAS = {
    "none": {},
    "llama": {"attention_bias": True, "mlp_bias": True},
    "llama-mlp": {"mlp_bias": True},
}


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """A config.json of the Llama or the Qwen2 family."""
    kv_heads = draw(st.integers(1, 3))
    heads = kv_heads * draw(st.sampled_from([1, 2, 3]))
    raw: dict[str, Any] = {
        **LLAMA,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "hidden_size": heads * draw(st.sampled_from([2, 6, 10, 18])),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": draw(st.sampled_from([2, 4, 6, 8, 16])),
        "intermediate_size": draw(st.sampled_from([7, 20, 56, 90])),
        "vocab_size": draw(st.sampled_from([17, 51, 64, 103, 200])),
        "max_position_embeddings": 32,
        "rope_theta": draw(st.sampled_from([100.0, 10000.0])),
        "tie_word_embeddings": draw(st.booleans()),
    }
    kind = draw(st.sampled_from([*PROJECTION_BIAS, "qwen2"]))
    if kind == "qwen2":
        raw |= {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
        raw |= {"use_sliding_window": False}
        del raw["attention_bias"]
        del raw["mlp_bias"]
        return raw
    return raw | PROJECTION_BIAS[kind]


@st.composite
def mixtures(draw: st.DrawFn) -> dict[str, Any]:
    """A config.json of a family with experts."""
    raw = {k: v for k, v in draw(configs()).items() if k not in ("attention_bias", "mlp_bias")}
    raw = {k: v for k, v in raw.items() if k != "use_sliding_window"}
    experts = draw(st.integers(1, 7))
    choices = draw(st.integers(1, experts))
    raw |= {"num_experts_per_tok": choices}
    match draw(st.sampled_from(["mixtral", "olmoe", "qwen3_moe"])):
        case "mixtral":
            raw |= {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}
            return raw | {"num_local_experts": experts}
        case "olmoe":
            raw |= {"model_type": "olmoe", "architectures": ["OlmoeForCausalLM"]}
            heads = raw["num_attention_heads"]
            raw |= {"head_dim": 8, "hidden_size": 8 * heads}  # its norms are as wide as the model
        case _:
            raw |= {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"]}
            raw |= {"moe_intermediate_size": draw(st.sampled_from([6, 9, 24]))}
    return raw | {"num_experts": experts, "norm_topk_prob": draw(st.booleans())}


def machines(vocab: int) -> list[int]:
    """Numbers of SMs for which the head, cut into one tile an SM, is tiles enough for all."""
    slots = ceil_div(vocab, SLOT_ROWS)
    return [sms for sms in range(1, 6) if ceil_div(slots, ceil_div(slots, sms)) == sms]


@st.composite
def cases(
    draw: st.DrawFn, raws: st.SearchStrategy[dict[str, Any]]
) -> tuple[dict[str, Any], list[str]]:
    """A config and pipelines from model to vm; the machine is small enough that most phases share
    out unevenly, and the splits of attention are short enough that several are active."""
    raw = draw(raws)
    sms = draw(st.sampled_from(machines(raw["vocab_size"])))
    sync = draw(st.sampled_from(["flags", "counters"]))
    splits = draw(st.integers(1, 4))
    chunk = draw(st.sampled_from([1, 2, 3, 5]))
    fuse = ["fuse"] if draw(st.booleans()) else []
    cut = f"num-sms={sms} sync={sync} splits={splits} chunk={chunk}"
    period = draw(st.sampled_from([0, 1, 2]))
    return raw, [*fuse, f"to-task{{{cut}}}", f"to-sched{{num-sms={sms} period={period}}}", "to-vm"]


def opened(raw: dict[str, Any], seed: int) -> Model:
    return Model(f"random,{seed}", raw, RandomWeights(parse_config(raw), seed))


def close(found: F32, expected: F32, tolerance: float) -> None:
    """Errors at each position are small against the largest logit there."""
    assert found.shape == expected.shape
    worst = np.abs(found - expected).max(axis=1) / np.abs(expected).max(axis=1)
    assert (worst < tolerance).all(), (int(worst.argmax()), float(worst.max()))


def prompt_of(vocab: int, length: int, seed: int) -> list[int]:
    return np.random.default_rng([seed, length]).integers(0, vocab, length).tolist()


LENGTHS = st.sampled_from([1, 2, 7, 13])
SEEDS = st.integers(0, 2**16)
MORE = settings.get_current_profile_name() == "slow"
"""Asked for by `pytest --hypothesis-profile slow`."""
EXAMPLES = settings(max_examples=settings().max_examples if MORE else 40)


@EXAMPLES
@given(cases(configs() | mixtures()), LENGTHS, SEEDS)
def test_levels_compute_what_hugging_face_computes(
    case: tuple[dict[str, Any], list[str]], length: int, seed: int
) -> None:
    raw, pipeline = case
    model = opened(raw, seed)
    ids = prompt_of(model.config.vocab, length, seed)
    expected = reference_logits(model, ids)
    made = stages(build_model(model.config, "fp32", ROWS), pipeline)
    for module in made:
        close(load_interpreter(module, model.weight).logits(ids), expected, TOLERANCE)
    task, vm = made[-3], made[-1]
    close(load_interpreter(task, model.weight, seed=seed).logits(ids), expected, TOLERANCE)
    greedy = load_interpreter(vm, model.weight, check=True).logits(ids)
    mixed = load_interpreter(vm, model.weight, seed=seed).logits(ids)
    np.testing.assert_array_equal(mixed, greedy)


@EXAMPLES
@given(cases(configs()), LENGTHS, SEEDS)
def test_levels_agree_in_bf16(
    case: tuple[dict[str, Any], list[str]], length: int, seed: int
) -> None:
    raw, pipeline = case
    # Two bf16 share a word, so an odd number of them is refused (E4).
    model = opened(raw | {"intermediate_size": raw["intermediate_size"] // 2 * 2}, seed)
    ids = prompt_of(model.config.vocab, length, seed)
    plain, *lowered = stages(build_model(model.config, "bf16", ROWS), pipeline)
    expected = load_interpreter(plain, model.weight).logits(ids)
    task, sched, vm = (load_interpreter(m, model.weight) for m in lowered[-3:])
    found = task.logits(ids)
    close(found, expected, BF16_TOLERANCE)
    np.testing.assert_array_equal(sched.logits(ids), found)
    np.testing.assert_array_equal(vm.logits(ids), found)
    # Several steps in one launch: the token goes from one to the next on the device.
    assert vm.generate(ids[:2], 8, steps=3) == task.generate(ids[:2], 8)
