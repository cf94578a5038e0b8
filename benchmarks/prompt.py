"""What a prompt token costs with and without the language-model head, and what drawing costs.

    python benchmarks/prompt.py random:smollm2-135m random:llama-3.2-1b

Both kernels run in turns on the same weights; the logits behind the prompt must be the same bits.
Adds a record per model to benchmarks/results/DATE-GPU-prompt.json.
"""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from record import RESULTS, commit, gpu

from amk.backends.cuda import emit
from amk.backends.cuda.bench import for_session, gpu_tensors, prompt_of
from amk.backends.cuda.launch import Session
from amk.compiler import compile_model
from amk.frontends.hf.source import open_model
from amk.ir.sampling import Sampling
from amk.tools.approve import Proof
from amk.tools.driver import run_tool

TOKENS, LAUNCHES = 128, 7
DRAWS = {
    "temperature 0": Sampling(),
    "temperature 0.8": Sampling(0.8),
    "temperature 0.8, top-k 50": Sampling(0.8, 50),
    "temperature 0.8, top-p 0.9": Sampling(0.8, 0, 0.9),
    "temperature 0.8, top-k 50, top-p 0.9": Sampling(0.8, 50, 0.9),
}


def measure(name: str) -> dict[str, Any]:
    """Microseconds per token: of a prompt, and of new tokens behind it."""
    model = open_model(name)
    tensors = gpu_tensors(model, "bf16", lambda what: None)
    prompt = prompt_of(model.config, TOKENS)

    def session(sampling: bool = False) -> Session:
        program = compile_model(model.config, max_context=2 * TOKENS, sampling=sampling).program
        return Session(program, for_session(tensors), approve=Proof.of(program).approve)

    with ExitStack() as stack:
        without, drawing = stack.enter_context(session()), stack.enter_context(session(True))
        with patch.object(emit, "skips", lambda layout: False):  # pyright: ignore
            whole = stack.enter_context(session())
        times: dict[str, list[float]] = {}

        def run(label: str, on: Session, fed: list[int], start: int = 0) -> None:
            result = on.run(fed, TOKENS, start=start)
            times.setdefault(label, []).append(result.microseconds / TOKENS)

        for _ in range(LAUNCHES + 1):
            run("prompt, without the head", without, prompt)
            run("prompt, with the head", whole, prompt)
            run("greedy", without, prompt[:1], TOKENS)
        without.run(prompt, TOKENS)
        same = without.read("logits").tobytes() == whole.read("logits").tobytes()
        drawing.run(prompt, TOKENS)
        for label, sampling in DRAWS.items():
            drawing.sampling = sampling
            for _ in range(LAUNCHES + 1):
                run(label, drawing, prompt[:1], TOKENS)
        guards = without.guards() + whole.guards() + drawing.guards()
    return {
        "model": name,
        "us_per_token": {label: round(median(found[1:]), 2) for label, found in times.items()},
        "verdict": "pass" if same and not guards else "fail",
        "same_bits": same,
        "guards": guards,
    }


def main() -> None:
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": " ".join(["python benchmarks/prompt.py", *sys.argv[1:]]),
        "device": gpu(),
    }
    results = [measure(name) for name in sys.argv[1:]]
    found: dict[str, Any] = about | {"results": results}
    folder = Path(os.environ.get("AMK_RESULTS", RESULTS))
    folder.mkdir(parents=True, exist_ok=True)
    device = re.sub(r"[^a-z0-9.]+", "-", about["device"].split(",")[0].lower())
    path = folder / f"{about['date'][:10]}-{device}-prompt.json"
    print(json.dumps(found))
    if any(entry["verdict"] != "pass" for entry in results):
        sys.exit("error: not kept, the logits behind the prompt differ")
    path.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    run_tool(main)
