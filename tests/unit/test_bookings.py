# SPDX-License-Identifier: Apache-2.0
"""Bookings: granted if safe, in one place and paid, kept as promises, used by the jobs that name them alone."""

from typing import Any

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.bookings.booked import Booking, left
from leitstand.core.cycle import Core
from leitstand.core.explaining.why import Binding, why
from leitstand.core.rules import Booking as BookingRules
from leitstand.core.rules import Rules, Sharing
from leitstand.core.state import Projection, State
from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tests.unit.story import act, ask, at, cluster, ended, names, placed, started

M = 60  # seconds
SHARING = Sharing(
    protected_us=5 * MINUTE_US, grace_us=30 * SECOND_US, stop_us=30 * SECOND_US, recall_us=15 * MINUTE_US
)
FAIR = Rules(discipline="fair", sharing=SHARING)


def fair(*gpus: int, rules: Rules = FAIR, **more: Any) -> Core:
    return cluster(*gpus, rules=rules, **more)


def booking(
    begin: int, end: int, gpus: int = 4, nodes: int = 1, tenant: str = "acme", **more: Any
) -> f.BookingMade:
    """Minutes."""
    shape = {key: more.pop(key) for key in ("level", "gpu_type", "cpus_milli", "memory_mib") if key in more}
    asked = f.Resources(gpus, nodes, **shape)
    return f.BookingMade("", tenant, "default", asked, begin * MINUTE_US, end * MINUTE_US, **more)


def job(gpus: int = 1, minutes: int = 10, **more: Any) -> f.SubmitJob:
    return ask(gpus, max_duration_us=minutes * MINUTE_US, **more)


def again(core: Core) -> None:
    """The state is stored and read again without a difference, and so is what follows from it."""
    stored = msgspec.msgpack.encode(core.state.project())
    other = State.restore(msgspec.msgpack.decode(stored, type=Projection))
    assert other.digest() == core.state.digest()
    now = core._now
    for name, pool in core.state.pools.items():
        mine, its = pool.standing, other.pools[name].standing
        assert mine is not None
        assert its is not None
        assert its.cuts == mine.cuts
        assert {one: vars_of(held) for one, held in mine.tree.held.items()} == {
            one: vars_of(held) for one, held in its.tree.held.items()
        }
        for position in range(len(pool.names)):
            window = now, now + 10 * HOUR_US
            assert mine.timeline.room(position, window, "", (), ()) == its.timeline.room(
                position, window, "", (), ()
            )


def vars_of(held: Any) -> tuple[int, int, int]:
    return held.charge, held.pinned_us, held.until_us


def said(facts: list[f.Fact]) -> list[str]:
    return [name for name in names(facts) if name != "SharesTicked"]


def stops(facts: list[f.Fact]) -> list[tuple[str, str, str]]:
    return [(fact.run, fact.cause, fact.job) for fact in facts if isinstance(fact, f.RunStopOrdered)]


def refused(core: Core, seconds: int, asked: f.Observation) -> tuple[str, str]:
    """Why it is refused, and the detail; nothing but the tick is recorded."""
    assert set(names(at(core, seconds, asked))) <= {"SharesTicked"}
    assert core.answers[-1].refused
    return core.answers[-1].refused, core.answers[-1].detail


def rejected(core: Core, seconds: int, asked: f.SubmitJob) -> tuple[str, int, int, str]:
    (fact,) = [fact for fact in at(core, seconds, asked) if isinstance(fact, f.JobRejected)]
    return fact.reason, fact.asked, fact.limit, fact.resource


def nodes_of(core: Core, id: str = "r1") -> list[str]:
    return [task.node for task in core.state.bookings.of[id].tasks]


# ── it stands as a promise ────────────────────────────────────────────────────────────────────────────────────────
def test_nobody_else_starts_who_would_last_into_a_booking() -> None:
    core = fair(4)
    assert act(core, M, booking(60, 120)) == "r1"
    assert placed(at(core, 2 * M, job(4, 59))) == {}
    assert list(placed(at(core, 2 * M, job(4, 58)))) == ["acme-2.1"]
    again(core)


def test_a_job_that_does_not_name_it_waits_until_it_is_over() -> None:
    core = fair(4)
    act(core, M, booking(60, 120))
    facts = at(core, 2 * M, job(4, 90, tenant="beta"))
    (made,) = [fact for fact in facts if isinstance(fact, f.CapacityReserved)]
    assert (made.kind, made.start_us) == ("promise", 120 * MINUTE_US)
    assert said(at(core, 59 * M)) == ["BookingAdvanced"]
    assert said(at(core, 60 * M)) == ["BookingAdvanced"]
    again(core)
    assert said(at(core, 119 * M)) == ["BookingAdvanced"]
    assert said(at(core, 120 * M)) == ["BookingEnded", "RunPlaced"]
    assert core.state.bookings.of == {}
    again(core)


