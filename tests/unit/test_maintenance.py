# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows: nobody runs into one, promises move out of its way or forbid it, its nodes come back."""

from typing import Any

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.explaining.why import Binding, why
from leitstand.core.maintenance.deciding import planned_window, wanted_at
from leitstand.core.maintenance.meeting import earliest, meet
from leitstand.core.rules import Rules, Sharing
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from tests.unit.story import act, ask, at, cluster, names, placed, started

M = 60  # seconds
SHARING = Sharing(
    protected_us=5 * MINUTE_US, grace_us=30 * SECOND_US, stop_us=30 * SECOND_US, recall_us=15 * MINUTE_US
)
FAIR = Rules(discipline="fair", sharing=SHARING)


def fair(*gpus: int, **more: Any) -> Core:
    return cluster(*gpus, rules=FAIR, **more)


def window(begin: int, end: int = 0, *nodes: str, **more: Any) -> a.MaintenancePlanned:
    """Minutes; on n0 if no node is named."""
    where = {} if "domain" in more else {"nodes": nodes or ("n0",)}
    return a.MaintenancePlanned("", begin * MINUTE_US, end * MINUTE_US, **where, **more)


def job(gpus: int = 1, minutes: int = 10, **more: Any) -> f.SubmitJob:
    return ask(gpus, max_duration_us=minutes * MINUTE_US, **more)


def again(core: Core) -> None:
    """The state is stored and read again without a difference, and so is what follows from it."""
    stored = msgspec.msgpack.encode(core.state.project())
    other = State.restore(msgspec.msgpack.decode(stored, type=Projection))
    assert other.digest() == core.state.digest()
    for name, pool in core.state.pools.items():
        assert other.pools[name].free.levels == pool.free.levels
        assert other.pools[name].capacity() == pool.capacity()
        if pool.standing is not None:
            mine, its = pool.standing.tree.held, other.pools[name].standing.tree.held  # type: ignore[union-attr]
            assert {one: held.until_us for one, held in mine.items()} == {
                one: held.until_us for one, held in its.items()
            }


def said(facts: list[f.Fact]) -> list[str]:
    return [name for name in names(facts) if name != "SharesTicked"]


def stops(facts: list[f.Fact]) -> list[tuple[str, str]]:
    return [(fact.run, fact.cause) for fact in facts if isinstance(fact, f.RunStopOrdered)]


def refused(core: Core, seconds: int, asked: f.Observation) -> tuple[str, str]:
    """Why the act is refused, and the detail; nothing but the tick is recorded."""
    assert set(names(at(core, seconds, asked))) <= {"SharesTicked"}
    assert core.answers[-1].refused
    return core.answers[-1].refused, core.answers[-1].detail


# ── starts ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_who_would_last_into_a_window_starts_elsewhere_and_who_would_not_starts_there() -> None:
    core = fair(4, 4)
    assert act(core, M, window(60, 120)) == "m1"
    assert placed(at(core, 2 * M, job(4, 59)))["acme-1.1"][0][0] == "n1"
    assert placed(at(core, 2 * M, job(4, 58)))["acme-2.1"][0][0] == "n0"
    again(core)


def test_who_fits_nowhere_before_a_window_is_promised_the_time_after_it() -> None:
    core = fair(4)
    act(core, M, window(60, 120))
    facts = at(core, 2 * M, job(4, 90))
    (made,) = [fact for fact in facts if isinstance(fact, f.CapacityReserved)]
    assert (made.kind, made.start_us) == ("promise", 120 * MINUTE_US)
    assert placed(at(core, 60 * M)) == {}
    assert said(at(core, 120 * M)) == ["MaintenanceAdvanced", "RunPlaced"]
    again(core)


def test_an_open_window_never_ends_by_itself_and_cancelling_it_gives_its_nodes_back() -> None:
    core = fair(4)
    act(core, M, window(60))
    assert placed(at(core, 2 * M, job(4, 90))) == {}
    assert "acme-1" not in core.state.reservations
    at(core, 60 * M)
    assert core.state.maintenance.windows["m1"].step == "begun"
    assert core.state.pools["shared"].capacity() == 0
    facts = at(core, 500 * M, a.MaintenanceCancelled("m1"))
    assert "acme-1.1" in placed(facts)
    assert core.state.pools["shared"].capacity() == 4000
    assert core.state.maintenance.windows == {}
    again(core)


# ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_run_that_would_last_into_a_window_is_told_to_end_in_time_and_waits_again() -> None:
    core = fair(4)
    at(core, 0, job(4, 180, checkpoint_every_us=7 * MINUTE_US))
    at(core, 1, started("acme-1.1", 1))
    act(core, M, window(60, 120))
    assert core.next_wake() is not None
    assert stops(at(core, 58 * M)) == []
    assert stops(at(core, 59 * M)) == [("acme-1.1", "maintenance")]
    again(core)
    facts = at(core, 59 * M + 20, f.RunEnded("acme-1.1", (59 * M + 20) * SECOND_US, "stopped"))
    (waits,) = [fact for fact in facts if isinstance(fact, f.JobRequeued)]
    assert (waits.reason, waits.kept_us) == ("maintenance", 56 * MINUTE_US)
    assert placed(facts) == {}
    assert placed(at(core, 60 * M)) == {}
    assert "acme-1.2" in placed(at(core, 120 * M))


def test_a_run_that_ends_by_its_limit_before_the_window_goes_on() -> None:
    core = fair(4)
    at(core, 0, job(4, 60))
    at(core, 0, started("acme-1.1", 0))
    act(core, M, window(60, 120))
    assert stops(at(core, 59 * M)) == []
    # its engine is late to stop it: it is told at the begin, and its node takes nobody else
    assert stops(at(core, 60 * M)) == [("acme-1.1", "maintenance")]
    assert placed(at(core, 61 * M, job(1, 1), f.RunEnded("acme-1.1", 60 * M * SECOND_US, "time_limit"))) == {}


def test_a_run_that_a_window_ends_is_not_waited_for_until_its_limit() -> None:
    core = fair(4)
    at(core, 0, job(4, 300))
    act(core, M, window(60, 120))
    at(core, 2 * M, job(4, 90))
    assert core.state.reservations["acme-2"].start_us == 120 * MINUTE_US


def test_what_a_run_loses_to_maintenance_is_not_charged() -> None:
    core = fair(4)
    act(core, 0, a.BudgetGranted("", "acme", 100 * HOUR_US, 1000 * HOUR_US))
    at(core, 0, job(4, 120, checkpoint_every_us=50 * MINUTE_US))
    at(core, 0, started("acme-1.1", 0))
    act(core, M, window(60, 120))
    at(core, 59 * M)
    facts = at(core, 59 * M, f.RunEnded("acme-1.1", 59 * M * SECOND_US, "stopped"))
    (used,) = [fact for fact in facts if isinstance(fact, f.UsageMetered)]
    assert used.gpu_us == 4 * 59 * MINUTE_US
    assert used.posted == (("b1", 4 * 50 * MINUTE_US),)


def test_what_a_window_takes_is_no_ones_share_meanwhile() -> None:
    core = fair(4, 4)
    act(core, M, window(60, 120))
    tree = core.state.pools["shared"].standing.tree  # type: ignore[union-attr]
    at(core, 60 * M, job(1, 1))
    assert (tree.capacity, tree.root.deserved) == (4000, 4000)
    at(core, 120 * M, job(1, 1))
    assert tree.capacity == 8000


# ── promises ──────────────────────────────────────────────────────────────────────────────────────────────────────
def promised_core() -> Core:
    """n0 and n1 are busy until 60, acme-3 is promised 4 GPUs from then on."""
    core = fair(4, 4)
    at(core, 0, job(4, 60), job(4, 60))
    at(core, 0, started("acme-1.1", 0), started("acme-2.1", 0))
    at(core, M, job(4, 60))
    assert core.state.reservations["acme-3"].kind == "promise"
    return core


def test_a_promise_moves_out_of_the_way_of_a_window_at_the_same_start() -> None:
    core = promised_core()
    before = core.state.reservations["acme-3"]
    node = before.tasks[0].node
    facts = at(core, 2 * M, window(70, 120, node))
    after = core.state.reservations["acme-3"]
    assert said(facts)[:2] == ["MaintenancePlanned", "CapacityReserved"]
    assert (after.kind, after.start_us) == ("promise", 60 * MINUTE_US)
    assert after.tasks[0].node != node
    again(core)


