"""What does not fit is refused in one line before anything runs; no GPU needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from amk.backends.cuda import driver, launch, nvcc
from amk.backends.cuda.launch import Session
from amk.backends.cuda.layout import plan, vocabulary
from amk.backends.cuda.limits import check_memory, check_run, check_shared, check_sms, unloadable
from amk.backends.cuda.target import TARGETS, target_of_device
from amk.errors import AmkError
from amk.ir.program import Run
from amk.tools.approve import Proof
from tests.unit.programs import Tiny, fused, weights

PROGRAM = fused(Tiny())
SM90 = TARGETS["sm_90a"]


def test_a_program_is_approved_by_its_own_certificate_alone() -> None:
    proof = Proof.of(PROGRAM)
    assert proof.approve(PROGRAM) is None
    other = fused(Tiny(layers=1))
    assert "belongs to another program" in str(proof.approve(other))
    assert "does not check" in str(Proof("{}").approve(PROGRAM))
    assert "does not check" in str(Proof("no JSON").approve(PROGRAM))


def test_an_unsafe_program_has_no_proof() -> None:
    first, *rest = fused(Tiny()).queues
    queue = [Run(r.kernel, r.lo, r.hi) for r in first if r.kernel != "l1.o"]
    with pytest.raises(AmkError, match="unsafe"):
        Proof.of(replace(PROGRAM, queues=[queue, *rest]))


def test_what_is_not_approved_is_not_launched() -> None:
    proof = Proof.of(fused(Tiny(layers=1)))
    with pytest.raises(AmkError, match="'tiny' is not launched: its certificate does not check"):
        Session(PROGRAM, weights(Tiny()), approve=proof.approve)


def test_more_sms_than_there_are() -> None:
    check_sms(PROGRAM, "a GPU", 3)
    with pytest.raises(AmkError, match="scheduled for 3 SMs, a GPU has 2: compile with --num-sms"):
        check_sms(PROGRAM, "a GPU", 2)


def test_more_shared_memory_than_there_is() -> None:
    check_shared(PROGRAM, 99 * 1024, "a GPU", 99 * 1024)
    with pytest.raises(AmkError, match="needs 99999 bytes of shared memory per SM, a GPU has 512"):
        check_shared(PROGRAM, 99_999, "a GPU", 512)


def test_more_memory_than_is_free() -> None:
    check_memory(PROGRAM, plan(PROGRAM), 1 << 30)
    with pytest.raises(AmkError, match=r"needs 0.00 GB of GPU memory, 0.00 GB are free"):
        check_memory(PROGRAM, plan(PROGRAM), 1000)


@pytest.mark.parametrize(
    ("prompt", "steps", "start", "eos", "message"),
    [
        ([], 1, 0, [], "prompt is empty"),
        ([1], 33, 0, [], "positions 0 to 32 do not fit a cache of 32 rows: .* --max-context"),
        ([1], 2, 31, [], "positions 31 to 32 do not fit"),
        ([1], 0, 0, [], "do not fit"),
        ([1], 1, -1, [], "do not fit"),
        ([1], 1, 0, [1, 2, 3, 4, 5], "at most 4 end-of-text tokens"),
        ([1], 31, 0, [], "a launch takes at most 30 steps, got 31"),
        ([39, 40], 1, 0, [], "token 40 of the prompt is not in the vocabulary of 40"),
        ([-1], 1, 0, [], "token -1 of the prompt is not in the vocabulary of 40"),
    ],
)
def test_lengths(prompt: list[int], steps: int, start: int, eos: list[int], message: str) -> None:
    check_run([0, 39], 30, 2, [1, 2, 3, 4], 32, vocabulary=vocabulary(PROGRAM), lasting=30)
    with pytest.raises(AmkError, match=message):
        check_run(prompt, steps, start, eos, 32, vocabulary=vocabulary(PROGRAM), lasting=30)


def test_a_driver_older_than_the_cubin() -> None:
    text = unloadable(Path("a/b.cubin"), SM90, 12080)
    assert "the driver (CUDA 12.8) cannot load b.cubin for sm_90a" in text
    assert "update the driver" in text and "\n" not in text


def test_a_gpu_that_is_too_old() -> None:
    assert target_of_device(9, 0) is SM90
    with pytest.raises(AmkError, match=r"compute capability 7.5 is not supported"):
        target_of_device(7, 5)


def test_no_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVCC", raising=False)
    monkeypatch.setattr(nvcc.shutil, "which", lambda name: None)
    monkeypatch.setattr(nvcc, "DEFAULT", "/nonexistent/nvcc")
    with pytest.raises(AmkError, match="nvcc was not found: install the CUDA toolkit"):
        nvcc.find_nvcc()


def test_an_nvcc_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "nvcc"
    fake.write_text("#!/bin/sh\necho 'nvcc fatal : Unsupported gpu architecture' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("NVCC", str(fake))
    with pytest.raises(AmkError, match="nvcc failed for sm_90a: nvcc fatal : Unsupported gpu"):
        nvcc.compile_cubin("", SM90, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = SimpleNamespace(init=lambda: None, Device=SimpleNamespace(count=lambda: 0))
    monkeypatch.setattr(driver.importlib, "import_module", lambda name: empty)
    with pytest.raises(AmkError, match="no NVIDIA GPU was found; use --device cpu"):
        driver.pycuda()


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError("cuInit failed: no CUDA-capable device is detected")

    monkeypatch.setattr(driver.importlib, "import_module", lambda name: SimpleNamespace(init=init))
    with pytest.raises(AmkError, match="no usable NVIDIA GPU: cuInit failed"):
        driver.pycuda()


def test_no_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(driver.importlib, "import_module", missing)
    with pytest.raises(AmkError, match=r"PyCUDA cannot be loaded .*; install amk\[cuda\]"):
        driver.pycuda()
    with pytest.raises(AmkError, match=r"cuda-bindings cannot be loaded .*; install amk\[cuda\]"):
        driver.bindings()


def test_nvcc_is_who_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "bin" / "nvcc"
    home.parent.mkdir()
    home.touch(mode=0o755)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.delenv("NVCC", raising=False)
    assert nvcc.find_nvcc() == str(home)
    for wrong in (tmp_path / "missing", tmp_path):
        monkeypatch.setenv("NVCC", str(wrong))
        with pytest.raises(AmkError, match=f"NVCC: '{wrong}' is no program"):
            nvcc.find_nvcc()
    monkeypatch.setenv("NVCC", str(home))
    assert nvcc.find_nvcc() == str(home)


def test_a_cubin_that_cannot_be_loaded_does_not_stay_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be handed out again, whichever nvcc is chosen next."""
    kept, given = tmp_path / "kept.cubin", tmp_path / "given.cubin"
    bindings = SimpleNamespace(
        cuGetErrorString=lambda code: (0, b"no binary for this GPU"),
        cuLibraryLoadFromFile=lambda *_: (209,),
    )
    monkeypatch.setattr(driver.importlib, "import_module", lambda name: bindings)
    monkeypatch.setattr(launch, "compile_cubin", lambda source, target: kept)
    session: Any = SimpleNamespace(
        cuda=bindings,
        emitted=SimpleNamespace(source=""),
        target=SM90,
        driver=SimpleNamespace(get_driver_version=lambda: 13000),
    )
    for path in (kept, given):
        path.touch()
        with pytest.raises(AmkError, match=f"cannot load {path.name} for sm_90a"):
            Session._load(session, None if path is kept else path)  # pyright: ignore[reportPrivateUsage]
    assert list(tmp_path.iterdir()) == [given]
