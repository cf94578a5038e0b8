"""A certificate as it is written: reading it, and how it is refused."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from amk.errors import AmkError
from amk.ir.arrays import Ints

VERSION = 1
LARGE = 1 << 40
"""Beyond every number that is meant."""
KEYS = {"version", "program", "program_sha256", "capacities", "ranks", "clocks", "order", "visible"}


class MalformedCertificateError(AmkError):
    """It is no certificate at all, or one of another version."""


class RefusedError(AmkError):
    """The certificate does not prove this program safe."""


def require(holds: object, message: str) -> None:
    if not holds:
        raise RefusedError(message)


def opened(certificate: object) -> dict[str, Any]:
    """The entries of a certificate of this version. Raises MalformedCertificateError."""
    if not isinstance(certificate, dict):
        raise MalformedCertificateError("certificate is no JSON object")
    c = cast(dict[str, Any], certificate)
    if type(c.get("version")) is not int or c["version"] != VERSION:
        raise MalformedCertificateError(f"certificate is not of version {VERSION}")
    if set(c) != KEYS:
        odd = ", ".join(sorted(map(str, set(c) ^ KEYS)))
        raise MalformedCertificateError(f"certificate has missing or unknown keys: {odd}")
    return c


def integers(value: object, name: str, length: int) -> Ints:
    """A list of `length` small integers."""
    try:
        out: Ints = np.array(value)
    except (ValueError, OverflowError):
        out = np.zeros((), dtype=np.int64)
    if out.dtype != np.int64 or out.ndim != 1 or not ((out > -LARGE) & (out < LARGE)).all():
        raise MalformedCertificateError(f"{name} is no list of small integers")
    require(len(out) == length, f"{name}: not one per instruction")
    return out


def table(value: object, columns: int) -> Ints:
    """[rows, columns]: a list of lists of small integers."""
    if not isinstance(value, list) or not value:
        raise MalformedCertificateError("clocks is no list of lists of integers")
    return np.stack([integers(row, "clocks", columns) for row in cast(list[object], value)])