def test_a_run_in_its_place_is_told_to_end_in_time_and_waits_again() -> None:
    core = fair(4)
    at(core, 0, job(4, 600, tenant="beta", checkpoint_every_us=7 * MINUTE_US))
    at(core, 1, started("beta-1.1", 1))
    act(core, M, booking(60, 120))
    assert core.state.bookings.of["r1"].yields == ("beta-1.1",)
    assert core.state.pools["shared"].standing.tree.held["beta-1"].until_us == 60 * MINUTE_US  # type: ignore[union-attr]
    again(core)
    assert stops(at(core, 58 * M)) == []
    assert core.next_wake() == 59 * M * SECOND_US
    assert stops(at(core, 59 * M)) == [("beta-1.1", "recall", "r1")]
    facts = at(core, 59 * M + 20, f.RunEnded("beta-1.1", (59 * M + 20) * SECOND_US, "stopped"))
    assert "JobRequeued" in names(facts)
    assert placed(facts) == {}
    assert placed(at(core, 60 * M)) == {}
    assert "beta-1.2" in placed(at(core, 120 * M))


def test_no_more_runs_yield_than_are_in_the_way() -> None:
    core = fair(4)
    at(core, 0, job(2, 600), job(2, 600, tenant="beta"))
    act(core, M, booking(60, 120, gpus=2))
    assert len(core.state.bookings.of["r1"].yields) == 1


def test_what_a_booking_frees_when_it_is_cancelled_is_free_for_all() -> None:
    core = fair(4)
    at(core, 0, job(4, 600, tenant="beta"))
    act(core, M, booking(60, 120))
    at(core, 2 * M, f.BookingCancelled("r1"))
    again(core)
    assert stops(at(core, 59 * M)) == []
    assert core.state.pools["shared"].standing.cuts == {}  # type: ignore[union-attr]
    assert act(core, 60 * M, booking(70, 120)) == "r2"


def test_to_shares_it_is_a_pinned_run_of_its_owner() -> None:
    core = fair(4, 4)
    act(core, M, booking(60, 120))
    at(core, 2 * M)
    tree = core.state.pools["shared"].standing.tree  # type: ignore[union-attr]
    leaf = tree.node("industry/acme/default")
    assert (leaf.running, leaf.pinned) == (0, 0)
    at(core, 54 * M)  # m before its begin
    assert (leaf.running, leaf.pinned) == (0, 4000)
    at(core, 60 * M)
    assert (leaf.running, leaf.pinned) == (4000, 4000)
    at(core, 61 * M, job(2, booking="r1"))
    assert (leaf.running, leaf.pinned) == (4000, 4000)
    again(core)
    at(core, 120 * M)
    assert leaf.running == 0


# ── when it can be had ────────────────────────────────────────────────────────────────────────────────────────────
def guaranteed(core: Core, *amounts: tuple[str, int, int]) -> None:
    """(tenant, guarantee, borrow limit), thousandths."""
    asked = [a.Entitlement("industry", sum(one[1] for one in amounts))]
    asked += [a.Entitlement(f"industry/{tenant}", milli, 1, borrow) for tenant, milli, borrow in amounts]
    act(core, 0, a.EntitlementsChanged("shared", tuple(asked)))


def test_it_is_refused_where_all_guarantees_could_not_be_called_beside_it() -> None:
    core = fair(4, 4)
    guaranteed(core, ("beta", 6000, -1))
    why, detail = refused(core, M, booking(60, 120))
    assert why == "conflict"
    assert "2 more would be guaranteed, promised or booked than are there" in detail
    assert "no later time" in detail
    assert act(core, M, booking(60, 120, gpus=2)) == "r1"
    assert refused(core, M, booking(100, 140, gpus=2))[0] == "conflict"


def test_who_starts_beside_it_leaves_it_its_count_under_every_limit() -> None:
    core = fair(4, 4)
    guaranteed(core, ("acme", 0, 6000))
    act(core, M, booking(60, 120))
    assert placed(at(core, 2 * M, job(4, 600))) == {}
    assert list(placed(at(core, 2 * M, job(2, 600)))) == ["acme-2.1"]


