"""What runs a proved program: the one place where a backend plugs into the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amk.compiler import DEFAULT_ARCH
from amk.frontends.hf.source import Model
from amk.interpreters.decoder import Decoder
from amk.interpreters.vm import VmInterpreter
from amk.ir.packs import F32
from amk.ir.program import Program


@dataclass(frozen=True)
class Device:
    """What `--device` names. `dtype` is its default; `machine` gives the architecture and the
    number of SMs to compile for (None: the architecture's), and raises AmkError where it is
    missing. `decoder` loads a model's weights, and calls its last argument for each tensor.
    """

    dtype: str
    machine: Callable[[], tuple[str, int | None]]
    decoder: Callable[[Program, Model, Callable[[], None]], Decoder]


def _gpu() -> tuple[str, int | None]:
    from amk.backends.cuda.gpu import find_gpu

    gpu = find_gpu()
    return gpu.arch, gpu.sms


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
    "cpu": Device("fp32", lambda: (DEFAULT_ARCH, None), _on_cpu),
    "cuda": Device("bf16", _gpu, _on_gpu),
}
