"""Measures a compiled program against its baselines, with a verdict beside every latency.

One run is one launch of N tokens behind a context, all costs inside, from the embedding of a token
to the choice of the next. Systems take turns, so that a change of the GPU's clock meets them all.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from amk.backends.cuda.baselines import Reference, System, Tensors, Timed, make_baseline
from amk.backends.cuda.fidelity import LIMITS, Fidelity
from amk.backends.cuda.launch import Approve, Session, logits_buffer
from amk.backends.cuda.predict import F64, Costs, predict, streamed_bytes, token_us
from amk.backends.cuda.streamed import StreamedReference, room
from amk.errors import AmkError
from amk.files import write_whole
from amk.frontends.hf.decoder import DecoderConfig, tensor_shapes
from amk.frontends.hf.random_weights import RandomWeights
from amk.frontends.hf.source import Model
from amk.ir.packs import F32
from amk.ir.program import Program

PROBES = (1, 17, 64, 113)
"""Positions whose logits are compared before anything is timed."""

TORCH = {"bf16": torch.bfloat16, "fp32": torch.float32}
SIZE = {"bf16": 2, "fp32": 4}
Progress = Callable[[str], None]


def gpu_tensors(model: Model, dtype: str, progress: Progress) -> Tensors:
    """All weights of `model` on the GPU, rounded to `dtype`.

    Random ones are drawn there, from the same distribution as the model's and a seed per tensor:
    not the same values, but in seconds for any size. Where the GPU has no room for them beside
    those of a program, each is drawn anew whenever it is asked for.
    """
    tensors: dict[str, torch.Tensor] = {}
    if isinstance(model.checkpoint, RandomWeights):
        some = DrawnTensors(model.checkpoint, dtype)
        if not room(2 * SIZE[dtype] * model.config.parameters):
            return some
        for name in some:
            progress(name)
            tensors[name] = some[name]
        return tensors
    for name in tensor_shapes(model.config):
        progress(name)
        tensors[name] = torch.from_numpy(model.weight(name)).cuda().to(TORCH[dtype])
    return tensors


class DrawnTensors(Mapping[str, torch.Tensor]):
    """Random weights on the GPU, each made when it is asked for and not kept."""

    def __init__(self, weights: RandomWeights, dtype: str) -> None:
        self.weights, self.dtype = weights, dtype

    def __getitem__(self, name: str) -> torch.Tensor:
        return drawn(self.weights, name, self.weights.shapes[name]).to(TORCH[self.dtype])

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights.shapes)

    def __len__(self) -> int:
        return len(self.weights.shapes)


def drawn(weights: RandomWeights, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A random tensor, float32, uniformly distributed."""
    digest = hashlib.sha256(f"amk {weights.seed} {name}".encode()).digest()
    generator = torch.Generator("cuda").manual_seed(int.from_bytes(digest[:7], "little"))
    x = torch.rand(shape, device="cuda", generator=generator).sub_(0.5)
    x.mul_(math.sqrt(12) * weights.deviation(name, shape))
    return x.add_(weights.mean(name))


def for_session(tensors: Tensors) -> Callable[[str], Any]:
    """`tensors` as a session takes them: matrices where they are, vectors from the host."""

    def read(name: str) -> Any:
        x = tensors[name]
        if x.dim() == 1:
            return x.float().cpu().numpy()
        return x.view(torch.int16) if x.dtype == torch.bfloat16 else x

    return read


def weight_bytes(config: DecoderConfig, dtype: str) -> int:
    """Bytes of weights that every token must read: all matrices but the embedding, and the head; of
    experts, those that a router chooses."""
    size = config.vocab * config.hidden
    for name, shape in tensor_shapes(config).items():
        if len(shape) == 2 and name not in (config.embed_weight, config.head_weight):
            rows = shape[0]
            if config.experts and ".experts." in name:
                rows = rows // config.experts.count * config.experts.choices
            size += rows * shape[1]
    return size * SIZE[dtype]


def kv_bytes(config: DecoderConfig, dtype: str, context: int, tokens: int) -> float:
    """Bytes of keys and values that a token reads: the mean over positions context and following.

    The token at position p attends to p + 1 rows.
    """
    rows = context + (tokens + 1) / 2
    return 2 * config.layers * config.kv_size * rows * SIZE[dtype]


class Megakernel:
    """The compiled program as a system."""

    def __init__(self, session: Session, program: Program) -> None:
        self.session = session
        name = logits_buffer(program)
        if name is None:
            raise AmkError(f"program '{program.name}' has no logits")
        self.logits_name = name

    def fill(self, prompt: Sequence[int]) -> Timed:
        """Feeds a prompt from position 0; its last token is what the model chooses behind it."""
        result = self.session.run(prompt, len(prompt))
        return Timed([int(t) for t in result.tokens], result.microseconds)

    def prepare(self, prompt: Sequence[int], first: int, tokens: int) -> None:
        """Needs `fill` first; a run writes rows behind the prompt only."""
        self.start, self.first, self.count = len(prompt), first, tokens

    def run(self) -> Timed:
        result = self.session.run([self.first], self.count, start=self.start)
        return Timed([int(t) for t in result.tokens], result.microseconds)

    def logits(self) -> F32:
        return self.session.read(self.logits_name)


