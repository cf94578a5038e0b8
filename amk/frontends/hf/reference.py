"""Hugging Face transformers as the oracle: what a model computes, to compare with.

Everything here imports torch and transformers, which takes seconds: import this module where it is
used, not at the top of another.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from amk.errors import AmkError
from amk.frontends.hf.checkpoint import F32
from amk.frontends.hf.experts import module_state

if TYPE_CHECKING:
    from amk.frontends.hf.source import Model

LIBRARY: Any = transformers
AS_GIVEN: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a folder or GGUF file. Raises AmkError where transformers refuses it."""
    gguf = path.suffix == ".gguf"
    try:
        if gguf:
            return LIBRARY.AutoTokenizer.from_pretrained(
                path.parent, gguf_file=path.name, **AS_GIVEN
            )
        return LIBRARY.AutoTokenizer.from_pretrained(path, **AS_GIVEN)
    except Exception as e:  # whatever a damaged tokenizer makes the library raise
        raise AmkError(f"tokenizer of '{path}' cannot be loaded: {one_line(e)}") from None


def load_reference(model: Model, dtype: str) -> Any:
    """transformers' own module for `model`, in eval mode: fp32 arithmetic, eager attention and
    experts, its weights, and the constants that it casts to their type, rounded to `dtype` (`f32`:
    not at all, or `bf16`)."""
    if dtype not in ("f32", "bf16"):
        raise AmkError(f"element type '{dtype}' is not supported (supported: f32, bf16)")
    LIBRARY.logging.set_verbosity_error()
    LIBRARY.logging.disable_progress_bar()
    try:
        if "f32" in model.references:
            module = deepcopy(model.references["f32"])
        elif model.path is None or model.raw.get("quantization_config"):
            module = _from_weights(model)
        elif model.path.suffix == ".gguf":
            module = _from_gguf(model.path, model.raw.get("rope_scaling"))
        else:
            module = LIBRARY.AutoModelForCausalLM.from_pretrained(
                model.path,
                dtype=torch.float32,
                attn_implementation="eager",
                use_safetensors=True,
                **AS_GIVEN,
            )
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as e:
        raise AmkError(f"model {model.where} is refused by transformers: {one_line(e)}") from None
    if model.config.experts:  # its fast kernels refuse rows of some sizes
        module.set_experts_implementation("eager")
    if dtype == "bf16":
        with torch.no_grad():
            constants = [b for n, b in module.named_buffers() if n.endswith("embed_scale")]
            for p in (*module.parameters(), *constants):
                p.copy_(p.bfloat16().float())
    return module.eval()


def _empty(config: Any, attention: str = "eager", dtype: torch.dtype = torch.float32) -> Any:
    return LIBRARY.AutoModelForCausalLM.from_config(
        config, dtype=dtype, attn_implementation=attention
    )


def _from_weights(model: Model) -> Any:
    raw = deepcopy(dict(model.raw))  # transformers writes into the objects of a config
    raw.pop("quantization_config", None)
    module = _empty(LIBRARY.AutoConfig.for_model(**raw))
    held = {name: model.weight(name) for name in model.tensors}
    state = {
        name: torch.from_numpy(values)
        for name, values in module_state(held, model.config.experts, np.concatenate).items()
    }
    if model.config.tied:
        state[f"{model.config.names.head}.weight"] = state[model.config.embed_weight]
    module.load_state_dict(state)
    return module


def _from_gguf(path: Path, rope_scaling: Any) -> Any:
    """transformers' GGUF reader, called directly: `from_pretrained` would want `accelerate`. It
    does not see how the rotation is scaled, so it is told."""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = LIBRARY.AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    config.rope_parameters = {**config.rope_parameters, **deepcopy(rope_scaling or {})}
    module = _empty(config)
    read: Any = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=module)
    state = dict(read["tensors"])
    if module.config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    module.load_state_dict(state)
    return module


def reference_logits(model: Model, tokens: Sequence[int], dtype: str = "f32") -> F32:
    """Hugging Face's logits at every position of `tokens`: float32 [len(tokens), vocab].

    Raises AmkError where `tokens` is no prompt of this model.
    """
    model.config.check_tokens(tokens)
    module = model.reference(dtype)
    with torch.inference_mode():
        out = module(torch.tensor([list(tokens)], device=module.device), use_cache=False)
    return out.logits[0].cpu().numpy()


def native_logits(model: Model, tokens: Sequence[int]) -> F32:
    """What Hugging Face computes with everything in bf16, as most people run it, at every position
    of `tokens`: float32 [len(tokens), vocab]. On the device of the reference in fp32.
    """
    model.config.check_tokens(tokens)
    like = model.reference("f32")
    attention = "sdpa" if like._supports_sdpa else "eager"
    module = _empty(like.config, attention, torch.bfloat16)
    module.load_state_dict({k: v.bfloat16() for k, v in like.state_dict().items()})
    with torch.inference_mode():
        ids = torch.tensor([list(tokens)], device=like.device)
        out = module.to(like.device).eval()(ids, use_cache=False)
    return out.logits[0].float().cpu().numpy()


def reference_greedy(
    model: Model,
    prompt: Sequence[int],
    count: int,
    dtype: str = "f32",
    stop: Collection[int] = (),
) -> list[int]:
    """Hugging Face's greedy continuation: `count` tokens, fewer if one of `stop` comes first (it is
    included). Of equal logits the lowest token wins. Raises AmkError where the prompt is none or
    the continuation leaves the model's context.
    """
    model.config.check_tokens(prompt)
    length = len(prompt) + count
    if length > model.config.max_context:
        raise AmkError(f"context of {length} tokens exceeds the limit of {model.config.limit}")
    module, tokens, past = model.reference(dtype), list[int](), None
    feed = torch.tensor([list(prompt)], device=module.device)
    with torch.inference_mode():
        while len(tokens) < count and not (tokens and tokens[-1] in stop):
            out = module(feed, past_key_values=past, use_cache=True, logits_to_keep=1)
            past = out.past_key_values
            tokens.append(int(np.argmax(out.logits[0, -1].cpu().numpy())))
            feed = torch.tensor([[tokens[-1]]], device=module.device)
    return tokens


def perplexity(logits: NDArray[np.floating[Any]], tokens: Sequence[int]) -> float:
    """exp of the mean negative log-likelihood of tokens[1:], in float64.

    logits: [len(tokens), vocab]; row i predicts token i + 1. Raises AmkError for fewer than two
    tokens.
    """
    if len(tokens) < 2 or len(logits) != len(tokens):
        raise AmkError(f"perplexity needs 2 or more tokens with as many logits, got {len(tokens)}")
    total = 0.0
    for row, token in zip(logits, tokens[1:], strict=False):
        wide = row.astype(np.float64)
        top = float(wide.max())
        total += top + math.log(float(np.exp(wide - top).sum())) - float(wide[token])
    return math.exp(total / (len(tokens) - 1))
