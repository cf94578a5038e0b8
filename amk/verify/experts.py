"""One proof for every routing of a mixture of experts.

(X1) an expert id that is read names an expert: whoever writes it is a `topk` of no more logits than
     its reader has experts

Ids are symbols to every other rule: results are laid out by choice and not by expert, so no region
of a buffer depends on one, and the rows of weights that one chooses are claimed for all experts
alike. What is left to prove is that an id, whatever it is, is one of an expert.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from amk.ir.kernels import Access, Kernel, MoeDown, MoeGateUp, Topk
from amk.ir.program import Declarations
from amk.verify.violation import Violation


def check_experts(p: Declarations, run: Collection[str]) -> Iterator[Violation]:
    """(X1) for the kernels named `run`, the ones that a program runs."""
    readers = {name: k for name in run if isinstance(k := p.kernels[name], MoeGateUp | MoeDown)}
    values = {(k.ids.buffer, k.ids.use) for k in readers.values()}
    writers = [
        (name, p.kernels[name], a)
        for name in run
        if values
        for a in _buffers(p.kernels[name])
        if a.write and (a.buffer, a.use) in values
    ]
    for name, reader in readers.items():
        reads = [
            a
            for a in _buffers(reader)
            if not a.write and (a.buffer, a.use) == (reader.ids.buffer, reader.ids.use)
        ]
        for other, writer, w in writers:
            meets = any(
                (w.buffer, w.use) == (r.buffer, r.use) and w.lo < r.hi and r.lo < w.hi
                for r in reads
            )
            chooses = isinstance(writer, Topk) and writer.n <= reader.experts
            if meets and not chooses:
                what = f"of {writer.n} logits" if isinstance(writer, Topk) else "that is no topk"
                yield Violation(
                    "X1",
                    f"kernel @{name} reads ids of {reader.experts} experts from "
                    f"@{w.buffer}[{w.lo}:{w.hi}], written by @{other}, {writer.mnemonic} {what}",
                )


def _buffers(kernel: Kernel) -> Iterator[Access]:
    return (a for a in kernel.accesses(0, kernel.grid) if isinstance(a, Access))
