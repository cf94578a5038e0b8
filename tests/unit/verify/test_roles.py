"""The warps of an SM: machines that lack something go wrong, the rules agree with the machines, and
real programs are within the rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from amk.ir.kernels import Embed, Ref
from amk.ir.program import Program
from amk.ir.roles import TICKET_BITS, Roles
from amk.verify import forget, verify_program
from amk.verify.corpus.rolemachine import Machine, Team, turns_fault
from amk.verify.corpus.warps import by_finishers, by_fragments, team_fault
from amk.verify.roles import check_sizes
from tests.unit.batteries import BATTERIES, battery
from tests.unit.programs import Tiny, fused, unfused

TEAM = Team(consumers=2, finishers=2, depth=2, lead=2, buffers=2)
PROGRAMS = {
    "f32": fused(Tiny()),
    "bf16": fused(Tiny(dtype="bf16", bias=True)),
    "splits": fused(Tiny(dtype="bf16", splits=2, chunk=4, kv_heads=1)),
    "counters": fused(Tiny(sync="counters", splits=2, chunk=4, kv_heads=1)),
    "experts": fused(Tiny(dtype="bf16", experts=4, choices=2, inter=24)),
    "unfused": unfused(Tiny(dtype="bf16")),
    "fragments": fused(Tiny(dtype="bf16", hidden=256, head_dim=64, tile=8)),
    **{name: battery(cases, "bf16") for name, cases in BATTERIES.items()},
}


@pytest.mark.parametrize("slices", [1, 2, 3])
@pytest.mark.parametrize("finishers", [1, 2, 3])
def test_every_execution_of_a_right_team_ends_well(slices: int, finishers: int) -> None:
    team = replace(TEAM, slices=slices, finishers=finishers)
    assert Machine(team, blocks=3, chunks=3).search() is None
    assert Machine(replace(team, depth=3, lead=1, buffers=1), blocks=3, chunks=2).search() is None
    assert Machine(replace(team, depth=4, lead=4), 1, chunks=1, gemvs=3, steps=1).search() is None


@pytest.mark.parametrize(
    ("lacks", "fault"),
    [
        ({"lead": 3}, "overwrites the sums of block"),
        ({"lead": 0}, "wait for each other"),
        ({"reached": 0, "slices": 1}, "wait for each other"),
        ({"together": False, "slices": 1, "norm": False}, "before all consumers have read"),
        ({"sides": 1, "slices": 1}, "which is in use"),
        ({"settles": False, "slices": 1, "lead": 4, "depth": 4}, "which wait"),
        ({"meets": False}, "a stage that is in use"),
        ({"ticket": False}, "a stage that is in use"),
        ({"joins": False}, "a finisher has not left yet"),
        ({"numbers": 2}, "takes the sums of another block"),
    ],
)
def test_a_team_that_lacks_something_goes_wrong(lacks: dict[str, int], fault: str) -> None:
    sizes = {"blocks": 1 if "settles" in lacks else 3, "gemvs": 3}
    assert fault in (Machine(replace(TEAM, **lacks), chunks=2, **sizes).search() or "")


@pytest.mark.parametrize("turn", range(8))
def test_tickets_that_count_steps_of_earlier_launches_pass_early(turn: int) -> None:
    fault = Machine(replace(TEAM, turn=turn), blocks=3, chunks=2).search()
    assert (fault or "").endswith("a stage that is in use" if turn > 3 else "")
    assert (fault is None) == (turn < 4)


@pytest.mark.parametrize("wraps", range(3, 13))
def test_counts_of_chunks_that_wrap_within_two_laps_take_the_wrong_one(wraps: int) -> None:
    fault = Machine(replace(TEAM, buffers=3, wraps=wraps), blocks=1, chunks=7).search()
    assert (fault is None) == (wraps % 6 == 0)


@pytest.mark.parametrize("lead", range(5))
@pytest.mark.parametrize("depth", range(1, 4))
def test_the_rule_on_leads_is_exact(depth: int, lead: int) -> None:
    p = PROGRAMS["f32"]
    assert p.ring
    q = replace(p, ring=replace(p.ring, depth=depth, lead=lead))
    assert bool([*check_sizes(q)]) == bool(team_fault(1, depth, lead, 1))


@pytest.mark.parametrize(
    ("slots", "group", "consumers", "slices"),
    [(4, 1, 2, 1), (4, 1, 2, 2), (4, 2, 2, 3), (6, 3, 3, 2), (6, 3, 3, 4), (8, 2, 4, 3)],
)
def test_as_many_entries_as_are_asked_for_suffice(
    slots: int, group: int, consumers: int, slices: int
) -> None:
    need = slots + consumers + slices - 1
    assert turns_fault(slots, group, consumers, slices, need) is None


def test_one_entry_less_may_be_too_few() -> None:
    assert "overwrites that of slot" in (turns_fault(8, 2, 4, 3, 8 + 4 + 3 - 2) or "")


@pytest.mark.parametrize("name", PROGRAMS)
def test_who_does_what_is_read_twice_alike(name: str) -> None:
    p = PROGRAMS[name]
    assert p.ring
    roles = Roles(p, p.ring)
    for k in p.kernels:
        assert roles.split(k) == by_finishers(p, p.ring, k)
        assert roles.matrix(k) == by_fragments(p, k)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_run_are_within_the_rules(name: str) -> None:
    forget()
    assert verify_program(PROGRAMS[name]) == []


def test_programs_have_all_forms() -> None:
    roles = [Roles(p, p.ring) for p in PROGRAMS.values() if p.ring]
    assert any(r.matrix(name) for r in roles for name in r.p.kernels)
    assert any(r.splits for r in roles) and any(r.entries for r in roles)
    assert any(r.joins(name) for r in roles for name in r.p.kernels)


def test_progress_stands_for_plain_memory_where_somebody_touches_it() -> None:
    p = fused(Tiny())
    assert p.ring
    assert p.buffers["logits"].space == "plain"
    assert not Roles(p, p.ring).leaves_plain  # the host alone reads it
    embed = p.kernels["embed"]
    assert isinstance(embed, Embed)
    q = replace(p, kernels={**p.kernels, "embed": replace(embed, res=Ref("logits"))})
    assert Roles(q, p.ring).leaves_plain
    q = fused(Tiny(sync="counters"))
    assert not Roles(q, p.ring).leaves_plain  # no gemv is split


def longest_queue(p: Program, n: int) -> Program:
    return replace(p, queues=[[*queue, *[queue[-1]] * (n - len(queue))] for queue in p.queues])


def test_a_ticket_names_every_instruction_of_a_queue() -> None:
    most = (1 << TICKET_BITS) - 1
    assert [*check_sizes(longest_queue(PROGRAMS["f32"], most))] == []
    rules = {v.rule for v in check_sizes(longest_queue(PROGRAMS["f32"], most + 1))}
    assert rules == {"K4"}


def test_what_is_added_to_a_row_may_lie_elsewhere_if_consumers_complete_it() -> None:
    p = PROGRAMS["f32"]
    assert p.ring
    name, k = next((n, k) for n, k in p.kernels.items() if getattr(k, "res_in", None))
    assert Roles(p, p.ring).split(name)
    b = p.buffers[k.res_in.buffer]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    q = replace(p, buffers=p.buffers | {b.name: replace(b, space="flagged")})
    assert not Roles(q, p.ring).split(name)
