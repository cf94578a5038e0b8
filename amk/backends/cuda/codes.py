"""Kernels as the CUDA source sees them: constants of a template, operands of one kernel.

Kernels of equal shape (the same operator of every layer) share a *code*: one struct of compile-time
constants, one instantiation of the template in `kernels/<mnemonic>.cuh`. What differs between them
(buffers, weights, caches) is the kernel's record of operands: numbers that the instruction finds at
run time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from amk.backends.cuda.layout import ALIGN, SPREAD, Layout, weight
from amk.errors import AmkError
from amk.ir.kernels import (
    ACTIVATIONS,
    Append,
    Argmax,
    Attention,
    Binary,
    Embed,
    Gemv,
    Kernel,
    LayerNorm,
    MoeDown,
    MoeGateUp,
    Norm,
    Ref,
    RmsNorm,
    Rope,
    RowKernel,
    Sample,
    Topk,
    Unary,
)
from amk.ir.program import DTYPES, SLOT_ROWS, Buffer, Run

FIELDS = 28
"""Numbers in a record: the code, then the operands in the order of the template's enumeration."""

CTYPES = {"f32": "float", "bf16": "bf16", "i32": "int"}
TEMPLATES: dict[type[Kernel], str] = {
    Append: "Append",
    Argmax: "Argmax",
    Attention: "Attention",
    Binary: "Binary",
    Embed: "Embed",
    Gemv: "Gemv",
    LayerNorm: "Norm",
    MoeDown: "MoeDown",
    MoeGateUp: "MoeGateUp",
    RmsNorm: "Norm",
    Rope: "Rope",
    Sample: "Sample",
    Topk: "Topk",
    Unary: "Unary",
}
MAX_USES = 1 << 16
SAMPLE_STAGE = 2 * 2048 * 4 + 16
"""Bytes of the histogram of `sample`, and of what is found in it."""

MAX_LOGITS, MAX_CHOICES = 1024, 32
"""Experts that a router of one warp tells apart, and how many it may choose."""

MAX_GROUP = 16
"""Query heads of one attention tile."""

MAX_KEPT = 64
"""Elements that a thread keeps of what it normalizes."""


@dataclass(frozen=True, slots=True)
class Code:
    """One instantiation of a kernel template."""

    template: str
    constants: tuple[tuple[str, str], ...]
    """C++ declarations: (type and name, value)."""
    types: tuple[tuple[str, str], ...]
    stage: int
    """Bytes of the stage (shared memory between warps) that it needs."""
    private: int = 0
    """Bytes of the stage that each warp has for itself."""
    together: int = 0
    """Bytes of each of the two stages of gemvs whose columns rotate."""
    squares: int = 0
    """Bytes beside it for the sums of squares of what the consumers' threads have read."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What follows the product of a gemv: the other half of its template's constants."""

    constants: tuple[tuple[str, str], ...]
    types: tuple[tuple[str, str], ...]


