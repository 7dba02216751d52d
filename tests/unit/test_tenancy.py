# SPDX-License-Identifier: Apache-2.0
"""The life of a tenant as stories: suspension, exit, projects, budgets, and what they do to its jobs and runs."""

from typing import Any

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import budgets, tenancy
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.explaining.explain import plan, waits_for
from leitstand.core.rules import Exit, Rules
from leitstand.core.state import Projection, State
from leitstand.core.units import DAY_US, SECOND_US
from tests.unit.story import act, ask, at, cluster, ended, names, placed, refused, started

DAY = DAY_US // SECOND_US
TERMS = Exit(
    notice_us=10 * SECOND_US,
    transition_us=20 * SECOND_US,
    transition_max_us=50 * SECOND_US,
    customer_max_us=70 * SECOND_US,
    retrieval_us=30 * SECOND_US,
)
LEAVING = Rules(exit=TERMS)


def leaving(*gpus: int) -> Core:
    """acme leaves at second 100: transition from 110, retrieval from 130, closed from 160."""
    core = cluster(*gpus, rules=LEAVING)
    act(core, 100, a.TenantExitStarted("acme", 0, 0, 0, by="u1"))
    return core


def stage(core: Core, tenant: str = "acme") -> str:
    return core.state.tenants[tenant].stage


def s(seconds: int) -> int:
    return seconds * SECOND_US


# ── tenants ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_tenant_comes_with_a_default_project_and_says_who_added_it() -> None:
    core = Core()
    assert at(core, 0, a.TenantAdded("acme", "public", "u1")) == [a.TenantAdded("acme", "public", "u1")]
    assert core.answers[0].made == "acme"
    tenant = core.state.tenants["acme"]
    assert (tenant.projects, tenant.stage, tenant.suspended) == ({"default": True}, "active", "")


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        (a.TenantAdded("acme"), ("exists", "acme")),
        (a.TenantAdded("acme", "research"), ("exists", "acme")),
        (a.TenantAdded("Ünit"), ("invalid", "Ünit")),
        (a.TenantAdded(""), ("invalid", "")),
        (a.TenantAdded(".."), ("invalid", "..")),  # engines name folders by tenants
        (a.TenantAdded(".gone-acme"), ("invalid", ".gone-acme")),
        (a.TenantAdded("new", "bank"), ("invalid", "bank")),
        (a.TenantSuspended("nobody", "unpaid"), ("unknown_tenant", "nobody")),
        (a.TenantSuspended("acme", "mood"), ("invalid", "mood finish")),
        (a.TenantSuspended("acme", "unpaid", "kill"), ("invalid", "unpaid kill")),
        (a.LegalIdentityChanged("nobody"), ("unknown_tenant", "nobody")),
        (a.TenantExported("nobody"), ("unknown_tenant", "nobody")),
        (a.TenantResumed("nobody"), ("unknown_tenant", "nobody")),
        (a.TenantResumed("acme"), ("conflict", "acme is not suspended")),
        (a.TenantExitStarted("nobody", 0, 0, 0), ("unknown_tenant", "nobody")),
        (
            a.TenantExitStarted("acme", s(111), 0, 0),
            ("invalid", "notice of 11000000 µs; the limit is 10000000 µs"),
        ),
        (
            a.TenantExitStarted("acme", s(99), 0, 0),
            ("invalid", "notice of -1000000 µs; the limit is 10000000 µs"),
        ),
        (a.TenantExitExtended("nobody", 1, 0, "customer"), ("unknown_tenant", "nobody")),
        (
            a.TenantExitExtended("acme", 1, 0, "customer"),
            ("conflict", "acme is in the stage active: there is no transition to extend"),
        ),
        (a.ProjectAdded("nobody", "lab"), ("unknown_tenant", "nobody")),
        (a.ProjectAdded("acme", "l/b"), ("invalid", "l/b")),
        (a.ProjectAdded("acme", "default"), ("exists", "default")),
        (a.ProjectClosed("nobody", "lab"), ("unknown_tenant", "nobody")),
        (a.ProjectClosed("acme", "lab"), ("unknown_project", "lab")),
        (a.BudgetGranted("", "nobody", 1, s(200)), ("unknown_tenant", "nobody")),
        (a.BudgetGranted("", "acme", 0, s(200)), ("invalid", f"0 GPU·µs until {s(200)}")),
        (a.BudgetGranted("", "acme", 2**63, s(200)), ("invalid", f"{2**63} GPU·µs until {s(200)}")),
        (a.BudgetGranted("", "acme", 1, s(100)), ("invalid", f"1 GPU·µs until {s(100)}")),
        (a.BudgetGranted("", "acme", 1, s(200), "found"), ("invalid", "found")),
        (a.SecretSet("nobody", "default", "key", 1), ("unknown_project", "nobody default")),
        (a.SecretSet("acme", "lab", "key", 1), ("unknown_project", "acme lab")),
        (a.SecretSet("acme", "default", "a b", 1), ("invalid", "a b")),
        (a.SecretDeleted("acme", "lab", "key"), ("unknown_project", "acme lab")),
        (a.RecordsErased("x" * 64), ("invalid", "x" * 63)),
    ],
)
def test_what_cannot_be_is_refused_without_a_record_and_says_why(
    asked: f.Observation, refusal: tuple[str, str]
) -> None:
    assert refused(cluster(4, rules=LEAVING), 100, asked) == refusal


