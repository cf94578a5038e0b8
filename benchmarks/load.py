"""How long it takes to load a model from local safetensors, with a verdict on what was loaded.

    python benchmarks/load.py llama-3-8b --folder /var/tmp/llama-3-8b

Writes a checkpoint of the preset's shape to the folder unless it is there: random weights in bf16,
in shards of 5 GB, as they are published. Then loads it, first with the files dropped from the page
cache and then from it, and generates. The verdict: tokens and logits are, bit for bit, those of the
same weights read by the safetensors library, and the logits those of the model's definition in
PyTorch, in fp32. The record goes where record.py keeps its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from decode import reference
from record import RESULTS, commit, gpu
from safetensors import safe_open
from safetensors.torch import save_file

from amk.backends.cuda.emit import emit
from amk.backends.cuda.gpu import find_gpu
from amk.backends.cuda.launch import Session
from amk.backends.cuda.nvcc import compile_cubin
from amk.backends.cuda.target import TARGETS
from amk.backends.cuda.upload import Stored
from amk.compiler import compile_model
from amk.frontends.hf.decoder import tensor_shapes
from amk.frontends.hf.presets import preset
from amk.frontends.hf.source import Model, open_model
from amk.ir.digest import program_digest
from amk.tools.approve import Proof
from amk.tools.driver import run_tool

SHARD = 5 * 10**9
PROMPT, NEW = [1, 2, 3], 8
LIMIT_S = 20.0


def write(folder: Path, name: str) -> None:
    """A checkpoint of random weights: matrices of variance 1 / columns, norms near 1."""
    config = preset(name)
    folder.mkdir(parents=True)
    held: dict[str, torch.Tensor] = {}
    shards: list[list[str]] = []
    shapes = tensor_shapes(open_model(f"random:{name}").config)
    generator = torch.Generator("cuda").manual_seed(0)

    def flush() -> None:
        save_file(held, folder / f"model-{len(shards):05}.safetensors", {"format": "pt"})
        shards.append(list(held))
        held.clear()

    for tensor, shape in shapes.items():
        x = torch.randn(shape, device="cuda", dtype=torch.bfloat16, generator=generator)
        x = 1 + 0.1 * x if len(shape) == 1 else x * shape[1] ** -0.5
        if sum(t.nbytes for t in held.values()) + x.nbytes > SHARD:
            flush()
        held[tensor] = x.cpu()
    flush()
    places = {t: f"model-{i:05}.safetensors" for i, names in enumerate(shards) for t in names}
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config))


def drop(folder: Path) -> None:
    """Takes the files out of the page cache."""
    for path in folder.glob("*.safetensors"):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


class Library:
    """The weights as the safetensors library reads them, on the GPU."""

    def __init__(self, folder: Path) -> None:
        self.made: dict[str, torch.Tensor] = {}
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "pt", device="cuda") as file:
                self.made |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def tensor(self, name: str) -> torch.Tensor:
        return self.made[name]

    def __call__(self, name: str) -> Any:
        return self.made[name].view(torch.int16)


def ran(session: Session) -> tuple[list[int], np.ndarray]:
    """Tokens behind the prompt, and the logits of the last step."""
    return session.generate(PROMPT, NEW), session.read("logits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset")
    parser.add_argument("--folder", type=Path, required=True)
    a = parser.parse_args()
    seconds: dict[str, float] = {}
    marks = [perf_counter()]

    def mark(what: str) -> None:
        marks.append(perf_counter())
        seconds[what] = round(marks[-1] - marks[-2], 2)
        print(f"{what}: {seconds[what]} s", file=sys.stderr, flush=True)

    if not a.folder.exists():
        write(a.folder, a.preset)
        mark("write (not counted)")
    machine = find_gpu()
    marks.append(perf_counter())
    model: Model = open_model(str(a.folder))
    mark("open")
    program = compile_model(
        model.config, num_sms=machine.sms, dtype="bf16", max_context=256, arch=machine.arch
    ).program
    proof = Proof.of(program)
    mark("compile and prove")
    made: dict[str, tuple[list[int], np.ndarray]] = {}
    target = TARGETS[machine.arch]
    source = emit(program, target=target, program_hash=program_digest(program)).source
    compile_cubin(source, target)
    mark("nvcc")
    for state in ("cold", "warm"):
        if state == "cold":
            drop(a.folder)
            marks.append(perf_counter())
        with Session(program, Stored(model), approve=proof.approve) as session:
            mark(f"load and pack, {state}")
            made[state] = ran(session)
        marks.append(perf_counter())
    library = Library(a.folder)
    with Session(program, library, approve=proof.approve) as session:
        made["library"] = ran(session)
    tokens, logits = made["library"]
    ids = [*PROMPT, *tokens[:-1]]
    want = reference(model.config, library, ids)[-1].cpu().numpy()  # pyright: ignore
    error = float(np.linalg.norm(logits - want) / np.linalg.norm(want))
    same = all(m[0] == tokens and (m[1] == logits).all() for m in made.values())
    marks.append(perf_counter())
    command = ["generate", str(a.folder), "--prompt-ids", ",".join(map(str, PROMPT))]
    command += ["--max-tokens", str(NEW), "--device", "cuda", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "amk.tools.amk", *command],
        capture_output=True,
        text=True,
        check=True,
    )
    mark("amk generate, from start to end")
    said = json.loads(done.stdout.splitlines()[-1])
    slowest = max(seconds["load and pack, cold"], seconds["load and pack, warm"])
    passed = same and error < 2e-2 and said["tokens"] == tokens and slowest < LIMIT_S
    record: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": " ".join(["python", *sys.argv]),
        "device": gpu(),
        "model": a.preset,
        "bytes": sum(t.nbytes for t in library.made.values()),
        "seconds": seconds,
        "verdict": {
            "pass": bool(passed),
            "limit_s": LIMIT_S,
            "same_bits_as_library": same,
            "logits_error": error,
            "tokens": tokens,
            "tokens_of_amk_generate": said["tokens"],
        },
    }
    folder = Path(os.environ.get("AMK_RESULTS", RESULTS))
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9.]+", "-", gpu().split(",")[0].lower())
    path = folder / f"{record['date'][:10]}-{name}-load-{a.preset}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record))
    if not passed:
        sys.exit("error: the verdict is not a pass")


if __name__ == "__main__":
    run_tool(main)