def test_maintenance_of_its_nodes_alone_is_refused() -> None:
    core = fair(4, 4)
    act(core, M, booking(60, 120))
    (node,) = nodes_of(core)
    asked = a.MaintenancePlanned("", 100 * MINUTE_US, 110 * MINUTE_US, (node,))
    why, detail = refused(core, 2 * M, asked)
    assert (why, "nodes of it are booked: r1" in detail) == ("conflict", True)
    assert act(core, 2 * M, msgspec.structs.replace(asked, nodes=("n1" if node == "n0" else "n0",))) == "m1"


def test_its_own_guarantee_is_used_first() -> None:
    core = fair(4, 4)
    guaranteed(core, ("beta", 4000, -1), ("acme", 4000, -1))
    assert act(core, M, booking(60, 120)) == "r1"
    assert refused(core, M, booking(60, 120))[0] == "conflict"


def test_it_is_refused_over_a_borrow_limit() -> None:
    core = fair(4, 4)
    guaranteed(core, ("acme", 1000, 2000))
    why, detail = refused(core, M, booking(60, 120))
    assert (why, "counts for 4, and industry/acme/default may never use more than 3" in detail) == (
        "conflict",
        True,
    )
    assert act(core, M, booking(60, 120, gpus=2)) == "r1"
    why, detail = refused(core, M, booking(60, 120, gpus=2))
    assert (why, "1 more would be guaranteed, promised or booked than industry/acme may use" in detail) == (
        "conflict",
        True,
    )


def test_a_second_one_is_told_from_when_on_it_can_be_had() -> None:
    core = fair(4)
    act(core, M, booking(60, 120))
    why, detail = refused(core, M, booking(90, 150, tenant="beta"))
    assert why == "conflict"
    assert f"it can be had from {120 * MINUTE_US} µs on" in detail
    assert act(core, M, booking(120, 150, tenant="beta")) == "r2"


def test_it_has_no_place_in_maintenance_and_maintenance_none_in_it() -> None:
    core = fair(4)
    act(core, M, a.MaintenancePlanned("", 60 * MINUTE_US, 90 * MINUTE_US, ("n0",)))
    why, detail = refused(core, M, booking(70, 130))
    assert (why, f"from {90 * MINUTE_US} µs on" in detail) == ("conflict", True)
    assert act(core, M, booking(90, 130)) == "r1"
    why, detail = refused(core, 2 * M, a.MaintenancePlanned("", 100 * MINUTE_US, 110 * MINUTE_US, ("n0",)))
    assert (why, "r1" in detail) == ("conflict", True)
    assert f"from {130 * MINUTE_US} µs on" in detail


def test_runs_inside_a_guarantee_are_not_in_its_way_and_it_not_in_theirs() -> None:
    core = fair(4, 4)
    guaranteed(core, ("beta", 4000, -1))
    at(core, 0, job(4, 600, tenant="beta"), job(4, 600))
    act(core, M, booking(60, 120))
    assert core.state.bookings.of["r1"].yields == ("acme-1.1",)


def test_a_commitment_that_would_endanger_it_is_refused() -> None:
    core = fair(4, 4)
    act(core, M, booking(60, 120))
    asked = a.CommitmentMade("", "shared", "industry/beta", 6000, 90 * MINUTE_US, 200 * MINUTE_US)
    why, detail = refused(core, 2 * M, asked)
    assert (why, "r1" in detail) == ("conflict", True)
    assert act(core, 2 * M, msgspec.structs.replace(asked, from_us=120 * MINUTE_US)) == "c1"


def test_a_commitment_that_begins_in_its_window_counts() -> None:
    core = fair(4, 4)
    act(core, M, a.CommitmentMade("", "shared", "industry/beta", 6000, 90 * MINUTE_US, 200 * MINUTE_US))
    why, detail = refused(core, 2 * M, booking(60, 120))
    assert (why, f"it can be had from {200 * MINUTE_US} µs on" in detail) == ("conflict", True)
    assert act(core, 2 * M, booking(20, 90)) == "r1"