def test_a_window_that_a_promise_cannot_make_way_for_is_refused_with_the_earliest_date() -> None:
    core = promised_core()
    why, detail = refused(core, 2 * M, window(70, 100, "n0", "n1"))
    assert why == "conflict"
    assert "acme-3" in detail
    assert f"nothing forbids it from {120 * MINUTE_US} µs on" in detail
    act(core, 2 * M, window(120, 150, "n0", "n1"))


def test_a_promise_off_the_window_moves_too_if_only_so_all_have_places() -> None:
    """acme-4 (4 GPUs) is promised a node of 8 since that of 4 is busy; once it is not, it makes room."""
    core = fair(8, 8, 4)
    at(core, 0, job(8, 60), job(8, 60), job(4, 200))
    at(core, 0, *(started(f"acme-{n}.1", 0) for n in range(1, 4)))
    at(core, M, job(4, 60))
    at(core, 2 * M, job(8, 60))
    made = core.state.reservations
    assert {made[one].kind for one in ("acme-4", "acme-5")} == {"promise"}
    small, big = (made[one].tasks[0].node for one in ("acme-4", "acme-5"))
    at(core, 10 * M, f.RunEnded("acme-3.1", 10 * M * SECOND_US, "exited", 0), job(4, 45, priority=9))
    assert "acme-6" in {core.state.runs[run].job for run in core.state.runs}
    act(core, 11 * M, window(61, 90, big))
    assert [core.state.reservations[one].tasks[0].node for one in ("acme-4", "acme-5")] == ["n2", small]
    assert {core.state.reservations[one].start_us for one in ("acme-4", "acme-5")} == {60 * MINUTE_US}
    again(core)


def test_a_plan_gives_way_to_a_window() -> None:
    core = fair(4, 4)
    core.cycle(0, [a.EntitlementsChanged("shared", (a.Entitlement("industry/beta", 4000),))])
    at(core, 0, job(4, 60), job(4, 60, tenant="beta"))
    at(core, 0, started("acme-1.1", 0), started("beta-1.1", 0))
    at(core, M, job(8, 60, nodes=2))
    assert core.state.reservations["acme-2"].kind == "plan"
    facts = at(core, 2 * M, window(90, 120))
    assert said(facts)[:2] == ["MaintenancePlanned", "ReservationDropped"]
    assert core.state.reservations["acme-2"].start_us == 120 * MINUTE_US


def test_a_promise_is_not_given_where_a_window_leaves_too_little_for_all_guarantees() -> None:
    """beta is guaranteed 4 of 8; from 60 to 200 there are 4. What acme is offered then can be called back."""
    for closed, kind in ((False, "promise"), (True, "plan")):
        core = fair(4, 4)
        core.cycle(0, [a.EntitlementsChanged("shared", (a.Entitlement("industry/beta", 4000),))])
        if closed:
            act(core, 0, window(60, 200))
        at(core, 0, job(4, 60), job(4, 100))
        at(core, 1, job(4, 60))
        assert core.state.reservations["acme-3"].kind == kind


def test_a_window_that_breaks_into_guarantees_is_refused_unless_they_are_scaled() -> None:
    core = fair(4, 4)
    core.cycle(0, [a.EntitlementsChanged("shared", (a.Entitlement("industry/beta", 6000),))])
    why, detail = refused(core, M, window(60, 120))
    assert (why, "6 are guaranteed and 4 would be left" in detail) == ("conflict", True)
    act(core, M, window(60, 120, scale=True))


def test_the_earliest_date_is_when_the_commitment_ends() -> None:
    core = fair(4, 4)
    act(core, 0, a.CommitmentMade("", "shared", "industry/beta", 6000, 0, 300 * MINUTE_US))
    _, detail = refused(core, M, window(60, 120))
    assert f"from {300 * MINUTE_US} µs on" in detail.rpartition("; ")[2]


