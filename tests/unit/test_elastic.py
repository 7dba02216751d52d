# SPDX-License-Identifier: Apache-2.0
"""Elastic jobs while they run: they grow into what nobody wants, and yield first. Stories through the core."""

import msgspec
import pytest

from leitstand.api.jobs.nodes import nodes_of
from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.explaining.why import why
from leitstand.core.rules import Rules
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from leitstand.runtime.loop import orders_of
from leitstand.runtime.ports import ResizeRun
from tests.unit.fair_story import RULES, SHARING, Cloud, cloud, day, owed
from tests.unit.story import ask, at, cluster, started


def elastic(
    least: int, most: int, tenant: str = "a", gpus: int = 4, hours: float = 24, **more: object
) -> f.SubmitJob:
    """A job with from `least` to `most` nodes of `gpus` GPUs each."""
    span = int(hours * HOUR_US)
    shape = {key: more.pop(key) for key in ("level", "slice_nodes", "slice_level") if key in more}
    resources = f.Resources(gpus * least, least, nodes_max=most, **shape)
    given = {"max_duration_us": span, "expected_us": span, "elastic": True, **more}
    return f.SubmitJob(tenant, "default", resources, **given)


def grown(*gpus: int, most: int = 8, entitled: tuple[a.Entitlement, ...] = (), **more: object) -> Cloud:
    """A cloud with one elastic job of tenant `a`, which has all of it after six minutes."""
    made = cloud(*gpus, entitled=entitled, resizes=True)
    made.at(0, elastic(1, most, **more)).until(360)
    assert len(made.nodes("a-1")) == min(len(gpus), most)
    return made


def restarted(made: Cloud) -> State:
    return State.restore(
        msgspec.msgpack.decode(msgspec.msgpack.encode(made.core.state.project()), type=Projection)
    )


# ── more ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_starts_with_its_least_and_grows_at_a_tick_to_its_most() -> None:
    made = cloud(4, 4, 4, 4, resizes=True).at(0, elastic(1, 3)).until(30)
    assert made.nodes("a-1") == ["n0"]
    made.until(60)
    assert made.nodes("a-1") == ["n0", "n1", "n2"]
    made.to_the_end()
    assert made.resized == [("a-1", 3, "growth")]
    assert made.started("a-1") == [0]


def test_it_keeps_what_it_starts_with_where_the_engine_does_not_resize() -> None:
    made = cloud(4, 4, 4, 4).at(0, elastic(2, 4)).until(3600)
    assert made.nodes("a-1") == ["n0", "n1"]
    assert made.core.next_wake() is None, "nothing is to be looked at"
    assert not made.resized


def test_other_disciplines_start_it_with_its_least_size() -> None:
    core = cluster(4, 4, rules=Rules(discipline="fifo-strict"), resizes=True)
    at(core, 1, elastic(1, 2, "acme"))
    at(core, 100, started("acme-1.1", 2))
    assert [len(run.tasks) for run in core.state.runs.values()] == [1]


