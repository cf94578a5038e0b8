"""Folders of safetensors: read as transformers reads them; damage is one line with the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from amk.errors import AmkError
from amk.frontends.hf.safetensors_file import SafetensorsFile
from amk.frontends.hf.source import Model, open_model
from amk.ir.packs import round_bf16
from tests.unit.refusal import refusal

SaveModel = Callable[..., Path]
Q = "model.layers.1.self_attn.q_proj.weight"


def assert_equal(model: Model, state: dict[str, Any]) -> None:
    """Every tensor is what transformers has under its name."""
    for name, (shape, _) in model.tensors.items():
        got = model.weight(name)
        assert got.shape == shape and got.dtype == np.float32 and got.flags.c_contiguous
        assert np.array_equal(got, state[name].float().numpy()), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_one_file(save_model: SaveModel, dtype: str) -> None:
    folder = save_model(dtype=dtype)
    model = open_model(str(folder))
    ours = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[dtype]
    assert {t.dtype for t in model.tensors.values()} == {ours}
    assert (model.name, model.config.layers, model.config.tied) == ("tiny", 2, True)
    assert_equal(model, load_file(folder / "model.safetensors"))


def test_shards(save_model: SaveModel) -> None:
    folder = save_model(shards=True, tie_word_embeddings=False)
    shards = list(folder.glob("model-*.safetensors"))
    assert len(shards) > 2 and not (folder / "model.safetensors").exists()
    state = {k: v for s in shards for k, v in load_file(s).items()}
    model = open_model(str(folder))
    assert "lm_head.weight" in model.tensors
    assert_equal(model, state)


def test_reference_reads_the_same_weights(save_model: SaveModel) -> None:
    model = open_model(str(save_model(dtype="bfloat16")))
    state = model.reference().state_dict()
    assert_equal(model, state)
    assert state[Q].dtype == torch.float32


def test_reference_rounds_its_weights(save_model: SaveModel) -> None:
    model = open_model(str(save_model()))
    rounded = model.reference("bf16").state_dict()[Q].numpy()
    assert np.array_equal(rounded, round_bf16(model.weight(Q)))
    assert not np.array_equal(rounded, model.weight(Q))
    assert model.reference("bf16") is model.reference("bf16")
    assert refusal(lambda: model.reference("fp8")).startswith("element type 'fp8' is not supported")


def test_end_tokens_of_the_generation_config_count(save_model: SaveModel) -> None:
    folder = save_model()
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 77]}')
    assert open_model(str(folder)).config.eos == (2, 77)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the tensors of a folder's model.safetensors."""
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def test_missing_tensors(save_model: SaveModel) -> None:
    folder = save_model()
    rewrite(folder, lambda s: s.pop(Q))
    assert refusal(lambda: open_model(str(folder))) == f"tensor '{Q}' is missing from '{folder}'"
    rewrite(folder, lambda s: s.pop("model.norm.weight"))
    message = refusal(lambda: open_model(str(folder)))
    assert message == f"tensor '{Q}' and 1 more is missing from '{folder}'"


def test_extra_tensor(save_model: SaveModel) -> None:
    folder = save_model()
    rewrite(folder, lambda s: s.update({"model.layers.0.self_attn.q_norm.weight": torch.ones(16)}))
    message = refusal(lambda: open_model(str(folder)))
    assert message == (
        f"tensor 'model.layers.0.self_attn.q_norm.weight' in '{folder}' "
        "is not used by family 'llama'"
    )


def test_stored_frequencies_and_a_copy_of_the_embedding_are_ignored(save_model: SaveModel) -> None:
    folder = save_model()

    def add(state: dict[str, Any]) -> None:
        state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
        state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()

    rewrite(folder, add)
    assert open_model(str(folder)).config.tied

    rewrite(folder, lambda s: s["lm_head.weight"].mul_(2))
    message = refusal(lambda: open_model(str(folder)))
    assert message.startswith(f"tensor 'lm_head.weight' in '{folder}' differs from the embedding")


def test_wrong_shape(save_model: SaveModel, edit_config: Callable[..., None]) -> None:
    folder = save_model()
    edit_config(folder, intermediate_size=161)
    assert refusal(lambda: open_model(str(folder))) == (
        f"tensor 'model.layers.0.mlp.gate_proj.weight' in '{folder}' "
        "has shape 160x64, expected 161x64"
    )


def test_wrong_type(save_model: SaveModel) -> None:
    folder = save_model()
    rewrite(folder, lambda s: s.update({Q: s[Q].to(torch.int8)}))
    message = refusal(lambda: open_model(str(folder)))
    assert message == f"tensor '{Q}' in '{folder}' has type I8, expected F32, BF16, F16"


