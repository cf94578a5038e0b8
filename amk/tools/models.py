"""Write docs/MODELS.md: `python -m amk.tools.models [FILE]`.

The feature matrix follows from the families. The sweep makes a small random model of every
architecture for which the installed transformers has a causal language model, and either executes
it and compares all logits, or says why it is refused. Exit status 1 if one is accepted and
different.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Any

from amk.errors import AmkError
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.families import FAMILIES
from amk.frontends.hf.family import SQRT_HIDDEN, Family, Switch, all_rotate, all_sliding

NOTE = "<!-- Written by `make models`. -->"
HEAD = ("family", "norms", "placement", "rotation", "attention", "MLP", "factors and caps")
LIMIT = 1e-4
"""Largest error of fp32 logits, relative to the largest logit of the position."""
POSITIONS = 24
TINY: dict[str, int] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 99, "max_position_embeddings": 64,
    "sliding_window": 7, "num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 24, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
"""What is set in a config that has such a field, and gives it a number or null."""


@dataclass(frozen=True)
class Row:
    """What the sweep found out about an architecture: it was `equal`, `different` or `refused`."""

    model_type: str
    architecture: str
    verdict: str
    note: str


def matrix() -> str:
    """The feature matrix as a table."""
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for family in FAMILIES.values():
        cells = (", ".join(cell) for cell in _cells(family))
        lines.append(f"| `{family.model_type}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _maybe(switch: Switch, what: str) -> list[str]:
    if not switch:
        return []
    return [f"{what} if `{switch}`" if isinstance(switch, str) else what]


def _cells(f: Family) -> Iterator[list[str]]:
    n = f.names
    kind = {"rms": "RMSNorm", "layer": "LayerNorm"}[f.norm]
    each = {"head": "one weight", "heads": "a weight each", "heads list": "a weight each"}
    of = f"each query and key head ({each[f.qk_norm]})" if f.qk_norm in each else "queries and keys"
    yield [
        f"{kind} by 1 + weight" if f.plus_one else kind,
        *_maybe(f.norm_bias, "bias"),
        *(_maybe(f.qk_norm_if, f"also of {of}") if f.qk_norm else []),
    ]
    before, behind = bool(n.pre_attention), bool(n.post_attention)
    yield [
        "before and behind" if before and behind else "before" if before else "behind",
        *_maybe(f.parallel, "attention and MLP parallel"),
    ]
    yield [
        "neighbors" if f.rope.interleaved else "halves",
        *([f"part of a head (`{f.rope.partial}`)"] if f.rope.partial else []),
        *(["a table for layers with a window"] if f.rope.local_theta else []),
        *(["not in all layers"] if f.rope.rotates is not all_rotate else []),
        " ".join(t for t in f.rope.types if t != "default") or "unscaled",
    ]
    layers = "all layers" if f.layer_types is all_sliding else "some layers"
    yield [
        *_maybe(f.qkv_bias, "q, k, v bias"),
        *_maybe(f.o_bias, "o bias"),
        *(["q, k, v in one matrix"] if n.qkv else []),
        *_maybe(f.window, f"window in {layers}"),
        *([f"scale `{f.attention_factor}`"] if f.attention_factor else []),
        *([f"cap `{f.softcap}`"] if f.softcap else []),
        *_maybe(f.sinks, "sinks"),
    ]
    gated = bool(n.gate or n.gate_up)
    yield [
        "mixture of gated experts" if f.experts else "gated" if gated else "plain",
        f"{f.defaults[f.activation]} {'only' if f.experts else 'by default'}",
        *(["gate and up in one matrix"] if n.gate_up else []),
        *_maybe(f.mlp_bias, "bias"),
        *(_maybe(f.experts.bias, "bias") if f.experts else []),
        *([f"bounds `{f.experts.limit}`"] if f.experts and f.experts.limit else []),
    ]
    factor = f.embedding_multiplier
    yield [
        *([f"embedding {factor if factor == SQRT_HIDDEN else f'`{factor}`'}"] if factor else []),
        *([f"residual `{f.residual_multiplier}`"] if f.residual_multiplier else []),
        *([f"logits `{f.logits_multiplier}`"] if f.logits_multiplier else []),
        *([f"logits / `{f.logits_divisor}`"] if f.logits_divisor else []),
        *([f"logits capped `{f.logits_softcap}`"] if f.logits_softcap else []),
    ]


def sweep() -> Iterator[Row]:
    """Every architecture of transformers that has a causal language model."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    library: Any = transformers
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    for model_type, architecture in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()):
        yield _try(str(model_type), str(architecture))


