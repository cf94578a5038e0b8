"""amk-opt and amk-translate: how they start, what they accept, and how they refuse."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from amk.frontends.hf.presets import preset
from tests.unit.tools.shell import refusal, run

EMPTY = "builtin.module {\n}\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(json.dumps(preset("tiny")))
    return path


@pytest.fixture(scope="module")
def model_ir(config: Path) -> Path:
    done = run("amk-translate", "-t", "model", config)
    assert done.returncode == 0, done.stderr
    path = config.with_name("model.mlir")
    path.write_text(done.stdout)
    return path


@pytest.mark.parametrize("tool", ["amk_opt", "amk_translate"])
def test_tools_import_neither_torch_nor_transformers(tool: str) -> None:
    heavy = "{'torch', 'transformers', 'rich', 'networkx'} & set(sys.modules)"
    code = f"import sys, amk.tools.{tool}; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_amk_opt_starts_in_less_than_300_ms() -> None:
    def start() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run("amk-opt", stdin=EMPTY).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Time on a processor, the best of several runs: what else the machine does is not counted.
    assert min(start() for _ in range(7)) < 0.3


def test_output_is_a_fixed_point(model_ir: Path, tmp_path: Path) -> None:
    once = run("amk-opt", model_ir).stdout
    again = run("amk-opt", stdin=once).stdout
    assert "model.program" in once
    assert once == again


@pytest.mark.parametrize("sync", ["flags", "counters"])
def test_a_named_pipeline_lowers_to_a_program_that_loads_again(model_ir: Path, sync: str) -> None:
    done = run("amk-opt", model_ir, "-p", f"lower{{num-sms=4 sync={sync}}}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("vm.queue") == 4
    again = run("amk-opt", stdin=done.stdout)
    assert (again.returncode, again.stdout) == (0, done.stdout)


def test_an_output_file_is_written_only_when_all_went_well(model_ir: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mlir"
    refusal("amk-opt", model_ir, "-p", "lower{num-sms=100000}", "-o", target)
    assert not target.exists()
    assert run("amk-opt", model_ir, "-o", target).returncode == 0
    assert target.read_text() == run("amk-opt", model_ir).stdout


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("lowr", "unknown pass or pipeline 'lowr', did you mean 'lower'"),
        ("zzz", "unknown pass or pipeline 'zzz'"),
        ("lower{colour=1}", "pipeline 'lower' has no option 'colour'"),
        ("insert-sync{num-sms=1}", "pass 'insert-sync' has no option 'num-sms' (options: sync)"),
        ("lower{num-sms=many}", "option 'num-sms' of pass 'choose-tiles' is int, got 'many'"),
        ("lower{sync=x}", "'sync' of pass 'insert-sync' is one of 'flags', 'counters', got 'x'"),
        ("lower{", "pipeline: expected argument name here"),
        ("lower{num-sms=0}", "num-sms must be positive, got 0"),
        ("lower{num-sms=100000}", "exceeds the"),
    ],
)
def test_a_wrong_pipeline_is_one_line(model_ir: Path, pipeline: str, message: str) -> None:
    assert message in refusal("amk-opt", model_ir, "-p", pipeline)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("builtin.module {", "stdin:1:17: "),
        ("model.nonsense", "operation model.nonsense is not registered"),
        ("func.func @f() { func.return }", "operation func.func is not registered"),
        ("vm.program @p {\n  vm.counters many\n}", "stdin:2:"),
        ("\x00\x01", r"stdin:1:1: unexpected character: \x00"),
        (" ", "stdin: empty file"),
        ('builtin.module { "' + 60 * "never closed ", "stdin:1:18: end of file reached before"),
        ("builtin.module {" * 3000, "stdin: input is nested too deeply"),
    ],
)
def test_malformed_ir_is_one_line_with_its_place(text: str, message: str) -> None:
    assert message in refusal("amk-opt", stdin=text)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert "no such file" in refusal("amk-opt", tmp_path / "missing.mlir")
    assert "is a directory" in refusal("amk-opt", tmp_path)
    assert "unrecognized arguments" in refusal("amk-opt", "--frobnicate")
    assert r"a\nb: no such file" in refusal("amk-opt", tmp_path / "a\nb")
    (tmp_path / "bytes").write_bytes(b"vm\xff")
    assert "not UTF-8 text at byte 2" in refusal("amk-opt", tmp_path / "bytes")


def test_closed_streams_are_one_line() -> None:
    def shell(line: str) -> tuple[int, str]:
        command = [sys.executable, "-c", "from amk.tools.amk_opt import main; main()"]
        done = subprocess.run(
            ["/bin/sh", "-c", f'"$@" {line}', "sh", *command],
            input=EMPTY,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    assert shell(">&-") == (1, "error: standard output is closed\n")
    assert shell("<&-") == (2, "error: stdin: empty file\n")
    assert shell("nope 2>&-") == (1, "")
    assert shell("2>&-") == (0, EMPTY)


def test_translate_refuses_by_the_name_of_the_field(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(preset("tiny") | {"hidden_act": "snake"}))
    assert "'hidden_act' = \"snake\"" in refusal("amk-translate", "-t", "model", path)
    path.write_text("{")
    assert "not valid JSON" in refusal("amk-translate", "-t", "model", path)
    assert "does not exist" in refusal("amk-translate", "-t", "model", tmp_path / "no.json")
    assert "invalid choice" in refusal("amk-translate", "-t", "fortran", path)


def test_translate_emits_cuda_for_a_proved_program_only(model_ir: Path) -> None:
    lower = "lower{num-sms=4 ring-kb=64}"
    program = run("amk-opt", model_ir, "-p", lower).stdout
    file = model_ir.with_name("vm.mlir")
    file.write_text(program)
    assert "__global__" in run("amk-translate", "-t", "cuda", file).stdout
    assert "sm_1" in refusal("amk-translate", "-t", "cuda", file, "--arch", "sm_1")
    said = refusal("amk-translate", "-t", "cuda", model_ir)
    assert said == f"{model_ir}: expected one vm.program, found 0"

    lines = program.splitlines()
    at = next(i for i, line in enumerate(lines) if "vm.run @l0.o" in line)
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    file.write_text("\n".join(lines))
    assert "SM 0" in refusal("amk-translate", "-t", "cuda", file)


def test_translate_bounds_the_context(config: Path) -> None:
    done = run("amk-translate", "-t", "model", config, "--max-context", "33")
    assert "rows 33 " in done.stdout
    message = refusal("amk-translate", "-t", "model", config, "--max-context", "513")
    assert message == "--max-context: must be from 1 to the model's 512, got 513"