# ── who runs in it ────────────────────────────────────────────────────────────────────────────────────────────────
def test_jobs_that_name_it_start_inside_by_priority_and_count_nothing() -> None:
    core = fair(4, 4)
    act(core, M, booking(60, 120))
    asked = [job(3, booking="r1"), job(3, booking="r1", priority=1), job(1, booking="r1")]
    assert placed(at(core, 2 * M, *asked)) == {}
    assert [core.state.jobs[f"acme-{n}"].charge_milli for n in (1, 2, 3)] == [0, 0, 0]
    facts = at(core, 60 * M)
    assert list(placed(facts)) == ["acme-2.1", "acme-3.1"]
    assert {task[0] for tasks in placed(facts).values() for task in tasks} == set(nodes_of(core))
    again(core)
    at(core, 61 * M, started("acme-2.1", 60 * M))
    assert list(placed(at(core, 65 * M, ended("acme-2.1", 65 * M)))) == ["acme-1.1"]
    again(core)


def test_nobody_takes_who_runs_inside() -> None:
    core = fair(4, rules=FAIR)
    act(core, M, booking(10, 60))
    at(core, 2 * M, job(4, 50, booking="r1"))
    at(core, 10 * M)
    assert core.state.runs["acme-1.1"].pinned_us == 60 * MINUTE_US
    for minute in range(11, 30):
        assert stops(at(core, minute * M, job(4, 10, tenant="beta", priority=9))) == []


def test_what_shares_a_gpu_inside_shares_it_with_nobody_outside() -> None:
    core = fair(2)
    act(core, M, booking(60, 120, gpus=1))
    half = f.Resources(0, 1, gpu_milli=400)
    inside = f.SubmitJob("acme", "default", half, max_duration_us=50 * MINUTE_US, booking="r1")
    at(core, 60 * M, inside)
    outside = f.SubmitJob("beta", "default", half, max_duration_us=10 * MINUTE_US)
    facts = at(core, 61 * M, outside)
    theirs = placed([f.RunPlaced("x", "x", core.state.runs["acme-1.1"].tasks)])["x"]
    assert placed(facts)["beta-1.1"] != theirs
    at(core, 62 * M, inside, inside)
    assert core.state.runs["acme-2.1"].tasks == core.state.runs["acme-1.1"].tasks
    assert core.state.jobs["acme-3"].state == "pending"
    again(core)


def test_a_run_inside_ends_with_the_booking_in_time_and_who_waits_ends_refused() -> None:
    core = fair(4)
    act(core, M, booking(60, 120))
    at(core, 60 * M, job(4, 600, booking="r1"), job(4, 10, booking="r1"), job(4, 10, booking="r1", held=True))
    at(core, 60 * M, started("acme-1.1", 60 * M))
    assert core.state.pools["shared"].standing.tree.held["acme-1"].until_us == 120 * MINUTE_US  # type: ignore[union-attr]
    assert stops(at(core, 118 * M)) == []
    assert stops(at(core, 119 * M)) == [("acme-1.1", "booking", "")]
    facts = at(core, 119 * M + 30, f.RunEnded("acme-1.1", (119 * M + 30) * SECOND_US, "stopped"))
    (over,) = [fact for fact in facts if isinstance(fact, f.JobEnded)]
    assert (over.state, over.reason) == ("cancelled", "booking_ended")
    facts = at(core, 120 * M)
    assert [(fact.job, fact.state, fact.reason) for fact in facts if isinstance(fact, f.JobEnded)] == [
        ("acme-2", "failed", "booking_ended"),
        ("acme-3", "failed", "booking_ended"),
    ]
    assert core.state.jobs == {}
    assert core.state.inside.jobs == {}
    again(core)


def test_a_run_that_comes_back_after_the_booking_is_over_does_not_wait_again() -> None:
    core = fair(4)
    act(core, M, booking(60, 120))
    at(core, 60 * M, job(4, 600, booking="r1", retries=3))
    at(core, 61 * M, started("acme-1.1", 60 * M))
    at(core, 62 * M, f.BookingCancelled("r1"))
    assert core.state.runs["acme-1.1"].stopping == "booking"
    facts = at(core, 62 * M + 1, f.RunEnded("acme-1.1", (62 * M + 1) * SECOND_US, "lost"))
    assert [(fact.state, fact.reason) for fact in facts if isinstance(fact, f.JobEnded)] == [
        ("failed", "lost")
    ]
    assert core.state.jobs == {}


def test_a_run_inside_that_failed_runs_again_inside() -> None:
    core = fair(4, 4)
    act(core, M, booking(60, 120))
    at(core, 60 * M, job(4, 30, booking="r1", retries=1))
    at(core, 61 * M, started("acme-1.1", 60 * M))
    facts = at(core, 62 * M, ended("acme-1.1", 62 * M, exit_code=1))
    assert [task[0] for task in placed(facts)["acme-1.2"]] == nodes_of(core)


