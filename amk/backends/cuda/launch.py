"""Runs a program on the GPU: one cooperative launch feeds a prompt and generates tokens.

`Session` compiles (or finds) the cubin, packs the weights, and keeps buffers and caches. It shares
the device's primary context, so it works beside PyTorch in one process, and frees everything it
took when closed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from amk.backends.cuda.driver import CudaError, bindings, check, pycuda
from amk.backends.cuda.emit import Emitted, chooses, emit
from amk.backends.cuda.layout import SECTOR, SPREAD, Layout, max_rows, vocabulary
from amk.backends.cuda.limits import (
    MOST_EOS,
    UNLOADABLE,
    check_memory,
    check_run,
    check_shared,
    check_sms,
    unloadable,
)
from amk.backends.cuda.nvcc import compile_cubin
from amk.backends.cuda.pack import (
    Weights,
    broken_guards,
    guarded,
    load_order,
    pack_fixed,
    pack_streams,
)
from amk.backends.cuda.target import Target, target_of_device
from amk.backends.cuda.upload import uploads
from amk.errors import AmkError
from amk.ir.capacity import capacities
from amk.ir.digest import program_digest
from amk.ir.kernels import Gemv
from amk.ir.packs import F32
from amk.ir.program import DTYPES, Program
from amk.ir.sampling import GREEDY

PATIENCE = 5_000_000
"""Polls that one wait for global memory may take before the watchdog ends the launch: about 2 s.
Waits within an SM take longer (runtime/watchdog.cuh)."""


class Args(ctypes.Structure):
    """`struct Args` of runtime/base.cuh."""

    _fields_ = (
        ("stream", ctypes.c_void_p),
        ("fixed", ctypes.c_void_p),
        ("words", ctypes.c_void_p),
        ("cache", ctypes.c_void_p),
        ("counters", ctypes.c_void_p),
        ("prompt", ctypes.c_void_p),
        ("tokens", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("report", ctypes.c_void_p),
        ("trace", ctypes.c_void_p),
        ("seed", ctypes.c_uint64),
        ("inverse_temperature", ctypes.c_float),
        ("top_k", ctypes.c_uint32),
        ("top_p_cut", ctypes.c_uint32),
        ("prompt_length", ctypes.c_int32),
        ("steps", ctypes.c_int32),
        ("start", ctypes.c_int32),
        ("turn", ctypes.c_uint32),
        ("patience", ctypes.c_uint32),
        ("eos", ctypes.c_int32 * 4),
        ("none", ctypes.c_uint32),
    )


Approve = Callable[[Program], str | None]
"""Says why a program must not be launched; None if it may."""


class Stuck(AmkError):
    """The watchdog ended a launch."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one launch did: the token chosen in each step (none, and any number in its place, where
    the next token was given), and its time on the device in microseconds."""

    tokens: NDArray[np.int32]
    microseconds: float


def awaited(layout: Layout, kind: int, where: int, want: int) -> str:
    """What a wait of `kind` (`enum Waiting` of runtime/watchdog.cuh) was for."""
    word = f"word {where}"
    for name, region in layout.words.regions.items():
        if kind == 0 and region.at <= where * 8 < region.at + region.size:
            sector, byte = divmod(where * 8 - region.at, SECTOR * SPREAD)
            word = f"word {sector * (SECTOR // 8) + byte // 8} of @{name}"
    return (
        f"the epoch of {word} to be {want}",
        f"counter {where} to be {want}",
        f"the token of step {where} to be {want}",
        f"slot {where} of the weight ring",
        "the sums of the squares of x",
        f"the partial sums of the rows from {where}",
        "the stage to be free for rows of keys and values",
        f"buffer {where} of the rows of keys and values to be free",
        f"buffer {where} of the rows of keys and values",
        f"the finishers to reach row block {where}",
    )[kind]


def logits_buffer(program: Program) -> str | None:
    """Name of the buffer that holds the logits of the last step, if the program has one."""
    for kernel in program.kernels.values():
        if isinstance(kernel, Gemv) and kernel.epilogue == "logits":
            return kernel.out.buffer
    return "logits" if "logits" in program.buffers else None


class Session:
    """A program with its weights on a GPU.

    `weights(name)` gives each checkpoint tensor (see `pack.Weights`). `approve` must return None
    for the program to be launched, else the reason why not: this is where the certificate is
    checked. Only a test that wants to see a bad program fail passes None for it. Raises AmkError
    when the program is not approved, or does not fit the device.

    `sampling` is what launches draw tokens with, where the program has the kernel `sample`.
    `annotate` builds the kernel that a race checker can follow.
    """

    def __init__(
        self,
        program: Program,
        weights: Weights,
        *,
        approve: Approve | None,
        device: int = 0,
        certificate_hash: str = "",
        trace: bool = False,
        annotate: bool = False,
        patience: int = PATIENCE,
        cubin: Path | None = None,
        progress: Callable[[str], None] = lambda what: None,
    ) -> None:
        reason = approve(program) if approve else None
        if reason:
            raise AmkError(f"program '{program.name}' is not launched: {reason}")
        self.program, self.patience = program, patience
        self.sampling = GREEDY
        self.driver = pycuda()
        self.cuda = bindings()
        gpu = self.driver.Device(device)
        self.sms = len(program.queues)
        self.target: Target = target_of_device(*gpu.compute_capability())
        attribute = self.driver.device_attribute
        sms = gpu.get_attribute(attribute.MULTIPROCESSOR_COUNT)
        check_sms(program, gpu.name(), sms)
        self.emitted: Emitted = emit(
            program,
            target=self.target,
            program_hash=program_digest(program),
            certificate_hash=certificate_hash,
            trace=trace,
            annotate=annotate,
        )
        most = gpu.get_attribute(attribute.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
        check_shared(program, self.emitted.shared, gpu.name(), most)
        self.layout = self.emitted.layout
        self.warps = self.emitted.threads // 32
        self.taken: list[Any] = []
        self.library: Any = None
        self.context: Any = gpu.retain_primary_context()
        self.context.push()
        try:
            free, _ = self.driver.mem_get_info()
            check_memory(program, self.layout, free)
            self._load(cubin)
            self._allocate(weights, progress, trace)
        except BaseException as error:
            self._release()
            if isinstance(error, self.driver.MemoryError):
                raise AmkError(f"the GPU has too little free memory: {error}") from error
            raise
        finally:
            self.context.pop()

    # Set-up

    def _load(self, given: Path | None) -> None:
        cuda, path = self.cuda, given or compile_cubin(self.emitted.source, self.target)
        try:
            loaded = cuda.cuLibraryLoadFromFile(str(path).encode(), [], [], 0, [], [], 0)
            self.library = check(loaded)
            self.kernel = self._function("amk_kernel")
        except CudaError as error:
            if error.code not in UNLOADABLE:
                raise
            if not given:  # the cache would hand it out again, whatever nvcc is chosen then
                path.unlink(missing_ok=True)
            version = self.driver.get_driver_version()
            raise AmkError(unloadable(path, self.target, version)) from error
        maximum = cuda.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        check(cuda.cuFuncSetAttribute(self.kernel, maximum, self.emitted.shared))

    def _function(self, name: str) -> Any:
        kernel = check(self.cuda.cuLibraryGetKernel(self.library, name.encode()))
        return check(self.cuda.cuKernelGetFunction(kernel))

    def _launch_simple(self, name: str, grid: int, block: int, *args: int | np.generic) -> None:
        values = tuple(int(a) for a in args)
        types = tuple(ctypes.c_int if type(a) is np.int32 else ctypes.c_void_p for a in args)
        check(
            self.cuda.cuLaunchKernel(
                self._function(name), grid, 1, 1, block, 1, 1, 0, 0, (values, types), 0
            )
        )

    def _allocate(self, weights: Weights, progress: Callable[[str], None], trace: bool) -> None:
        driver, layout = self.driver, self.layout
        self.rows, self.vocabulary = max_rows(self.program), vocabulary(self.program)
        # polls compare epochs and counters by their difference, which has a sign
        self.lasting = capacities(self.program)["steps"] // 2
        with uploads(driver, weights, load_order(layout)) as get:
            launch = self._launch_simple
            self.stream = self._keep(pack_streams(driver, launch, layout, get, progress))
            self.fixed = self._keep(pack_fixed(driver, launch, layout, get))
        self.words = self._keep(guarded(driver, layout.words))
        self.cache = self._keep(guarded(driver, layout.caches))
        self.counters = self._keep(driver.mem_alloc(4 * max(1, self.program.counters)))
        self.prompt = self._keep(driver.mem_alloc(4 * self.rows))
        self.tokens = self._keep(driver.mem_alloc(8 * self.rows))
        self.report = self._keep(driver.mem_alloc(16 * self.sms * self.warps))
        self.traced = self.emitted.instructions * 3
        self.trace = None
        if trace:
            self.trace = self._keep(driver.mem_alloc(8 * self.sms * self.rows * self.traced))
        self.shown = driver.pagelocked_zeros(
            self.rows, np.int32, mem_flags=driver.host_alloc_flags.DEVICEMAP
        )
        self.events = (driver.Event(), driver.Event())
        self._reset()

    def _keep(self, allocation: Any) -> Any:
        self.taken.append(allocation)
        return allocation

    @contextmanager
    def _current(self) -> Generator[None]:
        """Within, the session's context is the current one of this thread."""
        self.context.push()
        try:
            yield
        finally:
            self.context.pop()

    def reset(self) -> None:
        """Forgets all that launches left behind: epochs, counters and an abort."""
        with self._current():
            self._reset()

    def _reset(self) -> None:
        driver, layout = self.driver, self.layout
        self.turn = 0
        # whether a launch has begun of whose steps nobody knows: the next must not count on from it
        self.unknown = False
        for region in layout.words.regions.values():
            driver.memset_d8(int(self.words) + region.at, 0, region.size)
        driver.memset_d32(self.counters, 0, max(1, self.program.counters))
        driver.memset_d32(self.tokens, 0, 2 * self.rows)
        driver.memset_d32(self.report, 0, 4 * self.sms * self.warps)
        driver.Context.synchronize()

    # Running

    def run(
        self, prompt: Sequence[int], steps: int, *, start: int = 0, eos: Sequence[int] = ()
    ) -> Result:
        """Runs `steps` steps from position `start`: step t reads prompt[t], or the token chosen
        before.

        Ends early behind an end-of-text token chosen after the prompt. Raises AmkError for bad
        lengths, Stuck when the watchdog fired; the session then is reset.
        """
        lasting, known = self.lasting, self.vocabulary
        check_run(prompt, steps, start, eos, self.rows, vocabulary=known, lasting=lasting)
        if not chooses(self.program):
            eos = ()  # behind its prompt it reads zeros, which are no tokens
        with self._current():
            if self.unknown or self.turn + steps >= self.lasting:
                self._reset()
            self.unknown = True
            result = self._run(
                list(prompt[:steps]), steps, start, [*eos, *[-1] * (MOST_EOS - len(eos))]
            )
            self.unknown = False
            return result

    def _run(self, prompt: list[int], steps: int, start: int, eos: list[int]) -> Result:
        driver, cuda = self.driver, self.cuda
        driver.memcpy_htod(self.prompt, np.asarray(prompt, np.int32))
        args = Args(
            stream=int(self.stream),
            fixed=int(self.fixed),
            words=int(self.words),
            cache=int(self.cache),
            counters=int(self.counters),
            prompt=int(self.prompt),
            tokens=int(self.tokens),
            out=int(self.shown.base.get_device_pointer()),
            report=int(self.report),
            trace=int(self.trace) if self.trace else 0,
            seed=self.sampling.seed,
            inverse_temperature=self.sampling.inverse,
            top_k=self.sampling.top_k,
            top_p_cut=self.sampling.cut,
            prompt_length=len(prompt),
            steps=steps,
            start=start,
            turn=self.turn,
            patience=self.patience,
            eos=(ctypes.c_int32 * 4)(*eos),
        )
        pointer = (ctypes.c_void_p * 1)(ctypes.addressof(args))
        first, last = self.events
        first.record()
        check(
            cuda.cuLaunchCooperativeKernel(
                self.kernel, self.sms, 1, 1, self.emitted.threads, 1, 1, self.emitted.shared, 0,
                ctypes.addressof(pointer),
            )
        )  # fmt: skip
        last.record()
        last.synchronize()
        self._check_report()
        words = np.empty(steps, np.uint64)
        driver.memcpy_dtoh(words, self.tokens)
        written = (words >> np.uint64(32)) == np.arange(1, steps + 1, dtype=np.uint64) + np.uint64(
            self.turn
        )
        done = int(written.sum()) if chooses(self.program) else steps
        self.turn += done
        tokens = (words[:done] & np.uint64(0xFFFFFFFF)).astype(np.int32)
        return Result(tokens, float(first.time_till(last)) * 1e3)

    def _check_report(self) -> None:
        reports = np.empty((self.sms, self.warps, 4), np.uint32)
        self.driver.memcpy_dtoh(reports, self.report)
        number = {name: i for i, name in enumerate(self.program.kernels)}
        stuck: list[tuple[int, ...]] = []
        for sm, warp in np.argwhere(reports[:, :, 0]):
            about, step, where, want = map(int, reports[sm, warp])
            index = about >> 5
            kernel = number[self.program.queues[sm][index - 1].kernel] if index else -1
            stuck.append((step, kernel, about >> 1 & 15, int(sm), index, where, want))
        if not stuck:
            return
        self._reset()
        # Who waits for what comes first in the program; the others wait for that one.
        step, _, kind, sm, index, where, want = min(stuck)
        who = f"SM {sm}"
        if index:
            who = f"instruction {index - 1} of {who} (@{self.program.queues[sm][index - 1].kernel})"
        raise Stuck(
            f"the watchdog ended the launch: {who} waited in step {step} for "
            f"{awaited(self.layout, kind, where, want)}; "
            f"{len({sm for *_, sm, _, _, _ in stuck})} of {self.sms} SMs were stuck"
        )

    def generate(
        self, prompt: Sequence[int], max_tokens: int, eos: Sequence[int] = ()
    ) -> list[int]:
        """Continuation of `prompt`: at most `max_tokens` tokens, in one launch."""
        if max_tokens < 1:
            return []
        result = self.run(prompt, len(prompt) + max_tokens - 1, eos=eos)
        return [int(t) for t in result.tokens[len(prompt) - 1 :]]

    def logits(self, ids: Sequence[int]) -> F32:
        """Logits after each of `ids`, fed one by one: len(ids) x vocabulary, fp32."""
        name = logits_buffer(self.program)
        if name is None:
            raise AmkError(f"program '{self.program.name}' has no logits")
        rows: list[F32] = []
        for position, token in enumerate(ids):
            self.run([token], 1, start=position)
            rows.append(self.read(name))
        return np.stack(rows)

    def read(self, name: str) -> F32:
        """The present contents of a flagged or plain buffer as fp32 (i32 buffers too)."""
        b, region = self.program.buffers[name], self.layout.words.regions[name]
        raw = np.empty(region.size, np.uint8)
        with self._current():
            self.driver.memcpy_dtoh(raw, int(self.words) + region.at)
        if b.space == "flagged":
            raw = raw.reshape(-1, SECTOR * SPREAD)[:, :SECTOR].reshape(-1)
            raw = np.ascontiguousarray(
                (raw.view(np.uint64) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
            )
        if b.dtype == "bf16":
            return (raw.view(np.uint16)[: b.length].astype(np.uint32) << np.uint32(16)).view(
                np.float32
            )
        kind = np.float32 if b.dtype == "f32" else np.int32
        assert DTYPES[b.dtype] == 4
        return raw.view(kind)[: b.length].astype(np.float32)

    def rows_of_caches(self, count: int) -> bytes:
        """The first `count` rows of every cache, as they are in memory."""
        parts: list[bytes] = []
        with self._current():
            for c in self.program.caches.values():
                region = self.layout.caches.regions[c.name]
                raw = np.empty(region.size, np.uint8)
                self.driver.memcpy_dtoh(raw, int(self.cache) + region.at)
                parts.append(raw.reshape(c.heads, c.rows, -1)[:, :count].tobytes())
        return b"".join(parts)

    def read_trace(self, steps: int) -> NDArray[np.uint64]:
        """Time stamps of the last launch, in ns: SM x step x instruction x (begin, operands there,
        end)."""
        out = np.empty((self.sms, steps, self.traced // 3, 3), np.uint64)
        with self._current():
            self.driver.memcpy_dtoh(out, self.trace)
        return out

    def guards(self) -> list[str]:
        """Buffers and caches behind which something wrote where nothing may."""
        with self._current():
            return broken_guards(self.driver, self.words, self.layout.words) + broken_guards(
                self.driver, self.cache, self.layout.caches
            )

    # Release

    def _release(self) -> None:
        for allocation in self.taken:
            allocation.free()
        self.taken.clear()
        self.shown: Any = None
        self.events: Any = None
        if self.library is not None:
            check(self.cuda.cuLibraryUnload(self.library))
            self.library = None

    def close(self) -> None:
        """Frees all memory that the session took."""
        if self.context is None:
            return
        with self._current():
            self._release()
        self.context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
