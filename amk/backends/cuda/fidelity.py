"""Whether logits are those of the model: no latency counts without it.

A system under test is compared with a reference in fp32 on the same (rounded) weights, fed with the
same tokens. Position 0 proves nothing (there the rotary embedding is the identity and softmax has
one key), so positions beyond BEYOND are demanded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from amk.ir.packs import F32

BEYOND = 100
"""A verdict needs a compared position greater than this."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`error`: of the norm of the difference over the norm of the reference, both without their
    means, which softmax does not see. `regret`: how far a chosen token's reference logit may lie
    below the best one, in standard deviations of that position's reference logits."""

    error: float
    regret: float


LIMITS = {"fp32": Limits(1e-4, 1e-3), "bf16": Limits(3e-2, 0.2)}
"""By element type. One rounding to bf16 is up to 4e-3 of a value; tens of them in a row, in random
directions, stay below 3e-2, while a wrong rotation, a lost KV row or a swapped head is above 0.1.
"""


@dataclass
class Fidelity:
    """What was compared, in step: positions, errors, and KL divergences in nats."""

    limits: Limits
    positions: list[int] = field(default_factory=list[int])
    errors: list[float] = field(default_factory=list[float])
    kl: list[float] = field(default_factory=list[float])
    regret: float = 0.0
    """The largest of the chosen tokens."""
    chosen: int = 0
    """Tokens whose regret was looked at."""
    native: list[float] = field(default_factory=list[float])
    """KL divergences of Hugging Face in the same type at the first positions, where it is the
    yardstick (`routed`)."""
    complaints: list[str] = field(default_factory=list[str])
    """Other reasons not to believe the system: launches that differ, overwritten guard words."""

    @classmethod
    def routed(cls, limits: Limits, native: F32, want: F32, positions: Sequence[int]) -> Fidelity:
        """For a mixture of experts in bf16. Rounding decides between experts that are as good as
        equal, and moves a position's logits by an expert's share: no bound of a position exists.
        So the mean divergence may not exceed that of Hugging Face with everything in bf16, as
        `amk eval` has it, and no choice be worse than the worst of its choices.

        native, want: its logits and those of the reference, [positions, vocab] each.
        """
        found = cls(limits)
        for position in positions:
            found.native.append(divergence(want[position], native[position]))
            found.choose([int(native[position].argmax())], want[position : position + 1])
        regret = max(limits.regret, found.regret)
        return cls(Limits(math.inf, regret), native=found.native)

    def compare(self, position: int, got: F32, want: F32) -> None:
        """Add one position's logits: [vocab] each."""
        self.positions.append(position)
        self.errors.append(relative_error(got, want))
        self.kl.append(divergence(want, got))

    def choose(self, tokens: Sequence[int], want: F32) -> None:
        """Add chosen tokens with the reference's logits: [len(tokens), vocab]."""
        for token, row in zip(tokens, want, strict=True):
            spread = max(float(row.std()), 1e-30)
            self.regret = max(self.regret, float(row.max() - row[token]) / spread)
            self.chosen += 1

    def failure(self) -> str | None:
        """Why the verdict is not a pass; None for a pass."""
        if self.complaints:
            return self.complaints[0]
        if not any(p > BEYOND for p in self.positions):
            return f"no position beyond {BEYOND} was compared"
        for position, error in zip(self.positions, self.errors, strict=True):
            if not error <= self.limits.error:
                return (
                    f"logits at position {position} differ from the fp32 reference by {error:.1e} "
                    f"of their norm, limit {self.limits.error:.0e}"
                )
        if self.native:
            mine, theirs = (float(np.mean(k[: len(self.native)])) for k in (self.kl, self.native))
            if not mine <= theirs:
                return (
                    f"the mean KL divergence from the fp32 reference is {mine:.1e}, that of "
                    f"Hugging Face in bf16 {theirs:.1e}"
                )
        if not self.regret <= self.limits.regret:
            return (
                f"a chosen token lies {self.regret:.2f} standard deviations below the best of the "
                f"fp32 reference, limit {self.limits.regret}"
            )
        return None

    def report(self) -> dict[str, object]:
        """For JSON."""
        theirs = {"hugging_face_bf16_kl": [finite(k, 10) for k in self.native]}
        return {
            **(theirs if self.native else {}),
            "positions": self.positions,
            "logits_error": [finite(e, 8) for e in self.errors],
            "logits_error_limit": finite(self.limits.error, 8),
            "kl": [finite(k, 10) for k in self.kl],
            **(
                {"hugging_face_bf16_kl": [finite(k, 10) for k in self.native]}
                if self.native
                else {}
            ),
            "largest_regret": finite(self.regret, 6),
            "regret_limit": self.limits.regret,
            "tokens_checked": self.chosen,
        }


def finite(x: float, digits: int) -> float | None:
    """`x` rounded; None for what JSON cannot say."""
    return round(x, digits) if math.isfinite(x) else None


def relative_error(got: F32, want: F32) -> float:
    """|got - want| / |want| of two rows of logits without their means; inf where not finite."""
    a, b = got.astype(np.float64), want.astype(np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    a, b = a - a.mean(), b - b.mean()
    return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-300))


def divergence(want: F32, got: F32) -> float:
    """KL divergence in nats of the distribution of `got` from that of `want`, or inf."""
    if not (np.isfinite(want).all() and np.isfinite(got).all()):
        return float("inf")
    p, q = log_softmax(want), log_softmax(got)
    return float((np.exp(p) * (p - q)).sum())


def log_softmax(x: F32) -> np.ndarray:
    wide = x.astype(np.float64)
    wide = wide - wide.max()
    return wide - np.log(np.exp(wide).sum())
