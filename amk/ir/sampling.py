"""How a token is drawn: parameters of a launch, and arithmetic that is exact on every machine.

`draw` is the definition that the CUDA kernel follows operation by operation: everything behind two
rounded fp32 operations is integer arithmetic, so the same logits, parameters and position give the
same token everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amk.errors import AmkError
from amk.ir.packs import F32

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
MASK = (1 << 32) - 1

SATURATED = MASK
"""Distance of a logit so far below the best one that it has no mass."""

LOG2E_31 = 3098164010
"""log2(e), in units of 2^-31."""

POWER = (246920, -2774097, 20609764, -119183791, 515881616, -1488522224)
"""2^-x = 1 + x * (POWER[5] + x * (POWER[4] + ...)) for x in [0, 1), all in units of 2^-31: the
Chebyshev interpolant of degree 5 of (2^-x - 1) / x, within 8e-9 of 2^-x."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters of the kernel `sample`.

    Temperature 0 takes the likeliest token. `top_k` 0 and `top_p` 1 leave every token in. Raises
    AmkError for values that mean nothing.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise AmkError(f"temperature must be 0 or more, got {self.temperature}")
        if not 0 <= self.top_k < 1 << 31:
            raise AmkError(f"top-k must be from 0 to {(1 << 31) - 1}, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise AmkError(f"top-p must be above 0 and at most 1, got {self.top_p}")
        if not 0 <= self.seed < 1 << 64:
            raise AmkError(f"seed must be from 0 to {(1 << 64) - 1}, got {self.seed}")

    @property
    def inverse(self) -> float:
        """1 / temperature in fp32, a positive normal number; 0 for temperature 0."""
        if self.temperature == 0:
            return 0.0
        least, largest = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
        return float(np.float32(1 / min(max(self.temperature, 1 / largest), 1 / least)))

    @property
    def cut(self) -> int:
        """The share of the mass that top-p may remove, in units of 2^-32."""
        return min(round((1 - self.top_p) * 2**32), MASK)


GREEDY = Sampling()


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011)."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        x, y = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (y >> 32) ^ b ^ k0, y & MASK, (x >> 32) ^ d ^ k1, x & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return a, b, c, d


def random_word(seed: int, pos: int, row: int = 0) -> int:
    """64 random bits for the token chosen at position `pos` of sequence `row`."""
    low, high, _, _ = philox((pos & MASK, row, 0, 0), (seed & MASK, seed >> 32))
    return high << 32 | low


def distances(logits: F32, inverse: float) -> U32:
    """How far each logit lies below the best one, over the temperature, in units of 2^-26; 64 and
    more (and what is no number) is SATURATED."""
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = (logits.max() - logits) * np.float32(inverse)
        near = scaled < np.float32(64)
    units = (np.where(near, scaled, np.float32(0)) * np.float32(2**26)).astype(np.uint32)
    return np.where(near, units, np.uint32(SATURATED))


def masses(distance: U32) -> U64:
    """exp(-distance) in units of 2^-40."""
    x = (distance.astype(np.uint64) * np.uint64(LOG2E_31)) >> np.uint64(26)
    whole, part = x >> np.uint64(31), (x & np.uint64((1 << 31) - 1)).astype(np.int64)
    r = np.full(part.shape, POWER[0], np.int64)
    for c in POWER[1:]:
        r = c + ((r * part) >> 31)
    power = ((1 << 31) + ((r * part) >> 31)).astype(np.uint64)
    return (power << np.uint64(9)) >> np.minimum(whole, np.uint64(63))


def shares(logits: F32, sampling: Sampling) -> U64:
    """The mass of each token behind all filters, for a temperature above 0; all are 0 where the
    logits are no numbers.

    Filters come in Hugging Face's order: temperature, top-k, top-p. Of equal logits, all stay or
    all go.
    """
    far = distances(logits, sampling.inverse)
    mass = masses(far)
    if 0 < sampling.top_k < len(far):
        mass[far > np.partition(far, sampling.top_k - 1)[sampling.top_k - 1]] = 0
    total = int(mass.sum())
    if sampling.cut and total:
        order = np.argsort(far, kind="stable")
        wanted = total - (total * sampling.cut >> 32)
        last = int(np.searchsorted(np.cumsum(mass[order]), np.uint64(wanted)))
        mass[far > far[order[last]]] = 0
    return mass


def draw(logits: F32, sampling: Sampling, pos: int) -> int:
    """The token that follows position `pos`: logits [vocab], float32."""
    sums = np.cumsum(shares(logits, sampling)) if sampling.inverse else np.zeros(1, np.uint64)
    total = int(sums[-1])
    if total == 0:
        return int(logits.argmax())
    ticket = total * random_word(sampling.seed, pos) >> 64
    return int(np.searchsorted(sums, np.uint64(ticket), side="right"))
