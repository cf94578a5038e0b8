"""The product's command line: what it prints, and how it refuses bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from amk.frontends.hf.presets import preset
from amk.frontends.hf.source import open_model
from tests.unit.tools.shell import BIN, refusal, run

TINY = "random:tiny"
ON_4_SMS = ("--num-sms", "4")


def result(*args: str | Path, status: int = 0) -> dict[str, Any]:
    """The JSON object that a command prints, which is all that it prints there."""
    done = run(*args, "--json")
    assert done.returncode == status, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout
    return json.loads(lines[0])


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled") / "out"
    done = run("amk", "compile", TINY, "-o", folder, *ON_4_SMS, "--max-context", "64", "--dump-ir")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tiny model as a folder in Hugging Face layout, to be damaged."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(preset("tiny")))
    model = open_model(TINY)
    save_file({name: model.weight(name) for name in model.tensors}, path / "model.safetensors")
    return path


class TestResults:
    """`--json` and its keys, which scripts rely on."""

    def test_doctor(self) -> None:
        facts = result("amk", "doctor")
        assert facts["ok"] is True
        assert facts["packages"]["xdsl"] == "0.74.0"
        assert {item["name"] for item in facts["missing"]} >= {"GPU"} or facts["gpus"]

    def test_compile_writes_all_levels_and_says_so(self, tmp_path: Path) -> None:
        report = result("amk", "compile", TINY, "-o", tmp_path / "out", *ON_4_SMS, "--dump-ir")
        written = sorted(f.name for f in (tmp_path / "out").iterdir())
        assert report["files"] == written
        assert {"00-model.mlir", "10-task.mlir", "20-sched.mlir", "30-vm.mlir"} < set(written)
        assert {"certificate.json", "report.json", "report.md"} < set(written)
        assert report["num_sms"] == 4
        assert report["max_context"] == 512
        assert list(report["ops"]) == ["model", "task", "sched", "vm"]

    def test_compile_writes_no_ir_unless_asked(self, tmp_path: Path) -> None:
        report = result("amk", "compile", TINY, "-o", tmp_path / "out", *ON_4_SMS)
        assert not list((tmp_path / "out").glob("*.mlir"))
        assert "30-vm.mlir" not in report["files"]

    def test_the_certificate_names_the_program_that_was_written(self, compiled: Path) -> None:
        file, proof = compiled / "30-vm.mlir", compiled / "certificate.json"
        assert result("amk", "check-certificate", file, proof)["valid"]
        report = json.loads((compiled / "report.json").read_text())
        assert json.loads(proof.read_text())["program_sha256"] == report["program_sha256"]

    @pytest.mark.parametrize("level", ["00-model", "10-task", "20-sched", "30-vm"])
    def test_each_level_verifies_runs_and_round_trips(self, compiled: Path, level: str) -> None:
        file = compiled / f"{level}.mlir"
        assert result("amk", "verify", file) == {
            "safe": True,
            "level": level[3:],
            "file": str(file),
            "violations": [],
        }
        ran = result(
            "amk", "run", file, "--prompt-ids", "1,2,3", "--max-tokens", "4", "--weights", TINY
        )
        expected = result(
            *("amk", "generate", TINY, "--prompt-ids", "1,2,3", "--max-tokens", "4"),
            *("--dtype", "bf16", *ON_4_SMS),
        )
        assert ran["tokens"] == expected["tokens"]
        again = run("amk-opt", file)
        assert again.stdout == file.read_text()

    def test_compile_for_drawn_tokens(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        result("amk", "compile", TINY, "-o", out, "--sampling", "--dump-ir", *ON_4_SMS)
        assert "sample n 256 x @logits" in (out / "30-vm.mlir").read_text()
        assert result("amk", "check-certificate", out / "30-vm.mlir", out / "certificate.json")
        assert "struct Sample" in (out / "kernel.cu").read_text()

    def test_an_unsafe_program_is_rejected_with_the_place(
        self, compiled: Path, tmp_path: Path
    ) -> None:
        lines = (compiled / "30-vm.mlir").read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if "vm.run @l0.o" in line)
        lines[at], lines[at + 1] = lines[at + 1], lines[at]
        edited = tmp_path / "edited.mlir"
        edited.write_text("\n".join(lines))
        found = result("amk", "verify", edited, status=1)
        assert found["safe"] is False
        assert "SM 0" in found["violations"][0]
        assert "instruction" in found["violations"][0]
        assert found["violations"][0] in refusal("amk", "run", edited)
        assert "SM 0" in refusal("amk", "run", edited, "--check", "--seed", "1")

    @pytest.mark.slow
    def test_generate_equals_hugging_face(self, folder: Path) -> None:
        for sync in ("flags", "counters"):
            found = result(
                *("amk", "generate", folder, "--prompt-ids", "5,6,7", "--max-tokens", "6"),
                *("--sync", sync, "--verify", *ON_4_SMS),
            )
            assert found["match"] is True
            assert found["tokens"] == found["reference_tokens"]
            assert found["tokens_per_second"] == pytest.approx(1e6 / found["us_per_token"])
            assert {"text", "us_per_token"} <= set(found)

    @pytest.mark.slow
    def test_eval_equals_hugging_face(self) -> None:
        found = result("amk", "eval", TINY, "--tokens", "300", *ON_4_SMS)
        assert found["match"] is True
        assert found["perplexity"] == pytest.approx(found["reference_perplexity"], rel=1e-5)
        assert set(found["logits_error"]) == {"0", "1", "17", "255"}
        assert max(found["logits_error"].values()) < 1e-4
        assert found["verdicts"]["perplexity"] == "pass"
        assert 0 <= found["kl"]["mean"] < 1e-9

    @pytest.mark.slow
    def test_eval_of_greedy_tokens_and_of_bf16(self) -> None:
        found = result("amk", "eval", TINY, "--tokens", "20", "--greedy", "12", *ON_4_SMS)
        assert found["verdicts"]["greedy"] == "pass"
        assert [e["tokens"] for e in found["greedy"]] == [12] * 5
        found = result("amk", "eval", TINY, "--tokens", "40", "--dtype", "bf16", *ON_4_SMS)
        assert set(found["verdicts"]) == {"kl", "nll_error"}
        for name in ("kl", "nll_error"):
            ours, theirs = found[name], found["hugging_face_bf16"][name]
            apart = found[f"{name}_difference"]["mean"]
            assert ours["mean"] - theirs["mean"] == pytest.approx(apart)
            assert 0 < ours["mean"] < 0.1 and 0 < theirs["mean"] < 0.1

    def test_later_commands_say_so(self) -> None:
        for command in (("compile", TINY, "-o", "/nonexistent", "--quant", "int8"),):
            done = run("amk", *command)
            assert done.returncode == 2
            assert "not in this version" in done.stderr

    def test_help_has_examples(self) -> None:
        for command in ("doctor", "compile", "generate", "eval", "verify", "run", "bench"):
            done = run("amk", command, "--help")
            assert done.returncode == 0
            assert f"amk {command}" in done.stdout.split("Examples:")[1]

    def test_help_needs_no_torch(self) -> None:
        code = "import sys, amk.tools.amk, amk.tools.driver; print('torch' in sys.modules)"
        done = subprocess.run(
            [BIN / "python", "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "False"


class TestBadModels:
    """What is wrong with a model is found before anything is written."""

    def test_names(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        for name, message in (
            ("random:gpt-9", "preset 'gpt-9' is unknown"),
            (str(tmp_path / "missing"), "is no folder"),
            (str(tmp_path / "missing.gguf"), "missing.gguf"),
            ("nobody/nothing", "nobody/nothing"),
            (str(tmp_path), "has no config.json"),
        ):
            assert message in refusal("amk", "compile", name, "-o", out)
        assert not out.exists()

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("model_type", "gpt2"),
            ("hidden_act", "mish"),
            ("rope_scaling", {"rope_type": "axial", "factor": 4.0}),
            ("hidden_size", "wide"),
            ("num_key_value_heads", 3),
            ("invented_field", 1),
        ],
    )
    def test_config(self, folder: Path, tmp_path: Path, field: str, value: Any) -> None:
        (folder / "config.json").write_text(json.dumps(preset("tiny") | {field: value}))
        message = refusal("amk", "compile", folder, "-o", tmp_path / "out")
        assert field in message or str(value) in message
        assert not (tmp_path / "out").exists()

    def test_safetensors(self, folder: Path, tmp_path: Path) -> None:
        file = folder / "model.safetensors"
        whole = file.read_bytes()
        tensors = load_file(file)
        norm = "model.norm.weight"

        def missing() -> None:
            save_file({k: v for k, v in tensors.items() if k != norm}, file)

        def extra() -> None:
            save_file(tensors | {"model.extra.weight": tensors[norm]}, file)

        def shape() -> None:
            save_file(tensors | {norm: np.ones(3, np.float32)}, file)

        def dtype() -> None:
            save_file(tensors | {norm: np.ones(64, np.int64)}, file)

        damages: list[tuple[Callable[[], object], str]] = [
            (lambda: file.write_bytes(whole[:-100]), "model.safetensors"),
            (lambda: file.write_bytes(whole[:20]), "model.safetensors"),
            (lambda: file.write_bytes(b""), "model.safetensors"),
            (lambda: file.write_bytes(b"\xff" * 64 + whole[64:]), "model.safetensors"),
            (missing, norm),
            (extra, "model.extra.weight"),
            (shape, norm),
            (dtype, norm),
            (file.unlink, "safetensors"),
        ]
        for damage, message in damages:
            damage()
            said = refusal("amk", "compile", folder, "-o", tmp_path / "out", *ON_4_SMS)
            assert message in said
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"architectures": None}, "config field 'architectures' is missing"),
            ({"head_dim": 0}, "config field 'head_dim' = 0 must be a positive integer"),
            (
                {
                    "model_type": "mistral",
                    "architectures": ["MistralForCausalLM"],
                    "sliding_window": 0,
                },
                "config field 'sliding_window' = 0 must be a positive integer",
            ),
        ],
    )
    def test_sizes_of_nothing(
        self, folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
    ) -> None:
        (folder / "config.json").write_text(json.dumps(preset("tiny") | changes))
        assert message in refusal("amk", "compile", folder, "-o", tmp_path / "out")

    def test_folders_that_are_no_models(self, folder: Path, tmp_path: Path) -> None:
        file, out = folder / "model.safetensors", tmp_path / "out"
        tensors = load_file(file)

        def compiled() -> str:
            return refusal("amk", "compile", folder, "-o", out)

        bad = np.full(64, np.nan, np.float32)
        save_file(tensors | {"model.norm.weight": bad}, file)
        said = refusal(
            "amk", "generate", folder, "--prompt-ids", "1", "--max-tokens", "1", *ON_4_SMS
        )
        assert "tensor 'model.norm.weight' in" in said and "holds NaN" in said
        index = {"weight_map": dict.fromkeys(tensors, "model-00001-of-00002.safetensors")}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        file.unlink()
        assert "model-00001-of-00002.safetensors' does not exist" in compiled()
        (folder / "model.safetensors.index.json").unlink()
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
        assert "is a pickle, which can run code and is not read" in compiled()
        (folder / "adapter_config.json").write_text("{}")
        assert "holds an adapter, not a model" in compiled()
        assert not out.exists()

    def test_gguf(self, tmp_path: Path) -> None:
        file = tmp_path / "damaged.gguf"
        for content in (b"", b"GGUF", b"GGUF" + bytes(60), b"junk" * 100):
            file.write_bytes(content)
            assert "damaged.gguf" in refusal("amk", "compile", file, "-o", tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestBadOptions:
    """What is wrong with the command line is named by its flag."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--num-sms", "0"), "--num-sms: must be positive, got 0"),
            (("--num-sms", "-3"), "num-sms"),
            (("--num-sms", "100000"), "num-sms 100000 exceeds the"),
            (("--num-sms", "many"), "--num-sms"),
            (("--max-context", "0"), "--max-context"),
            (("--max-context", "513"), "--max-context: must be from 1 to the model's 512, got 513"),
            (("--dtype", "fp8"), "--dtype"),
            (("--sync", "hope"), "--sync"),
            (("--frobnicate",), "--frobnicate"),
        ],
    )
    def test_compile(self, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
        assert message in refusal("amk", "compile", TINY, "-o", tmp_path / "out", *options)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ((), "--prompt"),
            (("--prompt", ""), "prompt is empty"),
            (("--prompt", "  "), "prompt is empty"),
            (("--prompt-ids", ""), "prompt is empty"),
            (("--prompt-ids", "1,x"), "--prompt-ids: 'x'"),
            (("--prompt-ids", "1,256"), "256"),
            (("--prompt-ids", "-1"), "-1"),
            (("--prompt-ids", "1_0"), "'1_0' is no token id"),
            (("--prompt-ids", "1", "--num-sms", "0"), "--num-sms: must be positive, got 0"),
            (("--prompt-ids", "1", "--prompt", "a"), "--prompt"),
            (("--prompt", "no tokenizer"), "has no tokenizer"),
            (("--prompt-ids", "1", "--max-tokens", "0"), "--max-tokens"),
            (("--prompt-ids", "1", "--max-tokens", "512"), "513 tokens exceeds the model's 512"),
        ],
    )
    def test_generate(self, options: tuple[str, ...], message: str) -> None:
        assert message in refusal("amk", "generate", TINY, *options)

    def test_eval(self) -> None:
        assert "--tokens" in refusal("amk", "eval", TINY, "--tokens", "1")
        assert "--tokens" in refusal("amk", "eval", TINY, "--tokens", "513")
        assert "--greedy" in refusal("amk", "eval", TINY, "--greedy", "-1")
        assert "--greedy: context of 513" in refusal(
            *("amk", "eval", TINY, "--greedy", "505", "--tokens", "9")
        )

    def test_run(self, compiled: Path) -> None:
        program = compiled / "30-vm.mlir"
        assert "64 rows" in refusal("amk", "run", program, "--max-tokens", "65")
        assert "300" in refusal("amk", "run", program, "--prompt-ids", "300")
        assert "--seed" in refusal("amk", "run", compiled / "00-model.mlir", "--seed", "1")
        assert "tensor" in refusal("amk", "run", program, "--weights", "random:qwen2.5-0.5b")
        assert "name is empty" in refusal("amk", "run", program, "--weights", "")

    def test_output_folder(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("x")
        for target in (file, file / "below"):
            assert "is a file" in refusal("amk", "compile", TINY, "-o", target)
        assert "not writable" in refusal("amk", "compile", TINY, "-o", "/proc/out")
        assert file.read_text() == "x"

    def test_verify_has_status_2_for_what_is_no_program(self, tmp_path: Path) -> None:
        file = tmp_path / "file.mlir"
        for content in (
            b"",
            b"builtin.module {}",
            b"vm.program @p {",
            b"\xff\xfe",
            b"vm.program @p { vm.bogus }",
        ):
            file.write_bytes(content)
            refusal("amk", "verify", file)
            assert run("amk", "verify", file, "--json").returncode == 2
        for path in (tmp_path / "missing.mlir", tmp_path):
            refusal("amk", "verify", path)
            assert run("amk", "verify", path).returncode == 2


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(tmp_path: Path, sign: signal.Signals) -> None:
    process = subprocess.Popen(
        [BIN / "amk", "compile", "random:llama-3-70b", "-o", tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
    process.send_signal(sign)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert (out, err) == ("", "error: interrupted\n")
    assert list(tmp_path.iterdir()) == []
