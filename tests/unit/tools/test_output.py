"""An output folder holds all files or none."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import pytest

from amk.errors import AmkError
from amk.tools import driver
from amk.tools.output import output_folder

OWNED = ("a", "b")


def test_files_appear_together(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep"
    with output_folder(target, OWNED) as work:
        (work / "a").write_text("1")
        assert not target.exists()
    assert [f.name for f in target.iterdir()] == ["a"]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_stays_when_the_work_fails(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), output_folder(tmp_path / "new", OWNED) as work:
        (work / "a").write_text("1")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_result_survives_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(ValueError), output_folder(tmp_path, OWNED) as work:
        (work / "a").write_text("new")
        raise ValueError
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("a", "old")]


def test_only_own_stale_files_go(tmp_path: Path) -> None:
    for name in ("a", "b", "foreign"):
        (tmp_path / name).write_text("old")
    with output_folder(tmp_path, OWNED) as work:
        (work / "a").write_text("new")
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"a": "new", "foreign": "old"}


def test_a_file_is_refused_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for target in (file, file / "below"):
        with pytest.raises(AmkError, match="is a file"), output_folder(target, OWNED):
            pytest.fail("the block must not run")


def test_a_folder_that_cannot_be_written_is_refused_before_any_work() -> None:
    with pytest.raises(AmkError, match="not writable"), output_folder(Path("/proc/amk"), OWNED):
        pytest.fail("the block must not run")


def test_an_interrupt_that_got_lost_still_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_interrupted", False)
    with pytest.raises(KeyboardInterrupt), output_folder(tmp_path / "out", OWNED) as work:
        (work / "a").write_text("")
        with suppress(KeyboardInterrupt):
            driver.interrupt(signal.SIGINT, None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(AmkError, match="a: is a directory"), output_folder(tmp_path, OWNED):
        pytest.fail("the block must not run")
