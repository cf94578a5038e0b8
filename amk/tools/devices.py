"""What runs a proved program: the one place where a backend plugs into the command line."""

from __future__ import annotations

from collections.abc import Callable

from amk.interpreters.decoder import Decoder
from amk.interpreters.storage import Weights
from amk.interpreters.vm import VmInterpreter
from amk.ir.program import Program

DEVICES: dict[str, Callable[[Program, Weights], Decoder]] = {"cpu": VmInterpreter}
"""Makers of decoders by the name that `--device` takes."""
