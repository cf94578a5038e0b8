"""`amk eval`: the compiled program against Hugging Face, at every position of a fixed text."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from importlib.resources import files

import numpy as np
from rich.console import Console

from amk.compiler import compile_model
from amk.errors import AmkError
from amk.frontends.hf.source import Model, open_model
from amk.ir.packs import F32
from amk.tools.console import Result, Steps
from amk.tools.devices import DEVICES
from amk.tools.generate import difference
from amk.tools.prompt import check_sms
from amk.tools.statistics import F64, divergences, interval, likelihoods

POSITIONS = (0, 1, 17, 255)
"""Where the largest error of a logit is reported. Position 0 alone proves nothing: there the rotary
embedding is the identity and softmax has one key.
"""


PERPLEXITY = 1e-6
"""How far, relative to it, perplexity in fp32 may lie from Hugging Face's."""


def evaluate(
    name: str, *, device: str, dtype: str, num_sms: int | None, tokens: int, greedy: int = 0
) -> Result:
    """Compare with Hugging Face in fp32 on the first `tokens` tokens of the built-in text, and on
    `greedy` tokens behind each of the built-in prompts. Raises AmkError.

    `perplexity` and `reference_perplexity` are over tokens - 1 predictions; `match` says whether
    the likeliest token is the same at every position; `logits_error` is the largest absolute
    difference by position; `kl` and `nll_error` are means over positions with a bootstrap interval,
    in bf16 beside those of Hugging Face in bf16. `verdicts` says what of this is as it should be.
    """
    if tokens < 2:
        raise AmkError(f"--tokens: must be at least 2, got {tokens}")
    if greedy < 0:
        raise AmkError(f"--greedy: must not be negative, got {greedy}")
    check_sms(num_sms)
    machine = DEVICES[device].machine()
    steps = Steps()
    with steps.step(f"opening {name}") as step:
        model = open_model(name, step.report)
        machine.check(model, dtype, num_sms)
        if not greedy:
            model.config = model.config.for_prompt(tokens)
        ids = fixed_tokens(model, tokens)
        prompts = fixed_prompts(model) if greedy else []
    longest = max(len(ids), *(len(p) + greedy for p in prompts), 0)
    if longest > model.config.max_context:
        limit = model.config.limit
        raise AmkError(f"--greedy: context of {longest} tokens exceeds the model's {limit}")
    with steps.step("compiling") as step:
        compiled = compile_model(
            model.config,
            num_sms=num_sms,
            most_sms=machine.sms,
            dtype=dtype,
            max_context=longest,
            arch=machine.arch,
            started=step.describe,
        )
    ours: list[F32] = []
    with (
        closing(DEVICES[device].decoder(compiled.program, model, lambda: None)) as decoder,
        steps.step("running the program", len(ids) + greedy * len(prompts)) as step,
    ):
        for pos, token in enumerate(ids):
            _, logits = decoder.step(token, pos)
            assert logits is not None
            ours.append(logits)
            step.advance()
        made = [decoder.generate(p, greedy, on_token=lambda _: step.advance()) for p in prompts]

    from amk.frontends.hf.reference import native_logits, perplexity, reference_logits

    with steps.step("running Hugging Face"):
        if device == "cuda":
            to_gpu(model)
        theirs = reference_logits(model, ids)
        native = native_logits(model, ids) if dtype == "bf16" else None
    mine = np.stack(ours)
    agree = mine.argmax(axis=1) == theirs.argmax(axis=1)
    errors = np.abs(mine - theirs).max(axis=1)
    p, q = perplexity(mine, ids), perplexity(theirs, ids)
    relative = abs(p - q) / q
    result: Result = {
        "model": name,
        "device": device,
        "dtype": dtype,
        "num_sms": len(compiled.program.queues),
        "tokens": len(ids),
        "perplexity": p,
        "reference_perplexity": q,
        "perplexity_relative_error": relative,
        "match": bool(agree.all()),
        "positions_agreeing": int(agree.sum()),
        "logits_error": {str(pos): float(errors[pos]) for pos in POSITIONS if pos < len(ids)},
        "largest_logits_error": float(errors.max()),
    }
    verdicts: dict[str, bool] = {}
    if dtype == "fp32":
        verdicts["perplexity"] = relative <= PERPLEXITY
    result |= distances(theirs, mine, native, ids, verdicts)
    if prompts:
        with steps.step("generating with Hugging Face", len(prompts)) as step:
            entries = [
                followed(model, p, m, step.advance) for p, m in zip(prompts, made, strict=True)
            ]
        result["greedy"] = entries
        if dtype == "fp32":
            verdicts["greedy"] = all(e["match"] or e["tie"] for e in entries)
    return result | {"verdicts": {k: "pass" if ok else "fail" for k, ok in verdicts.items()}}


