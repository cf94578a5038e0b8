"""`amk generate`: compile, prove, and run the compiled program, token by token."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import asdict
from time import perf_counter
from typing import Any, TextIO

import numpy as np
from rich.console import Console

from amk.compiler import compile_model
from amk.errors import AmkError
from amk.frontends.hf.source import Model, open_model
from amk.ir.sampling import Sampling
from amk.tools.console import Result, Steps, finish
from amk.tools.devices import DEVICES
from amk.tools.prompt import check_count, check_sms, parse_ids


def parse_sampling(
    temperature: float | None, top_k: int | None, top_p: float | None, seed: int | None
) -> Sampling | None:
    """How to draw tokens; None, greedily, where nothing is asked for. The temperature is 1 where
    only something else is. Raises AmkError."""
    if temperature is top_k is top_p is seed is None:
        return None
    return Sampling(
        temperature=1.0 if temperature is None else temperature,
        top_k=top_k or 0,
        top_p=1.0 if top_p is None else top_p,
        seed=seed or 0,
    )


class Stream:
    """Hands out the text of tokens as soon as it is whole characters; without a tokenizer, their
    ids.
    """

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
        if self.tokenizer is None:
            return " ".join(map(str, self.tokens))
        return self.tokenizer.decode(self.tokens, skip_special_tokens=True)


def generate_tokens(
    name: str,
    prompt: str | None,
    prompt_ids: str | None,
    *,
    max_tokens: int,
    device: str,
    dtype: str,
    num_sms: int | None,
    sync: str,
    verify: bool,
    out: TextIO,
    as_json: bool,
    sampling: Sampling | None = None,
) -> bool:
    """Generate from a model and print the result to `out`; for a person, text as it comes. Tokens
    are drawn as `sampling` says, or else the likeliest.

    Returns whether the tokens are Hugging Face's, True when `verify` is off. Raises AmkError.
    """
    check_count("--max-tokens", max_tokens)
    check_sms(num_sms)
    if (prompt is None) == (prompt_ids is None):
        raise AmkError("--prompt, --prompt-ids: give one of them")
    if prompt is not None and not prompt.strip():
        raise AmkError("--prompt: prompt is empty")
    if verify and sampling and sampling.temperature > 0:
        raise AmkError("--verify: Hugging Face's greedy tokens are no measure of drawn ones")
    given = None if prompt_ids is None else parse_ids(prompt_ids)

    machine = DEVICES[device].machine()
    steps = Steps()
    with steps.step(f"opening {name}") as step:
        model = open_model(name, step.report)
        machine.check(model, dtype, num_sms)
        tokenizer = _tokenizer(model, needed=given is None)
        ids = list(map(int, tokenizer.encode(prompt))) if given is None else given
        model.config = model.config.for_prompt(len(ids))
        model.config.check_tokens(ids)
        length = len(ids) + max_tokens
        if length > model.config.max_context:
            most = model.config.limit
            raise AmkError(f"--max-tokens: context of {length} tokens exceeds the model's {most}")
    with steps.step("compiling") as step:
        compiled = compile_model(
            model.config,
            num_sms=num_sms,
            most_sms=machine.sms,
            dtype=dtype,
            max_context=length,
            arch=machine.arch,
            sync=sync,
            sampling=sampling is not None,
            started=step.describe,
        )
    stream = Stream(tokenizer, ids)
    times = [perf_counter()]
    with ExitStack() as before_first_token:
        step = before_first_token.enter_context(
            steps.step("loading weights, reading the prompt", len(compiled.program.tensors))
        )

        def token_made(token: int) -> None:
            if len(times) == 1 and not as_json:
                before_first_token.close()
                print(stream.shown, end="", file=out)
            times.append(perf_counter())
            if not as_json:
                print(stream.push(token), end="", file=out, flush=True)

        with closing(DEVICES[device].decoder(compiled.program, model, step.advance)) as decoder:
            if sampling:
                decoder.sample(sampling)
            tokens = decoder.generate(ids, max_tokens, model.config.eos, token_made)
    if not as_json:
        print(file=out)
    result: Result = {
        "model": name,
        "device": device,
        "dtype": dtype,
        "num_sms": len(compiled.program.queues),
        "sampling": asdict(sampling) if sampling else None,
        "prompt_tokens": ids,
        "tokens": tokens,
        "text": tokenizer.decode(tokens, skip_special_tokens=True) if tokenizer else None,
        "stopped": tokens[-1] in model.config.eos,
        "verdict": "safe",
        "prompt_seconds": times[1] - times[0],
        **speed(times, decoder.us_per_token),
    }
    if verify:
        from amk.frontends.hf.reference import reference_greedy

        with steps.step("generating with Hugging Face"):
            expected = reference_greedy(model, ids, max_tokens, stop=model.config.eos)
        result["reference_tokens"] = expected
        result["match"] = tokens == expected
        if tokens != expected:
            result |= difference(model, ids, tokens, expected)
    finish(out, result, as_json, lambda console: show(result, console))
    return result.get("match", True) or result.get("tie", False)


TIE = 1e-4
"""Two logits of Hugging Face that are no further apart are a tie, which rounding may decide."""


def difference(model: Model, ids: list[int], tokens: list[int], expected: list[int]) -> Result:
    """`first_difference`, the first token that is not Hugging Face's; `margin`, how far apart
    Hugging Face's two best logits lie there; and `tie`, whether they are as good as equal.
    """
    from amk.frontends.hf.reference import reference_logits

    first = first_difference(tokens, expected)
    best = np.sort(reference_logits(model, [*ids, *expected[:first]])[-1])[-2:]
    margin = float(best[1] - best[0])
    return {"first_difference": first, "margin": margin, "tie": margin <= TIE}


def first_difference(tokens: list[int], expected: list[int]) -> int:
    """Index of the first token where two lists differ; the shorter one's length if none does."""
    pairs = zip(tokens, expected, strict=False)
    same = min(len(tokens), len(expected))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), same)


def _tokenizer(model: Model, needed: bool) -> Any:
    """The model's tokenizer; None where it has none and token ids will do."""
    try:
        return model.tokenizer()
    except AmkError:
        if needed:
            raise
        return None


def speed(times: list[float], us_per_token: float | None) -> Result:
    """Rate of decoding: as the device measured it, or else from the first new token to the last, or
    of the prompt if there is only one.

    `times` are the start and the moment of each new token, in seconds.
    """
    if us_per_token is not None:
        return {"tokens_per_second": 1e6 / us_per_token, "us_per_token": us_per_token}
    seconds = (times[-1] - times[1]) / (len(times) - 2) if len(times) > 2 else times[1] - times[0]
    return {"tokens_per_second": 1 / seconds, "us_per_token": 1e6 * seconds}


def show(result: Result, console: Console) -> None:
    """Print what a person wants to know besides the text."""
    count, rate = len(result["tokens"]), result["tokens_per_second"]
    ended = ", ended by the model" if result["stopped"] else ""
    console.print(f"{count} tokens on {result['device']}, {rate:.1f} per second{ended}")
    if result.get("match") is True:
        console.print("equal to Hugging Face's greedy tokens (fp32)")
    elif "match" in result:
        console.print(
            f"DIFFERENT from Hugging Face's greedy tokens (fp32) from token "
            f"{result['first_difference']} on, where its two best logits are "
            f"{result['margin']:.2g} apart" + (" (a tie)" if result["tie"] else "")
        )
