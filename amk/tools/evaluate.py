"""`amk eval`: the compiled program against Hugging Face, at every position of a fixed text."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from rich.console import Console

from amk.compiler import compile_model
from amk.errors import AmkError
from amk.frontends.hf.source import Model, open_model
from amk.ir.packs import F32
from amk.tools.console import Result, Steps
from amk.tools.devices import DEVICES

POSITIONS = (0, 1, 17, 255)
"""Where the largest error of a logit is reported. Position 0 alone proves nothing: there the rotary
embedding is the identity and softmax has one key.
"""


def evaluate(name: str, *, device: str, dtype: str, num_sms: int | None, tokens: int) -> Result:
    """Compare with Hugging Face in fp32 on the first `tokens` tokens of the built-in text. Raises
    AmkError.

    `perplexity` and `reference_perplexity` are over tokens - 1 predictions; `match` says whether
    the likeliest token is the same at every position; `logits_error` is the largest absolute
    difference by position.
    """
    if tokens < 2:
        raise AmkError(f"--tokens: must be at least 2, got {tokens}")
    arch, sms = DEVICES[device].machine()
    steps = Steps()
    with steps.step(f"opening {name}") as step:
        model = open_model(name, step.report)
        ids = fixed_tokens(model, tokens)
    with steps.step("compiling") as step:
        compiled = compile_model(
            model.config,
            num_sms=num_sms or sms,
            dtype=dtype,
            max_context=len(ids),
            arch=arch,
            started=step.describe,
        )
    decoder = DEVICES[device].decoder(compiled.program, model.weight)
    ours: list[F32] = []
    with steps.step("running the program", len(ids)) as step:
        for pos, token in enumerate(ids):
            _, logits = decoder.step(token, pos)
            assert logits is not None
            ours.append(logits)
            step.advance()
    decoder.close()

    from amk.frontends.hf.reference import perplexity, reference_logits

    with steps.step("running Hugging Face"):
        theirs = reference_logits(model, ids)
    mine = np.stack(ours)
    agree = mine.argmax(axis=1) == theirs.argmax(axis=1)
    errors = np.abs(mine - theirs).max(axis=1)
    p, q = perplexity(mine, ids), perplexity(theirs, ids)
    return {
        "model": name,
        "device": device,
        "dtype": dtype,
        "num_sms": len(compiled.program.queues),
        "tokens": len(ids),
        "perplexity": p,
        "reference_perplexity": q,
        "perplexity_relative_error": abs(p - q) / q,
        "match": bool(agree.all()),
        "positions_agreeing": int(agree.sum()),
        "logits_error": {str(pos): float(errors[pos]) for pos in POSITIONS if pos < len(ids)},
        "largest_logits_error": float(errors.max()),
    }


def fixed_tokens(model: Model, count: int) -> list[int]:
    """The first `count` tokens of the built-in text, or token ids from a fixed seed where there is
    no tokenizer.

    Raises AmkError when the text or the model's context is shorter.
    """
    if count > model.config.max_context:
        raise AmkError(
            f"--tokens: {count} exceeds the model's context of {model.config.max_context}"
        )
    if model.path is None:
        ids = np.random.default_rng(0).integers(0, model.config.vocab, count)
        return [int(token) for token in ids]
    text = (files("amk.tools") / "data" / "eval.txt").read_text(encoding="utf-8")
    ids = [int(token) for token in model.tokenizer().encode(text)]
    if count > len(ids):
        raise AmkError(f"--tokens: {count} exceeds the {len(ids)} tokens of the built-in text")
    return ids[:count]


def show(result: Result, console: Console) -> None:
    """Print the comparison for a person."""
    console.print(
        f"{result['model']}, {result['dtype']}, {result['tokens']} tokens, Hugging Face in fp32"
    )
    console.print(
        f"perplexity  {result['perplexity']:.6f}, Hugging Face {result['reference_perplexity']:.6f}"
    )
    console.print(
        f"likeliest token equal at {result['positions_agreeing']} of {result['tokens']} positions"
    )
    for pos, error in result["logits_error"].items():
        console.print(f"largest logit error at position {pos:>3}  {error:.2e}")
