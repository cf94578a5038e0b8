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

Everything is arrays: a row per instruction, access, region (what is read at once) or cell (an
element range that no access divides, in one value of a buffer).
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from amk.ir.arrays import LOW, Ints, group, join, ragged, unique_pairs
from amk.ir.digest import program_digest
from amk.ir.kernels import CacheAccess
from amk.ir.program import Buffer, Program
from amk.verify.certificate_file import LARGE, integers, opened, require, table
from amk.verify.checker_rules import capacities, check_declarations, flatten

Flags = NDArray[np.bool_]


def check_certificate(p: Program, certificate: object) -> None:
    """Returns if `p` is proved safe. Raises MalformedCertificateError or RefusedError."""
    c = opened(certificate)
    require(c["program_sha256"] == program_digest(p), "certificate belongs to another program")
    require(c["program"] == p.name, "certificate names another program")
    check_declarations(p)
    require(c["capacities"] == capacities(p), "capacities are not those of the program")
    _Check(p, c).check()


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
        rows = np.maximum(rows, -2 * self.size)
        clocks: list[Ints] = []
        for key in ("order", "visible"):
            of = integers(c[key], key, len(self.sm))
            require(of.min() >= 0 and of.max() < len(rows), f"{key}: no such clock")
            clocks.append(rows[of])
            # An SM knows itself.
            clocks[-1][np.arange(len(of)), self.sm] = 2 * self.index + 1
        self.order, self.visible = clocks
        self.names: list[Buffer] = list(p.buffers.values())
        self.at, self.cache = flatten(p)

    def check(self) -> None:
        require((np.diff(self.rank)[self.index[1:] > 0] > 0).all(), "ranks: a queue out of order")
        self.cells()
        self.check_coverage()
        self.check_clocks()
        self.check_values()
        self.fenced = self.fences()
        for (name, head), items in self.cache.items():
            self.check_rows(f"@{name}[{head}]", items)

    def cells(self) -> None:
        """Cuts memory into pieces and values into cells; finds each cell's writer and successor."""
        n, buffer, where, use, lo, hi, write, since, previous = self.at
        length = np.array([b.length for b in self.names] or [1])
        base = np.cumsum(length) - length
        at = where * length.sum() + base[buffer]
        cuts = np.unique(np.concatenate([at, at + lo, at + hi]))
        places: list[Ints] = [np.searchsorted(cuts, x) for x in (at, at + lo, at + hi)]
        origin, start, end = places
        value = np.unique(np.stack([at, use, buffer]), axis=1, return_inverse=True)
        self.values, of = value[0], value[1].reshape(-1)
        pieces = np.zeros(self.values.shape[1], dtype=np.int64)
        np.maximum.at(pieces, of, end - origin)
        offset = (np.cumsum(pieces) - pieces)[of] - origin
        w, r = write == 1, write == 0
        self.written, which = ragged(start[w] + offset[w], end[w] + offset[w])
        require(len(np.unique(self.written)) == len(self.written), "an element is written twice")
        self.writer = np.full(pieces.sum(), -1)
        self.writer[self.written] = n[w][which]
        self.since = np.zeros(len(self.writer), dtype=np.int64)
        self.since[self.written] = since[w][which]
        # The next value of an element: by rank, and after the last the first of the next step.
        piece: Ints = self.written - offset[w][which]
        by = np.lexsort((self.rank[self.writer[self.written]], piece))
        cell, piece = self.written[by], piece[by]
        last: Flags = np.append(piece[1:] != piece[:-1], len(piece) > 0)[: len(piece)]
        heads = np.flatnonzero(np.roll(last, 1))
        after = np.roll(cell, -1)
        after[last] = cell[heads]
        self.successor, self.wraps = self.writer.copy(), np.zeros(len(self.writer), dtype=np.int64)
        self.successor[cell], self.wraps[cell] = self.writer[after], last
        # Regions: what some instruction reads at once.
        key: Ints = np.stack([start[r] + offset[r], end[r] + offset[r], buffer[r]])
        found = np.unique(key, axis=1, return_inverse=True)
        self.regions: Ints = found[0]
        self.region: Ints = found[1].reshape(-1)
        flagged = np.array([b.space == "flagged" for b in self.names] or [False])
        self.polled: Flags = flagged[self.regions[2]]
        self.reader, self.reads_since, self.previous = n[r], since[r], previous[r]
        self.read_cells, self.of_region = ragged(self.regions[0], self.regions[1])
        self.unread = np.setdiff1d(np.arange(len(pieces)), of[r])
        self.amount = np.zeros(len(pieces), dtype=np.int64)
        np.add.at(self.amount, of[w], hi[w] - lo[w])

    def check_coverage(self) -> None:
        require((self.writer[self.read_cells] >= 0).all(), "what nobody writes is read")
        latest = np.zeros(self.regions.shape[1], dtype=np.int64)
        np.maximum.at(latest, self.of_region, self.since[self.read_cells])
        require((latest[self.region] <= self.reads_since).all(), "read before it is ever written")
        for v in map(int, self.unread):
            b = self.names[int(self.values[2, v])]
            whole = b.space == "local" or self.amount[v] == b.length
            require(whole, f"@{b.name}: output not whole")

    def check_clocks(self) -> None:
        """Ranks respect every wait, and no clock exceeds what its instruction waits for."""
        before = np.arange(len(self.sm)) - 1
        before[self.first] = self.first + self.size - 1
        shift = np.where(self.index > 0, 0, 2)[:, None] * self.size
        order, visible = self.order[before] - shift, self.visible[before] - shift
        every = np.arange(len(self.sm))
        visible[every, self.sm] = LOW
        # Flagged words: their writers have done their reads.
        mine = self.polled
        region, writer = unique_pairs(self.of_region, self.writer[self.read_cells])
        region, writer = region[mine[region]], writer[mine[region]]
        latest = np.full(len(mine), -1)
        np.maximum.at(latest, region, self.rank[writer])
        polls = mine[self.region]
        late = latest[self.region] >= self.rank[self.reader]
        require(not (polls & late & (self.previous == 0)).any(), "ranks: a read before its write")
        number = np.cumsum(mine) - 1
        events = group(np.maximum, self.order, writer, number[region], int(mine.sum()))
        for back in (0, 1):
            use = polls & (self.previous == back) & (self.reads_since == 0)
            join(order, self.reader[use], events, number[self.region[use]], 2 * back * self.size)
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
        runs = [run for queue in self.p.queues for run in queue]
        told = [
            (s.counter, n, s.amount, s.scope == "gpu")
            for n, run in enumerate(runs)
            for s in run.signals
        ]
        asked = [
            (w.counter, n, w.threshold, w.scaled and w.scope == "gpu", w.scaled)
            for n, run in enumerate(runs)
            for w in run.waits
        ]
        signals: Ints = np.array(told, dtype=np.int64).reshape(-1, 4)
        waits: Ints = np.array(asked, dtype=np.int64).reshape(-1, 5)
        # Counters in use, numbered anew.
        counters = np.unique(np.concatenate([signals[:, 0], waits[:, 0]]))
        for column in (signals[:, 0], waits[:, 0]):
            column[:] = np.searchsorted(counters, column)
        by = np.lexsort((self.rank[signals[:, 1]], signals[:, 0]))
        counter, signaler, amount, releases = signals[by].T
        total = np.zeros(len(counters), dtype=np.int64)
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
        last, late = (np.full((len(counters), len(self.size)), LOW) for _ in range(2))
        for to, of, n in ((last, counter, signaler), (late, w_counter[scaled], waiter[scaled])):
            np.maximum.at(to, (of, self.sm[n]), 2 * (self.index[n] - self.size[self.sm[n]]) + 1)
        come_first = group(np.minimum, self.order, signaler, counter, len(counters)) >= late
        for clock, into in ((self.order, order), (self.visible, visible)):
            done = clock[signaler]
            done[every, own] += 1
            done[releases == 0] = LOW
            carried = group(np.minimum, done, every, counter, len(counters)) >= last
            carried |= np.logical_and.reduce(come_first, axis=1)[:, None]
            done[~carried[counter, own]] = LOW
            joined = group(np.maximum, done, every, counter, len(counters))
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
        region, cell = self.of_region, self.read_cells
        back, sm = 2 * self.size, self.sm[self.reader]
        tick = 2 * self.index[self.reader] + 1
        # Reads before the next write.
        pair, next_writer = unique_pairs(2 * region + self.wraps[cell], self.successor[cell])
        least = group(np.minimum, self.order, next_writer, pair, 2 * self.regions.shape[1])
        for wrap in (0, 1):
            known = least[2 * self.region + wrap, sm] + back[sm] * (wrap - self.previous)
            require((known >= tick).all(), "a write may come before a read of what it replaces")
        # Writes before the next write.
        w, following = self.writer[self.written], self.successor[self.written]
        # A read that happens whenever the write does has seen it in memory, unless it is a plain
        # read of the writer's own SM.
        count = len(self.polled)
        earliest, low, high, landed = (np.full(count, x) for x in (-LOW, -LOW, LOW, LOW))
        np.minimum.at(earliest, self.region, self.reads_since)
        best = (self.reads_since == earliest[self.region]) & (self.previous == 0)
        np.minimum.at(low, self.region[best], sm[best])
        np.maximum.at(high, self.region[best], sm[best])
        np.maximum.at(landed, self.region[best], self.landed[self.reader[best]])
        by = self.sm[self.writer[cell]]
        proof = self.polled[region] | (low[region] < by) | (high[region] > by)
        proof |= 2 * self.index[self.writer[cell]] + 2 <= landed[region]
        seen = np.zeros(len(self.writer), dtype=bool)
        seen[cell[proof & (earliest[region] <= self.since[cell])]] = True
        known = self.visible[following, self.sm[w]] + back[self.sm[w]] * self.wraps[self.written]
        safe = (self.sm[w] == self.sm[following]) | seen[self.written]
        safe |= known >= 2 * self.index[w] + 2
        require(safe.all(), "a write may come before the write of what it replaces")
        # Writes before reads, unless reads poll; an SM knows itself.
        polled = self.polled
        of, writer = unique_pairs(region[~polled[region]], self.writer[cell[~polled[region]]])
        needed = np.full((len(polled), len(self.size)), LOW)
        np.maximum.at(needed, (of, self.sm[writer]), 2 * self.index[writer] + 2)
        for old in (0, 1):
            use = np.flatnonzero(~polled[self.region] & (self.previous == old))
            use = use[np.argsort(self.region[use], kind="stable")]
            at, mine = self.region[use], self.reader[use]
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
