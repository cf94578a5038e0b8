"""Rules on one instruction at a time: names, shapes, types, bounds, ranges.

(E1) every symbol is declared and of the right sort        (E4) a flagged write covers whole words
(E2) shapes agree with the kernel                          (E5) tiles are in the grid, and at least
     one
(E3) element types agree with the kernel                   (E6) every access is inside its buffer
(E7) waits and signals name declared counters, with positive thresholds and amounts
(E8) epochs and counters last for at least MIN_STEPS steps
(E9) every SM has at least one instruction, and all of them can be resident
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from amk.ir.capacity import MAX_SMS, MIN_STEPS
from amk.ir.kernels import AnyAccess, Kernel
from amk.ir.program import SCOPES, Declarations, Program
from amk.ir.signature import access_fault, kernel_faults, pack_faults
from amk.verify.violation import Place, Violation

WORD_RANGE = 1 << 32


def check_kernel(p: Declarations, name: str, kernel: Kernel) -> Iterator[Violation]:
    """(E1), (E2), (E3), (E4) and (E6) for a kernel over its whole grid."""
    for fault in kernel_faults(p, kernel):
        yield Violation(fault.rule, f"kernel @{name} {fault.text}")


def check_words(p: Program, accesses: dict[Place, list[AnyAccess]]) -> Iterator[Violation]:
    """(E4) for every instruction: tiles that share a word must be run by the same one."""
    for place, items in accesses.items():
        for a in items:
            fault = access_fault(p, a)
            if fault:
                yield Violation(fault.rule, f"{place} {fault.text}", (place,))


def check_packs(p: Declarations) -> Iterator[Violation]:
    """(E1), (E2) and (E3) for packs and the tensors that they are made of."""
    for pack in p.packs.values():
        for fault in pack_faults(p, pack):
            yield Violation(fault.rule, f"pack @{pack.name} {fault.text}")


def check_structure(p: Program) -> Iterator[Violation]:
    """(E1) to (E9) for a vm program."""
    yield from check_packs(p)
    for name, kernel in p.kernels.items():
        yield from check_kernel(p, name, kernel)
    arrivals: Counter[int] = Counter()
    for sm, queue in enumerate(p.queues):
        if not queue:
            yield Violation("E9", f"SM {sm} has no instruction")
        for index, run in enumerate(queue):
            place = Place(sm, index)
            kernel = p.kernels.get(run.kernel)
            if kernel is None:
                yield Violation(
                    "E1", f"{place} runs @{run.kernel}, which is no declared kernel", (place,)
                )
                continue
            if not 0 <= run.lo < run.hi <= kernel.grid:
                tiles = f"tiles [{run.lo} to {run.hi}] of @{run.kernel}"
                yield Violation("E5", f"{place} runs {tiles}, which has {kernel.grid}", (place,))
            for counter, amount in [(w.counter, w.threshold) for w in run.waits] + [
                (s.counter, s.amount) for s in run.signals
            ]:
                if not 0 <= counter < p.counters:
                    message = f"{place} names counter {counter}, the program has {p.counters}"
                    yield Violation("E7", message, (place,))
                if not 0 < amount < WORD_RANGE:
                    message = f"{place} has a threshold or amount of {amount} on counter {counter}"
                    yield Violation("E7", message, (place,))
            for scope in {x.scope for x in (*run.waits, *run.signals)} - set(SCOPES):
                yield Violation("E7", f"{place} has a wait or signal of scope '{scope}'", (place,))
            for s in run.signals:
                arrivals[s.counter] += s.amount
    for counter, n in arrivals.items():
        if n * MIN_STEPS > WORD_RANGE:
            yield Violation("E8", f"counter {counter} overflows after {WORD_RANGE // n} steps")
    for b in p.buffers.values():
        if b.uses * MIN_STEPS > WORD_RANGE:
            yield Violation(
                "E8", f"the epochs of @{b.name} recur after {WORD_RANGE // b.uses} steps"
            )
    if not p.queues:
        yield Violation("E9", "the program has no queue")
    if len(p.queues) > MAX_SMS:
        message = f"the program has {len(p.queues)} queues, the largest target has {MAX_SMS} SMs"
        yield Violation("E9", message)
