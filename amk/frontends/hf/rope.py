"""Inverse frequencies of rotary embedding from a config, rounded as Hugging Face rounds them.

Every operation is the float32 operation that `transformers.modeling_rope_utils` performs with
PyTorch, in its order: `c / tensor` there is `tensor.reciprocal() * c`, hence the reciprocals here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from amk.frontends.hf.fields import Fields
from amk.frontends.hf.powf import powf

F32 = NDArray[np.float32]
ONE = np.float32(1)
DEFAULT_THETA = 10000.0


def default_frequencies(theta: float, head_dim: int) -> F32:
    """1 / theta ** (2 i / head_dim), shape [head_dim / 2]."""
    return ONE / powf(theta, np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim))


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


def read_rope(
    config: Fields, head_dim: int, max_context: int, theta: float = DEFAULT_THETA
) -> tuple[tuple[float, ...], float]:
    """Frequencies (head_dim / 2 float32 values) and the factor of cos and sin.

    Reads `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before), and
    refuses a config in which the two disagree. `theta` is the base where neither gives one.
    """
    theta = config.number("rope_theta", theta)
    old, new = config.take("rope_scaling", None), config.take("rope_parameters", None)
    if old is not None and new is not None and old != new:
        raise config.refuse("rope_scaling", "contradicts 'rope_parameters'")
    if old is None and new is None:
        rope = Fields({}, config.family, "rope_parameters.")
    else:
        rope = config.inner("rope_scaling" if new is None else "rope_parameters")
    if "rope_theta" in rope.values:
        inner = rope.number("rope_theta", theta)
        if config.values.get("rope_theta") is not None and inner != theta:
            raise config.refuse("rope_theta", f"contradicts '{rope.path}rope_theta' = {inner}")
        theta = inner
    rope.only({"partial_rotary_factor": (None, 1.0)})

    kind = rope.take("rope_type", rope.take("type", "default"))
    rope.only({"type": (None, kind)})
    inv = default_frequencies(theta, head_dim)
    match kind:
        case "default":
            pass
        case "linear":
            inv = inv / np.float32(rope.number("factor"))
        case "llama3":
            low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
            if high <= low:
                raise rope.refuse("high_freq_factor", f"must exceed low_freq_factor {low}")
            context = rope.size("original_max_position_embeddings", max_context)
            inv = llama3_frequencies(inv, rope.number("factor"), low, high, context)
        case _:
            raise rope.refuse("rope_type" if "rope_type" in rope.values else "type")
    rope.finish()
    return tuple(float(v) for v in inv), 1.0
