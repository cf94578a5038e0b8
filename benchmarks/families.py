"""Small random models of every family on a GPU, against Hugging Face and the vm interpreter.

    PYTHONPATH=. python benchmarks/families.py prepare FOLDER [FAMILY ...]
    PYTHONPATH=. python benchmarks/families.py run FOLDER [FAMILY ...] > families.json

`prepare` needs no GPU: it takes the cases of each family's test under tests/unit/frontends/families
(all families, where none is named), lets transformers write their checkpoints, and keeps beside
each what it computes there, so that `run` compares with the transformers that the project is tested
with, whichever its machine has. A case that the CUDA backend refuses (heads of 12 elements, say) is
recorded with its reason; a family of which nothing runs counts as failed.

24 positions, past every window of theirs, and 8 tokens, in fp32 and bf16. An error is the largest
at a position, relative to the largest logit there, against Hugging Face in fp32.

* fp32 passes below 1e-4 and with the same tokens.
* bf16 passes below twice the larger of two errors: that of the vm interpreter, which rounds where
  the kernel does, and that of Hugging Face with everything in bf16. Each of the three is the
  largest of as many rounding errors that grow alike along the model's depth, but of other signs,
  since sums are taken in other orders: they differ by chance, and none is the bound of another. A
  kernel that were wrong would be off by the size of a logit (1), not by that of a rounding error.

Where two experts are as good as equal, rounding decides which of them computes, and no bound on
logits exists. So the tokens of a mixture of experts are those at random of which every router
decides by a clear margin (`prompt`).
"""

from __future__ import annotations

import json
import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from record import commit, gpu

from amk.backends.cuda.launch import Session, logits_buffer
from amk.dialects import vm
from amk.dialects.model import TopkOp
from amk.errors import AmkError
from amk.frontends.hf.build import build_model
from amk.frontends.hf.families import FAMILIES
from amk.frontends.hf.reference import native_logits, reference_greedy, reference_logits
from amk.frontends.hf.source import Model, open_model
from amk.interpreters.load import load_interpreter, program_op
from amk.interpreters.model import ModelInterpreter
from amk.interpreters.vm import VmInterpreter
from amk.tools.approve import Proof
from amk.tools.driver import run_tool
from tests.unit.frontends import against

WORKERS = min(15, os.cpu_count() or 1)
EXPECTED = "expected.npz"
MOST_STUCK = 4
"""Programs that the watchdog has ended: so many, and no further one is begun."""

LIMIT = 1e-4
"""Largest error in fp32."""


class Routers:
    """What the routers of a mixture of experts say on a prompt."""

    def __init__(self, model: Model, dtype: str):
        decoder = load_interpreter(
            build_model(model.config, dtype, against.POSITIONS), model.weight
        )
        assert isinstance(decoder, ModelInterpreter)
        self.decoder = decoder
        self.logits = [op.x for op in decoder.ops if isinstance(op, TopkOp)]

    def step(self, token: int, pos: int) -> Any:
        """float32 [layers, experts]"""
        self.decoder.step(token, pos)
        return np.array([self.decoder.values[x] for x in self.logits])


def prompt(model: Model) -> list[int]:
    """Random tokens. Of a mixture of experts, such that each router's last choice exceeds what it
    leaves out by four times the deviation that rounding to bf16 gives one of its logits: almost
    three of that of a difference of two."""
    ids, experts = against.prompt(model), model.config.experts
    if experts is None or experts.choices == experts.count:
        return ids
    exact, rounded = Routers(model, "fp32"), Routers(model, "bf16")
    gaps = [exact.step(t, i) - rounded.step(t, i) for i, t in enumerate(ids)]
    least = 4 * np.sqrt(np.square(gaps).mean())
    rng = np.random.default_rng(5)

    def decided(token: int, pos: int) -> bool:
        ranked = np.sort(exact.step(token, pos), axis=-1)[:, ::-1]
        return bool((ranked[:, experts.choices - 1] - ranked[:, experts.choices] > least).all())

    tokens = range(3, model.config.vocab)
    return [
        next(int(t) for t in rng.permutation(tokens) if decided(int(t), pos))
        for pos in range(len(ids))
    ]


