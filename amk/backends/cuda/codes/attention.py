"""Codes of attention, and of what leads to it."""

from __future__ import annotations

from amk.backends.cuda.codes.coder import CTYPES, Code, Coder, boolean, number
from amk.errors import AmkError
from amk.ir.kernels import Append, Attention, Rope

MAX_GROUP = 16
"""Query heads of one attention tile."""


def attention(c: Coder, name: str, k: Attention) -> tuple[Code, list[int]]:
    cache = c.program.caches[k.cache]
    if k.head_dim % 8 or k.head_dim > 256:
        raise AmkError(
            f"kernel @{name}: head_dim must be a multiple of 8 up to 256, got {k.head_dim}"
        )
    if k.group > MAX_GROUP:
        raise AmkError(
            f"kernel @{name}: {k.group} query heads share a KV head, more than {MAX_GROUP}"
        )
    roles = c.layout.roles
    tiles = roles.tiles[name]
    if tiles > 1 and k.splits > 1:
        raise AmkError(
            f"kernel @{name}: an instruction takes one tile of a split attention, got {tiles}"
        )
    for ref in (k.q, k.k, k.v):
        if ref:
            c.whole_units(name, ref, k.head_dim)
    if k.k and k.v:
        c.alike(name, k.k, k.v)
    if k.part:
        c.whole_units(name, k.part, k.part_size)
    warps = c.layout.ring.consumers
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
        ("int ROPE_AT", str(c.rope_at(k.rope))),
    )
    types = (
        ("Cache", CTYPES[cache.dtype]),
        ("Q", c.operand(k.q)),
        ("K", c.operand(k.k)),
        ("Out", c.operand(k.out)),
        ("Part", c.operand(k.part)),
        ("Sinks", c.weight_type(k.sinks)),
        ("QNorm", c.weight_type(k.q_norm)),
        ("KNorm", c.weight_type(k.k_norm)),
    )
    record = [
        *c.place(k.q),
        *c.place(k.out),
        *c.place(k.k),
        *c.place(k.v),
        *c.place(k.part),
        c.layout.caches.regions[k.cache].at // 16,
        c.table(k.sinks),
        c.table(k.q_norm),
        c.table(k.k_norm),
    ]
    ring = c.layout.ring
    beside = max((tiles - 1) * width, (teams - 1) * 2 * width)
    if matrix:
        beside = max(beside, roles.row_bytes(k) // 4)
    stage = 0 if matrix else ring.kv_buffers * ring.kv_bytes
    stage += 4 * (per_head * (width + 2 * k.group) + beside)
    return Code("Attention", constants, types, stage), record


def append(c: Coder, name: str, k: Append) -> tuple[Code, list[int]]:
    cache = c.program.caches[k.cache]
    c.alike(name, k.k, k.v)
    constants = (
        ("int HEAD_DIM", str(k.head_dim)),
        ("int CACHE_ROWS", str(cache.rows)),
    )
    types = (("Cache", CTYPES[cache.dtype]), ("K", c.operand(k.k)))
    record = [
        *c.place(k.k),
        *c.place(k.v),
        c.layout.caches.regions[k.cache].at // 16,
    ]
    most = max((r.hi - r.lo for r in c.runs[name]), default=0)
    return Code("Append", constants, types, 8 * most * k.head_dim), record


def rope(c: Coder, name: str, k: Rope) -> tuple[Code, list[int]]:
    constants = (
        ("int HEAD_DIM", str(k.head_dim)),
        ("int ROTARY", str(k.rotary or k.head_dim)),
        ("bool INTERLEAVED", boolean(bool(k.interleaved))),
        ("int ROPE_AT", str(c.rope_at(k.rope))),
    )
    types = (("X", c.operand(k.x)), ("Out", c.operand(k.out)))
    most = max((r.hi - r.lo for r in c.runs[name]), default=0)
    return Code("Rope", constants, types, 4 * most * k.head_dim), [
        *c.place(k.x),
        *c.place(k.out),
    ]