@pytest.mark.parametrize(
    "asked",
    [
        a.LegalIdentityChanged("acme", "u1"),
        a.TenantExported("acme", "u1"),
        a.SecretSet("acme", "default", "key", 1, "u1"),
        a.SecretDeleted("acme", "default", "key", "u1"),
        a.RecordsErased("u7", "u1"),
    ],
)
def test_acts_that_only_readings_need_are_recorded_as_they_are(asked: Any) -> None:
    core = cluster(4)
    assert at(core, 1, asked) == [asked]


@pytest.mark.parametrize(
    "asked",
    [
        a.TenantAdded("new", by="x" * 70_000),
        a.UserAdded("", "x" * 70_000),
        a.SecretSet("acme", "default", "key", 1, "x" * 70_000),
        a.ProjectAdded("acme", "lab", "x" * 70_000),
    ],
)
def test_an_author_that_no_fact_could_hold_is_refused(asked: f.Observation) -> None:
    assert refused(cluster(4), 1, asked)[0] == "invalid"


@pytest.mark.parametrize("version", [0, -1, 2**63, 10**30])
def test_a_secret_has_a_version_that_counts(version: int) -> None:
    assert refused(cluster(4), 1, a.SecretSet("acme", "default", "key", version))[0] == "invalid"


# ── suspension ────────────────────────────────────────────────────────────────────────────────────────────────────
class TestSuspension:
    def test_what_waits_is_held_what_runs_finishes_and_what_is_new_is_rejected(self) -> None:
        core = cluster(4)
        at(core, 0, ask(4), ask(1), ask(1, tenant="beta"))
        assert names(at(core, 1, a.TenantSuspended("acme", "unpaid", by="u1"))) == ["TenantSuspended"]
        assert waits_for(core.state, "acme-2") == "tenant_suspended"
        assert plan(core.state, ask(1), 0).reason == "tenant_suspended"
        assert list(placed(at(core, 2, ended("acme-1.1", 2)))) == ["beta-1.1"]
        facts = at(core, 3, ask(1))
        assert facts[1] == f.JobRejected("acme-3", "tenant_suspended")
        assert core.state.tenants["acme"].pending == 1

    def test_a_strict_queue_does_not_wait_for_what_is_held(self) -> None:
        core = cluster(4, rules=Rules(discipline="fifo-strict"))
        at(core, 0, ask(3), ask(4), ask(1, tenant="beta"))
        facts = at(core, 1, a.TenantSuspended("acme", "terms"))
        assert list(placed(facts)) == ["beta-1.1"]

    def test_stop_ends_runs_once_and_the_jobs_say_so(self) -> None:
        core = cluster(4)
        at(core, 0, ask(1), ask(1), ask(1, tenant="beta"))
        at(core, 1, f.CancelJob("acme-2"))
        facts = at(core, 2, a.TenantSuspended("acme", "security", "stop"))
        assert facts[1:] == [f.RunStopOrdered("acme-1.1", "suspended")]
        facts = at(core, 3, f.RunEnded("acme-1.1", s(3), "stopped", signal=15))
        assert facts[-1] == f.JobEnded("acme-1", "cancelled", "tenant_suspended")
        facts = at(core, 4, f.RunEnded("acme-2.1", s(4), "stopped", signal=15))
        assert facts[-1] == f.JobEnded("acme-2", "cancelled", "cancelled")
        assert core.state.jobs["beta-1"].state == "starting"

    def test_resuming_queues_again_in_the_old_order(self) -> None:
        core = cluster(4, rules=Rules(discipline="fifo-strict"))
        at(core, 0, ask(4))
        at(core, 1, ask(4), ask(4, tenant="beta"), ask(4), ask(4, tenant="beta"))
        at(core, 2, a.TenantSuspended("acme", "unpaid"))
        assert names(at(core, 3, a.TenantResumed("acme", "u1"))) == ["TenantResumed"]
        order = []
        for second in range(4, 9):
            (run,) = core.state.runs
            order.append(run)
            at(core, second, ended(run, second))
        assert order == ["acme-1.1", "acme-2.1", "beta-1.1", "acme-3.1", "beta-2.1"]

    def test_resuming_starts_what_fits(self) -> None:
        core = cluster(4)
        at(core, 0, a.TenantSuspended("beta", "unpaid"), ask(4))
        at(core, 1, ask(1), a.TenantSuspended("acme", "requested"))
        at(core, 2, ended("acme-1.1", 2))
        assert list(placed(at(core, 3, a.TenantResumed("acme")))) == ["acme-2.1"]

    def test_a_held_job_can_be_cancelled(self) -> None:
        core = cluster(1)
        at(core, 0, ask(1), ask(1))
        at(core, 1, a.TenantSuspended("acme", "authority"))
        assert names(at(core, 2, f.CancelJob("acme-2"))) == ["CancelRequested", "JobEnded"]
        assert core.state.tenants["acme"].pending == 0
        assert at(core, 3, a.TenantResumed("acme")) == [a.TenantResumed("acme")]

    def test_rules_that_change_meanwhile_hold_what_is_held(self) -> None:
        core = cluster(1)
        at(core, 0, ask(1), ask(1, expected_us=9), ask(1, expected_us=5))
        at(core, 1, a.TenantSuspended("acme", "unpaid"))
        at(core, 2, f.RulesSet(Rules(discipline="sjf"), ""), ended("acme-1.1", 2))
        assert not core.state.runs
        assert list(placed(at(core, 3, a.TenantResumed("acme")))) == ["acme-3.1"]

    def test_resuming_does_not_count_a_job_twice_among_those_ahead(self) -> None:
        """A queue drops the entry of a job that left only when it comes up; the job may be back by then."""
        core = cluster(1)
        at(core, 0, ask(1, tenant="beta"), ask(1, tenant="beta"), ask(1))
        for second in (1, 3, 5):
            at(core, second, a.TenantSuspended("acme", "unpaid"))
            at(core, second + 1, a.TenantResumed("acme"))
        assert plan(core.state, ask(1), 0).jobs_ahead == 2

    def test_twice_is_a_conflict(self) -> None:
        core = cluster(1)
        act(core, 0, a.TenantSuspended("acme", "unpaid"))
        assert refused(core, 1, a.TenantSuspended("acme", "terms")) == (
            "conflict",
            "acme is suspended already: unpaid",
        )


