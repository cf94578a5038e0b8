"""What runs a proved program: the one place where a backend plugs into the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from amk.compiler import DEFAULT_ARCH
from amk.errors import AmkError
from amk.frontends.hf.decoder import tensor_shapes
from amk.frontends.hf.source import Model
from amk.interpreters.decoder import Decoder
from amk.interpreters.vm import VmInterpreter
from amk.ir.packs import F32
from amk.ir.program import Program


@dataclass(frozen=True)
class Machine:
    """What to compile for: an architecture, the number of SMs (None: the architecture's), and the
    bytes of its memory (None: not limited)."""

    arch: str
    sms: int | None = None
    memory: int | None = None

    def check(self, model: Model, dtype: str, num_sms: int | None) -> None:
        """Raises AmkError unless it has the SMs that are asked for, and memory for the weights."""
        if self.sms and num_sms and num_sms > self.sms:
            raise AmkError(f"--num-sms: {num_sms} exceeds the {self.sms} SMs of the GPU")
        need = sum(map(prod, tensor_shapes(model.config).values())) * SIZES[dtype]
        if self.memory and need > self.memory:
            raise AmkError(
                f"model '{model.name}' has {need / 1e9:.1f} GB of weights in {dtype}, the GPU has "
                f"{self.memory / 1e9:.1f} GB of memory: choose a smaller model or type, or a "
                "larger GPU"
            )


SIZES = {"bf16": 2, "fp32": 4}
"""Bytes of an element."""


@dataclass(frozen=True)
class Device:
    """What `--device` names. `dtype` is its default; `machine` says what to compile for, and raises
    AmkError where it is missing. `decoder` loads a model's weights, and calls its last argument for
    each tensor.
    """

    dtype: str
    machine: Callable[[], Machine]
    decoder: Callable[[Program, Model, Callable[[], None]], Decoder]


def _gpu() -> Machine:
    from amk.backends.cuda.gpu import find_gpu

    gpu = find_gpu()
    return Machine(gpu.arch, gpu.sms, gpu.memory)


def _on_gpu(program: Program, model: Model, done: Callable[[], None]) -> Decoder:
    from amk.backends.cuda.decoder import CudaDecoder
    from amk.backends.cuda.upload import Stored
    from amk.tools.approve import Proof

    proof = Proof.of(program)
    weights = Stored(model, done)
    return CudaDecoder(program, weights, approve=proof.approve, certificate_hash=proof.sha256)


def _on_cpu(program: Program, model: Model, done: Callable[[], None]) -> Decoder:
    def read(name: str) -> F32:
        value = model.weight(name)
        done()
        return value

    return VmInterpreter(program, read)


DEVICES = {
    "cpu": Device("fp32", lambda: Machine(DEFAULT_ARCH), _on_cpu),
    "cuda": Device("bf16", _gpu, _on_gpu),
}
