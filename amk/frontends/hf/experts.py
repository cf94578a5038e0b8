"""Mixtures of experts: their tensors as one matrix for all experts of a layer.

Checkpoints keep experts as a list of modules (`mlp.experts.3.gate_proj.weight`; Mixtral's say
`block_sparse_moe.experts.3.w1.weight`), or all of a layer in one tensor of three dimensions
(`mlp.experts.gate_up_proj`), as the modules of transformers hold them. Here an expert's rows stand
behind those of the expert before it, in tensors called `mlp.experts.gate_proj.weight`,
`up_proj` and `down_proj`, whichever way the file has them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from amk.errors import AmkError
from amk.frontends.hf.checkpoint import F32, Checkpoint, TensorInfo

LISTED = re.compile(r"(.*\.)(mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)\.weight")
STACKED = re.compile(r"(.*\.mlp\.experts\.)(gate_up_proj|down_proj)")
ROUTER = re.compile(r"(.*\.)block_sparse_moe\.(gate\.weight)")
PROJECTIONS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
"""What Mixtral's checkpoints call them."""

Read = Callable[[], F32]


def stacked(checkpoint: Checkpoint, where: str) -> Checkpoint:
    """`checkpoint` by the names above: itself, where it has no experts in another form."""
    forms = (LISTED, STACKED, ROUTER)
    if any(form.fullmatch(name) for name in checkpoint.tensors for form in forms):
        return StackedExperts(checkpoint, where)
    return checkpoint


class StackedExperts:
    """A checkpoint whose experts are matrices of all experts. Raises AmkError, one line, where an
    expert is missing, or differs from the others of its layer."""

    def __init__(self, checkpoint: Checkpoint, where: str):
        self.where = where
        self.tensors: dict[str, TensorInfo] = {}
        self.readers: dict[str, Read] = {}
        lists: dict[str, dict[int, str]] = defaultdict(dict)
        for name, info in checkpoint.tensors.items():
            if match := LISTED.fullmatch(name):
                at, _, number, what = match.groups()
                stack = f"{at}mlp.experts.{PROJECTIONS.get(what, what)}.weight"
                lists[stack][int(number)] = name
            elif (match := STACKED.fullmatch(name)) and len(info.shape) == 3:
                self.cut(match[1], match[2], name, info, checkpoint)
            else:
                match = ROUTER.fullmatch(name)
                at = f"{match[1]}mlp.{match[2]}" if match else name
                self.add(at, info, lambda name=name: checkpoint.read(name))
        for stack, names in lists.items():
            self.join(stack, names, checkpoint)

    def add(self, name: str, info: TensorInfo, read: Read) -> None:
        if name in self.tensors:
            raise AmkError(f"tensor '{name}' is in {self.where} in two forms")
        self.tensors[name], self.readers[name] = info, read

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

        shape = (len(names) * info.shape[0], info.shape[1])
        self.add(stack, TensorInfo(shape, info.dtype), read)

    def cut(self, at: str, what: str, name: str, info: TensorInfo, checkpoint: Checkpoint) -> None:
        """Matrices of a tensor [experts, rows, columns]; rows of gate and up come in halves."""
        parts = ("gate_proj", "up_proj") if what == "gate_up_proj" else ("down_proj",)
        count, rows, columns = info.shape
        if rows % len(parts):
            raise AmkError(f"tensor '{name}' in {self.where} has {rows} rows, an odd number")
        height = rows // len(parts)
        for i, part in enumerate(parts):

            def read(lo: int = i * height) -> F32:
                values = checkpoint.read(name)[:, lo : lo + height]
                return np.ascontiguousarray(values).reshape(-1, columns)

            self.add(f"{at}{part}.weight", TensorInfo((count * height, columns), info.dtype), read)

    def read(self, name: str) -> F32:
        if name not in self.readers:
            raise AmkError(f"tensor '{name}' is missing from {self.where}")
        return self.readers[name]()


def module_state(state: Mapping[str, Any], join: Callable[..., Any]) -> dict[str, Any]:
    """The tensors of `state`, by the names above, as the modules of transformers hold them: all
    experts of a layer in tensors of three dimensions. They are numpy arrays or torch tensors, and
    `join(parts, axis)` concatenates such."""
    made = dict(state)
    for name in state:
        at, _, what = name.partition(".experts.")
        if what not in ("gate_proj.weight", "down_proj.weight"):
            continue
        count, columns = state[f"{at}.gate.weight"].shape[0], state[name].shape[1]
        whole = made.pop(name).reshape(count, -1, columns)
        if what == "down_proj.weight":
            made[f"{at}.experts.down_proj"] = whole
        else:
            up = made.pop(f"{at}.experts.up_proj.weight").reshape(count, -1, columns)
            made[f"{at}.experts.gate_up_proj"] = join([whole, up], 1)
    return made