# ── exit ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class TestExit:
    def test_the_times_follow_from_the_rules_and_the_longest_notice_is_taken_if_none_is_named(self) -> None:
        core = cluster(4, rules=LEAVING)
        facts = at(core, 100, a.TenantExitStarted("acme", 0, 7, 7, "u1"))
        assert facts == [a.TenantExitStarted("acme", s(110), s(130), s(160), "u1")]
        facts = at(core, 101, a.TenantExitStarted("beta", s(105), 7, 7, "u1"))
        assert facts == [a.TenantExitStarted("beta", s(105), s(125), s(155), "u1")]

    def test_the_rules_without_more_are_those_of_the_law(self) -> None:
        core = cluster(4)
        facts = at(core, 0, a.TenantExitStarted("acme", 0, 0, 0))
        assert facts == [a.TenantExitStarted("acme", s(60 * DAY), s(90 * DAY), s(120 * DAY))]

    def test_stages_come_by_time_alone(self) -> None:
        core = leaving(4)
        assert core.next_wake() == s(110)
        assert at(core, 109) == []
        assert at(core, 110) == [a.TenantExitAdvanced("acme", "transition")]
        assert core.next_wake() == s(130)
        assert at(core, 130) == [a.TenantExitAdvanced("acme", "retrieval")]
        assert core.next_wake() == s(160)
        assert at(core, 160) == [a.TenantExitAdvanced("acme", "closed")]
        assert core.next_wake() is None

    def test_stages_that_were_slept_through_come_at_once_in_order(self) -> None:
        core = leaving(4)
        facts = at(core, 500)
        assert [fact.stage for fact in facts if isinstance(fact, a.TenantExitAdvanced)] == [
            "transition",
            "retrieval",
            "closed",
        ]

    def test_immediate_transition_needs_no_notice(self) -> None:
        core = cluster(4, rules=LEAVING)
        act(core, 100, a.TenantExitStarted("acme", s(100), 0, 0))
        assert core.next_wake() == s(100)
        assert at(core, 100) == [a.TenantExitAdvanced("acme", "transition")]

    def test_who_is_due_first_advances_first_also_after_a_restart(self) -> None:
        core = cluster(4, rules=LEAVING)
        act(core, 100, a.TenantExitStarted("beta", s(105), 0, 0, by="u1"))
        act(core, 100, a.TenantExitStarted("acme", s(105), 0, 0, by="u1"))
        stored = msgspec.msgpack.encode(core.state.project())
        again = Core(State.restore(msgspec.msgpack.decode(stored, type=Projection)))
        facts = at(core, 140)
        assert facts == at(again, 140)
        assert [fact.tenant for fact in facts if isinstance(fact, a.TenantExitAdvanced)] == [
            "acme",
            "beta",
        ] * 2

    def test_many_exits_at_one_time_take_several_cycles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tenancy, "DRAINED_MAX", 4)
        core = cluster(1, rules=LEAVING)
        at(core, 90, *(ask(1, tenant=tenant) for tenant in ("acme", "acme", "acme", "beta", "beta")))
        for tenant in ("acme", "beta"):
            act(core, 100, a.TenantExitStarted(tenant, s(105), 0, 0, by="u1"))
        assert names(at(core, 119)) == ["TenantExitAdvanced"] * 2
        assert names(at(core, 125)) == ["TenantExitAdvanced", "JobEnded", "JobEnded", "RunStopOrdered"]
        assert core.next_wake() == s(125)
        assert names(at(core, 125)) == ["TenantExitAdvanced", "JobEnded", "JobEnded"]
        assert core.next_wake() == s(155)

    def test_until_retrieval_the_tenant_works_as_before(self) -> None:
        core = leaving(4)
        assert names(at(core, 105, ask(1))) == ["JobSubmitted", "JobAdmitted", "RunPlaced"]
        assert names(at(core, 115, ask(1)))[1:] == ["JobSubmitted", "JobAdmitted", "RunPlaced"]
        assert at(core, 130, ask(1))[-1] == f.JobRejected("acme-3", "tenant_exit")
        assert at(core, 170, ask(1))[-1] == f.JobRejected("acme-4", "tenant_exit")

    def test_retrieval_cancels_what_waits_stops_what_runs_and_frees_the_rest(self) -> None:
        core = leaving(4)
        at(core, 101, ask(3), ask(1), ask(4), ask(2, tenant="beta"))
        at(core, 102, f.CancelJob("acme-2"))
        at(core, 110)
        assert at(core, 130) == [
            a.TenantExitAdvanced("acme", "retrieval"),
            f.JobEnded("acme-3", "cancelled", "tenant_exit"),
            f.RunStopOrdered("acme-1.1", "exit"),
        ]
        assert core.state.tenants["acme"].pending == 0
        facts = at(core, 131, f.RunEnded("acme-1.1", s(131), "stopped"))
        assert facts[1] == f.JobEnded("acme-1", "cancelled", "tenant_exit")
        assert list(placed(facts)) == ["beta-1.1"]

    def test_a_strict_queue_goes_on_without_what_was_drained(self) -> None:
        core = cluster(4, rules=msgspec.structs.replace(LEAVING, discipline="fifo-strict"))
        at(core, 100, a.TenantExitStarted("acme", s(100), 0, 0), ask(3, tenant="beta"), ask(4))
        at(core, 101, ask(1, tenant="beta"))
        assert list(placed(at(core, 120))) == ["beta-2.1"]

    def test_a_suspended_tenant_is_drained_too(self) -> None:
        core = leaving(1)
        at(core, 101, ask(1), ask(1))
        at(core, 102, a.TenantSuspended("acme", "unpaid"))
        at(core, 110)
        assert names(at(core, 130)) == ["TenantExitAdvanced", "JobEnded", "RunStopOrdered"]
        assert refused(core, 131, a.TenantSuspended("beta", "mood"))[0] == "invalid"
        assert at(core, 132, a.TenantResumed("acme")) == [a.TenantResumed("acme")]
        assert at(core, 133, ask(1))[-1] == f.JobRejected("acme-3", "tenant_exit")

    def test_a_drained_run_that_fails_is_not_tried_again(self) -> None:
        core = leaving(1)
        at(core, 101, ask(1, retries=5))
        at(core, 110)
        at(core, 130)
        facts = at(core, 131, ended("acme-1.1", 131, exit_code=1))
        assert facts[-1] == f.JobEnded("acme-1", "failed", "exit_code", 1)

    def test_who_leaves_is_neither_suspended_nor_leaves_again(self) -> None:
        core = leaving(1)
        assert refused(core, 101, a.TenantExitStarted("acme", 0, 0, 0)) == (
            "conflict",
            "acme is in the stage notice of its exit",
        )
        at(core, 110)
        at(core, 130)
        assert refused(core, 131, a.TenantSuspended("acme", "unpaid")) == (
            "conflict",
            "acme is in the stage retrieval of its exit",
        )

    def test_a_customer_may_take_longer_than_a_provider(self) -> None:
        core = leaving(1)
        for whose, latest in (("provider", 160), ("customer", 180)):
            assert refused(core, 101, a.TenantExitExtended("acme", s(latest + 1), 0, whose)) == (
                "invalid",
                f"an end at {s(latest + 1)} µs is not in {s(130) + 1}..{s(latest)}",
            )
        act(core, 102, a.TenantExitExtended("acme", s(180), 0, "customer"))

    def test_each_party_extends_the_transition_once_within_the_limit(self) -> None:
        core = leaving(1)
        extended = a.TenantExitExtended("acme", s(140), 0, "customer", "u1")
        assert at(core, 101, extended) == [a.TenantExitExtended("acme", s(140), s(170), "customer", "u1")]
        assert refused(core, 102, a.TenantExitExtended("acme", s(150), 0, "customer")) == (
            "conflict",
            "the customer has extended the transition already, which it may once",
        )
        assert refused(core, 102, a.TenantExitExtended("acme", s(150), 0, "nobody")) == ("invalid", "nobody")
        for end in (140, 161):
            assert refused(core, 103, a.TenantExitExtended("acme", s(end), 0, "provider")) == (
                "invalid",
                f"an end at {s(end)} µs is not in {s(140) + 1}..{s(160)}",
            )
        assert at(core, 110) == [a.TenantExitAdvanced("acme", "transition")]
        act(core, 139, a.TenantExitExtended("acme", s(160), 0, "provider"))
        assert core.next_wake() == s(160)
        assert at(core, 140) == []
        assert at(core, 160) == [a.TenantExitAdvanced("acme", "retrieval")]
        assert core.next_wake() == s(190)
        assert refused(core, 161, a.TenantExitExtended("acme", s(165), 0, "provider")) == (
            "conflict",
            "acme is in the stage retrieval: there is no transition to extend",
        )

    def test_an_extension_during_notice_does_not_shorten_it(self) -> None:
        core = leaving(1)
        act(core, 101, a.TenantExitExtended("acme", s(150), 0, "customer"))
        assert core.next_wake() == s(110)

    def test_a_restart_keeps_the_timers(self) -> None:
        core = leaving(1)
        assert State.restore(core.state.project()).exits == {"acme": s(110)}
        at(core, 500)
        assert State.restore(core.state.project()).exits == {}


