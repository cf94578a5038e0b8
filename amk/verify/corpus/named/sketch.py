"""How a case is written: a program in a few lines, and what is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from amk.ir.kernels import Argmax, Binary, Embed, Kernel, Ref, RmsNorm, Weight
from amk.ir.program import Buffer, Program, Run, Signal, Tensor, Wait


@dataclass(frozen=True)
class Case:
    """A program, what is right, and why it is here."""

    build: Callable[[], Program]
    safe: bool
    about: str
    conservative: bool = False
    """The verifier refuses it though it is safe: a rule of docs/IR_SPEC.md says so."""


NAMED: dict[str, Case] = {}


def case(
    safe: bool, conservative: bool = False
) -> Callable[[Callable[[], Program]], Callable[[], Program]]:
    """Registers a case under its function's name, in kebab case."""

    def register(build: Callable[[], Program]) -> Callable[[], Program]:
        name = build.__name__.replace("_", "-")
        NAMED[name] = Case(build, safe, build.__doc__ or "", conservative)
        return build

    return register


N = 4
"""Elements of every vector."""


@dataclass
class Sketch:
    """A program in the making: vectors of N elements, kernels of one-element tiles."""

    sms: int
    p: Program = field(init=False)

    def __post_init__(self) -> None:
        self.p = Program(
            "case",
            tensors={
                "table": Tensor("table", (8, N), "f32"),
                "norm": Tensor("norm", (N,), "f32"),
            },
            queues=[[] for _ in range(self.sms)],
        )
        self.vector("token", "flagged", 1, dtype="i32")

    def vector(
        self, name: str, space: str, length: int = N, uses: int = 1, dtype: str = "f32"
    ) -> None:
        self.p.buffers[name] = Buffer(name, space, length, dtype, uses)

    def kernel(self, name: str, kernel: Kernel) -> None:
        self.p.kernels[name] = kernel

    def add(self, name: str, a: Ref, b: Ref, out: Ref) -> None:
        """Elementwise: tile i reads and writes element i."""
        self.kernel(name, Binary(N, 1, "add", a, b, out))

    def norm(self, name: str, x: Ref, out: Ref) -> None:
        """Every tile reads all of x."""
        self.kernel(name, RmsNorm(N, 1, x, Weight("norm"), 1e-5, out))

    def run(
        self,
        sm: int,
        kernel: str,
        lo: int = 0,
        hi: int = N,
        waits: dict[int, int] | None = None,
        signals: dict[int, int] | None = None,
    ) -> None:
        w = tuple(Wait(c, n) for c, n in (waits or {}).items())
        s = tuple(Signal(c, n) for c, n in (signals or {}).items())
        named = [x.counter for x in (*w, *s)]
        self.p.counters = (
            max(self.p.counters, *(c + 1 for c in named)) if named else self.p.counters
        )
        self.p.queues[sm].append(Run(kernel, lo, hi, w, s))

    def begin(self, out: str, halves: int = 1, signal: bool = False) -> None:
        """embed, on SM 0, or half of it each on SMs 0 and 1; arrival i on counter i."""
        self.kernel("embed", Embed(N, 1, Ref("token"), Weight("table"), Ref(out)))
        for i in range(halves):
            part = {i: 1} if signal else None
            self.run(i, "embed", i * N // halves, (i + 1) * N // halves, signals=part)

    def end(self, sm: int, x: str, use: int = 0, waits: dict[int, int] | None = None) -> Program:
        """argmax of x, which closes the step."""
        self.kernel("argmax", Argmax(N, Ref(x, 0, use), Ref("token")))
        self.run(sm, "argmax", 0, 1, waits)
        return self.p


def pipeline(space: str = "plain") -> Sketch:
    """Two SMs, each with half of x and of y; element i of y needs element i of x alone."""
    s = Sketch(2)
    s.vector("x", space)
    s.vector("y", "flagged")
    s.begin("x", 2, signal=space == "plain")
    s.add("add", Ref("x"), Ref("x"), Ref("y"))
    return s
