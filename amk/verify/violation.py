"""What a verifier finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """An instruction: position `index` in the queue of SM `sm`, in step `step` of the unrolled
    program."""

    sm: int
    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    step: int = 0

    def __str__(self) -> str:
        later = " of the next step" if self.step else ""
        return f"instruction {self.index} of SM {self.sm}{later}"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule of docs/IR_SPEC.md that a program breaks, and where. `places` are the instructions
    involved, the one to blame first."""

    rule: str
    message: str
    places: tuple[Place, ...] = ()

    def __str__(self) -> str:
        return f"{self.message} ({self.rule})"
