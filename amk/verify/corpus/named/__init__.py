"""Cases with a history: failures of other systems and of earlier ones of our own, each as small as
it can be, with what is right.

`safe` is what a person works out on paper; tests hold the oracle and the verifier to it.
"""

from __future__ import annotations

from amk.verify.corpus.named import conservative, experts, memory, ring, systems, tokens
from amk.verify.corpus.named.sketch import NAMED

__all__ = ["NAMED", "conservative", "experts", "memory", "ring", "systems", "tokens"]
