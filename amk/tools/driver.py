"""How a tool of amk ends: quietly, or with one line on standard error and a status of 1 or 2."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from xdsl.utils.exceptions import ArgSpecParseError, DiagnosticException, ParseError

from amk.errors import AmkError
from amk.files import reason
from amk.mlir import TOO_DEEP, MalformedError, PipelineError, one_line, report_only_the_cause


class UsageError(AmkError):
    """The command line itself is wrong."""


def fail(message: str, status: int = 1) -> NoReturn:
    """Print the one line of an error and leave. What would break the line, or speak to the
    terminal, is spelled out."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message.removesuffix("."))
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(status)


def open_streams() -> None:
    """Gives standard streams that were closed a device, so that no file takes their numbers."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        fail("standard output is closed")


_interrupted = False


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """What SIGINT and SIGTERM do: nothing half-written stays, whoever asks the tool to end."""
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


def check_interrupt() -> None:
    """Raises KeyboardInterrupt if the tool was asked to end, even where the exception was lost
    (Python drops those that are raised in finalizers)."""
    if _interrupted:
        raise KeyboardInterrupt


def run_tool(run: Callable[[], None]) -> None:
    """Run the body of a tool. Bad input ends it with one line; what is left are bugs, with a
    traceback.
    """
    report_only_the_cause()
    open_streams()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        run()
        sys.stdout.flush()
    except (UsageError, PipelineError, MalformedError) as error:
        fail(str(error), 2)
    except AmkError as error:
        fail(str(error))
    except (ParseError, ArgSpecParseError) as error:
        fail(one_line(error), 2)
    except DiagnosticException as error:
        fail(one_line(error))
    except BrokenPipeError:
        # The reader of a pipe went away (`amk-opt ... | head`): leave as a C program would.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        fail(f"{name}{reason(error)}")
    except RecursionError:
        fail(TOO_DEEP)
    except MemoryError:
        fail("not enough memory")
    except KeyboardInterrupt:
        fail("interrupted")
