"""Mixtures of experts: their tensors as one matrix for all experts of a layer.

Checkpoints keep experts as a list of modules (`mlp.experts.3.gate_proj.weight`; Mixtral's say
`block_sparse_moe.experts.3.w1.weight`), or all of a layer in one tensor of three dimensions
(`mlp.experts.gate_up_proj`), as the modules of transformers hold them: [experts, rows, columns]
with the rows of gate before those of up, or gpt-oss's [experts, columns, rows] with both in turn,
and biases beside them. Here an expert's rows stand behind those of the expert before it, in tensors
called `mlp.experts.gate_proj.weight`, `up_proj` and `down_proj`, and the router is `mlp.gate`,
whichever way the file has them.

gpt-oss's own checkpoints hold matrices in MXFP4 (`gate_up_proj_blocks` and `_scales`), rows first:
of every 32 neighboring columns 16 bytes of two elements each, the lower half first, and one power
of two (OCP Microscaling Formats 1.0). They are dequantized, which bf16 holds exactly.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from amk.errors import AmkError
from amk.frontends.hf.checkpoint import F32, Checkpoint, Piece, TensorInfo, check_finite
from amk.frontends.hf.decoder import Experts

LISTED = re.compile(r"(.*\.)(mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)\.weight")
STACKED = re.compile(r"(.*\.mlp\.experts\.)(gate_up_proj|down_proj)(_bias|_blocks)?")
SCALES = re.compile(r".*\.mlp\.experts\.(gate_up_proj|down_proj)_scales")
ROUTER = re.compile(r"(.*\.)(?:block_sparse_moe\.gate|mlp\.router)\.(weight|bias)")
PROJECTIONS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
"""What Mixtral's checkpoints call them."""

FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
"""The magnitudes of E2M1; bit 3 is the sign."""

Read = Callable[[], F32]
Pieces = Callable[[], list[Piece]]


def stacked(checkpoint: Checkpoint, experts: Experts, where: str) -> Checkpoint:
    """`checkpoint` by the names above: itself, where it has no experts in another form."""
    forms = (LISTED, STACKED, ROUTER)
    if any(form.fullmatch(name) for name in checkpoint.tensors for form in forms):
        return StackedExperts(checkpoint, experts, where)
    return checkpoint


def dequantized(blocks: F32, scales: F32) -> F32:
    """MXFP4 in float32: blocks [..., n, 16] and scales [..., n], bytes both, to [..., 32 * n]."""
    code = blocks.astype(np.uint8)
    codes = np.stack([code & 15, code >> 4], axis=-1).reshape(*scales.shape, 32)
    values = np.where(codes & 8, -FP4[codes & 7], FP4[codes & 7])
    exponents = scales.astype(np.int32)[..., None] - 127
    return np.ldexp(values, exponents).reshape(*scales.shape[:-1], -1).astype(np.float32)


