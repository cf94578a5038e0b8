"""An output folder that holds all of its files or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from amk.errors import AmkError
from amk.files import reason
from amk.tools.driver import check_interrupt


@contextmanager
def output_folder(path: Path, owned: tuple[str, ...]) -> Generator[Path]:
    """Yield an empty folder to write into; its files move to `path` when the block ends well.

    A folder that exists keeps what else is in it; of the names in `owned`, those not written this
    time are removed, so that no file of an earlier run stays beside the new ones. When the block
    raises, nothing is left behind.

    Raises AmkError at once when `path` is a file or cannot be written, or a folder has one of the
    names in `owned`.
    """
    # The name is known before the folder is there: an interrupt in between leaves nothing either.
    work = _writable_place(path, owned) / f".amk-{token_hex(8)}"
    try:
        work.mkdir(mode=0o700)
        yield work
        check_interrupt()
        path.mkdir(parents=True, exist_ok=True)
        written = sorted(work.iterdir())
        for file in written:
            os.replace(file, path / file.name)
        for name in set(owned) - {file.name for file in written}:
            (path / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _writable_place(path: Path, owned: tuple[str, ...]) -> Path:
    """Where a temporary folder on the same file system can be: in `path`, or in its nearest
    ancestor.
    """
    for name in owned:
        if (path / name).is_dir():
            raise AmkError(f"{path / name}: is a directory")
    place = path
    while not place.exists() and not place.is_symlink():
        place = place.absolute().parent
    if not place.is_dir():
        what = "is a file" if place.is_file() else "is not a folder"
        raise AmkError(f"{path}: {'' if place == path else f'{place} '}{what}")
    # Creating a file is the only sure test: access bits say nothing on read-only mounts or to root.
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise AmkError(f"{path}: not writable ({reason(error)})") from error
    return place
