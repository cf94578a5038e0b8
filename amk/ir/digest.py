"""The identity of a program: what a certificate, a kernel and a launcher name it by."""

from __future__ import annotations

import hashlib

from amk.ir.program import Program


def program_digest(p: Program) -> str:
    """SHA-256, in hex, over everything that a program consists of."""
    digest = hashlib.sha256()
    tables = (p.buffers, p.caches, p.tensors, p.packs, p.ropes, p.kernels)
    digest.update(repr((p.name, *tables, p.counters, p.ring)).encode())
    for queue in p.queues:
        runs = [(r.kernel, r.lo, r.hi, r.waits, r.signals, r.fence) for r in queue]
        digest.update(repr(runs).encode())
    return digest.hexdigest()
