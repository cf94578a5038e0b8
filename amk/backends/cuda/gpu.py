"""What a program must be compiled for to run on the GPU of this machine."""

from __future__ import annotations

from dataclasses import dataclass

from amk.backends.cuda.driver import bindings, pycuda
from amk.backends.cuda.nvcc import find_nvcc
from amk.backends.cuda.target import target_of_device


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its name, the target to compile for, its number of SMs, and its memory in bytes."""

    name: str
    arch: str
    sms: int
    memory: int


def find_gpu(device: int = 0) -> Gpu:
    """The GPU numbered `device`. Raises AmkError, saying what to install, unless everything is
    there that a launch needs: a GPU that is supported, its driver, PyCUDA, cuda-bindings and nvcc.
    """
    driver = pycuda()
    bindings()
    find_nvcc()
    found = driver.Device(device)
    sms = found.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT)
    arch = target_of_device(*found.compute_capability()).name
    return Gpu(str(found.name()), arch, int(sms), int(found.total_memory()))
