"""The fast interpreter: in-order queues, counters and epochs, everything that is enabled in waves.

A wave looks at the head of every queue once. Heads that are enabled and run the same kernel in the
same step are one numpy call per contiguous range of tiles: each of them could run first, they read
what is already published and write different tiles, so this is one of the legal interleavings. What
queues wait for is asked once per wave and per kind of wait: 132 SMs that poll the same vector share
one look at its epochs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amk.interpreters.faults import Blocked, Deadlock, Fault, FaultError
from amk.interpreters.kernels import Rows, execute
from amk.interpreters.storage import Outputs, Storage, Weights, refs
from amk.ir.kernels import Access, Ref
from amk.ir.packs import F32, round_bf16
from amk.ir.program import Declarations, Program, Run, Wait
from amk.ir.sampling import Sampling


@dataclass(frozen=True)
class Words:
    """A wait for the words of a flagged buffer: cells [lo, hi) with the epoch of value `use`."""

    buffer: str
    use: int
    lo: int
    hi: int
    since: int
    previous: bool


Need = Wait | Words


def epoch(uses: int, use: int, step: int) -> int:
    """Epoch of value `use` in step `step`, counted from the first launch on."""
    return step * uses + use + 1


def needs(program: Program, run: Run) -> list[Need]:
    """What must hold before `run` may read: its counters, then its flagged words."""
    result: list[Need] = list(run.waits)
    for a in program.accesses(run):
        if isinstance(a, Access) and not a.write:
            b = program.buffers[a.buffer]
            if b.space == "flagged":
                lo, hi = a.lo // b.word, -(-a.hi // b.word)
                result.append(Words(a.buffer, a.use, lo, hi, a.since, a.previous))
    return list(dict.fromkeys(result))


def one_owner(program: Program) -> bool:
    """Whether every element of every local buffer is touched by one SM only, so that one array can
    stand for the copies of all SMs."""
    owner: dict[str, NDArray[np.int32]] = {
        b.name: np.full(b.length, -1, np.int32)
        for b in program.buffers.values()
        if b.space == "local"
    }
    if not owner:
        return True
    touching = {
        name
        for name, kernel in program.kernels.items()
        if any(ref.buffer in owner for ref in refs(kernel))
    }
    for sm, queue in enumerate(program.queues):
        for run in queue:
            if run.kernel not in touching:
                continue
            for a in program.accesses(run):
                if isinstance(a, Access) and a.buffer in owner:
                    part = owner[a.buffer][max(a.lo, 0) : a.hi]
                    if ((part != -1) & (part != sm)).any():
                        return False
                    part[:] = sm
    return True


class GreedyMemory:
    """Memory of one instruction, or of several that run as one call."""

    def __init__(self, program: Declarations, storage: Storage) -> None:
        self.program, self.storage = program, storage
        self.pos = self.step = 0
        self.sm = self.index = -1
        self.kernel = ""
        self.emitted: dict[int, int] = {}
        self.outputs = Outputs(program)
        self.info = {b.name: (b.length, b.word, b.uses) for b in program.buffers.values()}
        self.bf16 = {b.name for b in program.buffers.values() if b.dtype == "bf16"}
        self.epochs: dict[str, NDArray[np.int64]] = {
            b.name: np.zeros(-(-b.length // b.word), np.int64)
            for b in program.buffers.values()
            if b.space == "flagged"
        }

    @property
    def sampling(self) -> Sampling:
        return self.storage.sampling

    def fault(self, message: str) -> FaultError:
        return FaultError(Fault(self.sm, self.index, self.kernel, self.step, message))

    def give(self, token: int) -> None:
        """The host writes the token that this step embeds, as the step before would have."""
        ref = self.outputs.token
        if ref is None:
            return
        _, word, uses = self.info[ref.buffer]
        self.storage.buffer(ref.buffer, 0)[ref.offset] = token
        if ref.buffer in self.epochs:
            self.epochs[ref.buffer][ref.offset // word] = epoch(uses, ref.use, self.step - 1)

    def place(self, ref: Ref, lo: int, hi: int) -> tuple[int, int]:
        a, b = ref.offset + lo, ref.offset + hi
        length = self.info[ref.buffer][0]
        if a < 0 or b > length:
            raise self.fault(f"touches @{ref.buffer}[{a}:{b}], outside of its {length} elements")
        return a, b

    def read(self, ref: Ref, lo: int, hi: int, previous: bool = False) -> F32:
        a, b = self.place(ref, lo, hi)
        epochs = self.epochs.get(ref.buffer)
        if epochs is not None:
            _, word, uses = self.info[ref.buffer]
            want = epoch(uses, ref.use, self.step - previous)
            found = epochs[a // word : -(-b // word)]
            if (found != want).any():
                wrong = int(found[found != want][0])
                raise self.fault(
                    f"reads @{ref.buffer}[{a}:{b}] and finds epoch {wrong}, expected {want}"
                )
        return self.storage.buffer(ref.buffer, self.sm)[a:b]

    def write(self, ref: Ref, lo: int, hi: int, values: F32) -> None:
        a, b = self.place(ref, lo, hi)
        if ref.buffer in self.bf16:
            values = round_bf16(values)
        self.storage.buffer(ref.buffer, self.sm)[a:b] = values
        epochs = self.epochs.get(ref.buffer)
        if epochs is not None:
            _, word, uses = self.info[ref.buffer]
            epochs[a // word : -(-b // word)] = epoch(uses, ref.use, self.step)
        if self.outputs.next is not None and ref.buffer == self.outputs.next.buffer:
            self.emitted[self.step] = int(values[0])

    def weight(self, name: str, lo: int, hi: int) -> F32:
        tensor = self.storage.immutable[name]
        if lo < 0 or hi > len(tensor):
            raise self.fault(f"reads @{name}[{lo}:{hi}], outside of its {len(tensor)} rows")
        return tensor[lo:hi]

    def chosen(self, name: str, lo: int, hi: int) -> F32:
        return self.weight(name, lo, hi)

    def lookup(self, name: str, row: int) -> F32:
        tensor = self.storage.immutable[name]
        if not 0 <= row < len(tensor):
            raise self.fault(f"reads @{name}[{row}], outside of its {len(tensor)} rows")
        return tensor[row]

    def cached(self, cache: str, head: int, rows: Rows) -> tuple[F32, F32]:
        return self.storage.cached(cache, head, rows)

    def append(self, cache: str, head: int, k: F32, v: F32) -> tuple[F32, F32]:
        k, v = self.storage.rounded(cache, k), self.storage.rounded(cache, v)
        self.storage.append(cache, head, self.pos, k, v)
        return k, v


Instruction = tuple[str, int, int, tuple[int, ...], Run]
"""Kernel, first and last tile, indices of its needs, and where it came from."""


class GreedyEngine:
    """Runs a program wave by wave; deterministic."""

    def __init__(self, program: Program, weights: Weights) -> None:
        self.program = program
        copies = 1 if one_owner(program) else len(program.queues)
        self.storage = Storage(program, weights, copies)
        self.outputs = Outputs(program)
        self.memory = GreedyMemory(program, self.storage)
        self.counters = [0] * program.counters
        self.total = program.arrivals()
        self.step = 0
        self.alone = {
            name
            for name, kernel in program.kernels.items()
            if any(ref.buffer in self.storage.local for ref in refs(kernel))
        }
        index: dict[Need, int] = {}
        known: dict[tuple[str, int, int, tuple[Wait, ...]], tuple[int, ...]] = {}
        self.code: list[list[Instruction]] = []
        for queue in program.queues:
            line: list[Instruction] = []
            for run in queue:
                key = (run.kernel, run.lo, run.hi, run.waits)
                if key not in known:
                    known[key] = tuple(
                        index.setdefault(need, len(index)) for need in needs(program, run)
                    )
                line.append((run.kernel, run.lo, run.hi, known[key], run))
            self.code.append(line)
        self.needs = list(index)

    def launch(self, token: int, pos: int, steps: int) -> list[int]:
        """Runs `steps` steps from position `pos` on; the first embeds `token`. Gives the tokens."""
        self.storage.check_step(token, pos, steps)
        first, end = self.step, self.step + steps
        self.memory.step = first
        self.memory.give(token)
        self.memory.emitted.clear()
        shift = pos - first
        at, step = [0] * len(self.code), [first] * len(self.code)
        active = [sm for sm, line in enumerate(self.code) if line]
        met = [-1] * len(self.needs)  # the last step for which a need holds
        unmet = [(0, 0)] * len(self.needs)  # the wave and first step for which it does not
        wave = 0
        while active:
            wave += 1
            enabled: dict[tuple[str, int], list[tuple[int, int, int]]] = {}
            for sm in active:
                kernel, lo, hi, wanted, _ = self.code[sm][at[sm]]
                now = step[sm]
                for n in wanted:
                    if met[n] >= now:
                        continue
                    if unmet[n][0] == wave and now >= unmet[n][1]:
                        break
                    if not self.holds(self.needs[n], now, now + shift):
                        unmet[n] = wave, now
                        break
                    met[n] = now
                else:
                    enabled.setdefault((kernel, now), []).append((lo, hi, sm))
            if not enabled:
                raise self.deadlock(active, at, step, shift)
            for (name, now), heads in enabled.items():
                self.memory.step, self.memory.pos = now, now + shift
                self.run(name, heads, at)
            ended = False
            for (_, now), heads in enabled.items():
                for _, _, sm in heads:
                    line = self.code[sm]
                    for signal in line[at[sm]][4].signals:
                        self.counters[signal.counter] += signal.amount
                    at[sm] += 1
                    if at[sm] == len(line):
                        at[sm] = 0
                        step[sm] = now + 1
                        ended |= now + 1 == end
            if ended:
                active = [sm for sm in active if step[sm] < end]
        self.step = end
        return [self.memory.emitted[t] for t in range(first, end) if t in self.memory.emitted]

    def holds(self, need: Need, step: int, pos: int) -> bool:
        if isinstance(need, Wait):
            return self.counters[need.counter] >= target(need, step, self.total)
        if pos < need.since:
            return True
        want = epoch(self.program.buffers[need.buffer].uses, need.use, step - need.previous)
        cells = self.memory.epochs[need.buffer][need.lo : need.hi]
        return bool((cells >= want).all())

    def run(self, name: str, heads: list[tuple[int, int, int]], at: list[int]) -> None:
        """Runs the enabled heads of one kernel, adjacent tiles in one call."""
        kernel, memory = self.program.kernels[name], self.memory
        memory.kernel = name
        alone = name in self.alone
        for lo, hi, sm in joined(heads, alone):
            memory.sm, memory.index = sm, at[sm]
            execute(kernel, lo, hi, memory)

    def deadlock(
        self, active: Iterable[int], at: list[int], step: list[int], shift: int
    ) -> Deadlock:
        blocked: list[Blocked] = []
        for sm in active:
            kernel, _, _, wanted, _ = self.code[sm][at[sm]]
            now = step[sm]
            for n in wanted:
                need = self.needs[n]
                if not self.holds(need, now, now + shift):
                    blocked.append(Blocked(sm, at[sm], kernel, now, self.describe(need, now)))
                    break
        return Deadlock(tuple(blocked), tuple(self.counters))

    def describe(self, need: Need, step: int) -> str:
        if isinstance(need, Wait):
            return describe_counter(need, target(need, step, self.total), self.counters)
        want = epoch(self.program.buffers[need.buffer].uses, need.use, step - need.previous)
        cells = self.memory.epochs[need.buffer][need.lo : need.hi]
        return describe_words(need, want, cells)


def target(wait: Wait, step: int, total: Counter[int]) -> int:
    """The value that a counter must have for `wait` in step `step`; `total` is its arrivals."""
    return wait.threshold + (total[wait.counter] * step if wait.scaled else 0)


def describe_counter(wait: Wait, goal: int, counters: list[int]) -> str:
    """What a waiter still misses."""
    return f"counter {wait.counter} to reach {goal}, it is {counters[wait.counter]}"


def describe_words(need: Words, want: int, cells: NDArray[np.int64]) -> str:
    """What a reader of `need` still misses."""
    late = int(np.argmax(cells < want))
    return (
        f"epoch {want} in words [{need.lo}:{need.hi}] of @{need.buffer}, "
        f"word {need.lo + late} has {int(cells[late])}"
    )


def joined(heads: list[tuple[int, int, int]], alone: bool) -> list[tuple[int, int, int]]:
    """Ranges (lo, hi, an SM) of tiles: adjacent ones as one, unless each must stay `alone`."""
    if alone or len(heads) == 1:
        return heads
    result: list[tuple[int, int, int]] = []
    for lo, hi, sm in sorted(heads):
        if result and result[-1][1] == lo:
            result[-1] = (result[-1][0], hi, result[-1][2])
        else:
            result.append((lo, hi, sm))
    return result
