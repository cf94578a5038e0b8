"""Order each queue by the depth of its families in the dependence graph.

A queue is executed in order, so an instruction that waits holds up everything behind it. Families
at the same distance from the start of a step may stand in any order; a merging attention tile
(split 0) goes behind all tiles it could wait for. In-order queues sorted by one common topological
order cannot deadlock.

    sched.sm 0 { @l0.attention[0 to 1] @l0.attention[1 to 2] }
    ->
    sched.sm 0 { @l0.attention[1 to 2] @l0.attention[0 to 1] }
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from amk.ir.kernels import Attention
from amk.ir.program import SchedProgram, Segment
from amk.ir.regions import regions
from amk.passes.rewrite import rewrite_scheds


@dataclass(frozen=True)
class OrderQueuesPass(ModulePass):
    """Sort every queue by (depth, program order, merging tiles last)."""

    name = "order-queues"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite_scheds(op, self.order)

    def order(self, p: SchedProgram) -> None:
        depth = depths(p)
        place = {name: (depth[name], i) for i, name in enumerate(p.kernels)}

        def key(s: Segment) -> tuple[int, int, bool, int]:
            kernel = p.kernels[s.family]
            merging = isinstance(kernel, Attention) and s.lo % kernel.splits == 0
            return (*place[s.family], merging, s.lo)

        for queue in p.segments:
            queue.sort(key=key)


def depths(p: SchedProgram) -> dict[str, int]:
    """Longest path of dependences from the start of a step to each family."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    writer: dict[str, str] = {}
    for name, kernel in p.kernels.items():
        graph.add_node(name)
        for r in regions(kernel, 0, kernel.grid, write=False):
            if r.memory in writer and writer[r.memory] != name:
                graph.add_edge(writer[r.memory], name)
        for r in regions(kernel, 0, kernel.grid, write=True):
            writer[r.memory] = name
    depth: dict[str, int] = {}
    for name in nx.topological_sort(graph):
        depth[name] = max((depth[before] + 1 for before in graph.predecessors(name)), default=0)
    return depth
