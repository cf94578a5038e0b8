"""Strict reading of a config.json: a field is consumed, known to be irrelevant, or refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import cast

from amk.errors import AmkError

REQUIRED = object()
"""Default of a field that must be there."""

WIDEST = 80
"""Characters of a value that a message quotes."""

LARGEST = (1 << 31) - 1
"""Of any integer of a config: programs count positions and elements in 32 bits."""

SMALLEST_FP32, LARGEST_FP32 = 2.0**-126, 2.0**128 - 2.0**104
"""Positive normal numbers of fp32, in which everything is computed."""


def shown(value: object) -> str:
    """A config value in one short line, as JSON spells it."""
    text = json.dumps(value, default=str)
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


class Fields:
    """A JSON object that remembers which of its fields were read.

    `path` prefixes the field names in messages: `rope_scaling.` for an object inside the config.
    """

    def __init__(
        self,
        values: Mapping[str, object],
        family: str,
        path: str = "",
        defaults: Mapping[str, object] | None = None,
    ):
        self.values = values
        self.family = family
        self.path = path
        self.defaults = defaults or {}
        """What the family assumes for a field that is absent, which null is not."""
        self.used: set[str] = set()

    def refuse(self, name: str, why: str = "") -> AmkError:
        """The error that refuses field `name` with its value, to be raised by the caller."""
        why = why or f"is not supported by family '{self.family}'"
        field = f"config field '{self.path}{name}'"
        if name not in self.values and name in self.defaults:
            return AmkError(
                f"{field} is absent, and its default {shown(self.defaults[name])} {why}"
            )
        return AmkError(f"{field} = {shown(self.values.get(name))} {why}")

    def given(self, name: str) -> object:
        """The value of a field, or what the family assumes where it is absent; None if null."""
        self.used.add(name)
        return self.values[name] if name in self.values else self.defaults.get(name)

    def take(self, name: str, default: object = REQUIRED) -> object:
        """The value of a field, or `default` where there is none."""
        value = self.given(name)
        if value is not None:
            return value
        if default is REQUIRED:
            raise AmkError(f"config field '{self.path}{name}' is missing")
        return default

    def size(self, name: str, default: object = REQUIRED, most: int = LARGEST) -> int:
        """A positive integer, at most `most`."""
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise self.refuse(name, "must be a positive integer")
        if value > most:
            raise self.refuse(name, f"must be at most {most}")
        return value

    def count(self, name: str, default: object = REQUIRED) -> int:
        """An integer that is not negative."""
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
            raise self.refuse(name, "must be a non-negative integer")
        return value

    def numbers(self, name: str, length: int) -> list[float]:
        """A list of `length` positive finite numbers."""
        value = self.take(name)
        items = cast(list[object], value) if isinstance(value, list) else []
        found = [v for v in items if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(found) != len(items) or len(items) != length:
            raise self.refuse(name, f"must be a list of {length} numbers")
        if not all(SMALLEST_FP32 <= v <= LARGEST_FP32 for v in found):
            raise self.refuse(name, "must hold positive and finite numbers of fp32")
        return [float(v) for v in found]

    def number(self, name: str, default: object = REQUIRED) -> float:
        """A positive number that fp32 has."""
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(name, "must be a number")
        if not SMALLEST_FP32 <= value <= LARGEST_FP32:
            raise self.refuse(name, "must be positive and finite in fp32")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "must be true or false")
        return value

    def text(self, name: str) -> str:
        value = self.take(name)
        if not isinstance(value, str):
            raise self.refuse(name, "must be a string")
        return value

    def token_ids(self, name: str) -> tuple[int, ...]:
        """One token id or a list of them; empty where absent or null."""
        value = self.take(name, [])
        ids = cast(list[object], value) if isinstance(value, list) else [value]
        for i in ids:
            if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i <= LARGEST:
                raise self.refuse(name, "must be a token id or a list of them")
        return tuple(cast(list[int], ids))

    def inner(self, name: str) -> Fields:
        """The object in field `name`."""
        value = self.take(name)
        if not isinstance(value, dict):
            raise self.refuse(name, "must be an object")
        return Fields(cast(dict[str, object], value), self.family, f"{self.path}{name}.")

    def only(self, allowed: Mapping[str, tuple[object, ...]]) -> None:
        """Each of these fields is absent or has one of the allowed values."""
        for name, values in allowed.items():
            self.used.add(name)
            if name in self.values and not any(_same(self.values[name], v) for v in values):
                raise self.refuse(name)

    def finish(self, irrelevant: Collection[str] = ()) -> None:
        """Refuse the first field that nobody asked for."""
        for name in self.values:
            if name not in self.used and name not in irrelevant:
                raise self.refuse(name)


def _same(a: object, b: object) -> bool:
    """Equality that tells 0 from false and 1 from true, but not 1 from 1.0."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b
