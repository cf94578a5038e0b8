"""Inverse frequencies of rotary embedding from a config, rounded as Hugging Face rounds them.

Every operation is the float32 operation that `transformers.modeling_rope_utils` performs with
PyTorch, in its order: `c / tensor` there is `tensor.reciprocal() * c`, hence the reciprocals here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from amk.errors import AmkError
from amk.frontends.hf.family import FULL, SLIDING, Rope
from amk.frontends.hf.fields import Fields
from amk.frontends.hf.powf import powf

F32 = NDArray[np.float32]
ONE = np.float32(1)
DEFAULT_THETA = 10000.0

LONGER = "longrope: a sequence that grows longer changes the frequencies of its first tokens"
"""Why a context ends before `max_position_embeddings`."""

Table = tuple[tuple[float, ...], float]
"""Frequencies (float32 values) and the factor of cos and sin."""


def steps(dim: int) -> F32:
    """2 i / dim, shape [dim / 2]."""
    return np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)


def default_frequencies(theta: float, dim: int) -> F32:
    """1 / theta ** (2 i / dim), shape [dim / 2]."""
    return ONE / powf(theta, steps(dim))


def llama3_frequencies(inv: F32, factor: float, low: float, high: float, context: int) -> F32:
    """Llama 3.1: frequencies of long wavelengths are divided by `factor`, those of short ones kept,
    those between interpolated."""
    wavelength = ONE / inv * np.float32(2 * math.pi)
    long = wavelength > np.float32(context / low)
    short = wavelength < np.float32(context / high)
    scaled = np.where(long, inv / np.float32(factor), inv)
    smooth = (ONE / wavelength * np.float32(context) - np.float32(low)) / np.float32(high - low)
    between = (ONE - smooth) * scaled / np.float32(factor) + smooth * scaled
    return np.where(~short & ~long, between, scaled)


def yarn_frequencies(
    theta: float, dim: int, factor: float, context: int, fast: float, slow: float, whole: bool
) -> F32:
    """YaRN (https://arxiv.org/abs/2309.00071): frequencies that turn more than `fast` times in the
    original context are kept, those that turn less than `slow` times divided by `factor`, those
    between interpolated. `whole` rounds the bounds to whole frequencies."""

    def index(turns: float) -> float:
        return dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = index(fast), index(slow)
    if whole:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    ramp = (np.arange(dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    kept = ONE - np.clip(ramp, np.float32(0), ONE)
    powers = powf(theta, steps(dim))
    interpolated = ONE / (np.float32(factor) * powers)
    return (interpolated * (ONE - kept) + ONE / powers * kept).astype(np.float32)


def mscale(factor: float, weight: float = 1.0) -> float:
    """YaRN's factor of cos and sin."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


class RopeReader:
    """Reads `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before), and
    refuses a config in which the two disagree.

    `max_context` is how many positions the tables of this config serve. One scaling depends on the
    length of the sequence: longrope has `long_inv_freq` behind its original context, for every
    token, the first ones too. A sequence that begins longer has these throughout; one that grows
    longer (Phi 3 computes its whole cache anew then) ends at `max_context`.
    """

    def __init__(self, config: Fields, rope: Rope, head_dim: int):
        self.config, self.rope, self.head_dim = config, rope, head_dim
        self.positions = config.size("max_position_embeddings")
        old, new = config.take("rope_scaling", None), config.take("rope_parameters", None)
        if new is not None and "rope_scaling" not in config.values:
            old = None
        if old is not None and new is not None and old != new:
            raise config.refuse("rope_scaling", "contradicts 'rope_parameters'")
        source = "rope_scaling" if new is None else "rope_parameters"
        nothing = Fields({}, config.family, "rope_parameters.")
        inner = nothing if old is None and new is None else config.inner(source)
        self.parameters = {FULL: inner, SLIDING: nothing}
        if rope.local_theta and new is not None:
            for kind in (FULL, SLIDING):
                some = inner.take(kind, None) is not None
                self.parameters[kind] = inner.inner(kind) if some else nothing
            inner.finish()
        if rope.original:
            self.original = config.size(rope.original)
        types = {self.type_of(p) for p in self.parameters.values()}
        self.max_context = self.positions
        if "longrope" in types:
            self.max_context = min(self.positions, self.original_context(self.parameters[FULL]))
        self.context_ends = LONGER if self.max_context < self.positions else ""
        self.long_inv_freq: tuple[float, ...] = ()
        theta = config.number(rope.theta, DEFAULT_THETA)
        local = config.number(rope.local_theta, theta) if rope.local_theta else theta
        self.theta = {FULL: theta, SLIDING: local}
        self.partial = config.number(rope.partial, 1.0) if rope.partial else 1.0

    def type_of(self, rope: Fields) -> str:
        kind = rope.take("rope_type", rope.take("type", "default"))
        rope.only({"type": (None, kind)})
        kind = self.rope.aliases.get(str(kind), str(kind))
        if kind not in self.rope.types:
            raise rope.refuse("rope_type" if "rope_type" in rope.values else "type")
        return kind

    def original_context(self, rope: Fields) -> int:
        """Positions that the model was made for before its rotation was scaled."""
        inner = rope.size("original_max_position_embeddings", self.positions)
        return self.original if self.rope.original else inner

    def outer(self, rope: Fields, name: str, outer: str, value: float) -> float:
        """Number `name` of the rope parameters, or `value`, which field `outer` of the config
        gives; refused where both are there and disagree."""
        if name not in rope.values:
            return value
        inner = rope.number(name)
        if self.config.values.get(outer) is not None and inner != value:
            raise self.config.refuse(outer, f"contradicts '{rope.path}{name}' = {inner}")
        return inner

    def read(self, which: str) -> Table:
        """The table of layers of type `which`."""
        rope = self.parameters[which]
        outer = self.rope.local_theta if which == SLIDING else self.rope.theta
        theta = self.outer(rope, "rope_theta", outer, self.theta[which])
        dim = self.rotating(rope)
        table = self.table(self.type_of(rope), rope, theta, dim)
        rope.finish()
        return table

    def rotating(self, rope: Fields) -> int:
        """Elements of a head that rotate."""
        if not self.rope.partial:
            rope.only({"partial_rotary_factor": (None, 1.0)})
            self.config.only({"partial_rotary_factor": (None, 1.0)})
            fraction = 1.0
        else:
            fraction = self.outer(rope, "partial_rotary_factor", self.rope.partial, self.partial)
        dim = int(self.head_dim * fraction)
        if dim % 2:
            what = f"head_dim {dim}" if dim == self.head_dim else f"rotary part {dim} of a head"
            raise AmkError(f"{what} is odd, and rotary embedding pairs its elements")
        if not 0 < dim <= self.head_dim:
            raise AmkError(f"rotary part {dim} of a head is outside 1 to {self.head_dim}")
        return dim

    def table(self, kind: str, rope: Fields, theta: float, dim: int) -> Table:
        scale = 1.0
        match kind:
            case "linear":
                inv = default_frequencies(theta, dim) / np.float32(rope.number("factor"))
            case "dynamic":
                # Within the context the base is that of no scaling, up to rounding.
                factor, n = rope.number("factor"), self.positions
                grown = (factor * n / n - (factor - 1)) ** (dim / (dim - 2)) if dim > 2 else 1.0
                inv = default_frequencies(theta * grown, dim)
            case "llama3":
                inv = self.llama3(rope, default_frequencies(theta, dim))
            case "yarn":
                inv, scale = self.yarn(rope, theta, dim)
            case "longrope":
                inv, scale = self.longrope(rope, theta, dim)
            case _:
                inv = default_frequencies(theta, dim)
        return tuple(float(v) for v in inv), scale

    def llama3(self, rope: Fields, inv: F32) -> F32:
        low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
        if high <= low:
            raise rope.refuse("high_freq_factor", f"must exceed low_freq_factor {low}")
        context = self.original_context(rope)
        return llama3_frequencies(inv, rope.number("factor"), low, high, context)

    def yarn(self, rope: Fields, theta: float, dim: int) -> tuple[F32, float]:
        if theta == 1:
            raise AmkError("rotary base 1 leaves yarn nothing to scale")
        context = self.original_context(rope)
        factor = rope.number("factor", self.positions / context)
        fast, slow = rope.number("beta_fast", 32), rope.number("beta_slow", 1)
        if self.rope.local_theta:  # transformers looks for it outside of the two tables
            rope.only({"truncate": (None, True)})
        inv = yarn_frequencies(theta, dim, factor, context, fast, slow, rope.flag("truncate", True))
        default, one = mscale(factor), rope.take("mscale", None)
        if one is not None and rope.take("mscale_all_dim", None) is not None:
            over = mscale(factor, rope.number("mscale_all_dim"))
            default = mscale(factor, rope.number("mscale")) / over
        return inv, rope.number("attention_factor", default)

    def longrope(self, rope: Fields, theta: float, dim: int) -> tuple[F32, float]:
        """LongRoPE (https://arxiv.org/abs/2402.13753) in its original context, and leaves
        `long_inv_freq`."""
        context = self.original_context(rope)
        powers = powf(theta, steps(dim))
        short, long = (
            (ONE / (np.array(rope.numbers(name, dim // 2), np.float32) * powers)).astype(np.float32)
            for name in ("short_factor", "long_factor")
        )
        if self.context_ends and not self.rope.local_theta:
            self.long_inv_freq = tuple(float(v) for v in long)
        factor = rope.number("factor", self.positions / context)
        default = math.sqrt(1 + math.log(factor) / math.log(context)) if factor > 1 else 1.0
        return short, rope.number("attention_factor", default)
