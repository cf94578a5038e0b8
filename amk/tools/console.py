"""Where output goes: results to standard output, everything else to standard error.

With `--json`, standard output holds one JSON object on its last line and nothing else. Libraries
that print are led to standard error meanwhile.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

Result = dict[str, Any]
"""What a command found: JSON values by key."""


@contextmanager
def results() -> Generator[TextIO]:
    """Lead whatever is printed within to standard error; yields the real standard output."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    stdout = sys.stdout
    with redirect_stdout(sys.stderr):
        yield stdout


def finish(stdout: TextIO, result: Result, as_json: bool, show: Callable[[Console], None]) -> None:
    """Print a result: as one line of JSON, or for a person through `show`."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False, allow_nan=False), file=stdout, flush=True)
    else:
        show(Console(file=stdout, highlight=False, soft_wrap=True))


class Step:
    """One line of progress."""

    def __init__(self, progress: Progress, task: TaskID, what: str):
        self.progress, self.task, self.what = progress, task, what

    def describe(self, detail: str) -> None:
        """Say what is being done just now."""
        self.progress.update(self.task, description=f"{self.what}: {detail}")

    def report(self, what: str, done: int, total: int) -> None:
        """Say that `done` of `total` bytes of `what` are there; a `total` of 0 is not known."""
        self.progress.update(self.task, description=what, completed=done, total=total or None)

    def advance(self) -> None:
        """One more of the items is done."""
        self.progress.advance(self.task)


class Steps:
    """Progress on standard error: a spinner while a step runs, a bar where the number of items is
    known.

    Nothing is drawn when standard error is no terminal.
    """

    def __init__(self) -> None:
        console = Console(file=sys.stderr)
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    @contextmanager
    def step(self, what: str, total: int | None = None) -> Generator[Step]:
        """Show `what`, out of `total` items if their number is known, until the block ends."""
        task = self.progress.add_task(what, total=total)
        try:
            with self.progress:
                yield Step(self.progress, task, what)
        finally:
            self.progress.remove_task(task)
