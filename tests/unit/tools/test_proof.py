"""`amk verify` and `amk check-certificate` on files: what is written, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amk.errors import AmkError
from amk.mlir import MalformedError
from amk.tools.proof import check_files
from amk.tools.verify import verify_file

SAFE = """vm.program @step {
  model.weight @table : tensor<16x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : plain<4xf32>
  vm.counters 1
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @head[0 to 1] signal 0 += 1
  }
  vm.queue 1 {
    vm.run @head[1 to 2] signal 0 += 1
    vm.run @argmax[0 to 1] wait 0 >= 2
  }
}
"""
RACY = SAFE.replace("wait 0 >= 2", "wait 0 >= 1")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A safe program and its certificate."""
    file, proof = tmp_path / "safe.mlir", tmp_path / "proof.json"
    file.write_text(SAFE)
    assert verify_file(file, certificate=proof)["safe"]
    return file, proof


def test_a_written_certificate_is_valid(files: tuple[Path, Path]) -> None:
    assert check_files(*files)["valid"]


def test_an_unsafe_file_gets_no_certificate(tmp_path: Path) -> None:
    file = tmp_path / "racy.mlir"
    file.write_text(RACY)
    found = verify_file(file, certificate=tmp_path / "proof.json", trace=tmp_path / "trace.json")
    assert not found["safe"] and not (tmp_path / "proof.json").exists()
    assert found["counterexamples"][found["violations"][0]]
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def test_the_trace_of_a_safe_program_is_empty(files: tuple[Path, Path], tmp_path: Path) -> None:
    verify_file(files[0], trace=tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"] == []


def test_a_certificate_does_not_prove_a_changed_program(files: tuple[Path, Path]) -> None:
    files[0].write_text(RACY)
    found = check_files(*files)
    assert found["valid"] is False and found["reason"] == "certificate belongs to another program"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "[]",
        "3",
        '{"version": 2}',
        '{"version": 1}',
        '{"version": true}',
        '{"version": 1, "ranks": [1e400]}',
    ],
)
def test_malformed_certificates(files: tuple[Path, Path], text: str) -> None:
    files[1].write_text(text)
    with pytest.raises(MalformedError) as error:
        check_files(*files)
    assert "\n" not in str(error.value)


def test_a_truncated_certificate(files: tuple[Path, Path]) -> None:
    text = files[1].read_text()
    for end in range(1, len(text) - 2, 37):
        files[1].write_text(text[:end])
        with pytest.raises(MalformedError):
            check_files(*files)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("vm.queue 1", "vm.queue 7"),
        ("vm.queue 1", "vm.queue 0"),
        ("vm.queue 1", "vm.queue 99999999999999999999"),
        ("vm.counters 1", "vm.counters 0"),
        ("wait 0 >=", "wait 99999999999999999999 >="),
        ("wait 0 >= 2", "wait 0 >= 0"),
        ("wait 0 >= 2", "wait 0 >= 99999999999999999999"),
        ("@argmax[0 to 1]", "@argmax[0 to 0]"),
        ("@argmax[0 to 1]", "@argmax[1 to 2]"),
        ("@argmax[0 to 1]", "@argmax[0 to 99999999999999999999]"),
        ("@argmax[0 to 1] wait", "@nobody[0 to 1] wait"),
        ("flagged<8xf32>", "flagged<0xf32>"),
        ("flagged<8xf32>", "flagged<99999999999999999999999xf32>"),
        ("vm.counters 1", "vm.counters 1\n  vm.buffer @x : flagged<8xf32>"),
        ("    vm.run @embed[0 to 1]\n    vm.run @head[0 to 1] signal 0 += 1\n", ""),
        ("vm.queue 1 {", "vm.queue 1"),
    ],
)
def test_malformed_programs(files: tuple[Path, Path], old: str, new: str) -> None:
    """Neither command accepts one, and what they say is one line."""
    file, proof = files
    assert old in SAFE
    file.write_text(SAFE.replace(old, new))
    try:
        assert not verify_file(file)["safe"]
    except MalformedError as error:
        assert "\n" not in str(error)
    try:
        assert not check_files(file, proof)["valid"]
    except MalformedError as error:
        assert "\n" not in str(error)


def test_files_that_cannot_be_read_or_written(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="no such file"):
        check_files(files[0], tmp_path / "none")
    with pytest.raises(AmkError, match="no such file"):
        verify_file(files[0], certificate=tmp_path / "none" / "proof.json")
    with pytest.raises(AmkError, match="is a directory"):
        verify_file(files[0], trace=tmp_path)


def test_only_vm_programs_have_certificates(files: tuple[Path, Path], tmp_path: Path) -> None:
    model = tmp_path / "model.mlir"
    model.write_text(
        "model.program @m (%token: tensor<1xi32>, %pos: index) -> tensor<1xi32> "
        "{ model.return %token : tensor<1xi32> }"
    )
    with pytest.raises(MalformedError):
        check_files(model, files[1])
