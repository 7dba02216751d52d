# SPDX-License-Identifier: Apache-2.0
"""Budgets as stories: what is reserved at admission, what runs post, who pays one that is lost, what expires."""

from typing import Any

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import budgets
from leitstand.core import facts as f
from leitstand.core.budgets import Budget, LatestStarts
from leitstand.core.cycle import Core
from leitstand.core.explaining.explain import plan
from leitstand.core.rules import TENANT_CLASSES, Rules, check
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US, SECOND_US
from tests.unit.story import act, ask, at, cluster, ended, placed, refused, started

HOUR = HOUR_US // SECOND_US
PRICE = 2_500_000  # 2.50 EUR for one GPU and hour
PRICED = Rules(price_micro_eur_per_gpu_h=dict.fromkeys(TENANT_CLASSES, PRICE))


def grant(core: Core, gpu_hours: float, until_h: float = 1000, at_s: int = 0, tenant: str = "acme") -> str:
    asked = a.BudgetGranted("", tenant, round(gpu_hours * HOUR_US), round(until_h * HOUR_US))
    return act(core, at_s, asked)


def grant_eur(core: Core, eur: float, until_h: float = 1000) -> str:
    asked = a.BudgetGranted("", "acme", 0, round(until_h * HOUR_US), "paid", micro_eur=round(eur * 1_000_000))
    return act(core, 0, asked)


def hours(gpus: int, limit_h: float, **more: Any) -> f.SubmitJob:
    return ask(gpus, max_duration_us=round(limit_h * HOUR_US), **more)


def left(core: Core, tenant: str = "acme") -> list[tuple[float, float, float]]:
    """(free, reserved, posted) of each budget, in GPU-hours or EUR."""
    found = []
    for one in core.state.tenants[tenant].budgets:
        unit = 1_000_000 if one.micro_eur else HOUR_US
        found.append((one.free / unit, one.reserved / unit, one.posted / unit))
    return found


def rejection(facts: list[f.Fact]) -> f.JobRejected:
    (found,) = (fact for fact in facts if isinstance(fact, f.JobRejected))
    return found


def admission(facts: list[f.Fact]) -> f.JobAdmitted:
    (found,) = (fact for fact in facts if isinstance(fact, f.JobAdmitted))
    return found


