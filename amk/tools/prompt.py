"""Token ids from a command line."""

from __future__ import annotations

from amk.errors import AmkError


def parse_ids(text: str) -> list[int]:
    """Token ids from a text such as `1,2,3`. Raises AmkError."""
    ids: list[int] = []
    for part in text.split(",") if text.strip() else []:
        try:
            ids.append(int(part))
        except ValueError:
            raise AmkError(f"--prompt-ids: '{part.strip()}' is no token id") from None
    if not ids:
        raise AmkError("--prompt-ids: prompt is empty")
    return ids


def check_count(flag: str, value: int) -> None:
    """Raises AmkError unless the value of a flag is positive."""
    if value < 1:
        raise AmkError(f"{flag}: must be positive, got {value}")