def test_a_run_outside_that_is_late_does_not_block_it_for_ever() -> None:
    core = fair(4)
    at(core, 0, job(4, 600, tenant="beta"))
    at(core, 1, started("beta-1.1", 1))
    act(core, M, booking(60, 120))
    at(core, 59 * M)
    assert placed(at(core, 60 * M, job(4, 10, booking="r1"))) == {}
    facts = at(core, 61 * M, f.RunEnded("beta-1.1", 61 * M * SECOND_US, "stopped"))
    assert list(placed(facts)) == ["acme-1.1"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (job(1, booking="r9"), ("unknown_booking", 0, 0, "")),
        (job(1, tenant="beta", booking="r1"), ("unknown_booking", 0, 0, "")),
        (job(5, booking="r1"), ("booking", 5, 4, "gpus")),
        (ask(4, 2, booking="r1", max_duration_us=MINUTE_US), ("booking", 2, 1, "nodes")),
        (
            f.SubmitJob("acme", "default", f.Resources(0, 1, mig="1g.10gb"), booking="r1"),
            ("booking", 0, 0, "mig"),
        ),
        (job(1, booking="r1", memory_mib=2**40), ("booking", 2**40, 512_000, "memory_mib")),
    ],
)
def test_a_job_that_could_not_run_in_it_is_refused(
    asked: f.SubmitJob, why: tuple[str, int, int, str]
) -> None:
    core = fair(4, 4)
    act(core, M, booking(60, 120))
    assert rejected(core, 2 * M, asked) == why


def test_other_projects_may_be_named() -> None:
    core = fair(4)
    act(core, 0, a.ProjectAdded("acme", "lab"))
    inside = msgspec.structs.replace(job(1, booking="r1"), project="lab")
    act(core, M, booking(60, 120))
    assert rejected(core, M, inside)[0] == "unknown_booking"
    at(core, 2 * M, f.BookingCancelled("r1"))
    act(core, 2 * M, booking(60, 120, projects=("lab",)))
    at(core, 3 * M, msgspec.structs.replace(inside, booking="r2"))
    assert list(placed(at(core, 60 * M))) == ["acme-2.1"]


# ── what it costs ─────────────────────────────────────────────────────────────────────────────────────────────────
def budget(core: Core, gpu_h: int) -> None:
    act(core, 0, a.BudgetGranted("", "acme", gpu_h * HOUR_US, 30 * DAY_US))


def amounts(core: Core) -> tuple[int, int]:
    """GPU-hours posted and reserved."""
    (one,) = core.state.tenants["acme"].budgets
    return one.posted // HOUR_US, one.reserved // HOUR_US


def test_all_of_its_window_is_paid_and_jobs_inside_are_not_charged_again() -> None:
    core = fair(4)
    budget(core, 10)
    act(core, M, booking(60, 180))
    assert amounts(core) == (0, 8)
    at(core, 60 * M, job(4, 30, booking="r1"))
    at(core, 60 * M, started("acme-1.1", 60 * M))
    facts = at(core, 70 * M, ended("acme-1.1", 70 * M))
    (used,) = [fact for fact in facts if isinstance(fact, f.UsageMetered)]
    assert (used.gpu_us, used.posted) == (4 * 10 * MINUTE_US, ())
    at(core, 179 * M)
    at(core, 180 * M)
    assert amounts(core) == (8, 0)


def test_one_that_no_budget_can_pay_is_refused() -> None:
    core = fair(4)
    budget(core, 7)
    why, detail = refused(core, M, booking(60, 180))
    assert why == "conflict"
    assert f"it costs {8 * HOUR_US} GPU·µs" in detail
    assert act(core, M, booking(60, 120)) == "r1"
    assert amounts(core) == (0, 4)
    assert refused(core, M, booking(120, 180))[0] == "conflict"


@pytest.mark.parametrize(("minute", "paid"), [(2, 0), (60, 0), (61, 4), (119, 4), (121, 8)])
def test_cancelling_costs_the_more_the_later(minute: int, paid: int) -> None:
    rules = msgspec.structs.replace(FAIR, booking=BookingRules(cancel_free_us=HOUR_US))
    core = fair(4, rules=rules)
    budget(core, 10)
    act(core, M, booking(120, 240))
    for moment in (119, 120):
        if moment < minute:
            at(core, moment * M)
    at(core, minute * M, f.BookingCancelled("r1"))
    assert amounts(core) == (paid, 0)
    assert core.state.bookings.of == {}
    again(core)


