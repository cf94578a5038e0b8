"""Ways to change a program by a little: one function a class.

A mutant is given a safe program and random choices, and returns a changed program, or None where
the program has nothing of that kind to change. Whether the result is safe is the oracle's word:
to drop a wait that another one implies harms nobody.

A module for each thing that is changed; importing them fills `MUTANTS`.
"""

from amk.verify.corpus.mutants import (
    buffers,
    caches,
    experts,
    queues,
    ring,
    scopes,
    tiles,
    waits,
    warps,
)
from amk.verify.corpus.mutants.edits import MUTANTS, Mutant

__all__ = [
    "MUTANTS",
    "Mutant",
    "buffers",
    "caches",
    "experts",
    "queues",
    "ring",
    "scopes",
    "tiles",
    "waits",
    "warps",
]
