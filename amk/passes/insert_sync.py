"""Decide how readers learn that what they read is there.

`flags`: a buffer that crosses SMs becomes flagged; every word carries the epoch that wrote it, and
its readers poll the words they need. No fence, one trip. `counters`: buffers stay plain, and each
family gets counters, one per group of tiles that the same reads need, so that a consumer waits for
its own tiles and not for the whole operator. KV caches, when another family than their reader
writes them, have counters in both modes. The token, which crosses from one step to the next, is
flagged in both.

    task.buffer @l0.qkv.y : plain<960xbf16>
    ->  (flags)                              ->  (counters)
    task.buffer @l0.qkv.y : flagged<...>     task.counter @l0.qkv.ready of @l0.qkv [0, 24, 48, 72,
    80, ...]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.ir.kernels import Access
from amk.ir.program import TaskProgram
from amk.ir.regions import counter_arrays
from amk.passes.rewrite import rewrite_tasks


@dataclass(frozen=True)
class InsertSyncPass(ModulePass):
    """`sync` makes buffers flagged or keeps them plain; plain memory gets the counters it needs."""

    name = "insert-sync"
    sync: Literal["flags", "counters"] = "flags"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite_tasks(op, self.insert)

    def insert(self, p: TaskProgram) -> None:
        reads = [
            a
            for k in p.kernels.values()
            for a in k.accesses(0, k.grid)
            if isinstance(a, Access) and not a.write
        ]
        carried = {a.buffer for a in reads if a.previous}
        for name in {a.buffer for a in reads}:
            if p.buffers[name].space == "plain" and (self.sync == "flags" or name in carried):
                p.buffers[name] = replace(p.buffers[name], space="flagged")
        p.counters = {c.name: c for c in counter_arrays(p)}
