"""The part of the checker (checker.py) that looks at what data decides: ids of experts, and
tokens. This file imports nothing from the verifier.
"""

from __future__ import annotations

from amk.ir.kernels import (
    Access,
    Argmax,
    Embed,
    Gemv,
    Kernel,
    MoeDown,
    MoeGateUp,
    Sample,
    Topk,
)
from amk.ir.program import Program
from amk.verify.certificate_file import LARGE, require


def check_experts(p: Program) -> None:
    """Whoever writes an id that a kernel reads chooses among at most as many experts."""
    written: dict[tuple[str, int], list[tuple[int, int, Kernel]]] = {}
    kernels = [p.kernels[name] for name in {run.kernel for queue in p.queues for run in queue}]
    for k, a in ((by, a) for by in kernels for a in by.accesses(0, by.grid)):
        if isinstance(a, Access) and a.write:
            written.setdefault((a.buffer, a.use), []).append((a.lo, a.hi, k))
    for k in (k for k in kernels if isinstance(k, MoeGateUp | MoeDown)):
        for lo, hi, by in written.get((k.ids.buffer, k.ids.use), []):
            apart = hi <= k.ids.offset or k.ids.offset + k.choices <= lo
            chosen = isinstance(by, Topk) and by.n <= k.experts
            require(apart or chosen, "an expert id may name no expert")


def check_tokens(p: Program) -> None:
    """Tokens that are read were chosen among at most as many as their table has rows."""
    kernels = [p.kernels[name] for name in {run.kernel for queue in p.queues for run in queue}]
    limit: dict[tuple[str, int, int], int] = {}
    for k in kernels:
        if isinstance(k, Embed) and (table := p.weight(k.table)):
            at = (k.token.buffer, k.token.use, k.token.offset)
            limit[at] = min(limit.get(at, LARGE), table.shape[0])
    pairs: dict[tuple[str, int], list[tuple[int, int, int]]] = {}
    for by in kernels if limit else ():
        for a in (a for a in by.accesses(0, by.grid) if isinstance(a, Access) and a.write):
            met = [n for (b, use, e), n in limit.items()
                   if (b, use) == (a.buffer, a.use) and a.lo <= e < a.hi]  # fmt: skip
            rows = min(met, default=None)
            if rows is None:
                continue
            require(isinstance(by, Argmax | Sample), "what is no token is read as one")
            if isinstance(by, Argmax) and by.pairs:
                where = by.x.buffer, by.x.use
                pairs.setdefault(where, []).append((by.x.offset, 2 * by.n, rows))
            elif isinstance(by, Argmax | Sample):
                require(by.n <= rows, "a token may name no row of its table")
    for by in kernels if pairs else ():
        for a in (a for a in by.accesses(0, by.grid) if isinstance(a, Access) and a.write):
            for at, length, rows in pairs.get((a.buffer, a.use), []):
                if a.lo < at + length and at < a.hi:
                    cand = by.cand if isinstance(by, Gemv) else None
                    begins = cand is not None and a.lo == cand.offset and (a.lo - at) % 2 == 0
                    few = isinstance(by, Gemv) and by.n <= rows
                    require(begins and few, "a candidate may name no row of a table")
