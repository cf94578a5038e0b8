"""Files are whole or not there, and a cache that cannot be written is told in one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from amk import files
from amk.errors import AmkError
from amk.files import cache_folder, check_target, write_whole, writing_cache


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMK_CACHE", "/a")
    assert cache_folder() == Path("/a")
    assert cache_folder("models") == Path("/a/models")
    monkeypatch.setenv("AMK_CACHE", "")
    monkeypatch.setenv("HOME", "/home/b")
    assert cache_folder() == Path("/home/b/.cache/amk")


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    said = r"cannot be written \(not a directory\): set AMK_CACHE to a folder"
    with pytest.raises(AmkError, match=said), writing_cache(file / "below"):
        pytest.fail("the block must not run")
    with pytest.raises(AmkError, match="no space left on device"), writing_cache(tmp_path / "new"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_replaced_as_a_whole_and_through_links(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(file)
    for text in ("first", "second"):
        write_whole(link, text)
        assert file.read_text() == text
    assert link.is_symlink()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["file", "link"]
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    write = Path.write_text

    def fill(self: Path, text: str, encoding: str) -> None:
        write(self, text[:2], encoding)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.Path, "write_text", fill)
    with pytest.raises(AmkError, match="file: no space left on device"):
        write_whole(file, "new")
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("file", "old")]


def test_what_is_no_regular_file_is_written_as_it_is() -> None:
    write_whole(Path("/dev/null"), "text")
    assert not Path("/dev/null").is_file()


def test_targets(tmp_path: Path) -> None:
    check_target(tmp_path / "file")
    for path, message in (
        (tmp_path, "is a directory"),
        (tmp_path / "missing" / "file", "no such file or directory"),
    ):
        for write in (check_target, lambda p: write_whole(p, "")):
            with pytest.raises(AmkError, match=message):
                write(path)
