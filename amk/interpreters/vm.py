"""The vm interpreter: a program's queues on the CPU, one step or many, greedy or interleaved."""

from __future__ import annotations

from amk.interpreters.decoder import Decoder
from amk.interpreters.greedy import GreedyEngine
from amk.interpreters.shadow import ShadowEngine
from amk.interpreters.storage import Weights
from amk.ir.packs import F32
from amk.ir.program import Program
from amk.ir.sampling import Sampling


class VmInterpreter(Decoder):
    """Runs a vm program on the CPU.

    By default it is fast and greedy: everything that is enabled runs at once. With `seed` it takes
    one event at a time in random order (reads, then each write, then the signals of an instruction
    are separate events) and, as with `check`, all memory has shadow memory that finds races, wrong
    epochs and accesses other than the derived ones. `favor` and `delay` name an SM that runs
    whenever, or only when nothing else, can.

    Every run may raise `FaultError` or `Deadlock` (amk.interpreters.faults); the interpreter is of
    no use after that.
    """

    def __init__(
        self,
        program: Program,
        weights: Weights,
        *,
        check: bool = False,
        seed: int | None = None,
        favor: int | None = None,
        delay: int | None = None,
    ) -> None:
        shadow = check or (seed, favor, delay) != (None, None, None)
        self.engine = (
            ShadowEngine(program, weights, seed=seed, favor=favor, delay=delay)
            if shadow
            else GreedyEngine(program, weights)
        )

    def sample(self, sampling: Sampling) -> None:
        self.engine.storage.sampling = sampling

    def launch(self, token: int, pos: int, steps: int) -> list[int]:
        return self.engine.launch(token, pos, steps)

    def last_logits(self) -> F32 | None:
        return self.engine.outputs.read_logits(self.engine.storage)
