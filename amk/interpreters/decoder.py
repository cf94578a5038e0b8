"""Decoding on anything that runs steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from amk.errors import AmkError
from amk.ir.packs import F32
from amk.ir.sampling import Sampling


def scores(x: F32) -> F32:
    """Logits `x`, or the best ones, that a token is chosen from. Raises AmkError where one is no
    number: no token is the likeliest then."""
    if np.isnan(x).any():
        raise AmkError("logits are no numbers: the model's values exceed fp32")
    return x


class Decoder:
    """What every interpreter can do, given `launch` and `last_logits`."""

    length = 0
    """Positions filled so far: the next step may be at any position up to here."""

    us_per_token: float | None = None
    """Microseconds of a token of the last `generate`, where the device itself measures them."""

    def close(self) -> None:
        """Frees what the decoder holds besides host memory."""

    def sample(self, sampling: Sampling) -> None:
        """From now on the kernel `sample` draws so; it took the likeliest token before. Programs
        without that kernel are not concerned."""

    def launch(self, token: int, pos: int, steps: int) -> list[int]:
        """Runs `steps` steps from position `pos` on, the first with `token`, each other with the
        token of the step before. Gives the token of each step, or none without an argmax."""
        raise NotImplementedError

    def last_logits(self) -> F32 | None:
        """Logits [vocab] of the last step, or None if the program leaves none."""
        raise NotImplementedError

    def run(self, token: int, pos: int, steps: int) -> list[int]:
        """`launch`, checked; a program without argmax gives the argmax of its logits, in launches
        of one step. Raises AmkError if `pos` skips positions."""
        if pos > self.length:
            raise AmkError(f"position {pos} is beyond the {self.length} positions filled so far")
        with np.errstate(over="ignore", invalid="ignore"):  # who chooses a token looks at logits
            tokens = self.launch(token, pos, steps)
        self.length = pos + steps
        if not tokens:
            logits = self.last_logits()
            if logits is None:
                raise AmkError("program computes neither a token nor logits")
            tokens = [int(logits.argmax())]
        return tokens

    def step(self, token: int, pos: int) -> tuple[int, F32 | None]:
        """One step: the next token, and the logits [vocab] if the program has them."""
        return self.run(token, pos, 1)[0], self.last_logits()

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