def test_one_that_nobody_uses_is_released_if_it_says_so() -> None:
    core = fair(4)
    budget(core, 10)
    act(core, M, booking(60, 180, release_idle_us=15 * MINUTE_US))
    at(core, 59 * M)
    at(core, 60 * M, job(1, 10, booking="r1"))
    at(core, 61 * M, started("acme-1.1", 60 * M))
    at(core, 70 * M, ended("acme-1.1", 70 * M))
    assert core.state.bookings.of
    assert core.next_wake() == 85 * MINUTE_US
    (over,) = [fact for fact in at(core, 85 * M) if isinstance(fact, f.BookingEnded)]
    assert over.cause == "idle"
    assert amounts(core) == (8, 0)


# ── what is asked ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_its_gpus_come_with_their_cpu_and_memory() -> None:
    core = fair(4, 8)
    act(core, M, booking(60, 120, gpus=2))
    made = core.state.bookings.of["r1"].resources
    assert (made.cpus_milli, made.memory_mib) == (2 * 8_000, 2 * 64_000)


def test_without_a_begin_it_begins_as_soon_as_everybody_can_have_left() -> None:
    core = fair(4)
    at(core, 0, job(4, 600, tenant="beta"))
    act(core, M, booking(0, 60))
    assert core.state.bookings.of["r1"].from_us == 7 * MINUTE_US


def test_asked_again_with_the_same_key_it_is_the_same() -> None:
    core = fair(4)
    assert act(core, M, booking(60, 120, request="r", request_digest="d")) == "r1"
    assert act(core, 2 * M, booking(60, 120, request="r", request_digest="d")) == "r1"
    assert len(core.state.bookings.of) == 1
    assert refused(core, 3 * M, booking(60, 130, request="r", request_digest="e"))[0] == "request_reused"


@pytest.mark.parametrize(
    ("asked", "why", "says"),
    [
        (booking(60, 120, tenant="nobody"), "unknown_tenant", "nobody"),
        (booking(60, 120, projects=("lab",)), "unknown_project", "lab"),
        (booking(2, 120), "invalid", "a begin at"),
        (booking(60 * 24 * 200, 60 * 24 * 200 + 60), "invalid", "a begin at"),
        (booking(60, 62), "invalid", "an end at"),
        (booking(60, 60 * 24 * 40), "invalid", "an end at"),
        (booking(60, 120, gpus=0), "invalid", "no GPU and no CPU"),
        (booking(60, 120, gpus=-1), "invalid", "gpus is -1"),
        (booking(60, 120, gpus=3, nodes=2), "invalid", "does not divide"),
        (booking(60, 120, release_idle_us=-1), "invalid", "release_idle_us is -1"),
        (booking(60, 120, pool="moon"), "invalid", "no pool 'moon'"),
        (booking(60, 120, gpus=9), "conflict", "could ever hold it"),
        (booking(60, 120, level="rack"), "conflict", "unknown_level"),
        (booking(60, 120, projects=("default",) * 65), "invalid", "65 other projects"),
        (f.BookingCancelled("r7"), "unknown_booking", "r7"),
    ],
)
def test_what_is_no_booking_is_refused(asked: f.Observation, why: str, says: str) -> None:
    core = fair(4, 4)
    found = refused(core, M, asked)
    assert found[0] == why
    assert says in found[1]


def test_a_tenant_has_a_limit_of_bookings() -> None:
    rules = msgspec.structs.replace(FAIR, booking=BookingRules(bookings_max=2))
    core = fair(4, rules=rules)
    act(
        core,
        M,
        booking(60, 80),
    )
    act(core, M, booking(80, 100))
    assert refused(core, M, booking(100, 120)) == ("busy", "2 bookings of a tenant that are not over")
    act(core, M, booking(100, 120, tenant="beta"))


@pytest.mark.parametrize("discipline", ["fifo-strict", "priority"])
def test_other_disciplines_know_no_bookings_and_end_those_that_are(discipline: str) -> None:
    core = fair(4)
    budget(core, 10)
    act(core, M, booking(60, 120))
    at(core, 2 * M, job(1, booking="r1"))
    facts = at(core, 3 * M, f.RulesSet(Rules(discipline=discipline), ""))
    assert [fact.cause for fact in facts if isinstance(fact, f.BookingEnded)] == ["rules"]
    assert core.state.jobs == {}
    assert refused(core, 4 * M, booking(60, 120))[0] == "invalid"


