"""A vm program as one complete CUDA C++ source.

The source consists of: the program's constants and tables (who runs what, where everything lies),
the runtime, one template per instruction kind in use, one struct of constants per shape, and the
switch between them. It is self-contained; its tables are the program that was verified, and it
carries its hash.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from amk.backends.cuda.codes import FIELDS, Code, Coder, Ending, boolean, code_of
from amk.backends.cuda.layout import ALIGN, SECTOR, SPREAD, Layout, gemvs, plan
from amk.backends.cuda.shared import SharedMemory, shared_memory
from amk.backends.cuda.tables import table, tables
from amk.backends.cuda.target import Target
from amk.errors import AmkError
from amk.ir.kernels import Argmax, Sample
from amk.ir.program import DTYPES, Program
from amk.ir.roles import ENTRY_BYTES, TICKET_BITS

RUNTIME = (
    "base", "annotate", "handover", "watchdog", "operands", "ring", "reduce", "counters",
    "activate", "mma", "trace", "token",
)  # fmt: skip
HEADERS = {
    "Append": "append",
    "Argmax": "argmax",
    "Attention": "attention",
    "Binary": "binary",
    "Embed": "embed",
    "Gemv": "gemv",
    "MoeDown": "moe",
    "MoeGateUp": "moe",
    "Norm": "norm",
    "Rope": "rope",
    "Topk": "topk",
    "Sample": "sample",
    "Unary": "unary",
}


@dataclass
class Emitted:
    """A CUDA source and what the launcher must know to run it."""

    source: str
    layout: Layout
    shared: int
    """Bytes of dynamic shared memory of a block."""
    threads: int
    instructions: int
    """Longest queue."""


def shared_bytes(program: Program) -> int:
    """Bytes of shared memory that a program needs per SM; AmkError where no template fits."""
    layout = plan(program)
    coder = Coder(layout)
    codes = [code_of(coder, name)[0] for name in program.kernels]
    instructions = max((len(q) for q in program.queues), default=0)
    return shared_memory(layout, codes, instructions, coder.candidates).size


def emit(
    program: Program,
    *,
    target: Target,
    program_hash: str = "",
    certificate_hash: str = "",
    trace: bool = False,
    annotate: bool = False,
) -> Emitted:
    """The CUDA source of a program for `target`, and the layout that it was written for; with
    `trace`, it writes time stamps; with `annotate`, it tells a race checker what orders the warps
    of an SM.

    Raises AmkError when the program needs more shared memory than the target has, or uses what no
    template covers.
    """
    layout = plan(program)
    coder = Coder(layout)
    codes: dict[Code, int] = {}
    records: list[list[int]] = []
    used: dict[int, list[str]] = {}
    for name in program.kernels:
        code, record = code_of(coder, name)
        number = codes.setdefault(code, len(codes))
        used.setdefault(number, []).append(name)
        records.append([number, *record, *[0] * (FIELDS - 1 - len(record))])

    instructions = max((len(q) for q in program.queues), default=0)
    shared = shared_memory(layout, codes, instructions, coder.candidates, annotate)
    if shared.size > target.shared:
        raise AmkError(
            f"program '{program.name}' needs {shared.size} bytes of shared memory per SM, "
            f"{target.name} has {target.shared}: plan a ring of fewer or smaller slots"
        )
    templates = sorted({code.template for code in codes})
    joined = {n for n, names in used.items() if any(map(layout.roles.joins, names))}
    counters, skipped = bool(program.counters), skips(layout)
    runtime = [r for r in RUNTIME if counters or r != "counters"]
    parts = [
        _head(program, target, program_hash, certificate_hash),
        _constants(layout, shared, target, instructions, counters, skipped, trace, annotate),
        tables(layout, records, counters, skipped),
        *(_include(f"runtime/{name}.cuh") for name in runtime),
        *(_include(f"kernels/{h}.cuh") for h in dict.fromkeys(HEADERS[t] for t in templates)),
        *(_struct(f"Ending{number}", end, "") for end, number in coder.endings.items()),
        *(
            _struct(f"Code{number}", code, _who(used[number]), coder.endings_of(used[number]))
            for code, number in codes.items()
        ),
        _dispatch(codes, joined),
        _include("runtime/main.cuh"),
        _include("runtime/pack.cuh"),
    ]
    threads = 32 * (layout.ring.consumers + 1 + layout.ring.finishers)
    source = _joined(part for part in parts if part)
    return Emitted(source, layout, shared.size, threads, instructions)


def chooses(program: Program) -> bool:
    """Whether a kernel of the program chooses the next token."""
    return any(isinstance(k, Argmax | Sample) for k in program.kernels.values())


def skips(layout: Layout) -> bool:
    """Whether steps whose next token is given can do without the language-model head: on every SM
    it must be the end of the stream."""
    heads = {name for name, k in gemvs(layout.program).items() if k.epilogue == "logits"}
    queues = zip(layout.program.queues, layout.streams, strict=True)
    return bool(heads) and all(
        stream.head == sum(layout.slots(run) for run in queue if run.kernel in heads)
        for queue, stream in queues
    )


def _include(path: str) -> str:
    text = (files("amk.backends.cuda") / path).read_text()
    return f'// ---- {path}\n#line 1 "{path}"\n{text}'


def _joined(parts: Iterable[str]) -> str:
    """The parts, one after the other. What messages and tools say of a line counts in the template
    that it comes from, or else in the whole source."""
    out: list[str] = []
    line, included = 1, False
    for part in parts:
        if included and not part.startswith("// ---- "):
            out.append(f'#line {line + 1} "kernel.cu"')
            line += 1
        included = part.startswith("// ---- ")
        out.append(part)
        line += part.count("\n") + 1
    return "\n".join(out)


def _head(program: Program, target: Target, program_hash: str, certificate_hash: str) -> str:
    size = f"{len(program.queues)} SMs, {sum(map(len, program.queues))} instructions"
    return f"""// {program.name} for {target.name}: {size}
