"""What fusions share: packs (when several matrices may become one, what it is called, where it is
declared) and questions about who makes and uses a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from xdsl.dialects.builtin import SymbolRefAttr, TensorType
from xdsl.ir import Attribute, Operation, SSAValue

from amk.dialects import model
from amk.dialects.attributes import ELEMENTS, symbol
from amk.ir.program import Pack, Range, Tensor

T = TypeVar("T", bound=Operation)

MODULES = ("self_attn", "mlp")
"""Name parts of a checkpoint that say no more than the name of the pack does."""


class Rows(NamedTuple):
    """Rows of one checkpoint tensor: what a matrix or bias of a linear is."""

    source: str
    taken: Range | None
    shape: tuple[int, ...]
    dtype: str


def rows_of(declared: model.Plain) -> Rows | None:
    """What a weight is, itself or as a pack that only takes some rows; else None."""
    match declared:
        case Tensor():
            return Rows(declared.name, None, declared.shape, declared.dtype)
        case Pack(mode="concat", layouts=("rows",)):
            [(source, _, taken)] = declared.parts()
            return Rows(source, taken, declared.shape, declared.dtype)
        case _:
            return None


class Packer:
    """Declares packs at the head of a program."""

    def __init__(self, program: model.ProgramOp):
        self.block = program.body.block
        declared = list(model.declarations(program))
        self.names = {decl.symbol() for decl in declared}
        self.shapes = {
            d.symbol(): t.shape for d in declared if isinstance(t := d.plain(), Tensor | Pack)
        }
        self.rows = {d.symbol(): rows for d in declared if (rows := rows_of(d.plain()))}
        self.last = declared[-1] if declared else None

    def alike(self, linears: Sequence[model.LinearOp], attribute: str) -> list[Rows] | None:
        """The declared weights (or biases) of `linears`, when all have one and their rows can be
        joined: the same columns and element type. None when they cannot."""
        names = [symbol(getattr(linear, attribute)) for linear in linears]
        found = [self.rows[name] for name in names if name in self.rows]
        if len(found) != len(names) or len({(t.shape[1:], t.dtype) for t in found}) > 1:
            return None
        return found

    def packable(self, linears: Sequence[model.LinearOp]) -> bool:
        """Whether `linears` are one matrix: one input, used for nothing else, not scaled, not yet
        fused with a residual or an activation, normalized alike, and with weights and biases whose
        rows can be joined."""
        first = linears[0]
        same = all(
            op.x is first.x
            and op.norm == first.norm
            and op.eps == first.eps
            and op.residual is None
            and op.scale is None
            and op.kind is None
            for op in linears
        )
        biased = any(op.bias for op in linears)
        return (
            same
            and all(used_once(op.out) for op in linears)
            and self.alike(linears, "weight") is not None
            and (not biased or self.alike(linears, "bias") is not None)
        )

    def pack(
        self,
        what: str,
        linears: Sequence[model.LinearOp],
        mode: str,
        layouts: tuple[str, ...],
        head_dim: int = 0,
        rotary: int = 0,
    ) -> dict[str, Attribute]:
        """Declares the packed weight (and bias) of `linears`: properties `weight` (and `bias`)."""
        made: dict[str, Attribute] = {}
        for attribute, suffix in (("weight", ""), ("bias", "_bias")):
            tensors = self.alike(linears, attribute)
            if tensors is None:
                continue
            sources, taken = tuple(t.source for t in tensors), tuple(t.taken for t in tensors)
            shape = (sum(t.shape[0] for t in tensors), *tensors[0].shape[1:])
            name = self.unique(pack_name(sources, what + suffix))
            dtype = tensors[0].dtype
            element, ranges = ELEMENTS[dtype], taken if any(taken) else ()
            pack = Pack(name, shape, dtype, mode, sources, layouts, head_dim, ranges, rotary)
            self.declare(model.PackOp(pack, TensorType(element, shape)))
            made[attribute] = SymbolRefAttr(name)
        return made

    def unique(self, name: str) -> str:
        taken, n = name, 2
        while taken in self.names:
            taken, n = f"{name}.{n}", n + 1
        return taken

    def declare(self, op: model.PackOp) -> None:
        if self.last is None:
            self.block.insert_op_before(op, next(iter(self.block.ops)))
        else:
            self.block.insert_op_after(op, self.last)
        self.last = op
        self.names.add(op.symbol())

    def drop_unused(self) -> None:
        """Erases the packs that no operator refers to any more."""
        used = {
            attr.string_value()
            for op in self.block.ops
            if isinstance(op, model.ModelOp)
            for attr in op.properties.values()
            if isinstance(attr, SymbolRefAttr)
        }
        for op in list(self.block.ops):
            if isinstance(op, model.PackOp) and op.symbol() not in used:
                self.block.erase_op(op)


def pack_name(sources: Sequence[str], what: str) -> str:
    """`layers.3.qkv` for what was made of `model.layers.3.self_attn.q_proj.weight` and others."""
    common: list[str] = []
    for parts in zip(*(source.split(".") for source in sources), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    if len(set(sources)) == 1:  # rows of one tensor: without its own name
        common = common[:-2]
    prefix = [part for part in common if part not in MODULES]
    return ".".join([*prefix[prefix[:1] == ["model"] :], what])


CacheUser = model.AttentionOp | model.KvAppendOp


def users_by_cache(program: model.ProgramOp) -> dict[str, list[CacheUser]]:
    """The operators on each cache, in program order."""
    users: dict[str, list[CacheUser]] = {}
    for op in program.body.block.ops:
        if isinstance(op, CacheUser):
            users.setdefault(op.cache.string_value(), []).append(op)
    return users


def used_once(value: SSAValue) -> bool:
    return len(list(value.uses)) == 1


def producer(value: SSAValue | None, kind: type[T]) -> T | None:
    """The op of class `kind` that makes `value`, if one does."""
    return value.owner if value is not None and isinstance(value.owner, kind) else None


def carried(op: model.LinearOp, *names: str) -> dict[str, Attribute]:
    """Those of the properties `names` that `op` has."""
    return {name: op.properties[name] for name in names if name in op.properties}
