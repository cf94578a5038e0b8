"""Mixtures of experts."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from amk.ir.kernels import (
    MoeDown,
    MoeGateUp,
    Ref,
    Topk,
    Weight,
)
from amk.ir.program import Program, Tensor
from amk.verify.corpus.mutants.edits import mutant, some_kernel, with_buffer, with_kernel


@mutant
def expert_gone(p: Program, rng: Random) -> Program | None:
    """A matrix has an expert less, and its reader knows; the router does not, or is told too."""
    name = some_kernel(p, rng, rng.choice((MoeGateUp, MoeDown)))
    if name is None:
        return None
    k = p.kernels[name]
    assert isinstance(k, MoeGateUp | MoeDown)
    whole = p.weight(k.weight)
    if whole is None or k.experts < 2:
        return None
    rows = whole.shape[0] // k.experts * (k.experts - 1)
    fewer = Tensor(f"{k.weight}.fewer", (rows, *whole.shape[1:]), whole.dtype)
    p = replace(p, tensors=p.tensors | {fewer.name: fewer})
    return with_kernel(p, name, experts=k.experts - 1, weight=Weight(fewer.name))


@mutant
def router_wider(p: Program, rng: Random) -> Program | None:
    """A router looks at more values than there are experts, in a buffer that has them or not."""
    name = some_kernel(p, rng, Topk)
    if name is None:
        return None
    k = p.kernels[name]
    assert isinstance(k, Topk)
    wider = with_kernel(p, name, n=k.n + 1)
    if rng.random() < 0.5:
        wider = with_buffer(wider, k.x.buffer, length=p.buffers[k.x.buffer].length + 1)
    return wider


@mutant
def choice_left_out(p: Program, rng: Random) -> Program | None:
    """The router, or one half of the experts, takes a choice less than the others."""
    name = some_kernel(p, rng, rng.choice((Topk, MoeGateUp, MoeDown)))
    if name is None:
        return None
    k = p.kernels[name]
    assert isinstance(k, Topk | MoeGateUp | MoeDown)
    if k.choices < 2:
        return None
    changes: dict[str, int] = {"choices": k.choices - 1}
    if isinstance(k, MoeGateUp):
        changes["n"] = k.width * (k.choices - 1)
    return with_kernel(p, name, **changes)


@mutant
def ids_of_another(p: Program, rng: Random) -> Program | None:
    """Expert ids, or their weights, of another layer; or the token where an id should be."""
    name = some_kernel(p, rng, rng.choice((MoeGateUp, MoeDown)))
    if name is None:
        return None
    k = p.kernels[name]
    assert isinstance(k, MoeGateUp | MoeDown)
    others = [ref for ref in (getattr(o, "ids", None) for o in p.kernels.values()) if ref]
    ids = rng.choice([*others, Ref("token")])
    return with_kernel(p, name, ids=ids)