def to_gpu(model: Model) -> None:
    """Let Hugging Face run where the program does, if PyTorch can: in fp32 throughout."""
    import torch

    if torch.cuda.is_available():
        model.reference("f32").to("cuda")


def distances(
    theirs: F32, mine: F32, native: F32 | None, ids: list[int], verdicts: dict[str, bool]
) -> Result:
    """KL divergence from fp32 and error of the negative log-likelihood; of Hugging Face's own bf16
    too, where there is `native`."""
    truth = likelihoods(theirs, ids)

    def apart(logits: F32) -> dict[str, F64]:
        error = np.abs(likelihoods(logits, ids) - truth)
        return {"kl": divergences(theirs, logits), "nll_error": error}

    ours = apart(mine)
    found: Result = {name: interval(values) for name, values in ours.items()}
    if native is not None:
        other = apart(native)
        found["hugging_face_bf16"] = {name: interval(values) for name, values in other.items()}
        for name, values in ours.items():
            found[f"{name}_difference"] = interval(values - other[name])
            verdicts[name] = bool(values.mean() <= other[name].mean())
    return found


def followed(model: Model, prompt: list[int], made: list[int], done: Callable[[], None]) -> Result:
    """Whether `made` is Hugging Face's greedy continuation of `prompt`, and where it is not."""
    from amk.frontends.hf.reference import reference_greedy

    expected = reference_greedy(model, prompt, len(made))
    entry: Result = {"prompt": prompt, "tokens": len(made), "match": made == expected}
    if made != expected:
        entry |= difference(model, prompt, made, expected)
    done()
    return entry


def fixed_prompts(model: Model) -> list[list[int]]:
    """The built-in prompts, or token ids from a fixed seed where there is no tokenizer."""
    if model.path is None:
        rng = np.random.default_rng(1)
        return [[int(t) for t in rng.integers(0, model.config.vocab, 8)] for _ in range(5)]
    text = (files("amk.tools") / "data" / "prompts.txt").read_text(encoding="utf-8")
    tokenizer = model.tokenizer()
    return [[int(t) for t in tokenizer.encode(line)] for line in text.splitlines()]


def fixed_tokens(model: Model, count: int) -> list[int]:
    """The first `count` tokens of the built-in text, or token ids from a fixed seed where there is
    no tokenizer.

    Raises AmkError when the text or the model's context is shorter.
    """
    if count > model.config.max_context:
        raise AmkError(f"--tokens: {count} exceeds the model's context of {model.config.limit}")
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
    for name, what in (("kl", "KL divergence"), ("nll_error", "error of the log-likelihood")):
        console.print(f"{what}  {spread(result[name])}")
        if "hugging_face_bf16" in result:
            console.print(f"  of Hugging Face in bf16  {spread(result['hugging_face_bf16'][name])}")
    for entry in result.get("greedy", ()):
        console.print(f"{entry['tokens']} greedy tokens {compared(entry)}")
    for name, verdict in result["verdicts"].items():
        console.print(f"{name}: {verdict}")


def compared(entry: Result) -> str:
    """What came of one prompt."""
    if entry["match"]:
        return "are Hugging Face's"
    tie = " (a tie)" if entry["tie"] else ""
    return (
        f"are not Hugging Face's from token {entry['first_difference']} on, where its two best "
        f"logits are {entry['margin']:.2g} apart{tie}"
    )


def spread(found: Result) -> str:
    """A mean and its interval."""
    low, high = found["interval"]
    return f"{found['mean']:.3e} ({low:.3e} to {high:.3e})"
