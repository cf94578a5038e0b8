"""Mixtures of experts: what is touched, and what comes out, for every routing there is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from amk.dialects import model
from amk.dialects.vm import program_of
from amk.interpreters import kernels
from amk.interpreters.kernels import Memory, execute
from amk.interpreters.load import load_interpreter, random_weights
from amk.interpreters.model import ModelInterpreter
from amk.interpreters.storage import Storage, Weights
from amk.interpreters.touched import CHOSEN, RecordingMemory, declared, mismatch, union
from amk.interpreters.vm import VmInterpreter
from amk.ir.kernels import Kernel, MoeDown, MoeGateUp, Ref, Topk, Weight
from amk.ir.packs import F32
from amk.ir.program import Buffer, Program, Tensor
from amk.mlir import make_context, parse_module, run_passes
from amk.verify import verify_program

EXPERTS, CHOICES, WIDTH, HIDDEN = 3, 2, 5, 4
MIXTURE = Path(__file__).parents[2] / "filecheck" / "Inputs" / "moe.mlir"
RING = "ring-kb=8 copy-kb=1 window-kb=2 consumers=2"
PIPELINES = (
    f"lower{{num-sms=3 {RING}}}",
    f"lower{{num-sms=4 sync=counters {RING}}}",
    f"lower-unfused{{num-sms=3 sync=counters {RING}}}",
)

REFS = {name: Ref(name) for name in ("x", "ids", "weights", "h", "y", "res")}
GATE_UP = MoeGateUp(
    CHOICES * WIDTH, 3, HIDDEN, CHOICES, EXPERTS, Weight("gate_up"), REFS["ids"], REFS["x"],
    REFS["h"], Weight("norm"), 1e-5,
)  # fmt: skip
DOWN = MoeDown(
    HIDDEN, 3, WIDTH, CHOICES, EXPERTS, Weight("down"), REFS["ids"], REFS["weights"], REFS["h"],
    REFS["y"], REFS["res"],
)  # fmt: skip


BOUNDED = replace(GATE_UP, bias=Weight("gate_up_bias"), alpha=1.5, limit=0.75)
BIASED = replace(DOWN, bias=Weight("down_bias"))
KERNELS = {"gate_up": GATE_UP, "down": DOWN, "bounded gate_up": BOUNDED, "biased down": BIASED}


def program() -> Program:
    """Buffers and matrices for one tile that straddles choices and one that does not."""
    lengths = {"x": HIDDEN, "weights": CHOICES, "h": CHOICES * WIDTH, "y": HIDDEN, "res": HIDDEN}
    p = Program("moe", {n: Buffer(n, "plain", length, "f32") for n, length in lengths.items()})
    p.buffers["ids"] = Buffer("ids", "plain", CHOICES, "i32")
    shapes = {"gate_up": (EXPERTS * 2 * WIDTH, HIDDEN), "down": (EXPERTS * HIDDEN, WIDTH)}
    p.tensors = {n: Tensor(n, shape, "f32") for n, shape in shapes.items()}
    p.tensors["norm"] = Tensor("norm", (HIDDEN,), "f32")
    for name, (rows, _) in shapes.items():
        p.tensors[f"{name}_bias"] = Tensor(f"{name}_bias", (rows,), "f32")
    return p


def storage(ids: tuple[int, ...]) -> Storage:
    p = program()
    s = Storage(p, random_weights(p.tensors), 1)
    rng = np.random.default_rng(7)
    for name, buffer in s.shared.items():
        buffer[:] = ids if name == "ids" else rng.standard_normal(len(buffer))
    return s


def ranges(kernel: Kernel) -> list[tuple[int, int]]:
    return [(lo, hi) for lo in range(kernel.grid) for hi in range(lo + 1, kernel.grid + 1)]


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_regions_are_those_derived_for_every_assignment_of_ids(kernel: MoeGateUp | MoeDown) -> None:
    for lo, hi in ranges(kernel):
        chosen: list[tuple[int, int]] = []
        buffers: list[object] = []
        for ids in product(range(EXPERTS), repeat=CHOICES):
            memory = RecordingMemory(storage(ids), 0, 0)
            execute(kernel, lo, hi, memory)
            assert mismatch(declared(kernel.accesses(lo, hi), 0), memory.ranges) is None
            if kernel.bias:
                assert memory.ranges[CHOSEN, kernel.bias] == memory.ranges[CHOSEN, kernel.weight]
                memory.ranges.pop((CHOSEN, kernel.bias))
            chosen += memory.ranges.pop((CHOSEN, kernel.weight))
            buffers.append({key: union(found) for key, found in memory.ranges.items()})
        assert all(found == buffers[0] for found in buffers)
        if (lo, hi) == (0, kernel.grid):  # nothing is claimed that no routing touches
            claimed = declared(kernel.accesses(lo, hi), 0)[CHOSEN, kernel.weight]
            assert union(chosen) == union(claimed)


@pytest.mark.parametrize("ids", list(product(range(EXPERTS), repeat=CHOICES)))
def test_kernels_compute_their_definition(ids: tuple[int, ...]) -> None:
    memory = storage(ids)
    s = {name: values.astype(np.float64) for name, values in memory.shared.items()}
    x = s["x"] / np.sqrt((s["x"] ** 2).mean() + 1e-5) * memory.immutable["norm"]
    matrix = memory.immutable["gate_up"].reshape(EXPERTS, WIDTH, 2, HIDDEN)
    gate, up = (np.concatenate([matrix[e, :, i] @ x for e in ids]) for i in (0, 1))
    down = memory.immutable["down"].reshape(EXPERTS, HIDDEN, WIDTH)
    parts = s["h"].reshape(CHOICES, WIDTH)
    y = s["res"] + sum(
        w * (down[e] @ part) for w, e, part in zip(s["weights"], ids, parts, strict=True)
    )
    biases = memory.immutable["gate_up_bias"].reshape(EXPERTS, WIDTH, 2)[list(ids)]
    g, u = (np.clip(a + biases[..., i].reshape(-1), -9, 0.75) for i, a in enumerate((gate, up)))
    assert (g == 0.75).any() or (u == 0.75).any() or (u < -0.75).any()
    bounded = g / (1 + np.exp(-1.5 * g)) * (np.maximum(u, -0.75) + 1)
    shift = s["weights"] @ memory.immutable["down_bias"].reshape(EXPERTS, HIDDEN)[list(ids)]
    for kernel, expected in (
        (GATE_UP, gate / (1 + np.exp(-gate)) * up),
        (DOWN, y),
        (BOUNDED, bounded),
        (BIASED, y + shift),
    ):
        recorded = RecordingMemory(memory, 0, 0)
        execute(kernel, 0, kernel.grid, recorded)
        np.testing.assert_allclose(written(recorded)[0], expected, rtol=1e-5, atol=1e-6)


def written(memory: RecordingMemory) -> list[F32]:
    return [w.values for w in memory.writes if w.values is not None]


@dataclass(frozen=True)
class ByExpert(MoeGateUp):
    """The same kernel by its record, but one that lays its results out by expert."""


def by_expert(k: ByExpert, lo: int, hi: int, mem: Memory) -> None:
    ids = mem.read(k.ids, lo * k.tile // k.width, -(-hi * k.tile // k.width)).astype(int)
    mem.read(k.x, 0, k.k)
    for e in ids.tolist():
        rows = mem.chosen(k.weight, 2 * e * k.width, 2 * (e + 1) * k.width)
        mem.write(k.out, e * k.width, (e + 1) * k.width, rows[::2, 0])


def test_results_laid_out_by_expert_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kernels.EXECUTE, ByExpert, by_expert)
    kernel = ByExpert(
        CHOICES * WIDTH, WIDTH, HIDDEN, CHOICES, EXPERTS, Weight("gate_up"), REFS["ids"], REFS["x"],
        REFS["h"],
    )  # fmt: skip
    wrong = 0
    for ids in permutations(range(EXPERTS), CHOICES):
        memory = RecordingMemory(storage(ids), 0, 0)
        execute(kernel, 0, kernel.grid, memory)
        found = mismatch(declared(kernel.accesses(0, kernel.grid), 0), memory.ranges)
        assert found is None or "touches write h" in found
        wrong += found is not None
    assert wrong == 4  # all but those who choose experts 0 and 1


@pytest.mark.parametrize("normalize", [0, 1])
@pytest.mark.parametrize(
    ("x", "ids"), [([1.0, 3.0, 2.0], [1, 2]), ([2.0, 2.0, 2.0], [0, 1]), ([-9.0, 5.0, 5.0], [1, 2])]
)
def test_topk_falls_and_takes_the_lowest_index_of_equals(
    x: list[float], ids: list[int], normalize: int
) -> None:
    p = Program("topk", {n: Buffer(n, "plain", 3, "f32") for n in ("x", "ids", "weights")})
    s = Storage(p, random_weights({}), 1)
    s.shared["x"][:] = x
    recorded = RecordingMemory(s, 0, 0)
    execute(Topk(3, 2, Ref("x"), Ref("ids"), Ref("weights"), normalize), 0, 1, recorded)
    made_ids, made_weights = written(recorded)
    powers = np.exp(np.array(x) - max(x))
    total = powers[ids].sum() if normalize else powers.sum()
    assert made_ids.tolist() == ids
    np.testing.assert_allclose(made_weights, powers[ids] / total, rtol=1e-6)


def routing_weights(tensors: dict[str, Tensor], pairs: list[tuple[int, ...]]) -> Weights:
    """Weights with which the first layer chooses pairs[t] for token t: its embedding is large where
    the first choice is, and half as large for the second."""
    random = random_weights(tensors)

    def get(name: str) -> F32:
        values = random(name).copy()
        if name == "layers.0.router":
            return np.eye(*values.shape, dtype=np.float32)
        if name == "embed":
            for token, (first, second) in enumerate(pairs):
                values[token, :4] = 0
                values[token, [first, second]] = 2, 1
        return np.ones_like(values) if name == "n0" else values

    return get


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_lowered_programs_are_right_in_every_routing(pipeline: str) -> None:
    module = parse_module(make_context(), MIXTURE.read_text(), "moe")
    vm = program_of(run_passes(pipeline, module.clone()))
    assert not verify_program(vm)
    pairs = list(permutations(range(4), 2))
    get = routing_weights(vm.tensors, pairs)
    reference = load_interpreter(module, get)
    assert isinstance(reference, ModelInterpreter)
    router = next(op for op in reference.ops if isinstance(op, model.TopkOp))
    machine = VmInterpreter(vm, get, check=True, seed=3)
    for token, pair in enumerate(pairs):
        expected = reference.step(token, token)[1]
        found = machine.step(token, token)[1]
        assert expected is not None and found is not None
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
        assert reference.values[router.ids].tolist() == list(pair)


def test_an_id_behind_the_last_expert_is_caught() -> None:
    kernel = replace(GATE_UP, norm=None)
    memory = RecordingMemory(storage((0, EXPERTS)), 0, 0)
    execute(kernel, 0, kernel.grid, memory)
    found = mismatch(declared(kernel.accesses(0, kernel.grid), 0), memory.ranges)
    assert found is not None and CHOSEN in found