def small_config(model_type: str, **changes: object) -> Any:
    """transformers' config of a type, its sizes made small, with `changes`."""
    import transformers

    library: Any = transformers
    make = library.AutoConfig.for_model
    default = make(model_type)
    numbers = {k: v for k, v in TINY.items() if type(getattr(default, k, "")) in (int, type(None))}
    return make(model_type, **{**numbers, **changes})


def _try(model_type: str, architecture: str) -> Row:
    try:
        config = small_config(model_type)
    except Exception as e:  # each architecture has its own demands on a config
        try:
            parse_config({"model_type": model_type, "architectures": [architecture]})
        except AmkError as refusal:
            return Row(model_type, architecture, "refused", str(refusal))
        return Row(model_type, architecture, "different", f"no small config: {type(e).__name__}")
    raw = json.loads(config.to_json_string(use_diff=False))
    try:
        parse_config(raw | {"model_type": model_type, "architectures": [architecture]})
    except AmkError as refusal:
        return Row(model_type, architecture, "refused", str(refusal))
    with TemporaryDirectory() as folder:
        error = compare(Path(folder), config)
    verdict = "equal" if error < LIMIT else "different"
    return Row(model_type, architecture, verdict, f"{error:.1e}")


def random_module(config: Any) -> Any:
    """transformers' module of a config, in fp32: every parameter random, norms and biases too."""
    import torch
    import transformers

    auto: Any = transformers.AutoModelForCausalLM
    module = auto.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    one = 0.0 if FAMILIES[config.model_type].plus_one else 1.0
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in module.named_parameters():
            norm = "norm" in name
            scale = 0.3 if norm or p.dim() < 2 else 1.5 * p.shape[-1] ** -0.5
            mean = one if norm and not name.endswith("bias") else 0.0
            p.copy_(torch.randn(p.shape, generator=generator) * scale + mean)
    return module


def compare(folder: Path, config: Any) -> float:
    """The largest error of the model interpreter on a random checkpoint that transformers writes
    into `folder`, relative to the largest logit of the position."""
    import numpy as np
    import torch

    from amk.frontends.hf.build import build_model
    from amk.frontends.hf.source import open_model
    from amk.interpreters.load import load_interpreter

    module = random_module(config)
    module.save_pretrained(folder)
    model = open_model(str(folder))
    ids = np.random.default_rng(5).integers(3, model.config.vocab, POSITIONS).tolist()
    with torch.inference_mode():
        expected = module(torch.tensor([ids]), use_cache=False).logits[0].numpy()
    program = build_model(model.config, "fp32", POSITIONS)
    program.verify()
    found = load_interpreter(program, model.weight).logits(ids)
    return float((np.abs(found - expected).max(axis=1) / np.abs(expected).max(axis=1)).max())


def page(rows: list[Row]) -> str:
    """The whole document."""
    import transformers

    equal = [row for row in rows if row.verdict == "equal"]
    rest = [row for row in rows if row.verdict != "equal"]
    about = (
        "A family is a `model_type` of Hugging Face, described in one file of "
        "`amk/frontends/hf/families` ([how to add one](../CONTRIBUTING.md#adding-a-model-family)). "
        "A config field that its family does not know is refused by name, and so are tensors that "
        "are missing or not used."
    )
    found = (
        f"Of {len(rows)} architectures with a causal language model, {len(equal)} are accepted, "
        "and none of them computes anything else than Hugging Face: the error is the largest of "
        f"fp32 logits at {POSITIONS} positions, relative to the largest logit of the position, for "
        "a small random model that transformers has written."
    )
    lines = [
        NOTE, "", "# Models", "", fill(about, 100), "", "## Features", "", matrix(),
        f"## Every architecture of transformers {transformers.__version__}", "",
        fill(found, 100), "",
        "| model type | architecture | error |", "|---|---|---|",
        *(f"| `{r.model_type}` | {r.architecture} | {r.note} |" for r in equal), "",
        f"The other {len(rest)} are refused:", "",
        "| model type | architecture | reason |", "|---|---|---|",
        *(f"| `{r.model_type}` | {r.architecture} | {_short(r.note)} |" for r in rest),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _short(note: str) -> str:
    return note.split(" (supported:")[0].replace("|", "\\|")


def main() -> int:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/MODELS.md")
    rows: list[Row] = []
    for row in sweep():
        rows.append(row)
        print(f"{row.model_type}: {row.verdict}, {_short(row.note)}", file=sys.stderr)
    different = [row for row in rows if row.verdict == "different"]
    if different:
        print(f"error: model type '{different[0].model_type}' is different", file=sys.stderr)
        return 1
    target.write_text(page(rows), encoding="utf-8")
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
