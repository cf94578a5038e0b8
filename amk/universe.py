"""The one list of what amk has: dialects, passes and targets, each as a factory that imports when
it is called."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from xdsl.ir import Dialect
from xdsl.passes import ModulePass

PASS_NAMES = (
    "fuse-append",
    "fuse-qkv",
    "fuse-gate-up",
    "fuse-activation",
    "fuse-norm",
    "fuse-residual",
    "fuse-lm-head",
    "verify-model",
    "convert-model-to-task",
    "choose-tiles",
    "insert-sync",
    "verify-task",
    "convert-task-to-sched",
    "assign-sms",
    "order-queues",
    "plan-stream",
    "place-buffers",
    "verify-sched",
    "convert-sched-to-vm",
    "verify-vm",
)
"""In the order of the default pipeline. Pass `a-b` is class `ABPass` of `amk/passes/a_b.py`."""

TARGET_NAMES = ("cuda",)
"""What `amk-translate -t` can print besides the levels of the IR."""


def _dialect(name: str) -> Callable[[], Dialect]:
    return lambda: getattr(import_module(f"amk.dialects.{name}"), name.upper())


def _pass(name: str) -> Callable[[], type[ModulePass]]:
    module = f"amk.passes.{name.replace('-', '_')}"
    cls = "".join(word.capitalize() for word in name.split("-")) + "Pass"
    return lambda: cast(type[ModulePass], getattr(import_module(module), cls))


DIALECTS = {name: _dialect(name) for name in ("model", "task", "sched", "vm")}
PASSES = {name: _pass(name) for name in PASS_NAMES}