class Coder:
    """Writes the code and the record of each kernel of a program."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.program = layout.program
        self.endings: dict[Ending, int] = {}
        self.ending_of: dict[str, int] = {}
        self.candidates = 0
        """Most tiles of one instruction that leave a candidate."""
        self.runs: dict[str, list[Run]] = {name: [] for name in self.program.kernels}
        for queue in self.program.queues:
            for run in queue:
                self.runs[run.kernel].append(run)

    # Operands

    def buffer(self, ref: Ref) -> Buffer:
        found = self.program.buffers.get(ref.buffer)
        if found is None:
            raise AmkError(f"buffer @{ref.buffer} is not declared")
        return found

    def operand(self, ref: Ref | None) -> str:
        """The C++ type of an operand."""
        if ref is None:
            return "Operand<LOCAL, float>"
        b = self.buffer(ref)
        return f"Operand<{b.space.upper()}, {CTYPES[b.dtype]}>"

    def unit(self, ref: Ref) -> int:
        """Elements that one thread reads at once."""
        return 4 if self.buffer(ref).dtype == "bf16" else 2

    def place(self, ref: Ref | None) -> list[int]:
        """The two numbers that `view` resolves at run time."""
        if ref is None:
            return [0, 0]
        b = self.buffer(ref)
        if b.space == "local":
            return [ref.offset, self.layout.locals.index(b.name)]
        at = self.layout.words.regions[b.name].at
        if b.space == "plain":
            return [(at + ref.offset * DTYPES[b.dtype]) // 2, 0]
        if ref.offset % b.word:
            raise AmkError(f"operand {ref} starts within a word of two elements")
        if b.uses >= MAX_USES:
            raise AmkError(f"buffer @{b.name} has {b.uses} uses, more than {MAX_USES - 1}")
        return [at // (8 * SPREAD) + ref.offset // b.word, b.uses << 16 | (ref.use + 1)]

    def table(self, name: str | None) -> int:
        return self.layout.fixed.regions[name].at // 16 if name else 0

    def weight_type(self, name: str | None) -> str:
        return CTYPES[weight(self.program, name).dtype] if name else "float"

    def endings_of(self, names: list[str]) -> list[int]:
        """Numbers of the endings that kernels `names` of one code have."""
        return sorted({self.ending_of[n] for n in names if n in self.ending_of})

    def same_width(self, k: Gemv) -> list[Gemv]:
        """The gemvs that may share a body with `k`."""
        return [g for g in self.program.kernels.values() if isinstance(g, Gemv) and g.k == k.k]

    def common_type(self, field: str) -> str:
        """The one type of all norm weights, or of all biases."""
        gemvs = (g for g in self.program.kernels.values() if isinstance(g, Gemv))
        names = (getattr(g, field) for g in gemvs)
        types = {self.weight_type(n) for n in names if n}
        if len(types) > 1:
            raise AmkError(f"all {field} weights of gemvs must have one dtype")
        return types.pop() if types else "float"

    # Checks

    def whole_units(self, name: str, ref: Ref, width: int) -> None:
        unit = self.unit(ref)
        if ref.offset % unit or width % unit:
            raise AmkError(
                f"kernel @{name} reads {width} elements at {ref}: "
                f"offset and width must be multiples of {unit}"
            )

    def whole_words(
        self, name: str, kernel: RowKernel, out: Ref, rows_per_element: int = 1
    ) -> None:
        """Two instructions must not share a flagged word of `out`."""
        b = self.buffer(out)
        word = (b.word if b.space == "flagged" else 1) * rows_per_element
        if word == 1:
            return
        for run in self.runs[name]:
            lo, hi = kernel.rows(run.lo, run.hi)
            if lo % word or (hi % word and hi != kernel.n):
                raise AmkError(
                    f"kernel @{name} writes rows [{lo}, {hi}) of words of {word} rows to {out}; "
                    f"the tile {kernel.tile} must be a multiple of {word}"
                )

    # Codes

    def code(self, name: str) -> tuple[Code, list[int]]:
        """The code of kernel `name` and its record (without the code's number)."""
        kernel = self.program.kernels[name]
        method = getattr(self, f"_{kernel.mnemonic}", None)
        if method is None:
            raise AmkError(f"kernel @{name}: no CUDA template for '{kernel.mnemonic}'")
        code, record = method(name, kernel)
        assert len(record) < FIELDS
        return code, record

    def stage_rows(self, name: str, kernel: RowKernel) -> int:
        rows = [kernel.rows(r.lo, r.hi) for r in self.runs[name]]
        return 4 * max((hi - lo for lo, hi in rows), default=0)

    def _embed(self, name: str, k: Embed) -> tuple[Code, list[int]]:
        self.whole_words(name, k, k.out)
        constants = (
            ("int N", str(k.n)),
            ("int TILE", str(k.tile)),
            ("int VOCABULARY", str(weight(self.program, k.table).shape[0])),
            ("float MULTIPLIER", number(k.multiplier)),
            ("bool RESIDUAL_OUT", boolean(k.res is not None)),
        )
        types = (
            ("Table", self.weight_type(k.table)),
            ("Out", self.operand(k.out)),
            ("Res", self.operand(k.res)),
        )
        record = [*self.place(k.out), *self.place(k.res), self.table(k.table)]
        return Code("Embed", constants, types, 0), record

    def _gemv(self, name: str, k: Gemv) -> tuple[Code, list[int]]:
        ring, slices = self.layout.ring, self.layout.slices(k.k)
        self.whole_units(name, k.x, k.k)
        self.whole_words(name, k, k.out, 2 if k.epilogue == "gated" else 1)
        size = DTYPES[self.layout.streamed]
        chunks = ring.columns * size // 64
        private, rotating = self.layout.roles.split(name), self.layout.roles.rotating(k)
        registers = 4 * chunks * (slices // ring.consumers)
        end = Ending(
            (
                ("Epilogue EPILOGUE", k.epilogue.upper()),
                ("bool BIAS", boolean(k.bias is not None)),
                ("int ROTATED", str((k.heads + k.kv_heads) * k.head_dim)),
                ("int HEAD_DIM", str(max(k.head_dim, 1))),
                ("int ROTARY", str(k.rotary or k.head_dim)),
                ("int ROPE_AT", str(self.rope_at(k.rope))),
                ("Activation KIND", (k.kind or ACTIVATIONS[0]).upper()),
                ("float SCALE", number(k.scale)),
                ("float SOFTCAP", number(k.softcap)),
                ("bool RES_OUT", boolean(k.res_out is not None)),
                ("bool WHOLE_BLOCKS", boolean(k.tile % SLOT_ROWS == 0)),
            ),
            (
                ("Out", self.operand(k.out)),
                ("In", self.operand(k.res_in)),
                ("Res", self.operand(k.res_out)),
                ("Cand", self.operand(k.cand)),
            ),
        )
        self.ending_of[name] = self.endings.setdefault(end, len(self.endings))
        norm, bias = self.common_type("norm"), self.common_type("bias")
        constants = (
            ("int K", str(k.k)),
            ("int SLICES", str(slices)),
            ("bool PRIVATE", boolean(private)),
            (
                "bool IN_REGISTERS",
                boolean(private and not rotating and registers <= 32),
            ),
            ("bool NORM", boolean(any(g.norm for g in self.same_width(k)))),
            ("bool BIAS", boolean(any(g.bias for g in self.same_width(k)))),
            ("bool LEAVES_CANDIDATES", boolean(any(g.cand for g in self.same_width(k)))),
        )
        types = (
            ("Weight", CTYPES[self.layout.streamed]),
            ("Norm", norm),
            ("Bias", bias),
            ("X", self.operand(k.x)),
        )
        record = [
            *self.place(k.x),
            *self.place(k.out),
            self.table(k.norm),
            self.table(k.bias),
            *self.place(k.res_in),
            *self.place(k.res_out),
            *self.place(k.cand),
            self.ending_of[name],
            k.n,
            k.tile,
            struct.unpack("<I", struct.pack("<f", k.eps))[0],
        ]
        self.candidates = max(
            self.candidates, *(r.hi - r.lo if k.cand else 0 for r in self.runs[name]), 0
        )
        stage = slices * ring.columns * size
        if k.res_in and self.buffer(k.res_in).space != "local":
            stage += self.stage_rows(name, k)
        if not private:
            return Code("Gemv", constants, types, stage), record
        if rotating:
            norms = any(g.norm for g in self.same_width(k))
            units = min(32 * ring.consumers, slices * ring.columns // self.unit(k.x))
            return Code("Gemv", constants, types, 0, 0, stage, 8 * units * norms), record
        return Code("Gemv", constants, types, 0, private=stage // ring.consumers), record

    def _attention(self, name: str, k: Attention) -> tuple[Code, list[int]]:
        cache = self.program.caches[k.cache]
        if k.head_dim % 8 or k.head_dim > 256:
            raise AmkError(
                f"kernel @{name}: head_dim must be a multiple of 8 up to 256, got {k.head_dim}"
            )
        if k.group > MAX_GROUP:
            raise AmkError(
                f"kernel @{name}: {k.group} query heads share a KV head, more than {MAX_GROUP}"
            )
        roles = self.layout.roles
        tiles = roles.tiles[name]
        if tiles > 1 and k.splits > 1:
            raise AmkError(
                f"kernel @{name}: an instruction takes one tile of a split attention, got {tiles}"
            )
        for ref in (k.q, k.k, k.v):
            if ref:
                self.whole_units(name, ref, k.head_dim)
        if k.part:
            self.whole_units(name, k.part, k.part_size)
        warps = self.layout.ring.consumers
        matrix = roles.matrix(name)
        if matrix and k.q.offset % 8:
            raise AmkError(f"kernel @{name} reads q at {k.q}: the offset must be a multiple of 8")
        width = k.group * k.head_dim
        # threads of split 0 that share what the other splits have for one pair of outputs
        teams = max(1, min(64 * warps // width, k.splits - 1))
        per_head = warps if matrix else max(1, warps // k.group)
        constants = (
            ("int HEAD_DIM", str(k.head_dim)),
            ("int GROUP_HEADS", str(k.group)),
            ("int SPLITS", str(k.splits)),
            ("int CHUNK", str(k.chunk)),
            ("int CACHE_ROWS", str(cache.rows)),
            ("int DEPTH", "4" if cache.dtype == "bf16" else "2"),
            ("int CHUNK_ROWS", str(roles.chunk_rows(k))),
            ("int TILES", str(tiles)),
            ("int TEAMS", str(teams)),
            ("bool MATRIX", boolean(matrix)),
            ("float SCALE", number(k.scale)),
            ("bool APPEND", boolean(k.k is not None)),
            ("int WINDOW", str(k.window)),
            ("float SOFTCAP", number(k.softcap)),
            ("bool SINKS", boolean(k.sinks is not None)),
            ("bool NORMS", boolean(k.q_norm is not None)),
            ("float EPS", number(k.eps)),
            ("int ROTARY", str((k.rotary or k.head_dim) if k.rope else 0)),
            ("bool HALVES", boolean(bool(k.halves))),
            ("int ROPE_AT", str(self.rope_at(k.rope))),
        )
        types = (
            ("Cache", CTYPES[cache.dtype]),
            ("Q", self.operand(k.q)),
            ("K", self.operand(k.k)),
            ("Out", self.operand(k.out)),
            ("Part", self.operand(k.part)),
            ("Sinks", self.weight_type(k.sinks)),
            ("QNorm", self.weight_type(k.q_norm)),
            ("KNorm", self.weight_type(k.k_norm)),
        )
        record = [
            *self.place(k.q),
            *self.place(k.out),
            *self.place(k.k),
            *self.place(k.v),
            *self.place(k.part),
            self.layout.caches.regions[k.cache].at // 16,
            self.table(k.sinks),
            self.table(k.q_norm),
            self.table(k.k_norm),
        ]
        ring = self.layout.ring
        beside = max((tiles - 1) * width, (teams - 1) * 2 * width)
        if matrix:
            beside = max(beside, roles.row_bytes(k) // 4)
        stage = 0 if matrix else ring.kv_buffers * ring.kv_bytes
        stage += 4 * (per_head * (width + 2 * k.group) + beside)
        return Code("Attention", constants, types, stage), record

    def _append(self, name: str, k: Append) -> tuple[Code, list[int]]:
        cache = self.program.caches[k.cache]
        constants = (
            ("int HEAD_DIM", str(k.head_dim)),
            ("int CACHE_ROWS", str(cache.rows)),
        )
        types = (("Cache", CTYPES[cache.dtype]), ("K", self.operand(k.k)))
        record = [
            *self.place(k.k),
            *self.place(k.v),
            self.layout.caches.regions[k.cache].at // 16,
        ]
        most = max((r.hi - r.lo for r in self.runs[name]), default=0)
        return Code("Append", constants, types, 8 * most * k.head_dim), record

    def _rms_norm(self, name: str, k: RmsNorm) -> tuple[Code, list[int]]:
        return self.norm(name, k, None)

    def _layer_norm(self, name: str, k: LayerNorm) -> tuple[Code, list[int]]:
        return self.norm(name, k, k.bias)

    def norm(self, name: str, k: Norm, bias: str | None) -> tuple[Code, list[int]]:
        self.whole_words(name, k, k.out)
        together = 32 if k.groups > 1 else 32 * self.layout.ring.consumers
        if k.size > MAX_KEPT * together:
            raise AmkError(
                f"kernel @{name} normalizes {k.size} elements at once, more than "
                f"{MAX_KEPT * together}"
            )
        unit = self.unit(k.x)
        whole = k.x.offset % unit == 0 and k.n % unit == 0 and k.size % unit == 0
        constants = (
            ("int N", str(k.n)),
            ("int TILE", str(k.tile)),
            ("int ROWS", str(self.stage_rows(name, k) // 4)),
            ("int SIZE", str(k.size)),
            ("float EPS", number(k.eps)),
            ("bool CENTER", boolean(isinstance(k, LayerNorm))),
            ("bool SHARED", boolean(bool(k.shared))),
            ("bool BIAS", boolean(bias is not None)),
            ("bool WHOLE_UNITS", boolean(whole)),
            ("bool RES_IN", boolean(k.res_in is not None)),
            ("bool RES_OUT", boolean(k.res_out is not None)),
        )
        types = (
            ("Weight", self.weight_type(k.weight)),
            ("Bias", self.weight_type(bias)),
            ("X", self.operand(k.x)),
            ("Out", self.operand(k.out)),
            ("In", self.operand(k.res_in)),
            ("Res", self.operand(k.res_out)),
        )
        record = [
            *self.place(k.x),
            *self.place(k.out),
            self.table(k.weight),
            self.table(bias),
            *self.place(k.res_in),
            *self.place(k.res_out),
        ]
        return Code("Norm", constants, types, self.stage_rows(name, k)), record

    def _rope(self, name: str, k: Rope) -> tuple[Code, list[int]]:
        constants = (
            ("int HEAD_DIM", str(k.head_dim)),
            ("int ROTARY", str(k.rotary or k.head_dim)),
            ("bool INTERLEAVED", boolean(bool(k.interleaved))),
            ("int ROPE_AT", str(self.rope_at(k.rope))),
        )
        types = (("X", self.operand(k.x)), ("Out", self.operand(k.out)))
        most = max((r.hi - r.lo for r in self.runs[name]), default=0)
        return Code("Rope", constants, types, 4 * most * k.head_dim), [
            *self.place(k.x),
            *self.place(k.out),
        ]

    def _binary(self, name: str, k: Binary) -> tuple[Code, list[int]]:
        self.whole_words(name, k, k.out)
        add = k.op == "add"
        kind = ACTIVATIONS[0] if add else k.op.removesuffix("_mul")
        constants = (
            ("int N", str(k.n)),
            ("int TILE", str(k.tile)),
            ("bool ADD", boolean(add)),
            ("Activation KIND", kind.upper()),
        )
        types = (
            ("A", self.operand(k.a)),
            ("B", self.operand(k.b)),
            ("Out", self.operand(k.out)),
        )
        record = [*self.place(k.a), *self.place(k.b), *self.place(k.out)]
        return Code("Binary", constants, types, self.stage_rows(name, k)), record

    def _unary(self, name: str, k: Unary) -> tuple[Code, list[int]]:
        self.whole_words(name, k, k.out)
        constants = (
            ("int N", str(k.n)),
            ("int TILE", str(k.tile)),
            ("UnaryOp OP", "ACTIVATE" if k.op in ACTIVATIONS else k.op.upper()),
            ("Activation KIND", (k.op if k.op in ACTIVATIONS else ACTIVATIONS[0]).upper()),
            ("float VALUE", number(k.value)),
        )
        types = (("X", self.operand(k.x)), ("Out", self.operand(k.out)))
        record = [*self.place(k.x), *self.place(k.out)]
        return Code("Unary", constants, types, self.stage_rows(name, k)), record

    def _sample(self, name: str, k: Sample) -> tuple[Code, list[int]]:
        self.whole_units(name, k.x, 0)
        types = (("X", self.operand(k.x)), ("Out", self.operand(k.out)))
        code = Code("Sample", (("int N", str(k.n)),), types, SAMPLE_STAGE)
        return code, [*self.place(k.x), *self.place(k.out)]

    def _argmax(self, name: str, k: Argmax) -> tuple[Code, list[int]]:
        self.whole_units(name, k.x, 0 if k.pairs or self.buffer(k.x).space != "flagged" else k.n)
        constants = (("int N", str(k.n)), ("bool PAIRS", boolean(bool(k.pairs))))
        types = (("X", self.operand(k.x)), ("Out", self.operand(k.out)))
        return Code("Argmax", constants, types, 0), [*self.place(k.x), *self.place(k.out)]

    def _topk(self, name: str, k: Topk) -> tuple[Code, list[int]]:
        if k.n > MAX_LOGITS:
            raise AmkError(f"kernel @{name}: {k.n} logits of experts are more than {MAX_LOGITS}")
        if k.choices > MAX_CHOICES:
            raise AmkError(f"kernel @{name}: {k.choices} choices are more than {MAX_CHOICES}")
        constants = (
            ("int N", str(k.n)),
            ("int CHOICES", str(k.choices)),
            ("bool NORMALIZE", boolean(bool(k.normalize))),
        )
        types = (
            ("X", self.operand(k.x)),
            ("Ids", self.operand(k.ids)),
            ("Weights", self.operand(k.weights)),
        )
        record = [*self.place(k.x), *self.place(k.ids), *self.place(k.weights)]
        return Code("Topk", constants, types, 0), record

    def experts(
        self, name: str, k: MoeGateUp | MoeDown
    ) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[int]]:
        """Constants, types and first fields that both halves of an expert MLP have."""
        element = weight(self.program, k.weight).dtype
        unit = 16 // DTYPES[element]
        if k.k % unit:
            raise AmkError(f"kernel @{name}: k must be a multiple of {unit}, got {k.k}")
        if k.choices > MAX_CHOICES:
            raise AmkError(f"kernel @{name}: {k.choices} choices are more than {MAX_CHOICES}")
        self.whole_units(name, k.x, k.k)
        self.whole_words(name, k, k.out)
        constants = [
            ("int N", str(k.n)),
            ("int TILE", str(k.tile)),
            ("int K", str(k.k)),
            ("int CHOICES", str(k.choices)),
            ("int EXPERTS", str(k.experts)),
            ("bool BIAS", boolean(k.bias is not None)),
        ]
        types = [
            ("Weight", CTYPES[element]),
            ("X", self.operand(k.x)),
            ("Ids", self.operand(k.ids)),
            ("Out", self.operand(k.out)),
            ("Bias", self.weight_type(k.bias)),
        ]
        matrix = self.layout.fixed.regions[k.weight].at // ALIGN
        places = [*self.place(k.x), *self.place(k.out), *self.place(k.ids)]
        return constants, types, [*places, matrix, self.table(k.bias)]

    def _moe_gate_up(self, name: str, k: MoeGateUp) -> tuple[Code, list[int]]:
        constants, types, record = self.experts(name, k)
        constants += [
            ("int WIDTH", str(k.width)),
            ("float EPS", number(k.eps)),
            ("bool NORM", boolean(k.norm is not None)),
            ("float ALPHA", number(k.alpha)),
            ("float LIMIT", number(k.limit)),
        ]
        types += [("Norm", self.weight_type(k.norm))]
        size = DTYPES[weight(self.program, k.weight).dtype]
        stage = k.k * size + 4 * k.choices
        record = [*record, self.table(k.norm)]
        return Code("MoeGateUp", tuple(constants), tuple(types), stage), record

    def _moe_down(self, name: str, k: MoeDown) -> tuple[Code, list[int]]:
        constants, types, record = self.experts(name, k)
        constants += [
            ("bool RESIDUAL", boolean(k.res_in is not None)),
            ("bool RES_OUT", boolean(k.res_out is not None)),
        ]
        types += [
            ("Weights", self.operand(k.weights)),
            ("In", self.operand(k.res_in)),
            ("Res", self.operand(k.res_out)),
        ]
        size = DTYPES[weight(self.program, k.weight).dtype]
        stage = k.choices * (k.k * size + 8) + self.stage_rows(name, k)
        places = [self.place(ref) for ref in (k.weights, k.res_in, k.res_out)]
        record = [*record, 0, *(n for place in places for n in place)]
        return Code("MoeDown", tuple(constants), tuple(types), stage), record

    def rope_at(self, name: str | None) -> int:
        """Byte of a RoPE table's row among the rows of all tables."""
        at = 0
        for r in self.program.ropes.values():
            if r.name == name:
                return at
            at += len(r.inv_freq) * 8
        return 0


def number(x: float) -> str:
    """A C++ float literal that reads back as x in fp32."""
    return f"{x!r}f" if "." in repr(x) or "e" in repr(x) else f"{x!r}.f"


def boolean(x: bool) -> str:
    return "true" if x else "false"