def prepare(folder: str, family: str, case: str, changes: dict[str, Any]) -> None:
    """A checkpoint in `folder`, and what Hugging Face computes with it."""
    import transformers

    library: Any = transformers
    path = Path(folder) / f"{family}-{re.sub(r'[^a-z0-9]+', '-', case.lower())}"
    path.mkdir(parents=True, exist_ok=True)
    against.save_random(path, family, **changes)
    model = open_model(str(path))
    ids = prompt(model)
    np.savez(
        path / EXPECTED,
        case=case,
        family=family,
        transformers=library.__version__,
        ids=ids,
        logits=reference_logits(model, ids),
        native=native_logits(model, ids),
        tokens=reference_greedy(model, ids, against.TOKENS),
    )


def measure(folder: str, dtype: str) -> dict[str, Any]:
    """One case in one type."""
    model = open_model(folder)
    held = np.load(Path(folder) / EXPECTED)
    ids: list[int] = held["ids"].tolist()
    module = against.lowered(build_model(model.config, dtype, len(ids) + against.TOKENS))
    program = vm.program_of(program_op(module))
    name = logits_buffer(program)
    assert name is not None
    rows: list[Any] = []
    about = {"family": str(held["family"]), "case": str(held["case"]), "dtype": dtype}
    try:
        session = Session(program, model.weight, approve=Proof.of(program).approve)
    except AmkError as refusal:
        return about | {"refused": str(refusal)}
    with session:
        try:
            for pos, token in enumerate(ids):
                session.run([token], 1, start=pos)
                rows.append(session.read(name)[: model.config.vocab])
            steps = len(ids) + against.TOKENS - 1
            tokens = [int(t) for t in session.run(ids, steps).tokens][len(ids) - 1 :]
        except AmkError as stuck:
            return about | {"stuck": str(stuck), "pass": False}
        broken = len(session.guards())
    interpreted = VmInterpreter(program, model.weight).logits(ids)
    error, own, native = (
        float(against.errors(found, held["logits"]).max())
        for found in (np.stack(rows), interpreted, held["native"])
    )
    same = tokens == held["tokens"].tolist()
    fine = error < LIMIT and same if dtype == "fp32" else error < 2 * max(own, native)
    return about | {
        "error": error,
        "interpreter_error": own,
        **({"hugging_face_bf16_error": native} if dtype == "bf16" else {}),
        "tokens_equal": same,
        "guards_broken": broken,
        "pass": fine and not broken,
    }


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] not in ("prepare", "run"):
        sys.exit(__doc__)
    action, folder, *families = sys.argv[1:]
    families = families or list(FAMILIES)
    pool = ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn"))
    if action == "prepare":
        tests = {f: import_module(f"tests.unit.frontends.families.test_{f}") for f in families}
        jobs = [
            (folder, family, case, changes)
            for family, test in tests.items()
            for case, changes in test.CASES.items()
        ]
        with pool:
            list(pool.map(prepare, *zip(*jobs, strict=True)))
        return
    made = [p.parent for f in families for p in sorted(Path(folder).glob(f"{f}-*/{EXPECTED}"))]
    places = [(str(path), dtype) for path in made for dtype in ("fp32", "bf16")]
    results: list[dict[str, Any]] = []
    with pool:
        for job in as_completed([pool.submit(measure, *place) for place in places]):
            if not job.cancelled():
                results.append(job.result())
            if sum("stuck" in r for r in results) == MOST_STUCK:
                pool.shutdown(wait=False, cancel_futures=True)
    results.sort(key=lambda r: (r["family"], r["case"], r["dtype"]))
    ran = [r for r in results if "pass" in r]
    missing = [f for f in families if f not in {r["family"] for r in ran}]
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "device": gpu(),
        "command": " ".join(["python", *sys.argv]),
        "transformers": str(np.load(made[0] / EXPECTED)["transformers"]),
        "passed": sum(r["pass"] for r in ran),
        "failed": sum(not r["pass"] for r in ran),
        "refused": len(results) - len(ran),
        "not_run": missing,
        "results": results,
    }
    json.dump(record, sys.stdout, indent=1)
    sys.exit(bool(record["failed"] or missing))


if __name__ == "__main__":
    run_tool(main)
