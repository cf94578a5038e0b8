"""The most that this GPU reads from its DRAM per second: what every latency is held against."""

from __future__ import annotations

import ctypes
from statistics import median
from typing import Any

import numpy as np

from amk.backends.cuda.driver import bindings, check, pycuda
from amk.backends.cuda.nvcc import compile_cubin
from amk.backends.cuda.target import target_of_device

BYTES = 4 << 30
"""Read per launch: many times what any L2 holds."""

SHAPES = ((2, 1024), (4, 512), (8, 256))
"""Blocks per SM and threads per block; the best of them counts."""

ARGUMENTS = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p)
"""Types of the kernels' arguments: data, number of 16-byte words, result."""

SOURCE = r"""
extern "C" __global__ void fill(uint4* x, unsigned long long n) {
  for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; i < n;
       i += (unsigned long long)gridDim.x * blockDim.x) {
    unsigned h = (unsigned)i * 2654435761u;
    x[i] = make_uint4(h, h ^ 0x9e3779b9u, h * 3u, h * 7u);
  }
}

extern "C" __global__ void amk_kernel(const uint4* __restrict__ x, unsigned long long n,
                                      unsigned* out) {
  const unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
  unsigned sum = 0;
  unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x;
  for (; i + 7 * stride < n; i += 8 * stride) {
    uint4 v[8];
#pragma unroll
    for (int j = 0; j < 8; j++)
      asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3},[%4];"
                   : "=r"(v[j].x), "=r"(v[j].y), "=r"(v[j].z), "=r"(v[j].w)
                   : "l"(x + i + j * stride));
#pragma unroll
    for (int j = 0; j < 8; j++) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (sum == 0x12345678u) *out = sum;
}
"""


def read_ceiling(device: int = 0, launches: int = 9) -> float:
    """DRAM read rate in GB/s (1e9 bytes): median over `launches`, best over SHAPES. Raises AmkError
    where there is no GPU, no nvcc, or too little memory.
    """
    driver, cuda = pycuda(), bindings()
    gpu = driver.Device(device)
    sms = gpu.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT)
    cubin = compile_cubin(SOURCE, target_of_device(*gpu.compute_capability()))
    context = gpu.retain_primary_context()
    context.push()
    try:
        free, _ = driver.mem_get_info()
        size = min(BYTES, free // 2) // 16 * 16
        data, out = driver.mem_alloc(size), driver.mem_alloc(16)
        library = check(cuda.cuLibraryLoadFromFile(str(cubin).encode(), [], [], 0, [], [], 0))

        def launch(name: str, grid: int, block: int, *args: int) -> None:
            kernel = check(cuda.cuLibraryGetKernel(library, name.encode()))
            function = check(cuda.cuKernelGetFunction(kernel))
            values = (args, ARGUMENTS[: len(args)])
            check(cuda.cuLaunchKernel(function, grid, 1, 1, block, 1, 1, 0, 0, values, 0))

        try:
            launch("fill", sms * 8, 256, int(data), size // 16)
            rates = [
                _rate(driver, launch, sms * per_sm, threads, int(data), size, int(out), launches)
                for per_sm, threads in SHAPES
            ]
        finally:
            driver.Context.synchronize()
            check(cuda.cuLibraryUnload(library))
            data.free()
            out.free()
        return max(rates)
    finally:
        context.pop()


def _rate(
    driver: Any, launch: Any, grid: int, block: int, data: int, size: int, out: int, launches: int
) -> float:
    times: list[float] = []
    each = grid * block * 8
    read = size // 16 // each * each * 16
    for _ in range(launches + 2):
        begin, end = driver.Event(), driver.Event()
        begin.record()
        launch("amk_kernel", grid, block, data, size // 16, out)
        end.record()
        end.synchronize()
        times.append(float(begin.time_till(end)) * 1e-3)
    return float(np.float64(read) / median(times[2:]) / 1e9)
