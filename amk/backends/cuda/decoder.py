"""A program on the GPU as a decoder: the prompt in one launch, new tokens in as few as may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from time import sleep
from typing import Any

from amk.backends.cuda.launch import Approve, Session, logits_buffer
from amk.backends.cuda.limits import MOST_EOS
from amk.backends.cuda.pack import Weights
from amk.errors import AmkError
from amk.interpreters.decoder import Decoder
from amk.ir.packs import F32
from amk.ir.program import Program
from amk.ir.sampling import Sampling

AT_ONCE = 256
"""New tokens of one launch: who interrupts the process waits for its end."""

POLL_SECONDS = 1e-4
"""How often the host looks for tokens of a launch that is under way."""


class CudaDecoder(Decoder):
    """Runs a vm program that `approve` has nothing against on the GPU. Raises AmkError where it
    does not fit, or a launch hangs."""

    def __init__(
        self,
        program: Program,
        weights: Weights,
        *,
        approve: Approve | None,
        certificate_hash: str = "",
    ) -> None:
        self.session = Session(program, weights, approve=approve, certificate_hash=certificate_hash)
        self.logits_name = logits_buffer(program)

    def close(self) -> None:
        self.session.close()

    def sample(self, sampling: Sampling) -> None:
        self.session.sampling = sampling

    def launch(self, token: int, pos: int, steps: int) -> list[int]:
        result = self.session.run([token], steps, start=pos)
        return [int(t) for t in result.tokens]

    def last_logits(self) -> F32 | None:
        return self.session.read(self.logits_name) if self.logits_name else None

    def generate(
        self,
        prompt: Sequence[int],
        max_tokens: int,
        eos: Iterable[int] = (),
        on_token: Callable[[int], None] | None = None,
        steps: int = 1,
    ) -> list[int]:
        """As `Decoder.generate`, whatever `steps` is. `on_token` hears of each token while the
        launch goes on, in a thread of its own. Leaves in `us_per_token` what a new token took on
        the device (one of the prompt, if there is no second new one).
        """
        if not prompt:
            raise AmkError("prompt is empty")
        hear = on_token or _ignore
        stop = list(eos)
        first = self.session.run(prompt, len(prompt))
        made = [int(first.tokens[-1])]
        self.us_per_token = first.microseconds / len(prompt)
        hear(made[0])
        eos = stop if len(stop) <= MOST_EOS else ()  # else the host looks for them
        spent, done = 0.0, 0
        while len(made) < max_tokens and made[-1] not in stop:
            count = min(AT_ONCE, max_tokens - len(made))
            start = len(prompt) + len(made) - 1
            with watch(self.session.shown, count, stop, hear):
                rest = self.session.run(made[-1:], count, start=start, eos=eos)
            spent, done = spent + rest.microseconds, done + len(rest.tokens)
            self.us_per_token = spent / done
            made += until([int(t) for t in rest.tokens], stop)
        self.length = len(prompt) + len(made) - 1
        return made


def _ignore(token: int) -> None:
    """What hears of tokens when nobody wants to."""


def until(tokens: list[int], stop: Sequence[int]) -> list[int]:
    """`tokens` up to and with the first that is in `stop`."""
    for i, token in enumerate(tokens):
        if token in stop:
            return tokens[: i + 1]
    return tokens


@contextmanager
def watch(shown: Any, count: int, stop: Sequence[int], hear: Callable[[int], None]) -> Any:
    """Tells `hear` of the tokens that appear in `shown`, at most `count` and none behind one of
    `stop`, as they come; when the block ends, of those that are left.

    shown: int32 [>= count], written by the device while the host looks. What `hear` raises is
    raised when the block ends.
    """
    shown[:count] = -1
    over, raised = Event(), list[BaseException]()

    def listen() -> None:
        heard = 0
        while heard < count:
            last_look = over.is_set()
            while heard < count and shown[heard] >= 0:
                token = int(shown[heard])
                heard += 1
                hear(token)
                if token in stop:
                    return
            if last_look:
                return
            sleep(POLL_SECONDS)

    def guarded() -> None:
        try:
            listen()
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if raised:
        raise raised[0]
