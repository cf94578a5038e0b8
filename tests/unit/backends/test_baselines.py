"""The baselines compute the model: none is faster or slower for being wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amk.backends.cuda.baselines import Decode, Generate, Reference, Weights, hugging_face
from amk.backends.cuda.fidelity import relative_error
from amk.backends.cuda.streamed import StreamedReference
from amk.errors import AmkError
from amk.frontends.hf.reference import reference_greedy, reference_logits
from amk.frontends.hf.source import Model, open_model

PROMPT = [3, 17, 5, 5, 30, 2, 11]


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model("random:tiny")


@pytest.fixture(scope="module")
def tensors(model: Model) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(model.weight(name)) for name in model.tensors}


@pytest.fixture
def reference(model: Model, tensors: dict[str, torch.Tensor]) -> Reference:
    return Reference(model.raw, tensors)


def test_the_reference_follows_a_prompt_and_forgets_what_followed(
    model: Model, reference: Reference
) -> None:
    last = reference.feed(PROMPT)
    assert relative_error(last[0], reference_logits(model, PROMPT)[-1]) < 1e-5
    for _ in range(2):
        got = reference.follow([9, 8, 7])
        want = reference_logits(model, [*PROMPT, 9, 8, 7])[-3:]
        assert max(relative_error(a, b) for a, b in zip(got, want, strict=True)) < 1e-5


@pytest.mark.parametrize(
    "name", ["tiny", "tiny-mixtral", "tiny-qwen3-moe", "tiny-gpt-oss", "pythia-160m"]
)
def test_a_streamed_reference_is_the_same(name: str) -> None:
    model = open_model(f"random:{name}")
    tensors = {n: torch.from_numpy(model.weight(n)).bfloat16() for n in model.tensors}
    both = [made(model.raw, tensors) for made in (Reference, StreamedReference)]
    for keep in (1, 3):
        want, got = (reference.feed(PROMPT, keep) for reference in both)
        assert want.shape == got.shape and relative_error(got, want) < 1e-5
    for _ in range(2):
        want, got = (reference.follow([9, 8, 7]) for reference in both)
        assert want.shape == got.shape and relative_error(got, want) < 1e-5
    rough = StreamedReference(model.raw, tensors, torch.bfloat16).feed(PROMPT, 3)
    assert 1e-4 < relative_error(rough, both[0].feed(PROMPT, 3)) < 0.1
    assert all(p.is_meta for p in both[1].module.get_submodule(model.config.at(0)).parameters())
    with pytest.raises(AmkError, match="^--baselines: the GPU has too little memory"):
        both[1].rows(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_plain_pytorch_decodes_as_the_model_does(
    model: Model, tensors: dict[str, torch.Tensor], reference: Reference, dtype: torch.dtype
) -> None:
    first = int(reference.feed(PROMPT)[0].argmax())
    decode = Decode(
        model.config, Weights(model.config, {n: t.to(dtype) for n, t in tensors.items()}), reference
    )
    decode.prepare(PROMPT, first, 6)
    tokens = decode.run().tokens
    assert tokens == decode.run().tokens
    if dtype == torch.float32:
        assert [first, *tokens] == reference_greedy(model, PROMPT, 7)
    want = reference.follow([first, *tokens[:-1]])
    limit = 1e-5 if dtype == torch.float32 else 3e-2
    assert relative_error(decode.logits(), want[-1]) < limit


def test_a_wrong_rotation_is_seen(
    model: Model, tensors: dict[str, torch.Tensor], reference: Reference
) -> None:
    first = int(reference.feed(PROMPT)[0].argmax())
    decode = Decode(model.config, Weights(model.config, tensors), reference)
    decode.prepare(PROMPT, first, 6)
    decode.sin.neg_()
    tokens = decode.run().tokens
    want = reference.follow([first, *tokens[:-1]])
    assert relative_error(decode.logits(), want[-1]) > 3e-2


def test_generate_continues_a_filled_cache(
    model: Model, tensors: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    system = Generate(hugging_face(model.raw, tensors, torch.float32))
    want = reference_greedy(model, PROMPT, 7)
    system.prepare(PROMPT, want[0], 6)
    for _ in range(2):
        assert system.run().tokens == want[1:]
    logits = reference_logits(model, [*PROMPT, *want[:6]])[-1]
    assert relative_error(system.logits(), np.asarray(logits)) < 1e-5
