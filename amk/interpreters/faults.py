"""How a program goes wrong while it runs: a fault, or a deadlock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class _Instruction:
    """`index` counts within the queue of `sm`."""

    sm: int
    index: int
    kernel: str
    step: int

    def __str__(self) -> str:
        return f"instruction {self.index} of SM {self.sm} ({self.kernel}, step {self.step})"


@dataclass(frozen=True)
class Fault(_Instruction):
    """One instruction did what no correct program does."""

    message: str

    def __str__(self) -> str:
        return f"{super().__str__()} {self.message}"


class FaultError(Exception):
    """A fault, where a run stops."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True)
class Blocked(_Instruction):
    """What one SM waits for when nobody can progress."""

    waits_for: str

    def __str__(self) -> str:
        return f"{super().__str__()} waits for {self.waits_for}"


class Deadlock(Exception):
    """No SM can progress and some have not ended; `counters` holds the counters' values."""

    def __init__(self, blocked: tuple[Blocked, ...], counters: tuple[int, ...]) -> None:
        more = f" and {len(blocked) - 3} more" if len(blocked) > 3 else ""
        super().__init__("deadlock: " + "; ".join(str(b) for b in blocked[:3]) + more)
        self.blocked = blocked
        self.counters = counters
