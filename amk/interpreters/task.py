"""The task interpreter: families in program order on logical buffers, without SMs or queues."""

from __future__ import annotations

import random

from amk.interpreters.decoder import Decoder
from amk.interpreters.greedy import GreedyMemory
from amk.interpreters.kernels import execute
from amk.interpreters.storage import Outputs, Storage, Weights
from amk.ir.kernels import Access, AnyAccess, Kernel
from amk.ir.packs import F32
from amk.ir.program import Declarations
from amk.ir.sampling import Sampling

Tiles = list[tuple[int, int]]


def buffers(accesses: list[AnyAccess], write: bool) -> set[str]:
    return {a.buffer for a in accesses if isinstance(a, Access) and a.write == write}


def stages(kernel: Kernel) -> list[Tiles]:
    """Ranges of tiles that may run in any order, stage after stage. Tiles that read what their own
    family writes (the merge of a split attention) come last."""
    every = list(kernel.accesses(0, kernel.grid))
    written = buffers(every, True)
    if not written & buffers(every, False):
        return [[(0, kernel.grid)]]
    first: Tiles = []
    last: Tiles = []
    for tile in range(kernel.grid):
        late = written & buffers(list(kernel.accesses(tile, tile + 1)), False)
        (last if late else first).append((tile, tile + 1))
    return [first, last]


class TaskInterpreter(Decoder):
    """Runs a task program, or the kernels of a vm program without its queues.

    By default a family is one call; with `seed` it is one call a tile, in random order.
    """

    def __init__(self, program: Declarations, weights: Weights, *, seed: int | None = None) -> None:
        self.storage = Storage(program, weights, 1)
        self.memory = GreedyMemory(program, self.storage)
        self.outputs = Outputs(program)
        self.rng = random.Random(seed) if seed is not None else None
        self.families = [(name, k, stages(k)) for name, k in program.kernels.items()]
        self.steps = 0

    def sample(self, sampling: Sampling) -> None:
        self.storage.sampling = sampling

    def launch(self, token: int, pos: int, steps: int) -> list[int]:
        self.storage.check_step(token, pos, steps)
        made: list[int] = []
        for at in range(pos, pos + steps):
            self.memory.step, self.memory.pos = self.steps, at
            self.memory.give(made[-1] if made else token)
            for name, kernel, ranges in self.families:
                self.memory.kernel = name
                for lo, hi in self.order(ranges):
                    execute(kernel, lo, hi, self.memory)
            if self.steps in self.memory.emitted:
                made.append(self.memory.emitted.pop(self.steps))
            self.steps += 1
        return made

    def order(self, ranges: list[Tiles]) -> Tiles:
        """The ranges of all stages in the order of this run."""
        if self.rng is None:
            return [r for stage in ranges for r in stage]
        result: Tiles = []
        for stage in ranges:
            tiles = [(tile, tile + 1) for lo, hi in stage for tile in range(lo, hi)]
            self.rng.shuffle(tiles)
            result += tiles
        return result

    def last_logits(self) -> F32 | None:
        return self.outputs.read_logits(self.storage)