# ── projects and budgets ──────────────────────────────────────────────────────────────────────────────────────────
class TestProjects:
    def test_an_unknown_project_is_refused_and_a_closed_one_rejects_with_a_record(self) -> None:
        core = cluster(4)
        lab = f.SubmitJob("acme", "lab", f.Resources(1))
        assert refused(core, 0, lab) == ("unknown_project", "lab")
        assert act(core, 1, a.ProjectAdded("acme", "lab", "u1")) == "lab"
        assert names(at(core, 2, lab)) == ["JobSubmitted", "JobAdmitted", "RunPlaced"]
        act(core, 3, a.ProjectClosed("acme", "lab", "u1"))
        assert at(core, 4, lab)[-1] == f.JobRejected("acme-2", "project_closed")
        assert core.state.jobs["acme-1"].state == "starting"
        assert refused(core, 5, a.ProjectClosed("acme", "lab")) == ("unknown_project", "lab")
        act(core, 6, a.ProjectAdded("acme", "lab"))
        assert names(at(core, 7, lab))[-1] == "RunPlaced"

    def test_projects_have_a_limit_that_does_not_keep_a_closed_one_closed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenancy, "PROJECTS_MAX", 2)
        core = cluster(4)
        act(core, 0, a.ProjectAdded("acme", "lab"))
        assert refused(core, 1, a.ProjectAdded("acme", "hall")) == ("busy", "2")
        act(core, 2, a.ProjectClosed("acme", "lab"))
        act(core, 3, a.ProjectAdded("acme", "lab"))


