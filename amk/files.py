"""Files on disk: where the cache is, and output that is whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from amk.errors import AmkError


def cache_folder(part: str = "") -> Path:
    """Where models and kernels are kept: `$AMK_CACHE`, default `~/.cache/amk`, or its subfolder
    `part`. It need not exist."""
    return Path(os.environ.get("AMK_CACHE") or Path.home() / ".cache" / "amk") / part


@contextmanager
def writing_cache(folder: Path) -> Generator[None]:
    """Makes `folder`; raises AmkError where it, or a file in it, cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise AmkError(
            f"cache '{folder}' cannot be written ({reason(error)}): "
            "set AMK_CACHE to a folder that can be"
        ) from None


def write_whole(path: Path, text: str) -> None:
    """Writes a file that, whatever happens, holds all of `text` or what it held before. What is no
    regular file (a pipe, a terminal) is written as it is. Raises AmkError."""
    target = path.resolve()
    try:
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
            return
        work = target.with_name(f".amk-{token_hex(8)}")
        try:
            work.write_text(text, encoding="utf-8")
            work.replace(target)
        finally:
            work.unlink(missing_ok=True)
    except OSError as error:
        raise AmkError(f"{path}: {reason(error)}") from None


def check_target(path: Path) -> None:
    """Raises AmkError where `write_whole` could not write `path`: for who finds its text late."""
    if path.is_dir():
        raise AmkError(f"{path}: is a directory")
    if path.exists() and not path.is_file():
        return
    place = path.absolute().parent
    if not place.is_dir():
        raise AmkError(f"{path}: no such file or directory")
    if not os.access(place, os.W_OK):
        raise AmkError(f"{path}: not writable")


def reason(error: OSError) -> str:
    """Why, as the system says it, in lower case."""
    return (error.strerror or str(error)).lower()
