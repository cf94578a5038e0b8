"""Run the console scripts as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def run(
    *args: str | Path, stdin: str = "", timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a console script of this environment, offline; never raises on a non-zero exit. Where amk
    is not installed but found by Python, runs the script's module."""
    tool, *rest = map(str, args)
    script = [str(BIN / tool)]
    if not (BIN / tool).exists():
        script = [sys.executable, "-m", f"amk.tools.{tool.replace('-', '_')}"]
    return subprocess.run(
        [*script, *rest],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        check=False,
    )


def refusal(*args: str | Path, stdin: str = "") -> str:
    """What a tool says to bad input: checks that it is one line, a status of 1 or 2, and nothing on
    standard output.
    """
    done = run(*args, stdin=stdin)
    assert done.returncode in (1, 2), done
    assert done.stdout == "", done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: "), done.stderr
    assert not lines[0].endswith("."), done.stderr
    return lines[0].removeprefix("error: ")
