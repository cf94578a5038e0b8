"""Choose the size of tiles, and with it the parallelism of every family.

Matrices get tiles of `rows` rows (a ring slot is 8 rows high), except the language-model head,
which gets about one tile per SM, because every tile leaves one candidate for the next token.
Attention is split over the cache rows
(flash-decoding) until its tiles fill the SMs or a split has less than one chunk of the longest
context.

    task.family @l0.attention attention heads 32 kv_heads 8 ...
    ->
    task.buffer @l0.attention.part : plain<31680xf32>
    task.family @l0.attention attention heads 32 kv_heads 8 ... splits 16 chunk 256 part
    @l0.attention.part
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import PassFailedException

from amk.ir.kernels import (
    Argmax,
    Attention,
    Embed,
    Gemv,
    Kernel,
    MoeDown,
    MoeGateUp,
    Norm,
    Ref,
    RowKernel,
    ceil_div,
)
from amk.ir.program import SLOT_ROWS, Buffer, TaskProgram
from amk.passes.rewrite import rewrite_tasks


@dataclass(frozen=True)
class ChooseTilesPass(ModulePass):
    """Set tiles of `rows` matrix rows for `num_sms` SMs.

    Attention gets `splits` splits (0 lets the pass choose) of chunks of `chunk` cache rows.
    """

    name = "choose-tiles"
    num_sms: int = 132
    rows: int = SLOT_ROWS
    splits: int = 0
    chunk: int = 256

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for field in ("num_sms", "rows", "chunk"):
            if getattr(self, field) <= 0:
                raise PassFailedException(
                    f"{field.replace('_', '-')} must be positive, got {getattr(self, field)}"
                )
        if self.rows % SLOT_ROWS:
            raise PassFailedException(f"rows must be a multiple of {SLOT_ROWS}, got {self.rows}")
        if self.splits < 0:
            raise PassFailedException(f"splits must not be negative, got {self.splits}")
        rewrite_tasks(op, self.choose)

    def choose(self, p: TaskProgram) -> None:
        pairs: dict[str, int] = {}
        for name, kernel in p.kernels.items():
            match kernel:
                case Gemv(epilogue="logits"):
                    new = self.head(p, kernel)
                    pairs[kernel.cand.buffer if kernel.cand else ""] = new.grid
                case Gemv() | Embed() | MoeGateUp() | MoeDown() | Norm(res_in=Ref()):
                    new = replace(kernel, tile=self.rows)
                case Attention():
                    new = self.attention(p, name, kernel)
                case Argmax() if kernel.pairs:
                    new = replace(kernel, n=pairs[kernel.x.buffer])
                case RowKernel():
                    new = replace(kernel, tile=self.slots(kernel.n))
                case _:
                    new = kernel
            p.kernels[name] = new

    def slots(self, n: int) -> int:
        """Rows of a tile when n rows are cut into about one tile per SM."""
        return ceil_div(ceil_div(n, SLOT_ROWS), self.num_sms) * SLOT_ROWS

    def head(self, p: TaskProgram, kernel: Gemv) -> Kernel:
        new = replace(kernel, tile=self.slots(kernel.n))
        assert kernel.cand
        name = kernel.cand.buffer
        p.buffers[name] = replace(p.buffers[name], length=2 * new.grid)
        return new

    def attention(self, p: TaskProgram, name: str, kernel: Attention) -> Kernel:
        rows = p.caches[kernel.cache].rows
        # a window of so many rows has rows of one chunk more
        chunks = ceil_div(
            min(rows, kernel.window + self.chunk if kernel.window else rows), self.chunk
        )
        wanted = self.splits or max(1, self.num_sms // kernel.kv_heads)
        splits = min(wanted, chunks)
        if splits == 1:
            return replace(kernel, splits=1, chunk=0, part=None)
        part = f"{name}.part"
        size = kernel.kv_heads * (splits - 1) * kernel.part_size
        p.buffers[part] = Buffer(part, "plain", size, "f32")
        return replace(kernel, splits=splits, chunk=self.chunk, part=Ref(part))
