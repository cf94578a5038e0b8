"""The vm interpreter: a program's queues on the CPU, one step or many, greedy or interleaved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from amk.errors import AmkError
from amk.interpreters.greedy import GreedyEngine
from amk.interpreters.shadow import ShadowEngine
from amk.interpreters.storage import Weights
from amk.ir.packs import F32
from amk.ir.program import Program


class Decoder:
    """Greedy decoding with anything that runs steps: `launch(token, pos, steps)` gives a token per
    step, and `last_logits()` the logits of the last one."""

    length = 0
    """Positions filled so far: the next step may be at any position up to here."""

    def launch(self, token: int, pos: int, steps: int) -> list[int]:
        raise NotImplementedError

    def last_logits(self) -> F32 | None:
        raise NotImplementedError

    def run(self, token: int, pos: int, steps: int) -> list[int]:
        """`steps` steps from position `pos` on. Raises AmkError if `pos` skips positions."""
        if pos > self.length:
            raise AmkError(f"position {pos} is beyond the {self.length} positions filled so far")
        tokens = self.launch(token, pos, steps)
        self.length = pos + steps
        return tokens

    def step(self, token: int, pos: int) -> tuple[int, F32 | None]:
        """One step: the next token, and the logits [vocab] if the program has them."""
        tokens = self.run(token, pos, 1)
        logits = self.last_logits()
        if tokens:
            return tokens[0], logits
        if logits is None:
            raise AmkError("program computes neither a token nor logits")
        return int(logits.argmax()), logits

    def generate(
        self,
        prompt: Sequence[int],
        max_tokens: int,
        eos: Iterable[int] = (),
        on_token: Callable[[int], None] | None = None,
        steps: int = 1,
    ) -> list[int]:
        """Up to `max_tokens` new tokens, ending after the first that is in `eos`.

        `steps` is how many tokens one launch makes after the prompt. Raises AmkError for an empty
        prompt, a token outside of the vocabulary, or more positions than the caches hold.
        """
        if not prompt:
            raise AmkError("prompt is empty")
        self.reset()
        stop = set(eos)
        fed = [self.step(t, pos)[0] for pos, t in enumerate(prompt)] if max_tokens > 0 else []
        new, made = fed[-1:], list[int]()
        while new:
            for token in new:
                made.append(token)
                if on_token is not None:
                    on_token(token)
                if token in stop or len(made) == max_tokens:
                    return made
            new = self.run(made[-1], self.length, min(steps, max_tokens - len(made)))
        return made

    def logits(self, ids: Sequence[int]) -> F32:
        """Teacher-forced logits of a new sequence: [len(ids), vocab]."""
        self.reset()
        rows = [self.step(token, pos)[1] for pos, token in enumerate(ids)]
        found = [row for row in rows if row is not None]
        if not found or len(found) != len(rows):
            raise AmkError("program has no logits")
        return np.stack(found)

    def reset(self) -> None:
        """Starts a new sequence."""
        self.length = 0


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

    def launch(self, token: int, pos: int, steps: int) -> list[int]:
        return self.engine.launch(token, pos, steps)

    def last_logits(self) -> F32 | None:
        return self.engine.outputs.read_logits(self.engine.storage)