def test_type_that_is_not_read_at_all(save_model: SaveModel) -> None:
    folder = save_model()
    rewrite(folder, lambda s: s.update({Q: s[Q].to(torch.float8_e4m3fn)}))
    message = refusal(lambda: open_model(str(folder)))
    assert message == (
        f"tensor '{Q}' in '{folder / 'model.safetensors'}' has type F8_E4M3, "
        "expected F32, BF16, F16"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number(save_model: SaveModel, value: float) -> None:
    folder = save_model()
    rewrite(folder, lambda s: s[Q][3].fill_(value))
    model = open_model(str(folder))
    model.weight("model.norm.weight")
    message = refusal(lambda: model.weight(Q))
    assert message == f"tensor '{Q}' in '{folder}' holds NaN or infinite values"


def test_unknown_name(save_model: SaveModel) -> None:
    folder = save_model()
    model = open_model(str(folder))
    assert refusal(lambda: model.weight("x")) == f"tensor 'x' is missing from '{folder}'"


def test_half_downloaded_shards(save_model: SaveModel) -> None:
    folder = save_model(shards=True)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    message = refusal(lambda: open_model(str(folder)))
    assert message.startswith(f"file '{shard}' is no complete safetensors file: it has ")
    shard.unlink()
    assert refusal(lambda: open_model(str(folder))) == f"file '{shard}' does not exist"


def test_index_and_shards_disagree(save_model: SaveModel) -> None:
    folder = save_model(shards=True)
    index = folder / "model.safetensors.index.json"
    good = json.loads(index.read_text())
    places: dict[str, str] = good["weight_map"]
    wrong = next(s for s in places.values() if s != places[Q])
    for change, message in (
        ({Q: wrong}, f"tensor '{Q}' is missing from '{folder / wrong}'"),
        ({"x": wrong}, f"tensor 'x' is missing from '{folder / wrong}'"),
        ({Q: "../x.safetensors"}, f"file '{index}' names '../x.safetensors', which is no shard"),
        ({Q: "evil.py"}, f"file '{index}' names 'evil.py', which is no shard"),
    ):
        index.write_text(json.dumps({"weight_map": places | change}))
        assert refusal(lambda: open_model(str(folder))).startswith(message)
    index.write_text(json.dumps({"weight_map": {k: v for k, v in places.items() if k != Q}}))
    assert refusal(lambda: open_model(str(folder))) == f"tensor '{Q}' is missing from '{index}'"
    index.write_text("{}")
    assert refusal(lambda: open_model(str(folder))) == f"file '{index}' has no weight_map"


def test_pickles_and_adapters(save_model: SaveModel) -> None:
    folder = save_model()
    (folder / "model.safetensors").unlink()
    message = refusal(lambda: open_model(str(folder)))
    assert message == f"folder '{folder}' has no model.safetensors"
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    message = refusal(lambda: open_model(str(folder)))
    assert message.startswith(f"file '{folder / 'pytorch_model.bin'}' is a pickle, which can run")
    (folder / "adapter_config.json").write_text("{}")
    assert refusal(lambda: open_model(str(folder))).startswith(
        f"folder '{folder}' holds an adapter"
    )


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.arange(6.0), "b": torch.ones(2, 3)}, path)
    whole = path.read_bytes()
    assert SafetensorsFile(path).read("a").tolist() == [0, 1, 2, 3, 4, 5]
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        assert "is no complete safetensors file" in refusal(lambda: SafetensorsFile(path))
    path.write_bytes(whole + b"\0")
    assert "is no complete safetensors file" in refusal(lambda: SafetensorsFile(path))


HEADERS: list[object] = [
    [],
    {"a": 3},
    {"a": {"dtype": "F32", "shape": [1]}},
    {"a": {"dtype": "F32", "shape": 4, "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}},
    {"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
    {
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    },
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_malformed_headers(tmp_path: Path, header: object) -> None:
    path = tmp_path / "x.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    assert "is no complete safetensors file: its " in refusal(lambda: SafetensorsFile(path))


@given(st.binary(max_size=64), st.integers(0, 200))
def test_garbage_never_escapes_as_another_error(data: bytes, at: int) -> None:
    """Any overwritten stretch of a file is read, or refused in one line."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        save_file({"a": torch.arange(6.0), "b": torch.ones(2, 3)}, path)
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + data + whole[at + len(data) :])
        try:
            file = SafetensorsFile(path)
            for name in file.tensors:
                file.read(name)
        except AmkError as e:
            assert "\n" not in str(e)
