"""The oracle, and that configs and weights of this frontend mean to it what they mean to us.

`decoder` is the mathematics of the model in float64, from `DecoderConfig` and `Model.weight` alone:
if a bias, a scale, an epsilon or a frequency were read wrongly, it would part from Hugging Face.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amk.dialects.model import ProgramOp
from amk.errors import AmkError
from amk.frontends.hf.build import build_model
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.decoder import tensor_shapes
from amk.frontends.hf.presets import preset
from amk.frontends.hf.random_weights import RandomWeights
from amk.frontends.hf.reference import perplexity, reference_greedy, reference_logits
from amk.frontends.hf.source import Model, open_model
from amk.interpreters.model import ModelInterpreter

F64 = NDArray[np.float64]
TEXT = "The capital of France is"


def decoder(model: Model, tokens: list[int]) -> F64:
    """Logits [len(tokens), vocab]."""
    c, n = model.config, len(tokens)

    def weight(name: str) -> F64:
        return model.weight(name).astype(np.float64)

    def linear(x: F64, name: str, bias: bool) -> F64:
        return x @ weight(f"{name}.weight").T + (weight(f"{name}.bias") if bias else 0)

    def norm(x: F64, name: str) -> F64:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + c.eps) * weight(f"{name}.weight")

    angles = np.arange(n)[:, None] * np.tile(np.array(c.inv_freq), 2)
    cos, sin = np.cos(angles) * c.rope_scale, np.sin(angles) * c.rope_scale

    def heads(x: F64) -> F64:
        return x.reshape(n, -1, c.head_dim).swapaxes(0, 1)

    def rotate(x: F64) -> F64:
        half = c.head_dim // 2
        return x * cos + np.concatenate([-x[..., half:], x[..., :half]], -1) * sin

    mask = np.where(np.tri(n, dtype=bool), 0, -np.inf)
    h = weight("model.embed_tokens.weight")[tokens]
    for i in range(c.layers):
        at = f"model.layers.{i}"
        x = norm(h, f"{at}.input_layernorm")
        q, k, v = (heads(linear(x, f"{at}.self_attn.{p}_proj", c.qkv_bias)) for p in "qkv")
        q, k = rotate(q), rotate(k)
        k, v = (np.repeat(t, c.heads // c.kv_heads, 0) for t in (k, v))
        scores = q @ k.swapaxes(1, 2) * c.attention_scale + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        y = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(n, -1)
        h = h + linear(y, f"{at}.self_attn.o_proj", c.o_bias)
        x = norm(h, f"{at}.post_attention_layernorm")
        gate = linear(x, f"{at}.mlp.gate_proj", c.mlp_bias)
        gate = gate / (1 + np.exp(-gate)) * linear(x, f"{at}.mlp.up_proj", c.mlp_bias)
        h = h + linear(gate, f"{at}.mlp.down_proj", c.mlp_bias)
    return norm(h, "model.norm") @ weight(c.head_weight).T


MISTRAL: dict[str, Any] = {
    "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None,
}  # fmt: skip
QWEN2: dict[str, Any] = {
    "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": False,
    "sliding_window": 16, "max_window_layers": 0,
}  # fmt: skip
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "untied": {"tie_word_embeddings": False},
    "attention bias": {"attention_bias": True},
    "mlp bias": {"mlp_bias": True},
    "head_dim": {"head_dim": 24},
    "one kv head": {"num_key_value_heads": 1, "hidden_size": 52, "head_dim": 12},
    "no grouping": {"num_key_value_heads": 4, "vocab_size": 101},
    "linear rope": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "llama3 rope": {"rope_scaling": LLAMA3, "rope_theta": 500.0},
    "eps": {"rms_norm_eps": 0.1},
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "qwen2 untied": QWEN2 | {"tie_word_embeddings": False, "rms_norm_eps": 1e-6},
}


def open_saved(case: str, save_model: Callable[..., Path]) -> Model:
    """A model of a case, from a folder that transformers wrote."""
    raw = CASES[case]
    drop = ("attention_bias",) if raw.get("model_type") == "qwen2" else ()
    return open_model(str(save_model(drop=drop, **raw)))


@pytest.mark.parametrize("case", CASES)
def test_config_and_weights_mean_the_same_to_hugging_face(
    case: str, save_model: Callable[..., Path]
) -> None:
    """At every position of 120 tokens; folders that transformers wrote and reads itself."""
    model = open_saved(case, save_model)
    tokens = np.random.default_rng(5).integers(0, model.config.vocab, 120).tolist()
    theirs, ours = reference_logits(model, tokens), decoder(model, tokens)
    error = np.abs(theirs - ours).max(-1) / np.abs(ours).max(-1)
    assert error.max() < 1e-5
    assert np.array_equal(theirs.argmax(-1), ours.argmax(-1))


@pytest.mark.parametrize("case", CASES)
def test_model_ir_computes_what_hugging_face_computes(
    case: str, save_model: Callable[..., Path]
) -> None:
    """The interpreter of model IR, step by step, against one pass of transformers."""
    model = open_saved(case, save_model)
    tokens = np.random.default_rng(6).integers(0, model.config.vocab, 40).tolist()
    program = build_model(model.config, "fp32", len(tokens)).body.block.first_op
    assert isinstance(program, ProgramOp)
    interpreter = ModelInterpreter(program, model.weight)
    theirs = reference_logits(model, tokens)
    for pos, token in enumerate(tokens):
        _, ours = interpreter.step(token, pos)
        assert ours is not None
        assert np.abs(theirs[pos] - ours).max() < 1e-4 * np.abs(theirs[pos]).max()
        assert ours.argmax() == theirs[pos].argmax()


def test_a_wrong_description_is_noticed(save_model: Callable[..., Path]) -> None:
    """The comparison above is sharp: it sees a scale, an epsilon and a frequency."""
    from dataclasses import replace

    model = open_model(str(save_model()))
    tokens = list(range(120))
    theirs, right = reference_logits(model, tokens), model.config
    inv = right.inv_freq
    for wrong in (
        replace(right, eps=right.eps * 100),
        replace(right, inv_freq=(*inv[:-1], inv[-1] * 1.01)),
        replace(right, rope_scale=1.001),
        replace(right, heads=2, kv_heads=1, head_dim=32, inv_freq=inv * 2),
    ):
        model.config = wrong
        ours = decoder(model, tokens)
        assert np.abs(theirs - ours).max() / np.abs(ours).max() > 1e-5


def test_random_models_are_their_own_oracle() -> None:
    """Weights made here, arithmetic by transformers."""
    model = open_model("random:tiny,3")
    tokens = list(range(100, 160))
    ours, theirs = decoder(model, tokens), reference_logits(model, tokens)
    assert np.abs(theirs - ours).max() / np.abs(ours).max() < 1e-5
    state = model.reference().state_dict()
    assert all(np.array_equal(model.weight(n), state[n].numpy()) for n in model.tensors)
    bf16 = reference_logits(model, tokens, "bf16")
    assert np.array_equal(bf16, theirs), "the weights of random models are exact in bf16"


def test_the_oracle_leaves_the_presets_alone() -> None:
    """transformers writes into the `rope_scaling` that it is given."""
    before = preset("llama-3.2-1b")
    small = {"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 32, "vocab_size": 64}
    raw = preset("llama-3.2-1b") | small | {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = Model("small", raw, RandomWeights(parse_config(raw)))
    copy = str(raw)
    model.reference()
    assert str(raw) == copy and preset("llama-3.2-1b") == before


def test_greedy_is_the_argmax_of_logits() -> None:
    model = open_model("random:tiny")
    prompt = [3, 1, 4, 1, 5]
    tokens = reference_greedy(model, prompt, 20)
    logits = reference_logits(model, prompt + tokens)
    assert tokens == logits.argmax(-1)[len(prompt) - 1 : -1].tolist()
    assert len(set(tokens)) > 1
    stop = tokens[3]
    assert reference_greedy(model, prompt, 20, stop=[stop])[-1] == stop
    assert len(reference_greedy(model, prompt, 20, stop=[stop])) == tokens.index(stop) + 1
    assert reference_greedy(model, prompt, 0) == []


def test_bad_prompts() -> None:
    model = open_model("random:tiny")
    for act, message in (
        (lambda: reference_logits(model, []), "prompt is empty"),
        (
            lambda: reference_greedy(model, [256], 1),
            "token id 256 is outside the vocabulary of 256",
        ),
        (
            lambda: reference_greedy(model, [1], 512),
            "context of 513 tokens exceeds the limit of 512",
        ),
    ):
        with pytest.raises(AmkError, match=message):
            act()


def test_perplexity() -> None:
    uniform = np.zeros((5, 16), np.float32)
    assert perplexity(uniform, [0, 3, 7, 15, 2]) == pytest.approx(16)
    sure = np.full((3, 4), -1e4, np.float32)
    sure[0, 2] = sure[1, 1] = 0
    assert perplexity(sure, [0, 2, 1]) == pytest.approx(1)
    rng = np.random.default_rng(0)
    logits, tokens = rng.normal(size=(9, 7)).astype(np.float32), rng.integers(0, 7, 9).tolist()
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    wanted = math.exp(-np.mean([math.log(p[i, t]) for i, t in enumerate(tokens[1:])]))
    assert perplexity(logits, tokens) == pytest.approx(wanted)
    with pytest.raises(AmkError, match="perplexity needs 2 or more tokens"):
        perplexity(uniform[:1], [3])


@pytest.fixture(scope="module")
def smollm2() -> Model:
    """The default model; skips where it is neither cached nor to be had."""
    try:
        return open_model("smollm2")
    except AmkError as e:
        if "cannot be fetched" in str(e):
            pytest.skip(str(e))
        raise


@pytest.mark.slow
def test_smollm2_says_paris(smollm2: Model) -> None:
    c = smollm2.config
    assert (c.layers, c.hidden, c.heads, c.kv_heads, c.vocab) == (30, 576, 9, 3, 49152)
    assert c.tied and c.eos == (2,) and c.parameters == 134_515_008
    tokenizer = smollm2.tokenizer()
    ids = tokenizer.encode(TEXT)
    assert ids == [504, 3575, 282, 4649, 314]
    assert tokenizer.decode(reference_greedy(smollm2, ids, 2)) == " Paris."


@pytest.mark.slow
def test_smollm2_weights_are_those_of_transformers(smollm2: Model) -> None:
    state = smollm2.reference().state_dict()
    assert len(smollm2.tensors) == 272
    for name in smollm2.tensors:
        assert np.array_equal(smollm2.weight(name), state[name].numpy()), name


@pytest.mark.slow
def test_smollm2_decoder(smollm2: Model) -> None:
    """Real weights, real text: row order of q and k, frequencies and scales are right."""
    ids = smollm2.tokenizer().encode(TEXT + " Paris, and the capital of Italy is")
    ours, theirs = decoder(smollm2, ids), reference_logits(smollm2, ids)
    assert np.abs(theirs - ours).max() / np.abs(ours).max() < 1e-4
    assert np.array_equal(theirs.argmax(-1), ours.argmax(-1))


def test_presets_can_be_built_by_transformers() -> None:
    """The shapes that transformers derives from a preset are the tensors that we expect."""
    import torch
    import transformers

    for name in ("llama-3.2-1b", "mistral-7b", "qwen2.5-0.5b"):
        raw = preset(name) | {"num_hidden_layers": 2}
        expected = tensor_shapes(parse_config(raw))
        config: Any = transformers.AutoConfig.for_model(str(raw.pop("model_type")), **raw)
        with torch.device("meta"):
            theirs: Any = transformers.AutoModelForCausalLM.from_config(config)
        assert {k: tuple(p.shape) for k, p in theirs.named_parameters()} == expected