def test_the_earliest_date_is_after_all_that_forbids_it() -> None:
    """m1 is over at 90, the commitment at 300."""
    core = fair(4, 4)
    act(core, M, window(60, 90))
    act(core, M, a.CommitmentMade("", "shared", "industry/beta", 6000, 95 * MINUTE_US, 300 * MINUTE_US))
    _, detail = refused(core, 2 * M, window(60, 120))
    assert f"nothing forbids it from {300 * MINUTE_US} µs on" in detail


# ── emergency ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_emergency_stops_runs_at_once_and_breaks_by_name_what_cannot_move() -> None:
    core = promised_core()
    facts = at(core, 10 * M, a.MaintenancePlanned("", 0, nodes=("n0", "n1"), emergency=True, reason="power"))
    broken = [fact for fact in facts if isinstance(fact, f.PromiseBroken)]
    assert [(one.job, one.cause, one.old_us) for one in broken] == [("acme-3", "maintenance", 60 * MINUTE_US)]
    assert stops(facts) == [("acme-1.1", "maintenance"), ("acme-2.1", "maintenance")]
    assert core.state.pools["shared"].capacity() == 0
    again(core)


def test_an_emergency_on_one_node_moves_the_promise_that_can_move() -> None:
    core = promised_core()
    node = core.state.reservations["acme-3"].tasks[0].node
    facts = at(core, 10 * M, a.MaintenancePlanned("", 0, 200 * MINUTE_US, (node,), emergency=True))
    assert "PromiseBroken" not in names(facts)
    assert core.state.reservations["acme-3"].tasks[0].node != node


# ── where ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_domain_is_all_that_stands_in_it() -> None:
    core = Core()
    seen: list[f.Observation] = [f.RulesSet(FAIR, ""), f.TenantAdded("acme")]
    seen.append(f.SiteAdded("s", "simulated", levels=("block", "rack")))
    seen += [f.NodeAdded(f"n{i}", "s", 4, 0, 0, domains=("b1", f"r{i // 2}")) for i in range(4)]
    core.cycle(0, seen)
    act(core, M, window(60, 120, domain=("s", "b1", "r1")))
    assert core.state.maintenance.windows["m1"].nodes == ("n2", "n3")
    assert refused(core, M, window(60, 120, domain=("s", "b2")))[0] == "invalid"
    again(core)


def test_a_node_that_is_removed_in_a_window_does_not_come_back_with_its_end() -> None:
    core = fair(4, 4)
    act(core, M, window(60, 120))
    at(core, 60 * M)
    at(core, 70 * M, f.NodeRemoved("n0"))
    at(core, 120 * M)
    assert core.state.pools["shared"].capacity() == 4000
    assert core.state.pools["shared"].free.levels[4] == 0b10
    at(core, 121 * M, f.NodeAdded("n0", "s", 4, 64_000, 512_000))
    assert core.state.pools["shared"].capacity() == 8000
    again(core)


def test_a_node_that_is_added_again_in_a_window_stays_out_until_its_end() -> None:
    core = fair(4, 4)
    act(core, M, window(60, 120))
    at(core, 60 * M)
    at(core, 70 * M, f.NodeAdded("n0", "s", 8, 64_000, 512_000))
    assert core.state.pools["shared"].capacity() == 4000
    assert placed(at(core, 71 * M, job(8, 10))) == {}
    assert "acme-1.1" in placed(at(core, 120 * M))
    again(core)


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (window(1, 120), "runs have 60 s"),
        (window(60, 50), "an end at 3000000000"),
        (window(60, 120, "nx"), "no node 'nx'"),
        (window(60, 120, "n0", "n0"), "twice"),
        (window(60, 120, domain=("x",)), "no site 'x'"),
        (a.MaintenancePlanned("", HOUR_US), "either nodes or one domain"),
        (a.MaintenancePlanned("", HOUR_US, 0, ("n0",), ("s",)), "either nodes or one domain"),
        (window(60, 120, reason="fun"), "known: hardware"),
        (window(60, 120, emergency=True), "begins now"),
        (a.MaintenancePlanned("", HOUR_US, 0, ("n0",) * 501), "500"),
    ],
)
def test_what_is_no_window_is_refused(asked: a.MaintenancePlanned, says: str) -> None:
    why, detail = refused(fair(4), 2 * M, asked)
    assert why == "invalid"
    assert says in detail