def test_budgets_are_numbered_across_tenants_and_limited_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "BUDGETS_MAX", 2)
    core = cluster(4)
    granted = a.BudgetGranted("", "acme", 5, s(9), "paid", "u1")
    assert act(core, 0, granted) == "b1"
    assert act(core, 0, a.BudgetGranted("", "beta", 6, s(9))) == "b2"
    assert act(core, 0, granted) == "b3"
    assert refused(core, 0, granted) == ("busy", "2")
    assert core.state.tenants["acme"].budgets == [
        budgets.Budget("b1", 5, s(9), "paid"),
        budgets.Budget("b3", 5, s(9), "paid"),
    ]


# ── retries ───────────────────────────────────────────────────────────────────────────────────────────────────────
FAILURES = {
    "exit_code": f.RunEnded("acme-1.1", s(2), "exited", 3),
    "signal": f.RunEnded("acme-1.1", s(2), "exited", None, 9),
    "lost": f.RunEnded("acme-1.1", s(2), "lost"),
    "start_failed": f.RunEnded("acme-1.1", s(2), "start_failed"),
}


class TestRetries:
    @pytest.mark.parametrize("reason", FAILURES)
    def test_a_failed_run_is_followed_by_another(self, reason: str) -> None:
        core = cluster(4)
        at(core, 0, ask(2, retries=1))
        at(core, 1, started("acme-1.1", 1))
        facts = at(core, 2, FAILURES[reason])
        assert names(facts) == ["RunEnded", "UsageMetered", "JobRequeued", "RunPlaced"]
        assert facts[2] == f.JobRequeued("acme-1", reason, FAILURES[reason].exit_code)
        assert placed(facts) == {"acme-1.2": [("n0", (0, 1))]}

    @pytest.mark.parametrize("reason", FAILURES)
    @pytest.mark.parametrize("wanted", FAILURES)
    def test_only_for_the_reasons_that_it_names(self, reason: str, wanted: str) -> None:
        core = cluster(4)
        at(core, 0, ask(2, retries=1, retry_on=(wanted,)))
        at(core, 1, started("acme-1.1", 1))
        again = "JobRequeued" in names(at(core, 2, FAILURES[reason]))
        assert again == (reason == wanted)

    def test_a_run_that_is_lost_before_it_began_costs_none_and_needs_none(self) -> None:
        core = cluster(4)
        at(core, 0, ask(2, retries=1, retry_on=("exit_code",)))
        facts = at(core, 2, f.RunEnded("acme-1.1", s(2), "lost"))
        assert names(facts) == ["RunEnded", "JobRequeued", "RunPlaced"]
        assert facts[1] == f.JobRequeued("acme-1", "node_failed")
        facts = at(core, 3, ended("acme-1.2", 3, exit_code=1))
        assert f.JobRequeued("acme-1", "exit_code", 1) in facts

    def test_a_job_whose_runs_never_begin_is_given_up(self) -> None:
        core = cluster(4)
        at(core, 0, ask(2))
        for run in range(1, f.FAILURES_MAX + 1):
            facts = at(core, run, f.RunEnded(f"acme-1.{run}", s(run), "lost"))
            assert names(facts) == ["RunEnded", "JobRequeued", "RunPlaced"]
        facts = at(core, 9, f.RunEnded("acme-1.9", s(9), "lost"))
        assert facts[-1] == f.JobEnded("acme-1", "failed", "lost")

    def test_nor_is_one_placed_again_that_was_cancelled(self) -> None:
        core = cluster(4)
        at(core, 0, ask(2, retries=1))
        at(core, 1, f.CancelJob("acme-1"))
        facts = at(core, 2, f.RunEnded("acme-1.1", s(2), "lost"))
        assert facts[-1] == f.JobEnded("acme-1", "failed", "lost")

    @pytest.mark.parametrize("retries", [0, 1, 3])
    def test_at_most_so_many_times(self, retries: int) -> None:
        core = cluster(4)
        at(core, 0, ask(2, retries=retries))
        for run in range(1, retries + 1):
            assert "JobRequeued" in names(at(core, run, ended(f"acme-1.{run}", run, exit_code=1)))
        facts = at(core, 9, ended(f"acme-1.{retries + 1}", 9, exit_code=1))
        assert facts[-1] == f.JobEnded("acme-1", "failed", "exit_code", 1)

    @pytest.mark.parametrize(
        ("before", "report", "end"),
        [
            ((), ended("acme-1.1", 2), f.JobEnded("acme-1", "succeeded", "", 0)),
            (
                (),
                f.RunEnded("acme-1.1", s(2), "time_limit"),
                f.JobEnded("acme-1", "failed", "max_duration_exceeded"),
            ),
            (
                (f.CancelJob("acme-1"),),
                ended("acme-1.1", 2, exit_code=1),
                f.JobEnded("acme-1", "failed", "exit_code", 1),
            ),
            (
                (f.CancelJob("acme-1"),),
                f.RunEnded("acme-1.1", s(2), "stopped"),
                f.JobEnded("acme-1", "cancelled", "cancelled"),
            ),
            (
                (a.TenantSuspended("acme", "unpaid", "stop"),),
                f.RunEnded("acme-1.1", s(2), "lost"),
                f.JobEnded("acme-1", "failed", "lost"),
            ),
            (
                (a.TenantSuspended("acme", "unpaid", "stop"),),
                f.RunEnded("acme-1.1", s(2), "stopped"),
                f.JobEnded("acme-1", "cancelled", "tenant_suspended"),
            ),
        ],
    )
    def test_never_after_success_the_time_limit_or_an_order_to_stop(
        self, before: tuple[f.Observation, ...], report: f.RunEnded, end: f.JobEnded
    ) -> None:
        core = cluster(4)
        at(core, 0, ask(1, retries=9))
        at(core, 1, *before)
        assert at(core, 2, report)[-1] == end

    def test_it_keeps_its_place_in_the_queue(self) -> None:
        core = cluster(4, rules=Rules(discipline="fifo-strict"))
        at(core, 0, ask(4, retries=1), ask(4, tenant="beta"), ask(4))
        assert list(placed(at(core, 1, ended("acme-1.1", 1, exit_code=1)))) == ["acme-1.2"]
        assert list(placed(at(core, 2, ended("acme-1.2", 2, exit_code=1)))) == ["beta-1.1"]

    def test_while_it_waits_again_it_counts_as_pending_and_can_be_cancelled(self) -> None:
        core = cluster(4, rules=Rules(discipline="priority"))
        at(core, 0, ask(4, retries=1))
        at(core, 1, ask(4, tenant="beta", priority=9))
        facts = at(core, 2, ended("acme-1.1", 2, exit_code=1))
        assert list(placed(facts)) == ["beta-1.1"]
        job = core.state.jobs["acme-1"]
        assert (job.state, job.run, job.runs, core.state.tenants["acme"].pending) == ("pending", "", 1, 1)
        facts = at(core, 3, f.CancelJob("acme-1"))
        assert facts[-1] == f.JobEnded("acme-1", "cancelled", "cancelled")
        assert core.state.tenants["acme"].pending == 0

    def test_under_a_suspension_that_lets_runs_finish_the_job_is_held_for_its_next_run(self) -> None:
        core = cluster(4)
        at(core, 0, ask(4, retries=1))
        at(core, 1, a.TenantSuspended("acme", "unpaid"))
        assert names(at(core, 2, ended("acme-1.1", 2, exit_code=1)))[-1] == "JobRequeued"
        assert waits_for(core.state, "acme-1") == "tenant_suspended"
        assert list(placed(at(core, 3, a.TenantResumed("acme")))) == ["acme-1.2"]

    @pytest.mark.parametrize(
        ("more", "rejection"),
        [
            ({"retries": 101}, (101, 100, "retries")),
            ({"retries": -1}, (-1, 100, "retries")),
            ({"checkpoint_every_us": -1}, (-1, 2**53, "checkpoint_every_us")),
            ({"checkpoint_every_us": 10**30}, (10**30, 2**53, "checkpoint_every_us")),
        ],
    )
    def test_amounts_over_the_limits_are_rejected(
        self, more: dict[str, Any], rejection: tuple[int, int, str]
    ) -> None:
        assert at(cluster(4), 0, ask(1, **more))[-1] == f.JobRejected("acme-1", "limit", *rejection)

    @pytest.mark.parametrize("reasons", [("mood",), ("lost",) * 5])
    def test_reasons_outside_the_closed_list_are_refused_without_a_record(
        self, reasons: tuple[str, ...]
    ) -> None:
        refusal, detail = refused(cluster(4), 0, ask(1, retry_on=reasons))
        assert (refusal, detail) == ("invalid", "digests or reasons to retry")


def test_a_recorded_trace_may_call_its_tenants_as_it_likes() -> None:
    """Only who comes by the API or applies is kept from the ids of users and tokens: a trace has no records."""
    core = cluster(1)
    for tenant in ("u7", "t1", "a1"):
        assert at(core, 0, a.TenantAdded(tenant)) == [a.TenantAdded(tenant)]
