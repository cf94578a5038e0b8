"""Every token that is read names a row of its table.

(X2) whoever writes a token that is read is an `argmax` or `sample` among no more logits than the
     table of its reader has rows; the pairs of an `argmax` are candidates of gemvs of no more rows

As with experts, tokens are symbols to every other rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from amk.ir.kernels import Access, Argmax, Embed, Gemv, Kernel, Ref, Sample
from amk.ir.program import Declarations
from amk.ir.roles import places
from amk.verify.violation import Violation


def check_tokens(p: Declarations, run: Collection[str]) -> Iterator[Violation]:
    """(X2) for the kernels named `run`, the ones that a program runs."""
    for name in run:
        reader = p.kernels[name]
        if not isinstance(reader, Embed):
            continue
        table = p.weight(reader.table)
        rows = table.shape[0] if table else 0
        for other, a in _writes(p, run, reader.token, 1):
            for fault in _not_below(p, p.kernels[other], rows, run):
                yield Violation(
                    "X2",
                    f"kernel @{name} reads a token of {rows} from @{a.buffer}[{a.lo}:{a.hi}], "
                    f"written by @{other}, {fault}",
                )


def _writes(
    p: Declarations, run: Collection[str], at: Ref, length: int
) -> Iterator[tuple[str, Access]]:
    """Who writes some of the `length` elements from `at`."""
    for name in run:
        k = p.kernels[name]
        if not any(ref.buffer == at.buffer for ref in places(k)):
            continue
        for a in (a for a in k.accesses(0, k.grid) if isinstance(a, Access) and a.write):
            same = (a.buffer, a.use) == (at.buffer, at.use)
            if same and a.lo < at.offset + length and at.offset < a.hi:
                yield name, a


def _not_below(p: Declarations, kernel: Kernel, rows: int, run: Collection[str]) -> Iterator[str]:
    """Why what `kernel` writes may not be below `rows`."""
    if not isinstance(kernel, Argmax | Sample):
        yield f"{kernel.mnemonic} that chooses no token"
    elif not isinstance(kernel, Argmax) or not kernel.pairs:
        if kernel.n > rows:
            yield f"{kernel.mnemonic} of {kernel.n} logits"
    else:
        for other, a in _writes(p, run, kernel.x, 2 * kernel.n):
            made = p.kernels[other]
            cand = made.cand if isinstance(made, Gemv) else None
            at = Ref(a.buffer, a.lo, a.use)
            if not isinstance(made, Gemv) or cand != at or (a.lo - kernel.x.offset) % 2:
                yield f"argmax of what @{other} writes, which are no pairs"
            elif made.n > rows:
                yield f"argmax of candidates of @{other} among {made.n} rows"