class StackedExperts:
    """A checkpoint whose experts are matrices of all experts. Raises AmkError, one line, where an
    expert is missing, or differs from the others of its layer."""

    def __init__(self, checkpoint: Checkpoint, experts: Experts, where: str):
        self.checkpoint, self.columns_first, self.where = checkpoint, experts.columns_first, where
        self.tensors: dict[str, TensorInfo] = {}
        self.readers: dict[str, Read] = {}
        self.places: dict[str, Pieces] = {}
        lists: dict[str, dict[int, str]] = defaultdict(dict)
        for name, info in checkpoint.tensors.items():
            if match := LISTED.fullmatch(name):
                at, _, number, what = match.groups()
                stack = f"{at}mlp.experts.{PROJECTIONS.get(what, what)}.weight"
                lists[stack][int(number)] = name
            elif (match := STACKED.fullmatch(name)) and self.whole(name, match[3] or ""):
                self.cut(match[1], match[2], match[3] or "", name)
            elif not (SCALES.fullmatch(name) and f"{name[:-7]}_blocks" in checkpoint.tensors):
                match = ROUTER.fullmatch(name)
                at = f"{match[1]}mlp.gate.{match[2]}" if match else name
                self.add(
                    at,
                    info,
                    lambda name=name: checkpoint.read(name),
                    lambda name=name: checkpoint.pieces(name),
                )
        for stack, names in lists.items():
            self.join(stack, names, checkpoint)

    def whole(self, name: str, form: str) -> bool:
        """Whether a tensor is what its name promises: 3 dimensions, of biases 2, of blocks 4."""
        return len(self.checkpoint.tensors[name].shape) == {"": 3, "_bias": 2, "_blocks": 4}[form]

    def add(self, name: str, info: TensorInfo, read: Read, pieces: Pieces) -> None:
        if name in self.tensors:
            raise AmkError(f"tensor '{name}' is in {self.where} in two forms")
        self.tensors[name], self.readers[name], self.places[name] = info, read, pieces

    def join(self, stack: str, names: dict[int, str], checkpoint: Checkpoint) -> None:
        """One matrix of a list of modules."""
        first = next(iter(names.values()))
        for number in range(len(names)):
            if number not in names:
                raise AmkError(
                    f"expert {number} of '{stack}' is missing from {self.where}, which has others"
                )
        infos = {checkpoint.tensors[name] for name in names.values()}
        info = checkpoint.tensors[first]
        if len(infos) > 1 or len(info.shape) != 2:
            raise AmkError(f"experts of '{stack}' in {self.where} differ in shape or type")
        ordered = [names[number] for number in range(len(names))]

        def read() -> F32:
            return np.concatenate([checkpoint.read(name) for name in ordered])

        def pieces() -> list[Piece]:
            parts = [checkpoint.pieces(name) for name in ordered]
            return [piece for part in parts for piece in part] if all(parts) else []

        shape = (len(names) * info.shape[0], info.shape[1])
        self.add(stack, TensorInfo(shape, info.dtype), read, pieces)

    def cut(self, at: str, what: str, form: str, name: str) -> None:
        """Matrices or biases of a tensor [experts, rows, columns] or of another of the forms."""
        info, parts = self.checkpoint.tensors[name], ("down_proj",)
        if what == "gate_up_proj":
            parts = ("gate_proj", "up_proj")
        count, rows, *rest = info.shape
        columns, dtype = rest[:1], info.dtype
        if form == "_blocks":
            scales = self.checkpoint.tensors.get(f"{at}{what}_scales")
            if scales is None or scales.shape != info.shape[:3] or info.shape[3] != 16:
                raise AmkError(f"tensor '{name}' in {self.where} has no scales of its shape")
            if {dtype, scales.dtype} != {"u8"}:
                raise AmkError(f"tensor '{name}' in {self.where} has type {dtype}, expected u8")
            columns, dtype = [32 * rest[0]], "bf16"
        elif columns and self.columns_first:
            columns, rows = [rows], columns[0]
        if rows % len(parts):
            raise AmkError(f"tensor '{name}' in {self.where} has {rows} rows, an odd number")
        height = rows // len(parts)
        for i, part in enumerate(parts):
            own = slice(i * height, (i + 1) * height)
            if self.columns_first:
                own = slice(i, None, len(parts))

            def read(own: slice = own) -> F32:
                values = self.rows_first(name, form)[:, own]
                return np.ascontiguousarray(values).reshape(-1, *columns)

            def pieces(i: int = i) -> list[Piece]:
                if form == "_blocks" or self.columns_first:
                    return []
                found: list[Piece] = []
                for path, begin, size in self.checkpoint.pieces(name):  # one, or none
                    each = size // (count * len(parts))
                    starts = range(begin + i * each, begin + size, len(parts) * each)
                    found += [Piece(path, start, each) for start in starts]
                return found

            made = TensorInfo((count * height, *columns), dtype)
            self.add(f"{at}{part}.{'bias' if form == '_bias' else 'weight'}", made, read, pieces)

    def rows_first(self, name: str, form: str) -> F32:
        """A tensor of all experts: [experts, rows, columns], or of biases [experts, rows]."""
        values = self.checkpoint.read(name)
        if form == "_blocks":
            scales = self.checkpoint.read(f"{name.removesuffix('_blocks')}_scales")
            return check_finite(name, dequantized(values, scales), self.where)
        return values.swapaxes(1, 2) if self.columns_first and not form else values

    def read(self, name: str) -> F32:
        if name not in self.readers:
            raise AmkError(f"tensor '{name}' is missing from {self.where}")
        return self.readers[name]()

    def pieces(self, name: str) -> list[Piece]:
        return self.places[name]() if name in self.places else []


def module_state(
    state: Mapping[str, Any], experts: Experts | None, join: Callable[..., Any]
) -> dict[str, Any]:
    """The tensors of `state`, by the names above, as the modules of transformers hold them: all
    experts of a layer in tensors of three dimensions. They are numpy arrays or torch tensors, and
    `join(parts, axis)` concatenates such."""
    made = dict(state)
    if experts is None:
        return made
    for name in state:
        at, _, what = name.partition(".experts.")
        part, _, kind = what.partition(".")
        if part not in ("gate_proj", "down_proj"):
            continue
        count, columns = experts.count, state[name].shape[1:]
        whole = made.pop(name).reshape(count, -1, *columns)
        suffix = "_bias" if kind == "bias" else ""
        if part == "gate_proj":
            part = "gate_up_proj"
            up = made.pop(f"{at}.experts.up_proj.{kind}").reshape(whole.shape)
            if experts.columns_first:
                pairs = [x.reshape(count, -1, 1, *columns) for x in (whole, up)]
                whole = join(pairs, 2).reshape(count, -1, *columns)
            else:
                whole = join([whole, up], 1)
        if experts.columns_first and columns:
            whole = whole.swapaxes(1, 2)
        made[f"{at}.experts.{part}{suffix}"] = whole
    if experts.columns_first:  # and gpt-oss's router has a name of its own
        for name in [n for n in made if ".mlp.gate." in n]:
            made[name.replace(".mlp.gate.", ".mlp.router.")] = made.pop(name)
    return made