def test_windows_on_the_same_nodes_must_not_overlap_but_may_follow() -> None:
    core = fair(4, 4)
    act(core, M, window(60, 120))
    why, detail = refused(core, M, window(90, 150, "n0", "n1"))
    assert (why, "m1" in detail) == ("conflict", True)
    assert f"from {120 * MINUTE_US} µs on" in detail
    act(core, M, window(120, 150))
    act(core, M, window(90, 150, "n1"))


def test_an_unknown_window_is_not_cancelled() -> None:
    assert refused(fair(4), M, a.MaintenanceCancelled("m9")) == ("unknown_maintenance", "m9")


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_a_window_would_meet_is_said_without_planning_it() -> None:
    core = promised_core()
    before = core.state.digest()
    wanted = wanted_at(core.state, 2 * MINUTE_US, window(50, 100, "n0", "n1"))
    planned = planned_window(core.state, wanted)
    met = meet(core.state, 2 * MINUTE_US, planned)
    assert (met.stops, met.broken) == (("acme-1.1", "acme-2.1"), ("acme-3",))
    assert earliest(core.state, 2 * MINUTE_US, planned, met) == 120 * MINUTE_US
    assert core.state.digest() == before
    assert meet(core.state, 2 * MINUTE_US, planned) == met


@pytest.mark.parametrize("rules", [FAIR, Rules(sharing=SHARING)])
def test_a_job_that_waits_for_maintenance_is_told_so_with_the_end(rules: Rules) -> None:
    core = cluster(4, rules=rules)
    act(core, M, window(60, 120))
    at(core, 61 * M, job(4, 10))
    said = why(core.state, "acme-1", 62 * MINUTE_US).binding
    assert (said.reason, said.window, said.until_us) == ("maintenance", "m1", 120 * MINUTE_US)


def test_a_job_that_is_too_long_before_a_window_is_told_how_long_it_may_be() -> None:
    core = fair(4)
    act(core, M, window(60, 120))
    at(core, 2 * M, job(4, 90))
    found = why(core.state, "acme-1", 10 * MINUTE_US)
    assert found.binding == Binding(
        "maintenance",
        90 * MINUTE_US,
        50 * MINUTE_US,
        "max_duration_us",
        until_us=120 * MINUTE_US,
        window="m1",
    )
    assert (found.start.kind, found.start.start_us) == ("promise", 120 * MINUTE_US)
    assert {one.dimension: one.value for one in found.changes}["max_duration"] == 50 * MINUTE_US


def test_a_job_that_would_not_fit_without_the_window_waits_for_something_else() -> None:
    core = fair(4, 4)
    at(core, 0, job(4, 30), job(4, 30))
    act(core, M, window(60, 120))
    at(core, 2 * M, job(4, 90))
    assert why(core.state, "acme-3", 2 * MINUTE_US).binding.reason == "capacity"


# ── other disciplines ─────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("discipline", ["fifo-greedy", "fifo-strict", "priority"])
def test_under_other_disciplines_nodes_leave_at_the_begin_and_are_back_at_the_end(discipline: str) -> None:
    core = cluster(4, rules=Rules(discipline=discipline, sharing=SHARING))
    at(core, 0, job(4, 180))
    act(core, M, window(60, 120))
    assert stops(at(core, 59 * M)) == [("acme-1.1", "maintenance")]
    facts = at(core, 60 * M, f.RunEnded("acme-1.1", 60 * M * SECOND_US, "stopped"))
    assert "JobRequeued" in names(facts)
    assert placed(facts) == placed(at(core, 119 * M, job(1, 1))) == {}
    assert "acme-1.2" in placed(at(core, 120 * M))
    again(core)


def test_a_window_stays_when_the_discipline_changes() -> None:
    core = cluster(4, rules=Rules(sharing=SHARING))
    act(core, M, window(60, 120))
    at(core, 2 * M, f.RulesSet(FAIR, ""))
    at(core, 3 * M, job(4, 90))
    assert core.state.reservations["acme-1"].start_us == 120 * MINUTE_US
