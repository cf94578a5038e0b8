"""CUDA targets are data: what the emitter and the launcher must know of a GPU, asked by feature,
never by name."""

from __future__ import annotations

from dataclasses import dataclass

from amk.errors import AmkError

KIB = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """A GPU architecture.

    `sms` is the number of SMs of its usual card (a default for schedules; the launcher asks the
    device), `shared` the bytes of shared memory that one block may take, `bulk_copy` whether
    `cp.async.bulk` fills the ring (else `cp.async`), `try_wait` whether an mbarrier can be waited
    for in hardware.
    """

    name: str
    sms: int
    shared: int
    bulk_copy: bool
    try_wait: bool

    @property
    def gencode(self) -> str:
        """nvcc's option for machine code of exactly this architecture."""
        return f"-gencode=arch=compute_{self.name[3:]},code={self.name}"


TARGETS: dict[str, Target] = {
    t.name: t
    for t in (
        Target("sm_80", sms=108, shared=163 * KIB, bulk_copy=False, try_wait=False),
        Target("sm_90a", sms=132, shared=227 * KIB, bulk_copy=True, try_wait=True),
        Target("sm_100a", sms=148, shared=227 * KIB, bulk_copy=True, try_wait=True),
        Target("sm_120a", sms=188, shared=99 * KIB, bulk_copy=True, try_wait=True),
    )
}


def target_of(name: str) -> Target:
    """The target called `name`; `AmkError` names the known ones."""
    if name not in TARGETS:
        raise AmkError(f"arch '{name}' is not supported (supported: {', '.join(TARGETS)})")
    return TARGETS[name]


def target_of_device(major: int, minor: int) -> Target:
    """The target of a device's compute capability; `AmkError` when there is none."""
    for suffix in ("a", ""):
        target = TARGETS.get(f"sm_{major}{minor}{suffix}")
        if target:
            return target
    raise AmkError(
        f"compute capability {major}.{minor} is not supported (supported: {', '.join(TARGETS)})"
    )
