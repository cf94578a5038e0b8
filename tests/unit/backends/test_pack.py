"""What kernels read in place, from weights on the host and on the GPU; no GPU needed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from amk.backends.cuda.pack import bits, fixed_value, on_host
from amk.errors import AmkError
from tests.unit.programs import Tiny, fused, weights


@dataclass
class Placed:
    """An array that says it lies on the GPU; its memory is the host's."""

    values: np.ndarray

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        kind = {2: "<i2", 4: "<f4"}[self.values.itemsize]
        data = (self.values.ctypes.data, False)
        return {"shape": self.values.shape, "typestr": kind, "data": data, "version": 3}


class Driver:
    """Copies as PyCUDA does."""

    @staticmethod
    def memcpy_dtoh(to: np.ndarray, address: int) -> None:
        ctypes.memmove(to.ctypes.data, address, to.nbytes)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_a_pack_of_vectors_is_the_same_from_either_side(dtype: str) -> None:
    t = Tiny(bias=True, dtype=dtype)
    program, get = fused(t), weights(t)
    here = {name: bits(get(name), x.dtype) for name, x in program.tensors.items()}
    want = fixed_value(Driver, program, "layers.0.qkv_bias", here.__getitem__)
    got = fixed_value(Driver, program, "layers.0.qkv_bias", lambda name: Placed(here[name]))
    assert isinstance(want, np.ndarray) and isinstance(got, np.ndarray)
    assert got.dtype == want.dtype and (got == want).all() and want.any()


def test_an_array_that_no_kernel_could_read_is_refused() -> None:
    class Strided(Placed):
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            return super().__cuda_array_interface__ | {"strides": (8, 4)}

    with pytest.raises(AmkError, match="must be contiguous float32 or bf16 bits"):
        on_host(Driver, Strided(np.zeros((2, 2), np.float32)), (2, 2))