@dataclass
class Measured:
    """A system at a context: microseconds per token of each launch, tokens of each, last logits."""

    times: list[float]
    tokens: list[list[int]]
    last: F32
    different: int
    """Launches whose last logits had other bits than those of the first one."""

    def judge(self, fidelity: Fidelity, reference: Reference, first: int, context: int) -> None:
        """Compare the last launch with the reference, which holds the prompt."""
        tokens = self.tokens[-1]
        want = reference.follow([first, *tokens[:-1]])
        fidelity.choose(tokens, want)
        fidelity.compare(context + len(tokens) - 1, self.last, want[-1])
        if any(t != tokens for t in self.tokens):
            fidelity.complaints.append("launches on the same input chose different tokens")

    def entry(
        self, context: int, fidelity: Fidelity, moved: float, ceiling: float
    ) -> dict[str, Any]:
        """For JSON. Where the verdict is not a pass there is no latency."""
        failure = fidelity.failure()
        us = median(self.times)
        found: dict[str, Any] = {
            "context": context,
            "positions": [context, context + len(self.tokens[-1]) - 1],
            "verdict": "fail" if failure else "pass",
            "reason": failure,
            "us_per_token": None if failure else round(us, 2),
            "roofline_fraction": None if failure else round(moved / ceiling / 1e3 / us, 4),
            "bytes_per_token": round(moved),
            "launches": len(self.times),
            "fidelity": fidelity.report(),
        }
        if not failure:
            found |= {"us_min": round(min(self.times), 2), "us_max": round(max(self.times), 2)}
        return found


def take_turns(systems: dict[str, System], launches: int) -> dict[str, Measured]:
    """Runs all systems in turn, `launches` times after one warm-up; all are prepared."""
    times: dict[str, list[float]] = {name: [] for name in systems}
    tokens: dict[str, list[list[int]]] = {name: [] for name in systems}
    first: dict[str, F32] = {}
    last: dict[str, F32] = {}
    different = dict.fromkeys(systems, 0)
    for launch in range(launches + 1):
        for name, system in systems.items():
            timed = system.run()
            tokens[name].append(timed.tokens)
            last[name] = system.logits()
            different[name] += not np.array_equal(first.setdefault(name, last[name]), last[name])
            if launch:
                times[name].append(timed.microseconds / len(timed.tokens))
    return {
        name: Measured(times[name], tokens[name], last[name], different[name]) for name in systems
    }