# ── reserve, post, void ───────────────────────────────────────────────────────────────────────────────────────────
def test_of_a_thousand_submissions_at_once_those_are_admitted_that_the_budget_can_pay() -> None:
    core = cluster(8)
    grant(core, 100)
    facts = at(core, 1, *(hours(8, 1) for _ in range(1000)))
    assert sum(isinstance(fact, f.JobAdmitted) for fact in facts) == 12
    refusals = [fact for fact in facts if isinstance(fact, f.JobRejected)]
    assert len(refusals) == 988
    assert {(one.reason, one.asked, one.limit, one.resource) for one in refusals} == {
        ("budget", 8 * HOUR_US, 4 * HOUR_US, "gpu_us")
    }
    assert left(core) == [(4.0, 96.0, 0.0)]
    at(core, 1, started("acme-1.1", 1))
    facts = at(core, 1 + HOUR // 2, ended("acme-1.1", 1 + HOUR // 2))
    (metered,) = (fact for fact in facts if isinstance(fact, f.UsageMetered))
    assert metered.posted == (("b1", 4 * HOUR_US),)
    assert left(core) == [(8.0, 88.0, 4.0)]
    facts = at(core, HOUR, *(hours(8, 1) for _ in range(1000)))
    assert sum(isinstance(fact, f.JobAdmitted) for fact in facts) == 1
    assert left(core) == [(0.0, 96.0, 4.0)]


def test_a_tenant_that_was_never_granted_a_budget_is_not_limited_nor_is_the_built_in_one() -> None:
    core = cluster(8, tenants=("acme", "beta", "operator"))
    grant(core, 1)
    grant(core, 1, tenant="operator")
    facts = at(core, 1, hours(8, 100, tenant="beta"), hours(8, 100, tenant="operator"))
    assert [fact.reserved for fact in facts if isinstance(fact, f.JobAdmitted)] == [(), ()]
    assert rejection(at(core, 1, hours(8, 1))).reason == "budget"


def test_rules_can_require_budgets_of_all_or_of_nobody() -> None:
    core = cluster(8, rules=Rules(budgets="required"), tenants=("acme", "operator"))
    assert rejection(at(core, 1, hours(1, 1))) == f.JobRejected("acme-1", "budget", HOUR_US, 0, "gpu_us")
    assert admission(at(core, 1, hours(1, 1, tenant="operator"))).reserved == ()
    core = cluster(8, rules=Rules(budgets="off"))
    grant(core, 1)
    assert admission(at(core, 1, hours(8, 1))).reserved == ()
    assert left(core) == [(1.0, 0.0, 0.0)]


def test_an_expired_budget_limits_still_but_pays_nothing() -> None:
    core = cluster(8)
    grant(core, 100, until_h=2)
    found = rejection(at(core, 2 * HOUR, hours(1, 1)))
    assert (found.reason, found.asked, found.limit) == ("budget", HOUR_US, 0)


def test_what_a_job_did_not_use_is_void_at_its_end_whatever_its_end_is() -> None:
    core = cluster(8)
    grant(core, 100)
    at(core, 0, hours(8, 1), hours(8, 1))
    assert left(core) == [(84.0, 16.0, 0.0)]
    at(core, 1, f.CancelJob("acme-2"))  # it waited
    assert left(core) == [(92.0, 8.0, 0.0)]
    at(core, 1, started("acme-1.1", 0), f.CancelJob("acme-1"))
    at(core, HOUR // 4, f.RunEnded("acme-1.1", HOUR // 4 * SECOND_US, "stopped"))
    assert left(core) == [(98.0, 0.0, 2.0)]  # who cancels pays what ran
    assert core.state.jobs == {}


def test_time_beyond_the_limit_is_not_posted() -> None:
    core = cluster(8)
    grant(core, 8)
    at(core, 0, hours(8, 1))
    at(core, 1, started("acme-1.1", 0))
    over = f.RunEnded("acme-1.1", (HOUR + 30) * SECOND_US, "time_limit")
    facts = at(core, HOUR + 31, over)
    (metered,) = (fact for fact in facts if isinstance(fact, f.UsageMetered))
    assert (metered.gpu_us, metered.posted) == (8 * (HOUR + 30) * SECOND_US, (("b1", 8 * HOUR_US),))
    assert left(core) == [(0.0, 0.0, 8.0)]


def test_nor_is_it_where_an_elastic_job_has_reserved_for_more_than_it_got() -> None:
    core = cluster(8, 8)
    grant(core, 16)
    asked = f.Resources(8, 1, nodes_max=2)
    at(core, 0, f.SubmitJob("acme", "default", asked, max_duration_us=HOUR_US))
    job = core.state.jobs["acme-1"]
    assert job.reserved == (("b1", 16 * HOUR_US),)
    whole = core.state.runs["acme-1.1"]
    run = msgspec.structs.replace(whole, tasks=whole.tasks[:1], started_us=0)  # as where one node is free
    assert budgets.use(core.state, job, run, "time_limit", HOUR_US + SECOND_US) == (("b1", 8 * HOUR_US),)


@pytest.mark.parametrize("outcome", budgets.UNPAID)
def test_a_run_that_the_cloud_lost_costs_nothing(outcome: str) -> None:
    core = cluster(8)
    grant(core, 8)
    at(core, 0, hours(8, 1))
    at(core, 1, started("acme-1.1", 0))
    facts = at(core, HOUR // 2, f.RunEnded("acme-1.1", HOUR // 2 * SECOND_US, outcome))
    assert [fact.posted for fact in facts if isinstance(fact, f.UsageMetered)] == [()]
    assert left(core) == [(8.0, 0.0, 0.0)]


# ── further runs ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_further_run_after_a_lost_one_keeps_what_is_reserved() -> None:
    core = cluster(8)
    grant(core, 8)
    at(core, 0, hours(8, 1, retries=1))
    at(core, 1, started("acme-1.1", 0))
    facts = at(core, 10, f.RunEnded("acme-1.1", 10 * SECOND_US, "lost"))
    assert not [fact for fact in facts if isinstance(fact, f.BudgetReserved)]
    assert placed(facts).keys() == {"acme-1.2"}
    assert left(core) == [(0.0, 8.0, 0.0)]


def test_a_further_run_after_a_failure_of_the_job_reserves_again_what_was_posted() -> None:
    core = cluster(8)
    grant(core, 10)
    at(core, 0, hours(8, 1, retries=2))
    at(core, 1, started("acme-1.1", 0))
    facts = at(core, HOUR // 4, ended("acme-1.1", HOUR // 4, 1))
    assert [fact for fact in facts if isinstance(fact, f.BudgetReserved)] == [
        f.BudgetReserved("acme-1", (("b1", 8 * HOUR_US),))
    ]
    assert left(core) == [(0.0, 8.0, 2.0)]
    at(core, HOUR // 4, started("acme-1.2", HOUR // 4))
    facts = at(core, HOUR // 2, ended("acme-1.2", HOUR // 2, 1))
    assert facts[-1] == f.JobEnded("acme-1", "failed", "budget", 1)
    assert left(core) == [(6.0, 0.0, 4.0)]


# ── several budgets, expiry ───────────────────────────────────────────────────────────────────────────────────────
def test_what_expires_first_pays_first_and_several_budgets_pay_one_job() -> None:
    core = cluster(8)
    grant(core, 3, until_h=50)
    grant(core, 3, until_h=10)
    grant(core, 9, until_h=50)
    assert admission(at(core, 0, hours(8, 1))).reserved == (
        ("b2", 3 * HOUR_US),
        ("b1", 3 * HOUR_US),
        ("b3", 2 * HOUR_US),
    )
    at(core, 1, started("acme-1.1", 0))
    facts = at(core, HOUR // 2, ended("acme-1.1", HOUR // 2))
    (metered,) = (fact for fact in facts if isinstance(fact, f.UsageMetered))
    assert metered.posted == (("b2", 3 * HOUR_US), ("b1", HOUR_US))
    assert left(core) == [(2.0, 0.0, 1.0), (0.0, 0.0, 3.0), (9.0, 0.0, 0.0)]


def test_no_run_outlasts_what_pays_it() -> None:
    core = cluster(8)
    grant(core, 100, until_h=2)
    found = rejection(at(core, 0, hours(1, 2.5)))
    assert (found.reason, found.asked, found.limit) == ("budget", 2.5 * HOUR_US, 0)
    assert admission(at(core, 0, hours(1, 2))).reserved == (("b1", 2 * HOUR_US),)
    grant(core, 100, until_h=20)
    assert admission(at(core, 0, hours(1, 2.5))).reserved == (("b2", round(2.5 * HOUR_US)),)


def test_a_job_that_waits_too_long_for_its_budget_is_paid_by_another_or_ends() -> None:
    core = cluster(8)
    grant(core, 100, until_h=10)
    at(core, 0, hours(8, 9), hours(8, 2), hours(8, 1))
    assert core.next_wake() == 8 * HOUR_US + 1  # the second has to start by then
    grant(core, 16, until_h=100, at_s=1)
    assert at(core, 8 * HOUR) == []
    later = core.cycle(8 * HOUR_US + 1, [])
    assert later == [f.BudgetReserved("acme-2", (("b2", 16 * HOUR_US),))]
    assert left(core) == [(20.0, 80.0, 0.0), (0.0, 16.0, 0.0)]
    assert core.next_wake() == 9 * HOUR_US + 1
    assert core.cycle(9 * HOUR_US + 1, []) == [f.JobEnded("acme-3", "failed", "budget")]
    assert left(core) == [(28.0, 72.0, 0.0), (0.0, 16.0, 0.0)]
    assert core.next_wake() == 98 * HOUR_US + 1
    at(core, 10 * HOUR, ended("acme-1.1", 9 * HOUR, started=1))
    assert core.next_wake() is None  # it runs
    assert core.state.jobs["acme-2"].run == "acme-2.1"


def test_jobs_that_reserve_again_come_in_portions_and_nothing_starts_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budgets, "RENEWED_MAX", 2)
    core = cluster(8)
    grant(core, 100, until_h=10)
    at(core, 0, hours(8, 1), *(hours(8, 1) for _ in range(5)))
    at(core, 1, started("acme-1.1", 0))
    late = 9 * HOUR_US + 1
    facts = core.cycle(late, [f.RunEnded("acme-1.1", late, "exited", 0)])
    assert [fact.job for fact in facts if isinstance(fact, f.JobEnded)] == ["acme-2", "acme-3", "acme-1"]
    assert placed(facts) == {}
    assert core.next_wake() == late
    assert [fact.job for fact in core.cycle(late, []) if isinstance(fact, f.JobEnded)] == ["acme-4", "acme-5"]
    assert [fact.job for fact in core.cycle(late, []) if isinstance(fact, f.JobEnded)] == ["acme-6"]
    assert (core.next_wake(), core.state.jobs) == (None, {})


def test_latest_starts_forget_what_changed() -> None:
    starts = LatestStarts()
    for number in range(3000):
        starts.put("a", number)
    starts.put("b", 5000)
    assert (starts.first(), starts.before(2999, 9), starts.before(6000, 9)) == (2999, [], ["a", "b"])
    assert len(starts._heap) < 2000
    starts.put("a", None)
    starts.put("c", None)
    assert (starts.first(), starts.before(5001, 9)) == (5000, ["b"])


# ── euros ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_budget_in_euros_pays_at_the_price_in_force_rounded_up_once() -> None:
    core = cluster(8, rules=PRICED)
    grant_eur(core, 50)
    admitted = admission(at(core, 0, hours(8, 1)))
    assert (admitted.reserved, admitted.price_micro_eur) == ((("b1", 20_000_000),), PRICE)
    core.cycle(1, [f.RunStarted("acme-1.1", 1)])
    facts = core.cycle(2, [f.RunEnded("acme-1.1", 2, "exited", 0)])
    (metered,) = (fact for fact in facts if isinstance(fact, f.UsageMetered))
    assert metered.posted == (("b1", 1),)  # 8 GPU·µs cost 0.0056 millionths of a euro
    found = rejection(at(core, 1, hours(8, 3)))
    assert (found.asked, found.limit, found.resource) == (60_000_000, 49_999_999, "micro_eur")


def test_gpu_hours_and_euros_pay_one_job_together() -> None:
    core = cluster(8, rules=PRICED)
    grant(core, 3, until_h=10)
    grant_eur(core, 50, until_h=20)
    assert admission(at(core, 0, hours(8, 1))).reserved == (("b1", 3 * HOUR_US), ("b2", 12_500_000))
    found = rejection(at(core, 0, hours(8, 4)))
    assert (found.asked, found.limit, found.resource) == (32 * HOUR_US, 15 * HOUR_US, "gpu_us")


def test_a_reservation_keeps_its_price() -> None:
    core = cluster(8, rules=PRICED)
    grant_eur(core, 50)
    at(core, 0, hours(8, 1))
    dearer = Rules(price_micro_eur_per_gpu_h=dict.fromkeys(TENANT_CLASSES, 2 * PRICE))
    at(core, 0, f.RulesSet(dearer, ""), started("acme-1.1", 0))
    at(core, HOUR, ended("acme-1.1", HOUR))
    assert left(core) == [(30.0, 0.0, 20.0)]
    assert admission(at(core, HOUR, hours(1, 1))).reserved == (("b1", 5_000_000),)


def test_a_budget_in_euros_is_not_granted_where_no_price_is_in_force_and_pays_nothing_once_there_is_none() -> (
    None
):
    core = cluster(8)
    asked = a.BudgetGranted("", "acme", 0, HOUR_US, micro_eur=5)
    why, detail = refused(core, 0, asked)
    assert (why, "industry" in detail) == ("conflict", True)
    core = cluster(8, rules=PRICED)
    grant_eur(core, 50)
    at(core, 0, f.RulesSet(Rules(), ""))
    found = rejection(at(core, 0, hours(8, 1)))
    assert (found.asked, found.limit, found.resource) == (8 * HOUR_US, 0, "gpu_us")


@pytest.mark.parametrize(
    ("gpu_us", "micro_eur"), [(0, 0), (1, 1), (-1, 0), (0, -1), (-1, 5), (2**63, 0), (0, 2**63)]
)
def test_a_budget_is_gpu_time_or_euros(gpu_us: int, micro_eur: int) -> None:
    core = cluster(8, rules=PRICED)
    assert refused(core, 0, a.BudgetGranted("", "acme", gpu_us, HOUR_US, micro_eur=micro_eur))[0] == "invalid"


def test_rules_of_budgets_are_checked() -> None:
    wrong = Rules(budgets="some", price_micro_eur_per_gpu_h={"industry": -1, "public": 10**11})
    faults = "; ".join(check(wrong))
    for said in ("budgets is 'some'", "names other classes", "'industry' is -1", "'public' is 100000000000"):
        assert said in faults
    assert check(PRICED) == []


# ── what is charged ───────────────────────────────────────────────────────────────────────────────────────────────
def test_a_pool_without_gpus_costs_no_budget() -> None:
    core = cluster(0)
    grant(core, 1)
    assert admission(at(core, 0, ask(0, cpus_milli=1000, retries=1))).reserved == ()
    at(core, 1, started("acme-1.1", 0))
    at(core, 5, ended("acme-1.1", 5, 1))
    assert left(core) == [(1.0, 0.0, 0.0)]


@pytest.mark.parametrize(
    ("asked", "charge_milli", "tasks", "milli"),
    [
        (f.Resources(8), 0, 1, 8000),
        (f.Resources(8), 9500, 1, 9500),  # by its memory
        (f.Resources(0, 2, gpu_milli=250), 0, 2, 500),
        (f.Resources(8, 2, nodes_max=4), 0, 3, 12000),
        (f.Resources(9, 3, nodes_max=4), 10_000, 4, 13_334),
        (f.Resources(16, 0), 0, 2, 16000),
    ],
)
def test_a_job_is_charged_by_its_size(asked: f.Resources, charge_milli: int, tasks: int, milli: int) -> None:
    assert budgets.charge(asked, charge_milli, tasks) == milli
    assert budgets.most(asked, charge_milli) >= milli


# ── readings ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_plan_says_what_would_be_reserved_and_what_it_would_cost_at_most() -> None:
    core = cluster(8, rules=PRICED)
    grant(core, 8)
    said = plan(core.state, hours(8, 1), 0)
    assert (said.payment.parts, said.micro_eur) == ((("b1", 8 * HOUR_US),), 20_000_000)
    assert left(core) == [(8.0, 0.0, 0.0)]
    said = plan(core.state, hours(8, 2), 0)
    assert (said.admitted, said.reason, said.asked, said.limit) == (
        False,
        "budget",
        16 * HOUR_US,
        8 * HOUR_US,
    )


def test_reservations_survive_a_snapshot() -> None:
    core = cluster(8)
    grant(core, 100, until_h=10)
    at(core, 0, hours(8, 1), hours(8, 1))
    stored = msgspec.msgpack.encode(core.state.project())
    again = Core(State.restore(msgspec.msgpack.decode(stored, type=Projection)))
    assert again.next_wake() == core.next_wake() == 9 * HOUR_US + 1
    assert again.state.tenants["acme"].budgets == [
        Budget("b1", 100 * HOUR_US, 10 * HOUR_US, "grant", 0, 0, 16 * HOUR_US)
    ]


def changes(core: Core, asked: f.SubmitJob) -> dict[str, tuple[int, int, str]]:
    """What would help a job that no budget can pay: dimension → (value, now, unit)."""
    said = plan(core.state, asked, 0)
    return {one.dimension: (one.value, one.now, one.resource) for one in said.changes}


def admits(core: Core, asked: f.SubmitJob, *first: f.Observation) -> bool:
    """Whether the next cycle of a core in the same state admits the job and starts it."""
    raw = msgspec.msgpack.encode(core.state.project())
    other = Core(State.restore(msgspec.msgpack.decode(raw, type=Projection)))
    facts = at(other, 0, *first, asked)
    return any(isinstance(fact, f.RunPlaced) for fact in facts)


@pytest.mark.parametrize("euros", [False, True])
def test_what_no_budget_can_pay_is_told_the_least_that_would_help(euros: bool) -> None:
    core = cluster(8, rules=PRICED)
    if euros:
        grant_eur(core, 20.01)
    else:
        grant(core, 8)
    asked = hours(8, 2)
    found = changes(core, asked)
    assert list(found) == ["max_duration", "size", "budget"]
    limit_us, now_us, unit = found["max_duration"]
    assert (now_us, unit) == (2 * HOUR_US, "max_duration_us")
    change = msgspec.structs.replace
    assert admits(core, change(asked, max_duration_us=limit_us))
    assert not admits(core, change(asked, max_duration_us=limit_us + SECOND_US))
    size, whole, unit = found["size"]
    assert (size, whole, unit) == (4, 8, "gpus")
    assert admits(core, hours(4, 2))
    assert not admits(core, hours(5, 2))
    further, _, unit = found["budget"]
    assert unit == ("micro_eur" if euros else "gpu_us")

    def granted(amount: int) -> a.BudgetGranted:
        gpu_us, micro_eur = (0, amount) if euros else (amount, 0)
        return a.BudgetGranted("", "acme", gpu_us, 2 * HOUR_US, "paid", micro_eur=micro_eur)

    assert admits(core, asked, granted(further))
    assert not admits(core, asked, granted(further - 1))


def test_a_budget_that_ends_too_early_is_helped_by_a_shorter_time_limit() -> None:
    core = cluster(8)
    grant(core, 100, until_h=1)
    found = changes(core, hours(8, 2))
    assert found == {
        "max_duration": (HOUR_US, 2 * HOUR_US, "max_duration_us"),
        "budget": (16 * HOUR_US, 0, "gpu_us"),
    }


def test_where_a_budget_is_required_and_none_is_there_only_a_budget_helps() -> None:
    core = cluster(8, rules=Rules(budgets="required"))
    assert changes(core, hours(8, 2)) == {"budget": (16 * HOUR_US, 0, "gpu_us")}
    before = core.state.digest()
    plan(core.state, hours(8, 2), 0)
    assert core.state.digest() == before


def test_a_job_that_is_refused_for_another_reason_is_told_no_budget() -> None:
    core = cluster(8)
    grant(core, 1)
    assert changes(core, ask(16)) == {}
    assert changes(core, hours(1, 3, deadline_us=2 * HOUR_US)) == {}
    assert changes(core, hours(1, 1)) == {}
