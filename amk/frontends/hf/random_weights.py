"""Weights made of nothing: a function of the tensor's name, its shape and a seed.

Each tensor is made when it is asked for and never kept, so a model of any size opens at no cost.
Values are representable in bfloat16: compiled in either type, the model has the same weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np

from amk.frontends.hf.checkpoint import F32, Piece, TensorInfo, check_known
from amk.frontends.hf.decoder import DecoderConfig, Shape, tensors
from amk.ir.packs import round_bf16


class RandomWeights:
    """The tensors of `config` with uniformly distributed values.

    Standard deviations keep activations near one: 1 / sqrt(columns) for a matrix, divided by
    sqrt(2 * layers) where it adds to the residual stream; 0.1 for biases; norms are 1 +- 0.1, or 0
    +- 0.1 if the model adds 1. The embedding is a quarter of that, or a tied head would only
    repeat its input.
    """

    def __init__(self, config: DecoderConfig, seed: int = 0):
        self.seed = seed
        self.layers = config.layers
        self.roles = {name: spec.role for name, spec in tensors(config).items()}
        self.shapes: Mapping[str, Shape] = {n: s.shape for n, s in tensors(config).items()}
        self.tensors = {n: TensorInfo(s, "bf16") for n, s in self.shapes.items()}

    def pieces(self, name: str) -> list[Piece]:
        return []

    def read(self, name: str) -> F32:
        check_known(name, self.tensors, "the random model")
        shape = self.shapes[name]
        digest = hashlib.sha256(f"amk {self.seed} {name}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        values = generator.random(shape, dtype=np.float32)
        values -= np.float32(0.5)
        values *= np.float32(math.sqrt(12) * self.deviation(name, shape))
        values += np.float32(self.mean(name))
        return round_bf16(values)

    def mean(self, name: str) -> float:
        return 1.0 if self.roles[name] == "norm" else 0.0

    def deviation(self, name: str, shape: Shape) -> float:
        if self.roles[name] in ("norm", "shift", "bias"):
            return 0.1
        unit = 1 / math.sqrt(shape[1])
        if self.roles[name] == "out":
            return unit / math.sqrt(2 * self.layers)
        return unit / 4 if self.roles[name] == "embed" else unit
