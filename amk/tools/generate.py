"""`amk generate`: compile, prove, and run the compiled program, token by token."""

from __future__ import annotations

from time import perf_counter
from typing import Any, TextIO

from rich.console import Console

from amk.compiler import compile_model
from amk.errors import AmkError
from amk.frontends.hf.source import open_model
from amk.interpreters.vm import VmInterpreter
from amk.tools.console import Result, Steps, finish
from amk.tools.prompt import check_count, parse_ids


class Stream:
    """Hands out the text of tokens as soon as it is whole characters."""

    def __init__(self, tokenizer: Any, prompt: list[int]):
        self.tokenizer, self.tokens = tokenizer, list(prompt)
        self.shown = self._text()

    def push(self, token: int) -> str:
        """The text that this token completes."""
        self.tokens.append(token)
        text = self._text()
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        new, self.shown = text[len(self.shown) :], text
        return new

    def _text(self) -> str:
        return self.tokenizer.decode(self.tokens, skip_special_tokens=True)


def generate_tokens(
    name: str,
    prompt: str | None,
    prompt_ids: str | None,
    *,
    max_tokens: int,
    dtype: str,
    num_sms: int,
    sync: str,
    verify: bool,
    out: TextIO,
    as_json: bool,
) -> bool:
    """Generate from a model and print the result to `out`; for a person, text as it comes.

    Returns whether the tokens are Hugging Face's, True when `verify` is off. Raises AmkError.
    """
    check_count("--max-tokens", max_tokens)
    if (prompt is None) == (prompt_ids is None):
        raise AmkError("--prompt, --prompt-ids: give one of them")
    if prompt is not None and not prompt.strip():
        raise AmkError("--prompt: prompt is empty")
    given = None if prompt_ids is None else parse_ids(prompt_ids)

    steps = Steps()
    with steps.step(f"opening {name}"):
        model = open_model(name)
        tokenizer = model.tokenizer() if given is None else None
        ids = given if given is not None else list(tokenizer.encode(prompt))
        model.config.check_tokens(ids)
    with steps.step("compiling") as step:
        compiled = compile_model(
            model.config,
            num_sms=num_sms,
            dtype=dtype,
            max_context=len(ids) + max_tokens,
            sync=sync,
            started=step.describe,
        )
    with steps.step("loading weights"):
        interpreter = VmInterpreter(compiled.program, model.weight)