@dataclass
class Bench:
    """A program with its weights and baselines on the GPU, ready to be measured."""

    model: Model
    dtype: str
    program: Program
    tensors: Tensors
    session: Session
    ceiling: float
    progress: Progress

    def run(
        self, contexts: Sequence[int], baselines: Sequence[str], launches: int, tokens: int
    ) -> dict[str, Any]:
        """`results` of the program and `baselines` by name, a list with an entry per context."""
        config, raw = self.model.config, self.model.raw
        self.progress("reference")
        shared = self.dtype == "fp32" and config.experts is None
        made = Reference if shared or room(4 * config.parameters) else StreamedReference
        reference = made(raw, self.tensors)
        kernel = Megakernel(self.session, self.program)
        prompt = prompt_of(config, max(*contexts, max(PROBES) + 1))
        probed = self.probe(kernel, reference, prompt)
        others: dict[str, System] = {}
        broken: dict[str, str] = {}
        for name in baselines:
            self.progress(f"baseline {name}")
            others[name] = make_baseline(name, raw, config, self.tensors, reference)
        results: list[dict[str, Any]] = []
        lists: dict[str, list[dict[str, Any]]] = {name: [] for name in baselines}
        for context in sorted(set(contexts)):
            self.progress(f"context {context}: filling the cache")
            fed = prompt[:context]
            want = reference.feed(fed)
            filled = kernel.fill(fed)
            fidelity = deepcopy(probed)
            fidelity.compare(context - 1, kernel.logits(), want[0])
            fidelity.choose(filled.tokens[-1:], want)
            first = filled.tokens[-1]
            kernel.prepare(fed, first, tokens)
            systems: dict[str, System] = {"amk": kernel}
            for name, system in others.items():
                self.progress(f"context {context}: preparing {name}")
                try:
                    system.prepare(fed, first, tokens)
                    system.run()
                    systems[name] = system
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:  # whatever a library makes of a model it does not know
                    broken[name] = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.progress(f"context {context}: measuring")
            measured = take_turns(systems, launches)
            moved = weight_bytes(config, self.dtype) + kv_bytes(config, self.dtype, context, tokens)
            for name, found in measured.items():
                mine = fidelity if name == "amk" else Fidelity(probed.limits)
                found.judge(mine, reference, first, context)
                if name == "amk":
                    if found.different:
                        mine.complaints.append("launches on the same input made different logits")
                    mine.complaints += [
                        f"memory behind @{place} was overwritten" for place in self.session.guards()
                    ]
                entry = found.entry(context, mine, moved, self.ceiling)
                if name == "amk":
                    entry["time_to_first_token_us"] = (
                        None if entry["reason"] else round(filled.microseconds, 1)
                    )
                    middle = context + tokens // 2
                    predicted = token_us(self.program, middle, self.ceiling)
                    entry["predicted_us_per_token"] = round(predicted, 1)
                    results.append(entry)
                else:
                    lists[name].append(entry)
            for name in set(others) - set(systems):
                why = f"does not run: {broken[name]}"
                lists[name].append({"context": context, "verdict": "fail", "reason": why})
        return {"results": results, "baselines": lists}

    def probe(self, kernel: Megakernel, reference: Reference, prompt: Sequence[int]) -> Fidelity:
        """Compares logits at PROBES, or at all positions up to the last of them where Hugging Face
        in bf16 is the yardstick."""
        positions: Sequence[int] = PROBES
        last = max(PROBES) + 1
        want = reference.feed(prompt[:last], keep=last)
        found = Fidelity(LIMITS[self.dtype])
        if self.model.config.experts and self.dtype == "bf16":
            positions = range(1, last)
            theirs = StreamedReference(self.model.raw, self.tensors, torch.bfloat16)
            native = theirs.feed(prompt[:last], keep=last)
            found = Fidelity.routed(LIMITS[self.dtype], native, want, positions)
        at = 0
        for position in positions:
            part = prompt[at : position + 1]
            self.session.run(part, len(part), start=at)
            found.compare(position, kernel.logits(), want[position])
            at = position + 1
        return found


def prompt_of(config: DecoderConfig, length: int) -> list[int]:
    """Token ids from a fixed seed."""
    ids = np.random.default_rng(7).integers(0, config.vocab, length)
    return [int(t) for t in ids]


def write_trace(
    program: Program,
    tensors: Tensors,
    prompt: Sequence[int],
    path: Path,
    ceiling: float,
    approve: Approve,
    steps: int = 4,
) -> None:
    """Runs a traced build for `steps` steps behind `prompt` and writes its timeline to `path`, for
    ui.perfetto.dev."""
    with Session(program, for_session(tensors), approve=approve, trace=True) as session:
        first = [int(session.run(prompt, len(prompt)).tokens[-1])]
        for _ in range(2):  # the second launch finds everything warm
            session.run(first, steps, start=len(prompt))
        stamps = session.read_trace(steps)
    predicted = predict(program, len(prompt), steps, Costs(ceiling * 1e3))
    events = trace_events(program, stamps, predicted)
    write_whole(path, json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}))


def trace_events(program: Program, stamps: Any, predicted: F64) -> list[dict[str, Any]]:
    """Events of Chrome's trace format, in microseconds: a process for what was measured and one for
    what was predicted, a row per SM in each.

    stamps: uint64 nanoseconds [SM, step, instruction, 3]: begin, operands there, end; 0 where an
    instruction never waits. predicted: the same in microseconds, from `predict`.
    """
    zero = int(stamps[stamps > 0].min()) if (stamps > 0).any() else 0
    measured = np.where(stamps > 0, (stamps.astype(np.float64) - zero) / 1e3, np.nan)
    events: list[dict[str, Any]] = []
    for pid, (name, times) in enumerate((("measured", measured), ("predicted", predicted))):
        events.append(_about("process_name", pid, 0, name))
        for sm, queue in enumerate(program.queues):
            events.append(_about("thread_name", pid, sm, f"SM {sm}"))
            for step in range(times.shape[1]):
                for i, run in enumerate(queue):
                    begin, there, end = (float(t) for t in times[sm, step, i])
                    if not end >= begin:
                        continue
                    size = streamed_bytes(program, run)
                    about = {"step": step, "tiles": f"[{run.lo}, {run.hi})", "bytes": size}
                    waited = max(there - begin, 0.0) if there == there else 0.0
                    about |= {"operands_after_us": round(waited, 3)}
                    events.append(_event(pid, sm, run.kernel, begin, end - begin) | {"args": about})
    return events


def _about(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _event(pid: int, sm: int, name: str, at: float, long: float) -> dict[str, Any]:
    return {"ph": "X", "pid": pid, "tid": sm, "name": name, "ts": at, "dur": long}