// program     {program_hash or "(no hash)"}
// certificate {certificate_hash or "(no hash)"}
//
// Generated by amk; edit the program, not this file.

#include <cuda_bf16.h>
"""


def _constants(
    layout: Layout,
    shared: SharedMemory,
    target: Target,
    instructions: int,
    counters: bool,
    skips: bool,
    trace: bool,
    annotate: bool,
) -> str:
    ring = layout.ring
    hidden = {"RING", "ZERO_END", *(f"LOCAL{i}" for i in range(len(layout.locals)))}
    values = {
        "WARPS": ring.consumers,
        "SLOTS": ring.slots,
        "GROUP": ring.group,
        "WINDOW": ring.window,
        "SLOT_COLUMNS": ring.columns,
        "SLOT_BYTES": layout.slot_bytes,
        "FINISHERS": ring.finishers,
        "ENTRIES": max(1, layout.roles.entries),
        "ENTRY_BYTES": ENTRY_BYTES,
        "DEPTH": ring.depth,
        "LEAD": ring.lead,
        "TICKET_BITS": TICKET_BITS,
        "TABLE_ALIGN": ALIGN,
        "SECTOR_STEP": SECTOR * SPREAD,
        "KV_BUFFERS": ring.kv_buffers,
        "KV_BYTES": ring.kv_bytes,
        "KV_STAGE": shared.places["STAGE"],
        "PARTS_MOST": layout.roles.most_parts,
        "ROPE_TABLES": len(layout.program.ropes),
        "LOCAL_BUFFERS": len(layout.locals),
        **{name: at for name, at in shared.places.items() if name not in hidden},
        "FIELDS": FIELDS,
        "LO": FIELDS + 1,
        "HI": FIELDS + 2,
    }
    if counters:
        values["SYNC"] = FIELDS + 3
    if trace:
        values["TRACED"] = instructions
    released = counters or layout.roles.leaves_plain
    lines = [
        f"#define AMK_BULK_COPY {int(target.bulk_copy)}",
        f"#define AMK_TRY_WAIT {int(target.try_wait)}",
        f"#define AMK_COUNTERS {int(counters)}",
        f"#define TRACE {int(trace)}",
        f"#define AMK_ANNOTATE {int(annotate)}",
        "",
        "/// Whether tokens are chosen, and whether the head is left out where they are given.",
        f"constexpr bool TOKENS = {boolean(chooses(layout.program))};",
        f"[[maybe_unused]] constexpr bool SKIPS = {boolean(skips)};",
        "/// Whether the progress of finishers stands for plain memory too.",
        f"[[maybe_unused]] constexpr bool RELEASED = {boolean(released)};",
        *(f"[[maybe_unused]] constexpr int {name} = {value};" for name, value in values.items()),
        f"using Streamed = {'__nv_bfloat16' if layout.streamed == 'bf16' else 'float'};",
    ]
    # where element 0 of each local buffer would lie, were the SM's rows part of a whole
    sizes = [DTYPES[layout.program.buffers[name].dtype] for name in layout.locals]
    first = [
        [shared.places[f"LOCAL{i}"] - size * rows[i][0] for i, size in enumerate(sizes)] or [0]
        for rows in layout.local_rows
    ]
    lines.append(table("int", "LOCAL_FIRST", first, columns=max(1, len(layout.locals))))
    return "\n".join(lines) + "\n"


def _who(names: list[str]) -> str:
    return f"@{names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _struct(name: str, code: Code | Ending, who: str, endings: list[int] | None = None) -> str:
    lines = [
        *([f"/// {who}"] if who else []),
        f"struct {name} {{",
        *(f"  using {alias} = {value};" for alias, value in code.types),
        *(f"  static constexpr {constant} = {value};" for constant, value in code.constants),
    ]
    if endings:
        lines += [
            "  template <class F>",
            "  static __device__ __forceinline__ void ending(int end, F f) {",
            "    switch (end) {",
            *(f"      case {end}: f(Ending{end}{{}}); break;" for end in endings),
            "    }",
            "  }",
        ]
    return "\n".join([*lines, "};"]) + "\n"


def _dispatch(codes: dict[Code, int], joined: set[int]) -> str:
    lines = [
        "__device__ __forceinline__ void dispatch(Cta& c) {",
        "  switch (c.field(0)) {",
    ]
    for code, number in codes.items():
        lines += [
            f"    case {number}:",
            *(["      finished(c);"] if number in joined else []),
            f"      {code.template}<Code{number}>::run(c);",
            "      break;",
        ]
    lines += ["  }", "}", "", "__device__ __forceinline__ void complete(Cta& c) {"]
    lines += ["  switch (c.field(0)) {"]
    for code, number in codes.items():
        if code.template == "Gemv":
            lines += [
                f"    case {number}:",
                f"      Gemv<Code{number}>::complete(c);",
                "      break;",
            ]
        if code.template == "Attention":
            produce = f"if (c.warp == WARPS + FINISHERS) Attention<Code{number}>::produce(c);"
            lines += [f"    case {number}:", f"      {produce}", "      break;"]
    return "\n".join([*lines, "  }", "}", ""])
