"""Small random models of the families on a GPU, against Hugging Face and the vm interpreter.

    PYTHONPATH=. python benchmarks/families.py qwen3 gemma2 ... > families.json

Of each family the first two cases of its test under tests/unit/frontends/families, in fp32 and
bf16: 24 positions, past every window of theirs, and 8 tokens. fp32 passes with an error (largest at
a position, relative to the largest logit there) below 1e-4 against Hugging Face and the same
tokens; bf16 with an error of at most twice what the vm interpreter has in bf16, or 2e-2.
"""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from amk.backends.cuda.decoder import logits_buffer
from amk.backends.cuda.launch import Session
from amk.dialects import vm
from amk.frontends.hf.build import build_model
from amk.frontends.hf.reference import reference_greedy, reference_logits
from amk.frontends.hf.source import open_model
from amk.interpreters.load import program_op
from amk.interpreters.vm import VmInterpreter
from amk.tools.approve import Proof
from tests.unit.frontends import against

CASES = 2
WORKERS = 15


def measure(family: str, case: str, changes: dict[str, Any], dtype: str) -> dict[str, Any]:
    """One case in one type."""
    if family == "gpt_neox":  # which has no KV heads of their own
        changes = {"num_key_value_heads": None, **changes}
    with tempfile.TemporaryDirectory() as folder:
        against.save_random(Path(folder), family, **changes)
        model = open_model(folder)
        ids = against.prompt(model)
        want = reference_logits(model, ids)
        module = against.lowered(build_model(model.config, dtype, len(ids) + against.TOKENS))
        program = vm.program_of(program_op(module))
        name = logits_buffer(program)
        assert name is not None
        rows: list[Any] = []
        with Session(program, model.weight, approve=Proof.of(program).approve) as session:
            for pos, token in enumerate(ids):
                session.run([token], 1, start=pos)
                rows.append(session.read(name)[: want.shape[1]])
            steps = len(ids) + against.TOKENS - 1
            tokens = [int(t) for t in session.run(ids, steps).tokens][len(ids) - 1 :]
            broken = len(session.guards())
        found = np.stack(rows)
        interpreted = VmInterpreter(program, model.weight).logits(ids)
        error, own = (float(against.errors(x, want).max()) for x in (found, interpreted))
        same = tokens == reference_greedy(model, ids, against.TOKENS)
        fine = error < 1e-4 and same if dtype == "fp32" else error < max(2 * own, 2e-2)
        return {
            "family": family,
            "case": case,
            "dtype": dtype,
            "error": error,
            "interpreter_error": own,
            "tokens_equal": same,
            "pass": fine and not broken,
        }


def main() -> None:
    folder = "tests.unit.frontends.families.test_"
    jobs = [
        (family, case, changes, dtype)
        for family in sys.argv[1:]
        for case, changes in list(import_module(folder + family).CASES.items())[:CASES]
        for dtype in ("fp32", "bf16")
    ]
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        made = list(pool.map(measure, *zip(*jobs, strict=True)))
    json.dump(made, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
