"""Checks a certificate against its program, without the verifier: `amk check-certificate`.

This file imports nothing from the verifier and runs no schedule. Ranks and clocks are claims, each
of which is checked against its neighbors alone.

* A *rank* per instruction grows along every queue, and every wait holds once all instructions of a
  smaller rank are done. So running by rank never gets stuck, in any step.
* A *clock* per instruction says how far each SM has come, at least, when the instruction has done
  its reads. Instruction i of an SM has tick 2i + 1 when its reads are done and 2i + 2 when its
  writes are; ticks count from the start of the same step, so those of the step before are 2 * size
  less, and the clock holds in every step at once. A component must not exceed that of the
  instruction before it, or of something that it waits for. `order` clocks also take flagged words,
  `visible` clocks only counters.
* With that, each value of each element is followed from its write through its reads to the next.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from amk.ir.arrays import LOW, Ints, group, join, unique_pairs
from amk.ir.capacity import MAX_SMS, MIN_STEPS, capacities
from amk.ir.digest import program_digest
from amk.ir.flat import Cells, signals_and_waits
from amk.ir.kernels import CacheAccess
from amk.ir.program import SCOPES, Program, Wait
from amk.ir.signature import access_fault, kernel_faults, pack_faults
from amk.verify.certificate_file import LARGE, RefusedError, integers, opened, require, table
from amk.verify.checker_choices import check_experts, check_tokens
from amk.verify.checker_roles import check_ring, check_roles

Flags = NDArray[np.bool_]


def check_certificate(p: Program, certificate: object) -> None:
    """Returns if `p` is proved safe. Raises MalformedCertificateError or RefusedError."""
    c = opened(certificate)
    require(c["program_sha256"] == program_digest(p), "certificate belongs to another program")
    require(c["program"] == p.name, "certificate names another program")
    check_declarations(p)
    check_experts(p)
    check_tokens(p)
    require(c["capacities"] == capacities(p), "capacities are not those of the program")
    _Check(p, c).check()


def check_declarations(p: Program) -> None:
    """Kernels fit what they name, waits and signals name counters, and the ring keeps its rules."""
    require(all(0 < b.length < LARGE for b in p.buffers.values()), "a length is out of range")
    for pack in p.packs.values():
        for fault in pack_faults(p, pack):
            raise RefusedError(f"pack @{pack.name} {fault.text}")
    for name, k in p.kernels.items():
        for fault in kernel_faults(p, k):
            raise RefusedError(f"kernel @{name} {fault.text}")
    require(all(p.queues or [[]]) and len(p.queues) <= MAX_SMS, "a queue is empty, or too many")
    for run in (run for queue in p.queues for run in queue):
        k = p.kernels.get(run.kernel)
        require(k and 0 <= run.lo < run.hi <= k.grid, f"no such tiles: @{run.kernel}")
        inside = not any(access_fault(p, a) for a in p.accesses(run))
        require(inside, f"@{run.kernel}: an access is out of bounds or cuts a word")
        for x in (*run.waits, *run.signals):
            known = 0 <= x.counter < p.counters and x.scope in SCOPES
            n = x.threshold if isinstance(x, Wait) else x.amount
            require(known and 0 < n < 1 << 32, f"no such counter: {x.counter}")
    require(capacities(p)["steps"] >= MIN_STEPS, "an epoch or counter exceeds 32 bits too early")
    if p.ring is not None:
        check_ring(p, p.ring)
        check_roles(p, p.ring)


class _Check:
    def __init__(self, p: Program, c: dict[str, Any]):
        self.p = p
        self.size = np.array([len(q) for q in p.queues])
        self.sm = np.repeat(np.arange(len(self.size)), self.size)
        self.first = np.cumsum(self.size) - self.size
        self.index = np.arange(len(self.sm)) - self.first[self.sm]
        self.rank = integers(c["ranks"], "ranks", len(self.sm))
        rows = table(c["clocks"], len(self.size))
        # Nothing can be known of later steps; below two steps nothing is ever asked.
        require((rows <= 2 * self.size).all(), "clocks: beyond the end of the step")
        clocks: list[Ints] = []
        for key in ("order", "visible"):
            of = integers(c[key], key, len(self.sm))
            require(of.min() >= 0 and of.max() < len(rows), f"{key}: no such clock")
            clocks.append(np.maximum(rows[of], -2 * self.size))
            # An SM knows itself.
            clocks[-1][np.arange(len(of)), self.sm] = 2 * self.index + 1
        self.order, self.visible = clocks
        self.m = Cells(p)

    def check(self) -> None:
        require((np.diff(self.rank)[self.index[1:] > 0] > 0).all(), "ranks: a queue out of order")
        self.follow_values()
        self.check_coverage()
        self.check_clocks()
        self.check_values()
        self.fenced = self.fences()
        for (name, head), items in self.m.caches.items():
            self.check_rows(f"@{name}[{head}]", items)

    def follow_values(self) -> None:
        """Finds each cell's writer, and who writes its element next."""
        m = self.m
        require(len(np.unique(m.written)) == len(m.written), "an element is written twice")
        at_once, _ = unique_pairs(m.written_by, m.written_piece)
        require(len(at_once) == len(m.written), "an instruction writes one place for two values")
        self.writer, self.since = np.full(m.count, -1), np.zeros(m.count, dtype=np.int64)
        self.writer[m.written], self.since[m.written] = m.written_by, m.written_since
        # The next value of an element: by rank, and after the last the first of the next step.
        by = np.lexsort((self.rank[m.written_by], m.written_piece))
        cell, piece = m.written[by], m.written_piece[by]
        last: Flags = np.append(piece[1:] != piece[:-1], len(piece) > 0)[: len(piece)]
        heads = np.flatnonzero(np.roll(last, 1))
        after = np.roll(cell, -1)
        after[last] = cell[heads]
        self.successor, self.wraps = self.writer.copy(), np.zeros(m.count, dtype=np.int64)
        self.successor[cell], self.wraps[cell] = self.writer[after], last

    def check_coverage(self) -> None:
        m = self.m
        require((self.writer[m.read_cells] >= 0).all(), "what nobody writes is read")
        latest = np.zeros(m.regions.shape[1], dtype=np.int64)
        np.maximum.at(latest, m.of_region, self.since[m.read_cells])
        require((latest[m.region] <= m.reads_since).all(), "read before it is ever written")
        for v in map(int, m.unread):
            b = m.buffers[int(m.value_buffer[v])]
            require(b.space == "local" or m.amount[v] == b.length, f"@{b.name}: output not whole")

    def check_clocks(self) -> None:
        """Ranks respect every wait, and no clock exceeds what its instruction waits for."""
        m = self.m
        before = np.arange(len(self.sm)) - 1
        before[self.first] = self.first + self.size - 1
        shift = np.where(self.index > 0, 0, 2)[:, None] * self.size
        order, visible = self.order[before] - shift, self.visible[before] - shift
        every = np.arange(len(self.sm))
        visible[every, self.sm] = LOW
        # Flagged words: their writers have done their reads.
        mine = m.polled
        region, writer = unique_pairs(m.of_region, self.writer[m.read_cells])
        region, writer = region[mine[region]], writer[mine[region]]
        latest = np.full(len(mine), -1)
        np.maximum.at(latest, region, self.rank[writer])
        polls = mine[m.region]
        late = latest[m.region] >= self.rank[m.reader]
        require(not (polls & late & (m.previous == 0)).any(), "ranks: a read before its write")
        number = np.cumsum(mine) - 1
        events = group(np.maximum, self.order, writer, number[region], int(mine.sum()))
        for back in (0, 1):
            use = polls & (m.previous == back) & (m.reads_since == 0)
            join(order, m.reader[use], events, number[m.region[use]], 2 * back * self.size)
        self.join_counters(order, visible)
        # Up to which tick an SM has acquired its own releases: those writes are in memory.
        back = np.maximum(visible[every, self.sm], -LARGE // 2) + self.sm * LARGE
        self.landed = np.maximum.accumulate(back) - self.sm * LARGE
        own = np.arange(len(self.size)) == self.sm[:, None]
        floor = own | (self.order <= -2 * self.size)
        require((floor | (self.order <= order)).all(), "order: a clock claims too much")
        floor = own | (self.visible <= -2 * self.size)
        require((floor | (self.visible <= visible)).all(), "visible: a clock claims too much")

    def join_counters(self, order: Ints, visible: Ints) -> None:
        signals, waits, counters = signals_and_waits(self.p)
        by = np.lexsort((self.rank[signals[:, 1]], signals[:, 0]))
        counter, signaler, amount, releases = signals[by].T
        total = np.zeros(counters, dtype=np.int64)
        np.add.at(total, counter, amount)
        # Arrivals of smaller rank reach every threshold.
        rank = self.rank - self.rank.min()
        span = int(rank.max()) + 1
        keys = counter * span + rank[signaler]
        w_counter, waiter, threshold, use, scaled = waits.T
        sums = np.append(0, np.cumsum(amount))
        ends = [cast(Ints, np.searchsorted(keys, w_counter * span + x)) for x in (0, rank[waiter])]
        come = sums[ends[1]] - sums[ends[0]]
        require((come >= threshold).all(), "ranks: a wait before its signals")
        # In place of an arrival one of the next step may come, unless all waits come before that;
        # then it must carry the other.
        full: Flags = np.logical_and(use, threshold == total[w_counter])
        scaled: Flags = scaled == 1
        every, own = np.arange(len(signaler)), self.sm[signaler]
        last, late = (np.full((counters, len(self.size)), LOW) for _ in range(2))
        for to, of, n in ((last, counter, signaler), (late, w_counter[scaled], waiter[scaled])):
            np.maximum.at(to, (of, self.sm[n]), 2 * (self.index[n] - self.size[self.sm[n]]) + 1)
        come_first = group(np.minimum, self.order, signaler, counter, counters) >= late
        for clock, into in ((self.order, order), (self.visible, visible)):
            done = clock[signaler]
            done[every, own] += 1
            done[releases == 0] = LOW
            carried = group(np.minimum, done, every, counter, counters) >= last
            carried |= np.logical_and.reduce(come_first, axis=1)[:, None]
            done[~carried[counter, own]] = LOW
            joined = group(np.maximum, done, every, counter, counters)
            join(into, waiter[full], joined, w_counter[full], 0 * self.size)
            for c, n, least_sum in waits[(use == 1) & ~full][:, :3]:
                mine = np.flatnonzero(counter == c)
                for x in mine:
                    same = mine[own[mine] == own[x]]
                    held = amount[same[self.index[signaler[same]] >= self.index[signaler[x]]]].sum()
                    if total[c] - held < least_sum:
                        np.maximum(into[n], done[x], out=into[n])

    def check_values(self) -> None:
        """Writes come after what they replace has been written and read; reads after writes."""
        m = self.m
        region, cell = m.of_region, m.read_cells
        back, sm = 2 * self.size, self.sm[m.reader]
        tick = 2 * self.index[m.reader] + 1
        # Reads before the next write.
        pair, next_writer = unique_pairs(2 * region + self.wraps[cell], self.successor[cell])
        least = group(np.minimum, self.order, next_writer, pair, 2 * m.regions.shape[1])
        for wrap in (0, 1):
            known = least[2 * m.region + wrap, sm] + back[sm] * (wrap - m.previous)
            require((known >= tick).all(), "a write may come before a read of what it replaces")
        # Writes before the next write.
        w, following = self.writer[m.written], self.successor[m.written]
        # A read that happens whenever the write does has seen it in memory, unless it is a plain
        # read of the writer's own SM.
        count = len(m.polled)
        earliest, low, high, landed = (np.full(count, x) for x in (-LOW, -LOW, LOW, LOW))
        np.minimum.at(earliest, m.region, m.reads_since)
        best = (m.reads_since == earliest[m.region]) & (m.previous == 0)
        np.minimum.at(low, m.region[best], sm[best])
        np.maximum.at(high, m.region[best], sm[best])
        np.maximum.at(landed, m.region[best], self.landed[m.reader[best]])
        by = self.sm[self.writer[cell]]
        proof = m.polled[region] | (low[region] < by) | (high[region] > by)
        proof |= 2 * self.index[self.writer[cell]] + 2 <= landed[region]
        seen = np.zeros(len(self.writer), dtype=bool)
        seen[cell[proof & (earliest[region] <= self.since[cell])]] = True
        known = self.visible[following, self.sm[w]] + back[self.sm[w]] * self.wraps[m.written]
        safe = (self.sm[w] == self.sm[following]) | seen[m.written]
        safe |= known >= 2 * self.index[w] + 2
        require(safe.all(), "a write may come before the write of what it replaces")
        # Writes before reads, unless reads poll; an SM knows itself.
        polled = m.polled
        of, writer = unique_pairs(region[~polled[region]], self.writer[cell[~polled[region]]])
        needed = np.full((len(polled), len(self.size)), LOW)
        np.maximum.at(needed, (of, self.sm[writer]), 2 * self.index[writer] + 2)
        for old in (0, 1):
            use = np.flatnonzero(~polled[m.region] & (m.previous == old))
            use = use[np.argsort(m.region[use], kind="stable")]
            at, mine = m.region[use], m.reader[use]
            least = group(np.minimum, self.visible, mine, at, len(polled)) + old * back
            require((least >= needed).all(), "a read may come before its write")

    def fences(self) -> Ints:
        """[instructions, SMs]: what bulk copies see, as of the last fence on their SM."""
        every = np.arange(len(self.sm))
        fence = np.array([run.fence for queue in self.p.queues for run in queue])
        last = np.maximum.accumulate(np.where(fence, every, -1))
        final, none = last[self.first + self.size - 1][self.sm], last < self.first[self.sm]
        at = np.where(none, final, last)
        seen = self.visible[at] - np.where(none, 2, 0)[:, None] * self.size
        seen[at < self.first[self.sm]] = LOW
        return seen

    def check_rows(self, name: str, items: list[tuple[int, CacheAccess]]) -> None:
        """Row pos of a head is written once, by the owner of its row class, and then read; bulk
        copies read it, or at least the row before, behind a fence."""
        writes = [(n, a) for n, a in items if a.write]
        classes = {(a.chunk, a.splits) for _, a in writes}
        require(len(classes) == 1, f"{name}: row pos is written by none or by several")
        splits = sorted(a.split for _, a in writes)
        require(splits == list(range(next(iter(classes))[1])), f"{name}: some rows have no owner")
        for n, a in ((n, a) for n, a in items if not a.write):
            for w, b in writes:
                if (a.chunk, a.splits) in classes and a.split != b.split:
                    continue
                done = 2 * self.index[w] + 2
                known = n == w or self.visible[n, self.sm[w]] >= done
                require(known, f"{name}: read before it is written")
                done -= 2 * self.size[self.sm[w]] * (n == w)
                known = not a.bulk or self.fenced[n, self.sm[w]] >= done
                require(known, f"{name}: copied in bulk without a fence")