def test_a_booking_holds_nothing_but_what_it_says() -> None:
    core = fair(8)
    act(core, M, booking(60, 120, gpus=3))
    at(core, 60 * M, job(2, 10, booking="r1"))
    known: Booking = core.state.bookings.of["r1"]
    assert left(core.state, known) == {0: (1, 8_000 * 3, 64_000 * 3)}
    facts = at(core, 61 * M, *[job(1, 30, tenant="beta") for _ in range(8)])
    assert len(placed(facts)) == 5


# ── what fails ────────────────────────────────────────────────────────────────────────────────────────────────────
def failed(node: str) -> f.NodeRemoved:
    return f.NodeRemoved(node, failed=True)


def racked(*racks: str) -> Core:
    """Nodes n0, n1, … of 4 GPUs in these racks."""
    core = cluster(rules=FAIR)
    seen: list[f.Observation] = [f.SiteAdded("r", "simulated", levels=("rack",))]
    seen += [
        f.NodeAdded(f"n{i}", "r", 4, 64_000, 512_000, pool="shared", domains=(rack,))
        for i, rack in enumerate(racks)
    ]
    core.cycle(0, seen)
    assert [answer for answer in core.answers if answer.refused] == []
    return core


def test_another_node_of_its_rack_takes_the_place_of_one_that_failed() -> None:
    core = racked("r0", "r1", "r0", "r0")
    act(core, M, booking(60, 120, gpus=8, nodes=2, level="rack"))
    before = nodes_of(core)
    at(core, 60 * M, job(4, 50, booking="r1"), job(4, 50, booking="r1"))
    at(core, 61 * M, *[started(run, 60 * M) for run in core.state.runs])
    (moved,) = [fact for fact in at(core, 62 * M, failed(before[0])) if isinstance(fact, f.BookingMoved)]
    after = [task.node for task in moved.tasks]
    rack = {core.state.nodes[node].domains for node in (before[1], *after)}
    assert (moved.cause, before[0] in after, before[1] in after, len(rack)) == ("node_failed", False, True, 1)
    again(core)
    (run,) = [run for run in core.state.runs.values() if run.stopping]
    facts = at(core, 62 * M + 1, f.RunEnded(run.id, (62 * M + 1) * SECOND_US, "stopped"))
    assert [tasks[0][0] for tasks in placed(facts).values()] == [node for node in after if node != before[1]]


def test_who_is_on_the_only_node_that_can_take_the_place_yields() -> None:
    core = fair(4, 4)
    act(core, M, booking(60, 120))
    (before,) = nodes_of(core)
    at(core, 2 * M, job(4, 600, tenant="beta"))
    at(core, 60 * M)
    facts = at(core, 62 * M, failed(before))
    assert said(facts)[:3] == ["NodeRemoved", "BookingMoved", "RunStopOrdered"]
    assert stops(facts) == [("beta-1.1", "recall", "r1")]
    again(core)
    at(core, 62 * M + 1, job(4, 10, booking="r1"))
    facts = at(core, 63 * M, f.RunEnded("beta-1.1", 63 * M * SECOND_US, "stopped"))
    assert list(placed(facts)) == ["acme-1.1"]


def test_what_nothing_can_replace_breaks_by_name_and_is_not_paid() -> None:
    core = fair(4, 4)
    budget(core, 100)
    act(core, M, booking(60, 180, gpus=8, nodes=2))
    assert amounts(core) == (0, 16)
    at(core, 59 * M)
    at(core, 60 * M)
    (broken,) = [fact for fact in at(core, 120 * M, failed("n1")) if isinstance(fact, f.BookingBroken)]
    assert (broken.cause, [task.node for task in broken.tasks], broken.charge_milli) == (
        "node_failed",
        ["n0"],
        4000,
    )
    again(core)
    assert rejected(core, 121 * M, job(8, nodes=2, booking="r1"))[0] == "booking"
    at(core, 179 * M)
    at(core, 180 * M)
    assert amounts(core) == (12, 0)


def test_one_of_which_nothing_is_left_ends() -> None:
    core = fair(4)
    budget(core, 100)
    act(core, M, booking(60, 180))
    facts = at(core, 2 * M, job(1, booking="r1"), failed("n0"))
    assert [fact.cause for fact in facts if isinstance(fact, f.BookingEnded)] == ["lost"]
    assert core.state.jobs == {}
    assert amounts(core) == (0, 0)