def test_it_ends_when_it_had_to_end_before() -> None:
    made = grown(4, 4).to_the_end()
    assert [at_us // HOUR_US for at_us, fact in made.facts if isinstance(fact, f.RunEnded)] == [24]


@pytest.mark.parametrize(("borrow", "nodes"), [(4, 2), (7, 2), (8, 3)])
def test_a_borrow_limit_bounds_it(borrow: int, nodes: int) -> None:
    made = cloud(4, 4, 4, 4, entitled=[owed("a", 4, borrow=borrow)], resizes=True)
    assert len(made.at(0, elastic(1, 4)).until(3600).nodes("a-1")) == nodes


def test_what_is_not_lent_bounds_it() -> None:
    made = cloud(4, 4, 4, 4, entitled=[owed("b", 8, lend=0)], resizes=True)
    assert len(made.at(0, elastic(1, 4)).until(3600).nodes("a-1")) == 2


def test_it_delays_no_reservation() -> None:
    made = cloud(4, 4, 4, 4, resizes=True)
    made.at(0, day(4, tenant="b", hours=1), day(4, tenant="b", hours=1)).at(1, elastic(1, 4))
    made.at(2, day(12, 3, "b", hours=1)).until(59)
    assert made.reserved("b-3") == ("promise", 3600)
    assert made.until(3500).resized == [], "one node is free until then, and it would have it for a day"
    assert made.until(3 * 3600).started("b-3") == [3600]
    assert len(made.nodes("a-1")) == 4


def test_nobody_grows_while_a_job_inside_its_share_waits_without_a_reservation() -> None:
    rules = Rules(discipline="fair", sharing=msgspec.structs.replace(SHARING, reservations_max=0))
    made = cloud(4, 4, 4, 4, rules=rules, resizes=True)
    made.at(0, *[day(4, tenant="b", hours=2) for _ in range(2)]).at(
        1, elastic(1, 4), day(16, 4, "b", hours=1)
    )
    assert len(made.until(1800).nodes("a-1")) == 2, (
        "the gang of all nodes is over its share, so it forbids nothing"
    )
    again = cloud(4, 4, 4, 4, rules=rules, entitled=[owed("b", 16)], resizes=True)
    again.at(0, *[day(4, tenant="b", hours=2) for _ in range(2)]).at(
        1, elastic(1, 4), day(8, 2, "b", hours=1)
    )
    assert again.until(SHARING.protected_us // SECOND_US).resized == [], "until it takes its place back"


def test_it_grows_into_no_place_that_is_reserved_though_there_is_room_by_count() -> None:
    made = cloud(4, 4, 4, 4, 2, 2, resizes=True)
    made.at(0, day(4, tenant="b", hours=1), day(4, tenant="b", hours=1)).at(1, elastic(1, 4))
    made.at(2, day(12, 3, "b", hours=1)).until(3500)
    assert made.reserved("b-3") == ("promise", 3600)
    assert made.resized == []


def racks() -> Cloud:
    """Two racks of three nodes."""
    core = cluster(rules=RULES, tenants=("a", "b"))
    seen: list[f.Observation] = [f.SiteAdded("s", "simulated", logical=True, levels=("rack",), resizes=True)]
    seen += [f.NodeAdded(f"n{i}", "s", 4, 0, 0, domains=(f"r{i // 3}",), pool="shared") for i in range(6)]
    core.cycle(0, seen)
    return Cloud(core)


def test_the_level_and_slices_that_it_requires_bound_it() -> None:
    made = racks().at(0, elastic(1, 6, level="rack")).until(120)
    assert made.nodes("a-1") == ["n0", "n1", "n2"]
    made.at(120, f.CancelJob("a-1")).until(300)
    made.at(300, elastic(2, 6, slice_nodes=2, slice_level="rack")).until(600)
    assert len(made.nodes("a-2")) == 4, (
        "a slice of two has room in each rack, and one node of each stays over"
    )


def test_after_a_restart_it_stays_at_its_level() -> None:
    made = racks().at(0, elastic(1, 6, level="rack")).until(30)
    made.core = Core(restarted(made))
    assert made.until(120).nodes("a-1") == ["n0", "n1", "n2"]


def test_an_operators_engine_hears_of_the_last_order_alone() -> None:
    made = grown(4, 4, 4)
    run = made.core.state.runs["a-1.1"]
    made.core.cycle(361 * SECOND_US, [])
    facts = [f.RunResizeOrdered("a-1.1", 2, run.tasks[:2], "recall")]
    made.core.state.apply(361 * SECOND_US, facts[0])
    assert orders_of(made.core.state, facts) == [ResizeRun("a-1.1", 2, run.tasks[:2], 361 * SECOND_US)]


# ── less ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_units_yield_before_any_run_is_stopped() -> None:
    made = cloud(4, 4, 4, 4, entitled=[owed("b", 8)], resizes=True)
    made.at(0, day(4, priority=0), elastic(1, 3)).until(400)
    assert made.resized == [("a-2", 3, "growth")]
    made.at(400, day(8, 2, "b")).until(500)
    assert made.resized[1:] == [("a-2", 1, "recall")]
    assert made.evicted == []
    assert made.running == ["a-1", "a-2", "b-1"]


def test_who_was_told_to_shrink_goes_on_and_what_it_leaves_is_held_for_its_cause() -> None:
    made = grown(4, 4, entitled=(owed("b", 4),))
    made.at(400, day(4, tenant="b"), day(4, tenant="a", hours=0.01))
    made.until(401)
    assert made.reserved("b-1") == ("claim", 400)
    assert made.waiting == ["b-1", "a-2"]
    made.until(500)
    assert made.started("b-1") == [430]
    assert made.running == ["a-1", "b-1"]


def test_a_run_is_taken_whole_where_its_units_are_not_enough() -> None:
    made = grown(4, 4, entitled=(owed("b", 8),))
    made.at(400, day(8, 2, "b")).until(500)
    assert made.evicted == ["a-1"]
    assert made.resized == [("a-1", 2, "growth")], "its end is one order"
    assert made.running == ["b-1"]


def test_what_units_hold_comes_free_once_if_their_run_goes() -> None:
    made = cloud(4, 4, 8, entitled=[owed("b", 16)], resizes=True)
    made.at(0, day(8, tenant="b"), elastic(1, 2)).until(400)
    assert sorted(made.nodes("a-1")) == ["n0", "n1"]
    made.at(400, day(8, tenant="b")).until(2000)
    assert made.reserved("b-2") == ("promise", 86400), "no node has eight, whoever goes"
    assert made.evicted == []


def test_with_a_run_its_units_go_and_nobody_takes_them_again() -> None:
    core = cluster(rules=RULES, tenants=("a", "b"))
    seen: list[f.Observation] = [f.SiteAdded("s", "simulated", logical=True, levels=("rack",), resizes=True)]
    seen += [f.NodeAdded(f"n{i}", "s", 4, 0, 0, domains=(f"r{i // 2}",), pool="shared") for i in range(3)]
    seen.append(a.EntitlementsChanged("shared", (owed("b", 12),)))
    core.cycle(0, seen)
    made = Cloud(core).at(0, elastic(2, 3)).until(400)
    rack = f.Resources(8, 2, level="rack")  # only that with its least size has room for it
    first = f.SubmitJob("b", "default", rack, max_duration_us=HOUR_US, expected_us=HOUR_US, priority=1)
    made.at(400, first, day(4, 1, "b")).until(401)
    assert made.reserved("b-2") == ("claim", 400), "the unit is being freed for the first of them"
    made.until(500)
    assert made.evicted == ["a-1"]
    assert made.running == ["b-1", "b-2"]
    assert made.resized == [("a-1", 3, "growth")], "nobody is told to change who was told to end"


def test_what_a_unit_still_holds_is_not_free_and_who_waits_for_it_knows_until_when() -> None:
    made = grown(4, 4, entitled=(owed("b", 4),)).at(400, day(4, tenant="b")).until(410)
    state = made.core.state
    assert [(node.gpus_free, node.runs) for node in nodes_of(state)] == [(0, ["a-1.1"])] * 2
    found = why(state, "b-1", made.now)
    assert (found.binding.reason, found.start.kind) == ("freeing", "claim")
    assert found.start.start_us == 430 * SECOND_US


def test_what_is_being_freed_is_awaited_before_other_units_go() -> None:
    made = grown(4, 4, 4, 4, entitled=(owed("b", 4),))
    made.at(400, day(4, tenant="b")).at(401, f.CancelJob("b-1")).at(402, day(4, tenant="b")).until(403)
    assert made.resized[1:] == [("a-1", 3, "recall")]
    assert made.reserved("b-2") == ("claim", 402)
    standing = made.core.state.pools["shared"].standing
    assert standing is not None
    assert len(standing.timeline.ending(430 * SECOND_US)) == 1, "g + e after the order"
    assert made.until(440).started("b-2") == [430]


def test_an_engine_that_resizes_no_more_is_not_asked() -> None:
    made = grown(4, 4, 4, entitled=(owed("b", 4),))
    made.core.cycle(361 * SECOND_US, [f.SiteAdded("s", "simulated", logical=True)])
    made.at(400, day(4, tenant="b")).until(500)
    assert made.resized == [("a-1", 3, "growth")]
    assert made.evicted == ["a-1"]
    assert "b-1" in made.running


def test_a_job_of_the_same_project_takes_units_at_once() -> None:
    made = grown(4, 4)
    made.at(361, day(4)).until(362)
    assert made.resized[-1] == ("a-1", 1, "priority")
    assert made.until(500).running == ["a-1", "a-2"]


def test_units_are_taken_at_any_age_and_come_back_only_after_the_protected_time() -> None:
    made = cloud(4, 4, resizes=True).at(0, elastic(1, 2)).until(61)
    made.at(61, day(4, hours=0.01)).until(62)
    assert made.resized[-1] == ("a-1", 1, "priority"), "one second old"
    made.until(61 + SHARING.protected_us // SECOND_US - 1)
    assert "a-2" not in made.running
    assert len(made.resized) == 2
    assert made.until(480).resized[2:] == [("a-1", 2, "growth")]


def test_elastic_jobs_of_two_tenants_have_their_demand_counted() -> None:
    made = cloud(4, 4, 4, 4, resizes=True).at(0, elastic(1, 4), elastic(1, 4, "b"))
    assert made.until(59).deserved("industry/a", "industry/b") == [8, 8]
    made.until(61)
    assert len(made.nodes("a-1")) == len(made.nodes("b-1")) == 2


def test_the_end_of_a_run_ends_its_units() -> None:
    made = grown(4, 4, 4)
    made.at(400, f.CancelJob("a-1")).until(500)
    standing = made.core.state.pools["shared"].standing
    assert standing is not None
    assert not standing.tree.held
    assert not standing.tree.nodes["industry/a/default"].pending
    assert made.core.state.pools["shared"].free.gpus == [15, 15, 15]


# ── usage and budgets ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_usage_is_charge_times_time_segment_by_segment() -> None:
    made = grown(4, 4, 4, 4, entitled=(owed("b", 8),))
    made.at(1000, day(8, 2, "b", hours=1)).until(1100).at(2000, f.CancelJob("a-1")).until(2100)
    grew, shrank, ended = 60, 1030, 2030
    gpu_s = 4 * grew + 16 * (shrank - grew) + 8 * (ended - shrank)
    used = [fact for _, fact in made.facts if isinstance(fact, f.UsageMetered)]
    assert [(fact.wall_us, fact.gpu_us) for fact in used] == [(ended * SECOND_US, gpu_s * SECOND_US)]


def budgeted(gpu_h: float) -> Cloud:
    made = cloud(4, 4, 4, 4, resizes=True)
    made.core.cycle(0, [a.BudgetGranted("", "a", int(gpu_h * HOUR_US), 400 * 24 * HOUR_US, "grant")])
    return made


@pytest.mark.parametrize(("gpu_h", "nodes"), [(40, 1), (79, 1), (80, 2), (119, 2), (120, 3), (1000, 4)])
def test_a_budget_bounds_it_and_pays_what_was_used(gpu_h: float, nodes: int) -> None:
    made = budgeted(gpu_h).at(0, elastic(1, 4, hours=10)).until(61)
    assert len(made.nodes("a-1")) == nodes
    (budget,) = made.core.state.tenants["a"].budgets
    first, later = 4 * 10 * 3600, (nodes - 1) * 4 * (10 * 3600 - 60)
    assert budget.reserved == (first + later) * SECOND_US
    made.to_the_end()
    (used,) = made.all(f.UsageMetered)
    assert isinstance(used, f.UsageMetered)
    assert (first + later) * SECOND_US <= budget.posted == used.gpu_us <= gpu_h * HOUR_US, (
        "perhaps it grew later"
    )
    assert budget.reserved == 0


def test_what_a_failure_takes_from_it_its_budget_does_not_pay() -> None:
    made = budgeted(1000).at(0, elastic(1, 4, hours=10, checkpoint_every_us=1000 * SECOND_US)).until(61)
    made.at(1500, day(12, 3, hours=1)).until(1900)
    failed(made, "n0", 1940)
    used = next(fact for fact in made.all(f.UsageMetered) if isinstance(fact, f.UsageMetered))
    kept = 4 * 60 + 16 * 940
    assert dict(used.posted) == {"b1": kept * SECOND_US}
    assert used.gpu_us == (4 * 60 + 16 * 1470 + 4 * 440) * SECOND_US


def test_what_is_reserved_for_units_is_void_once_they_have_left() -> None:
    made = budgeted(1000).at(0, elastic(1, 4, hours=10)).until(61)
    made.at(100, day(12, 3, "a", hours=1)).until(140)
    (budget,) = made.core.state.tenants["a"].budgets
    run = made.core.state.runs.get("a-1.1")
    assert run is not None
    assert len(run.tasks) == 1
    used = 4 * 60 + 16 * 70
    own = used + 4 * (36_000 - 130)
    assert budget.reserved == (own + 12 * 3600) * SECOND_US


# ── failures and maintenance ──────────────────────────────────────────────────────────────────────────────────────────
def failed(made: Cloud, node: str, seconds: float) -> Cloud:
    made.until(seconds)
    made._cycle(made.now, [f.NodeRemoved(node, failed=True)])
    return made.until(seconds + 60)


def test_a_gang_beyond_its_least_size_goes_on_without_a_failed_node() -> None:
    made = failed(grown(4, 4, 4), "n1", 400)
    assert made.resized[1:] == [("a-1", 2, "node_failed")]
    assert made.nodes("a-1") == ["n0", "n2"]
    assert made.started("a-1") == [0]
    assert not made.all(f.RunStopOrdered)
    assert not made.all(f.JobRequeued)
    standing = made.core.state.pools["shared"].standing
    assert standing is not None
    assert standing.tree.root.running == 8000
    assert made.core.state.digest() == restarted(made).digest()


@pytest.mark.parametrize(("node", "most"), [("n0", 3), ("n1", 2)])
def test_without_its_first_node_or_below_its_least_size_it_starts_again(node: str, most: int) -> None:
    made = cloud(4, 4, 4, resizes=True).at(0, elastic(2, max(most, 2))).until(400)
    failed(made, node, 400)
    assert [fact.cause for fact in made.all(f.RunStopOrdered) if isinstance(fact, f.RunStopOrdered)] == [
        "node_failed"
    ]
    assert len(made.started("a-1")) == 2
    assert len(made.nodes("a-1")) == 2


def test_a_gang_that_starts_again_has_whole_slices() -> None:
    core = cluster(rules=RULES, tenants=("a", "b"))
    seen: list[f.Observation] = [f.SiteAdded("s", "simulated", logical=True, levels=("rack",), resizes=True)]
    seen += [f.NodeAdded(f"n{i}", "s", 4, 0, 0, domains=(f"r{i // 2}",), pool="shared") for i in range(4)]
    core.cycle(0, seen)
    made = Cloud(core).at(0, elastic(2, 4, slice_nodes=2, slice_level="rack")).until(400)
    first, other, *slice_ = made.nodes("a-1")
    assert len(failed(made, first, 400).started("a-1")) == 2
    assert sorted(made.nodes("a-1")) == sorted(slice_), f"and {other} not with one of another rack"


def test_the_other_nodes_take_the_place_of_a_failed_one_of_the_least_size() -> None:
    made = cloud(4, 4, 4, 4, resizes=True).at(0, elastic(2, 4)).until(100)
    failed(made, "n1", 400)
    assert made.nodes("a-1") == ["n0", "n2", "n3"]
    made.at(500, day(8, 2, "b")).until(600)
    assert made.running == ["a-1"], "nobody takes it below its least size"
    made.at(600, day(4, 1, "b", hours=1)).until(700)
    assert made.nodes("a-1") == ["n0", "n2"]
    assert "b-2" in made.running


def test_a_window_takes_the_units_on_its_nodes_alone() -> None:
    made = grown(4, 4, 4)
    made.core.cycle(361 * SECOND_US, [a.MaintenancePlanned("", 30 * MINUTE_US, 60 * MINUTE_US, ("n1",))])
    assert not made.core.answers[0].refused
    made.until(31 * 60)
    assert made.resized[1:] == [("a-1", 2, "maintenance")]
    assert made.nodes("a-1") == ["n0", "n2"]
    assert made.running == ["a-1"]


# ── reports ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_report_said_twice_or_late_changes_nothing() -> None:
    made = grown(4, 4, 4)
    before = made.core.state.digest()
    for report in (f.RunResized("a-1.1", 1, 0), f.RunResized("a-1.1", 7, 0), f.RunResized("b-1.1", 1, 0)):
        assert made.core.cycle(361 * SECOND_US, [report]) == [] or made.core.state.digest() == before
    plain = cloud(4, resizes=True).at(0, day(4)).until(10)
    assert plain.core.cycle(11 * SECOND_US, [f.RunResized("a-1.1", 1, 0)]) == []


def test_the_report_of_a_later_order_stands_for_the_earlier_ones() -> None:
    made = grown(4, 4, 4, 4, entitled=(owed("b", 12),))
    made.at(400, day(4, tenant="b")).at(401, day(4, tenant="b")).until(402)
    run = made.core.state.runs["a-1.1"]
    assert len(run.tasks) == 2
    assert len(run.leaving) == 2
    assert made.core.state.digest() == restarted(made).digest()
    for state in (made.core.state, restarted(made)):
        standing = state.pools["shared"].standing
        assert standing is not None
        assert len(standing.timeline.ending(430 * SECOND_US)) == 1, "each is gone g + e after its own order"
    facts = made.core.cycle(403 * SECOND_US, [f.RunResized("a-1.1", 3, 403 * SECOND_US)])
    assert not made.core.state.runs["a-1.1"].leaving
    assert [fact.job for fact in facts if isinstance(fact, f.RunPlaced)] == ["b-1", "b-2"]


def test_a_run_that_ends_while_it_shrinks_frees_all_it_had() -> None:
    made = grown(4, 4, 4, entitled=(owed("b", 4),))
    made.at(400, day(4, tenant="b")).until(401)
    made.core.cycle(402 * SECOND_US, [f.RunEnded("a-1.1", 402 * SECOND_US, "exited", 0)])
    assert made.core.state.pools["shared"].free.gpus.count(15) == 2
    assert [run.job for run in made.core.state.runs.values()] == ["b-1"]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (f.Resources(4, 2, nodes_max=1), "nodes_max"),
        (f.Resources(0, 1, cpus_milli=1000, nodes_max=2), "gpus"),
        (f.Resources(0, 1, gpu_milli=500, nodes_max=2), "gpus"),
    ],
)
def test_what_cannot_be_elastic_is_refused_by_name(shape: f.Resources, reason: str) -> None:
    core = cluster(4, 4, rules=RULES, resizes=True)
    facts = at(core, 1, f.SubmitJob("acme", "default", shape, elastic=True))
    (rejected,) = [fact for fact in facts if isinstance(fact, f.JobRejected)]
    assert (rejected.reason, rejected.resource) == ("shape", reason)
    assert ask(1).elastic is False
