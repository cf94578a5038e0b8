"""How a program goes wrong while it runs: a fault, or a deadlock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One instruction did what no correct program does. `index` counts within the queue of `sm`."""

    sm: int
    index: int
    kernel: str
    step: int
    message: str

    def __str__(self) -> str:
        return (
            f"instruction {self.index} of SM {self.sm} ({self.kernel}, step {self.step}) "
            f"{self.message}"
        )


class FaultError(Exception):
    """A fault, where a run stops."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True)
class Blocked:
    """What one SM waits for when nobody can progress."""

    sm: int
    index: int
    kernel: str
    step: int
    waits_for: str

    def __str__(self) -> str:
        return (
            f"instruction {self.index} of SM {self.sm} ({self.kernel}, step {self.step}) "
            f"waits for {self.waits_for}"
        )


class Deadlock(Exception):
    """No SM can progress and some have not ended; `counters` holds the counters' values."""

    def __init__(self, blocked: tuple[Blocked, ...], counters: tuple[int, ...]) -> None:
        more = f" and {len(blocked) - 3} more" if len(blocked) > 3 else ""
        super().__init__("deadlock: " + "; ".join(str(b) for b in blocked[:3]) + more)
        self.blocked = blocked
        self.counters = counters
