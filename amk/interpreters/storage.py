"""The values that a program holds while it runs: buffers, KV caches and immutable tensors.

Everything is kept as float32, already rounded to the type of its buffer; an i32 element is exact up
to 2^24, far beyond any vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

import numpy as np

from amk.errors import AmkError
from amk.interpreters.kernels import Rows
from amk.ir.kernels import Argmax, Embed, Gemv, Kernel, Ref, Sample
from amk.ir.packs import F32, Immutables, round_to
from amk.ir.program import Declarations
from amk.ir.sampling import GREEDY, Sampling

Weights = Callable[[str], F32]
"""Gives a checkpoint tensor in float32 by its name."""


def refs(kernel: Kernel) -> Iterator[Ref]:
    """The operands of a kernel that lie in buffers."""
    for f in fields(kernel):
        value = getattr(kernel, f.name)
        if isinstance(value, Ref):
            yield value


class Storage:
    """Buffers, caches and weights of one program. `copies` is how many SMs have local buffers of
    their own; with 1, a local buffer is one array for all."""

    def __init__(self, program: Declarations, weights: Weights, copies: int) -> None:
        self.program = program
        self.sampling: Sampling = GREEDY
        self.rows = min((c.rows for c in program.caches.values()), default=4096)
        self.immutable = Immutables(
            program.tensors, program.packs, program.ropes, weights, self.rows
        )
        self.dtype = {b.name: b.dtype for b in program.buffers.values()}
        self.shared: dict[str, F32] = {}
        self.local: dict[str, F32] = {}
        for b in program.buffers.values():
            if b.space == "local" and copies > 1:
                self.local[b.name] = np.zeros((copies, b.length), np.float32)
            else:
                self.shared[b.name] = np.zeros(b.length, np.float32)
        self.keys = {
            c.name: np.zeros((c.heads, c.rows, c.head_dim), np.float32)
            for c in program.caches.values()
        }
        self.values = {name: np.zeros_like(keys) for name, keys in self.keys.items()}

    def buffer(self, name: str, sm: int) -> F32:
        """The array of a buffer as SM `sm` sees it."""
        found = self.shared.get(name)
        return self.local[name][sm] if found is None else found

    def cached(self, cache: str, head: int, rows: Rows) -> tuple[F32, F32]:
        return self.keys[cache][head, rows], self.values[cache][head, rows]

    def append(self, cache: str, head: int, pos: int, k: F32, v: F32) -> None:
        self.keys[cache][head, pos] = k
        self.values[cache][head, pos] = v

    def rounded(self, cache: str, values: F32) -> F32:
        return round_to(values, self.program.caches[cache].dtype)

    def check_step(self, token: int, pos: int, steps: int) -> None:
        """Raises AmkError unless `token` and positions [pos, pos + steps) are in range."""
        if pos < 0 or steps < 1 or pos + steps > self.rows:
            raise AmkError(
                f"positions [{pos}, {pos + steps}) do not fit the caches' {self.rows} rows"
            )
        for kernel in self.program.kernels.values():
            if isinstance(kernel, Embed):
                vocab = self.program.tensors[kernel.table].shape[0]
                if not 0 <= token < vocab:
                    raise AmkError(f"token {token} is outside of the vocabulary of {vocab}")


class Outputs:
    """Where the host finds a program's token and logits, as its kernels say."""

    def __init__(self, program: Declarations) -> None:
        kernels = list(program.kernels.values())
        self.token = next((k.token for k in kernels if isinstance(k, Embed)), None)
        choice = next((k for k in kernels if isinstance(k, Argmax | Sample)), None)
        self.next = choice.out if choice else None
        self.logits: tuple[Ref, int] | None = None
        for k in kernels:
            if isinstance(k, Gemv) and k.epilogue == "logits":
                self.logits = k.out, k.n
        if self.logits is None and choice and not (isinstance(choice, Argmax) and choice.pairs):
            self.logits = choice.x, choice.n

    def read_logits(self, storage: Storage) -> F32 | None:
        """The logits that the last step left, [vocab], or None when the program has none."""
        if self.logits is None or self.logits[0].buffer not in storage.shared:
            return None
        ref, n = self.logits
        return storage.shared[ref.buffer][ref.offset : ref.offset + n].copy()