def test_one_that_has_not_begun_goes_elsewhere_whole() -> None:
    core = racked("r0", "r0", "r1", "r1")
    act(core, M, booking(60, 120, gpus=8, nodes=2, level="rack"))
    before = nodes_of(core)
    at(core, 2 * M, failed(before[0]))
    assert not set(before) & set(nodes_of(core))
    again(core)


def test_an_emergency_moves_it_like_a_failure() -> None:
    core = fair(4, 4)
    act(core, M, booking(60, 120))
    (before,) = nodes_of(core)
    asked = a.MaintenancePlanned("", 0, 0, (before,), emergency=True)
    (moved,) = [fact for fact in at(core, 2 * M, asked) if isinstance(fact, f.BookingMoved)]
    assert (moved.cause, moved.tasks[0].node == before) == ("maintenance", False)
    again(core)


# ── what it may not become ────────────────────────────────────────────────────────────────────────────────────────
def test_two_bookings_that_begin_together_make_way_by_count_together() -> None:
    core = fair(4, 4, 4)
    guaranteed(core, ("acme", 0, 8000))
    at(core, 0, job(4, 600))
    act(core, M, booking(60, 120))
    act(core, M, booking(60, 120))
    assert not core.state.bookings.of["r1"].yields + core.state.bookings.of["r2"].yields
    assert stops(at(core, 59 * M)) == [("acme-1.1", "recall", "r1")]


def test_a_tenant_that_leaves_gives_its_bookings_back() -> None:
    core = fair(4)
    act(core, M, booking(600, 660))
    exits = a.TenantExitStarted("acme", M * SECOND_US, 2 * M * SECOND_US, 3 * M * SECOND_US)
    core.state.apply(2 * M * SECOND_US, exits)
    facts = at(core, 10 * M) + at(core, 11 * M)
    assert [fact.cause for fact in facts if isinstance(fact, f.BookingEnded)] == ["exit"]


def test_who_was_held_when_the_tenant_was_suspended_starts_inside_when_it_is_back() -> None:
    core = fair(4)
    act(core, M, booking(60, 120))
    at(core, 2 * M, job(4, 10, booking="r1"))
    act(core, 3 * M, a.TenantSuspended("acme", "unpaid"))
    assert placed(at(core, 60 * M)) == {}
    assert list(placed(at(core, 61 * M, a.TenantResumed("acme")))) == ["acme-1.1"]
    again(core)


def test_an_elastic_run_in_its_place_goes_on_with_fewer_nodes() -> None:
    core = cluster(rules=FAIR)
    seen: list[f.Observation] = [f.SiteAdded("r", "simulated", resizes=True)]
    seen += [f.NodeAdded(f"n{i}", "r", 4, 64_000, 512_000, pool="shared") for i in range(3)]
    core.cycle(0, seen)
    shape = f.Resources(4, 1, nodes_max=3)
    at(core, 0, f.SubmitJob("beta", "default", shape, max_duration_us=10 * HOUR_US, elastic=True))
    at(core, 1, started("beta-1.1", 1))
    at(core, 60)
    assert len(core.state.runs["beta-1.1"].tasks) == 3
    act(core, 2 * M, booking(60, 120))
    assert core.state.bookings.of["r1"].yields == ("beta-1.1",)
    again(core)
    facts = at(core, 59 * M)
    (order,) = [fact for fact in facts if isinstance(fact, f.RunResizeOrdered)]
    assert (order.cause, len(order.tasks), nodes_of(core)[0] in {task.node for task in order.tasks}) == (
        "recall",
        2,
        False,
    )
    at(core, 59 * M + 1, f.RunResized("beta-1.1", order.number, (59 * M + 1) * SECOND_US))
    assert list(placed(at(core, 60 * M, job(4, 30, booking="r1")))) == ["acme-1.1"]
    assert core.state.pools["shared"].standing.cuts == {}  # type: ignore[union-attr]
    again(core)


def test_a_job_that_waits_for_its_booking_is_told_so_with_the_time_or_what_it_lacks() -> None:
    core = fair(4)
    act(core, M, booking(60, 120))
    at(core, 2 * M, job(3, 10, booking="r1"), job(2, 10, booking="r1"))
    said = why(core.state, "acme-1", 2 * M * SECOND_US)
    assert said.binding == Binding("booking", until_us=60 * MINUTE_US, booking="r1")
    assert (said.start.kind, said.start.start_us) == ("estimate", 60 * MINUTE_US)
    at(core, 59 * M)
    at(core, 60 * M)
    assert why(core.state, "acme-2", 60 * M * SECOND_US).binding == Binding(
        "booking", 2, 1, "gpus", booking="r1"
    )
