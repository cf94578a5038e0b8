"""Time per token of a compiled model with random weights, with a verdict on its logits beside every
number.

    python benchmarks/decode.py llama-3.2-1b --positions 32-158 --launches 7

The reference is the model's definition in PyTorch, in fp32, on the same GPU and with the same
(rounded) weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import commit

from amk.backends.cuda.launch import Session
from amk.compiler import compile_model
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.decoder import DecoderConfig
from amk.frontends.hf.presets import preset
from amk.ir.program import Program
from amk.tools.approve import Proof
from amk.tools.driver import run_tool

CEILING_GBPS = 4670
"""DRAM read ceiling of an H200, measured with plain 16-byte loads over 2.5 GB."""


class Weights:
    """Random weights on the GPU: matrices of variance 1 / columns, norm weights near 1."""

    def __init__(self, program: Program, seed: int = 0) -> None:
        self.program, self.seed = program, seed
        self.made: dict[str, torch.Tensor] = {}

    def tensor(self, name: str) -> torch.Tensor:
        if name not in self.made:
            t = self.program.tensors[name]
            generator = torch.Generator("cuda").manual_seed(self.seed + len(self.made))
            x = torch.randn(t.shape, device="cuda", generator=generator)
            if len(t.shape) == 1:
                x = 1 + 0.1 * x if "norm" in name else 0.1 * x
            else:
                x *= t.shape[1] ** -0.5
            self.made[name] = x.to(torch.bfloat16) if t.dtype == "bf16" else x
        return self.made[name]

    def __call__(self, name: str) -> Any:
        x = self.tensor(name)
        return x.view(torch.int16) if x.dtype == torch.bfloat16 else x


@torch.no_grad()
def reference(config: DecoderConfig, w: Weights, ids: list[int]) -> torch.Tensor:
    """Logits of every position in fp32: len(ids) x vocabulary."""

    def get(name: str) -> torch.Tensor:
        return w.tensor(name).float()

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config.eps) * get(name)

    n, hd = len(ids), config.head_dim
    angle = torch.outer(torch.arange(n).float(), torch.tensor(config.inv_freq)).cuda()
    cos, sin = (f(angle).repeat(1, 2)[:, None] * config.rope_scale for f in (torch.cos, torch.sin))

    def rotate(x: torch.Tensor) -> torch.Tensor:
        turned = torch.cat([-x[..., hd // 2 :], x[..., : hd // 2]], -1)
        return x * cos + turned * sin

    x = get("model.embed_tokens.weight")[torch.tensor(ids).cuda()]
    mask = torch.full((n, n), -torch.inf, device="cuda").triu(1)
    for i in range(config.layers):
        at = f"model.layers.{i}."
        h = norm(x, at + "input_layernorm.weight")
        qkv = [h @ get(f"{at}self_attn.{p}_proj.weight").T for p in "qkv"]
        if config.qkv_bias:
            qkv = [y + get(f"{at}self_attn.{p}_proj.bias") for y, p in zip(qkv, "qkv", strict=True)]
        q, k, v = (y.view(n, -1, hd) for y in qkv)
        q, k = rotate(q), rotate(k)
        k, v = (y.repeat_interleave(config.heads // config.kv_heads, 1) for y in (k, v))
        s = torch.einsum("qhd,khd->hqk", q, k) * config.attention_scale + mask
        o = torch.einsum("hqk,khd->qhd", s.softmax(-1), v).reshape(n, -1)
        x = x + o @ get(at + "self_attn.o_proj.weight").T
        h = norm(x, at + "post_attention_layernorm.weight")
        gate, up = (h @ get(f"{at}mlp.{p}_proj.weight").T for p in ("gate", "up"))
        x = x + (torch.nn.functional.silu(gate) * up) @ get(at + "mlp.down_proj.weight").T
    head = "model.embed_tokens.weight" if config.tied else "lm_head.weight"
    return norm(x, "model.norm.weight") @ get(head).T


@dataclass
class Verdict:
    """How far logits and greedy choices are from the fp32 reference."""

    error: float
    """Norm of the difference over the norm of the reference."""
    worst_choice: float
    """How far, in standard deviations of the logits, a chosen token lies below the reference's
    best."""
    repeats: bool
    """All launches chose the same tokens, and had the same bits in their last logits."""
    guards: list[str]

    @property
    def ok(self) -> bool:
        return self.error < 2e-2 and self.worst_choice < 0.2 and self.repeats and not self.guards


def bytes_per_token(program: Program) -> int:
    """Bytes of weights that every token must read."""
    from amk.backends.cuda.layout import gemvs, weight
    from amk.ir.kernels import MoeDown, MoeGateUp
    from amk.ir.program import DTYPES

    total = 0
    for k in gemvs(program).values():
        total += k.n * k.k * DTYPES[weight(program, k.weight).dtype]
    for k in program.kernels.values():
        if isinstance(k, MoeGateUp | MoeDown):
            rows = 2 * k.n if isinstance(k, MoeGateUp) else k.choices * k.n
            total += rows * k.k * DTYPES[weight(program, k.weight).dtype]
    return total


def span(text: str) -> tuple[int, int]:
    """First and last position of a text such as 32-158."""
    first, last = map(int, text.split("-"))
    if not 0 <= first <= last:
        raise ValueError
    return first, last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset")
    parser.add_argument("--positions", type=span, default="32-158", metavar="FIRST-LAST")
    parser.add_argument("--launches", type=int, default=7)
    parser.add_argument("--max-context", type=int, default=256)
    parser.add_argument("--dtype", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--num-sms", type=int, default=132)
    parser.add_argument("--ring", default="", help="override, e.g. window=2,slots=48")
    parser.add_argument("--trace", default="", help="write a trace of one launch (.npz)")
    parser.add_argument("--out", default="", help="append a JSON record to this file")
    parser.add_argument("--no-check", action="store_true", help="time only; no verdict, no record")
    a = parser.parse_args()
    first, last = a.positions
    started = time.perf_counter()
    config = parse_config(preset(a.preset), a.preset)
    program = compile_model(
        config, num_sms=a.num_sms, dtype=a.dtype, max_context=a.max_context
    ).program
    if a.ring:
        changes = {k: int(v) for k, v in (item.split("=") for item in a.ring.split(","))}
        assert program.ring
        program.ring = replace(program.ring, **changes)
    compiled = time.perf_counter() - started
    weights = Weights(program)
    with Session(program, weights, approve=Proof.of(program).approve) as session:
        loaded = time.perf_counter() - started - compiled
        prompt = [(7 * i + 3) % config.vocab for i in range(first)]
        head = session.run(prompt, first).tokens if first else np.array([1])
        steps = last - first + 1
        times: list[float] = []
        runs: list[list[int]] = []
        prints: set[bytes] = set()
        for _ in range(a.launches + 1):
            result = session.run([int(head[-1])], steps, start=first)
            times.append(result.microseconds / steps)
            runs.append([int(t) for t in result.tokens])
            prints.add(session.read("logits").tobytes())
        times = times[1:]
        ids = [*prompt, int(head[-1]), *runs[0]][: last + 1]
        verdict = None
        if not a.no_check:
            want = reference(config, weights, ids)
            chosen = torch.tensor(runs[0]).cuda()
            mine = want[first:]
            gap = mine.max(-1).values - mine.gather(1, chosen[:, None])[:, 0]
            got = torch.from_numpy(session.read("logits")).cuda()
            verdict = Verdict(
                error=float((got - want[-1]).norm() / want[-1].norm()),
                worst_choice=float((gap / mine.std(-1)).max()),
                repeats=all(r == runs[0] for r in runs) and len(prints) == 1,
                guards=session.guards(),
            )
    if a.trace:
        with Session(program, weights, approve=Proof.of(program).approve, trace=True) as session:
            session.run(prompt or [1], max(first, 1))
            session.run([1], 8, start=first)
            np.savez_compressed(a.trace, stamps=session.read_trace(8)[:, 4:7])
    us = statistics.median(times)
    size = bytes_per_token(program)
    record = {
        "model": f"random:{a.preset}",
        "dtype": a.dtype,
        "device": torch.cuda.get_device_name(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": " ".join(["python", *sys.argv]),
        "ring": str(program.ring),
        "positions": [first, last],
        "us_per_token": round(us, 2),
        "us_min": round(min(times), 2),
        "us_max": round(max(times), 2),
        "weight_bytes": size,
        "roofline_fraction": round(size / CEILING_GBPS / 1e3 / us, 4),
        "compile_s": round(compiled, 2),
        "load_s": round(loaded, 2),
        "verdict": None if verdict is None else {"pass": verdict.ok, **vars(verdict)},
    }
    print(json.dumps(record))
    if a.out and verdict:
        with Path(a.out).open("a") as f:
            f.write(json.dumps(record) + "\n")
    if verdict and not verdict.ok:
        sys.exit("error: the verdict is not a pass; the times above do not count")


if __name__ == "__main__":
    run_tool(main)
