"""Token ids and counts from a command line."""

from __future__ import annotations

import re

from amk.errors import AmkError


def parse_ids(text: str) -> list[int]:
    """Token ids from a text such as `1,2,3`. Raises AmkError."""
    ids: list[int] = []
    for part in text.split(",") if text.strip() else []:
        if not re.fullmatch(r"\s*-?[0-9]{1,20}\s*", part):
            raise AmkError(f"--prompt-ids: '{part.strip()}' is no token id")
        ids.append(int(part))
    if not ids:
        raise AmkError("--prompt-ids: prompt is empty")
    return ids


def check_count(flag: str, value: int) -> None:
    """Raises AmkError unless the value of a flag is positive."""
    if value < 1:
        raise AmkError(f"{flag}: must be positive, got {value}")


def check_sms(value: int | None) -> None:
    """Raises AmkError unless --num-sms is positive or not given."""
    if value is not None:
        check_count("--num-sms", value)
