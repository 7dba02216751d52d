# SPDX-License-Identifier: Apache-2.0
"""What makes no sense, and what should not happen, under `fair`: a clear refusal, or an outcome that is defined.

Limits that contradict each other, cycles, jobs that nothing could ever run, commitments beyond capacity, a tenant that
goes while its jobs run, a node that vanishes in the middle of a reservation.
"""

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.rules import Exit
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from tests.unit.fair_story import RULES, SHARING, Cloud, cloud, day, owed
from tests.unit.story import at, refused

LATER = 600  # s: everything that ran from the start can be taken by then


def change(*entitled: a.Entitlement, **more: int) -> a.EntitlementsChanged:
    return a.EntitlementsChanged("shared", entitled, **more)


def is_empty(story: Cloud) -> bool:
    """Whether nothing of any job is left: not a run, not a reservation, not a share in use."""
    state = story.core.state
    standing = state.pools["shared"].standing
    assert standing is not None
    used = [node for node in standing.tree.nodes.values() if node.running or node.pending or node.pinned]
    kept = (standing.due, standing.reserved, standing.yielding, standing.waiting, standing.tree.held)
    return not (state.jobs or state.runs or state.reservations or used or any(kept))


# ── limits that contradict each other ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("entitled", "why", "told"),
    [
        (
            [owed("a", 4, lend=5)],
            "invalid",
            "industry/a: 5 to lend is more than the guarantee of 4",
        ),
        (
            [a.Entitlement("industry", 4_000), owed("a", 3), owed("b", 2)],
            "conflict",
            "industry: its children would be guaranteed 5 together, more than its guarantee of 4",
        ),
        (
            [owed("a", 4, recall_us=MINUTE_US)],
            "invalid",
            "industry/a: back within 60 s; protected runtime, grace, stop and a cycle take 331 s",
        ),
        ([owed("a", 1), owed("a", 2)], "invalid", "industry/a is named twice"),
        (
            [owed("a", 17)],
            "conflict",
            "the root: 17 would be guaranteed, more than the 16 that the pool has less its spare",
        ),
    ],
)
def test_limits_that_contradict_each_other_are_refused_by_name_value_and_limit(
    entitled: list[a.Entitlement], why: str, told: str
) -> None:
    assert refused(cloud(8, 8).core, 1, change(*entitled)) == (why, told)


def test_guarantees_that_are_too_much_shrink_in_proportion_if_that_is_asked() -> None:
    story = cloud(8, 8)
    at(story.core, 1, change(owed("a", 24), owed("b", 8), scaled=True))
    standing = story.core.state.pools["shared"].standing
    assert standing is not None
    story.at(2, day(12, nodes=2), day(4, tenant="b")).until(3)
    assert [standing.tree.nodes[f"industry/{name}"].guarantee for name in "ab"] == [12_000, 4_000]


def test_rules_that_contradict_themselves_are_refused_and_the_old_stay() -> None:
    story = cloud(8)
    wrong = msgspec.structs.replace(RULES, sharing=msgspec.structs.replace(SHARING, tick_us=0))
    why, told = refused(story.core, 1, f.RulesSet(wrong, ""))
    assert why == "invalid"
    assert "sharing.tick_us is 0, not in 1.." in told
    assert story.core.state.rules == RULES


def test_rules_under_which_no_guarantee_would_be_called_are_refused_with_what_to_set_instead() -> None:
    story = cloud(8)
    none = msgspec.structs.replace(SHARING, reservations_leaf_max=0)
    why, told = refused(story.core, 1, f.RulesSet(msgspec.structs.replace(RULES, sharing=none), ""))
    assert why == "invalid"
    assert "sharing.reservations_leaf_max is 0, not in 1..100000" in told
    assert "reservations_max: 0 reserves nothing" in told


def test_rules_that_reserve_nothing_call_guarantees_all_the_same() -> None:
    sharing = msgspec.structs.replace(SHARING, reservations_leaf_max=1, reservations_max=0)
    story = cloud(4, entitled=[owed("a", 4)], rules=msgspec.structs.replace(RULES, sharing=sharing))
    story.at(1, day(4, tenant="b")).at(600, day(4), day(4)).until(700)
    assert (story.started("a-1"), story.reserved("a-2")) == ([630], None)


@pytest.mark.parametrize(
    ("job", "reason", "resource"),
    [
        (msgspec.structs.replace(day(), deadline_us=HOUR_US), "deadline", "max_duration_us"),
        (day(5, nodes=2), "shape", "gpus"),
        (day(hours=24 * 31), "limit", "max_duration_us"),
        (f.SubmitJob("a", "default", f.Resources(2, 2, nodes_max=1)), "shape", "nodes_max"),
        (f.SubmitJob("a", "default", f.Resources(1, gpu_milli=500)), "shape", "gpu_milli"),
    ],
)
def test_jobs_that_contradict_themselves_are_refused_with_a_record(
    job: f.SubmitJob, reason: str, resource: str
) -> None:
    story = cloud(8).at(1, job).until(2)
    (fact,) = story.all(f.JobRejected)
    assert isinstance(fact, f.JobRejected)
    assert (fact.reason, fact.resource) == (reason, resource)
    assert is_empty(story)


# ── cycles ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "node",
    ["industry/a/default/industry", "industry/a/industry/a", "/industry", "industry//a", "industry/a/"],
)
def test_a_path_that_turns_back_into_the_tree_is_no_path(node: str) -> None:
    why, told = refused(cloud(8).core, 1, change(a.Entitlement(node, 1_000)))
    assert why == "invalid"
    assert told == f"{node!r} is no path of a class, a tenant and a project"


def test_a_tenant_hangs_in_one_place_of_the_tree() -> None:
    why, told = refused(cloud(8).core, 1, change(a.Entitlement("research/a", 1_000)))
    assert why == "invalid"
    assert told == "research/a: tenant a is of the class industry: industry/a"


def test_jobs_that_wait_for_themselves_or_for_one_another_are_refused() -> None:
    story = cloud(8)
    first = msgspec.structs.replace(
        day(), after=(f.Dependency("a-2"),)
    )  # the second, which would wait for it
    second = msgspec.structs.replace(day(), after=(f.Dependency("a-2"),))  # itself
    story.at(1, first, second).until(2)
    assert [fact.reason for fact in story.all(f.JobRejected) if isinstance(fact, f.JobRejected)] == [
        "unknown_dependency"
    ] * 2
    assert is_empty(story)


# ── what nothing could ever run ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("asked", "reason", "amount", "limit"),
    [
        (f.Resources(9), "no_such_capacity", 9, 8),
        (f.Resources(24, 3), "no_such_capacity", 24, 16),
        (f.Resources(1, cpus_milli=65_000), "no_such_capacity", 65_000, 64_000),
        (f.Resources(2, level="moon"), "unknown_level", 0, 0),
        (f.Resources(8), "entitlement", 8_000, 6_000),  # of b, which may use six
    ],
)
def test_a_job_that_nothing_could_ever_run_is_refused_at_once_with_the_amounts(
    asked: f.Resources, reason: str, amount: int, limit: int
) -> None:
    story = cloud(8, 8, entitled=[owed("b", 2, borrow=4)])
    tenant = "b" if reason == "entitlement" else "a"
    story.at(1, f.SubmitJob(tenant, "default", asked)).until(2)
    (fact,) = story.all(f.JobRejected)
    assert isinstance(fact, f.JobRejected)
    assert (fact.reason, fact.asked, fact.limit) == (reason, amount, limit)
    assert is_empty(story)


def test_a_job_that_nothing_can_run_any_more_keeps_nobody_waiting_and_runs_when_its_nodes_are_back() -> None:
    story = cloud(8, 8).at(1, day(16, 2, hours=1), day(16, 2, hours=1)).until(2)
    story.fail("n1")
    story.at(3, day(8, tenant="b", hours=1)).until(1800)
    assert story.running == ["b-1"]
    story.at(2 * 3600, f.NodeAdded("n1", "s", 8, 64_000, 512_000)).to_the_end()
    assert story.started("a-2")
    assert is_empty(story)


# ── commitments beyond capacity ───────────────────────────────────────────────────────────────────────────────────
def test_a_commitment_beyond_capacity_is_refused_with_the_time_and_one_beside_it_is_not() -> None:
    story = cloud(8, 8, entitled=[owed("a", 12)])
    hour = HOUR_US
    made = a.CommitmentMade("", "shared", "industry/b", 4_000, hour, 3 * hour)
    at(story.core, 1, made)
    more = msgspec.structs.replace(made, milli=1_000, from_us=2 * hour, to_us=5 * hour)
    assert refused(story.core, 2, more) == (
        "conflict",
        f"the root: 17 would be guaranteed, more than the 16 that the pool has less its spare from {2 * hour} µs on",
    )
    at(story.core, 3, msgspec.structs.replace(more, from_us=3 * hour))
    assert [one.refused for one in story.core.answers] == [""]


def test_guarantees_that_a_failure_leaves_uncovered_shrink_in_proportion_and_come_back() -> None:
    story = cloud(8, 8, entitled=[owed("a", 12), owed("b", 4)])
    story.at(1, *[day(2, retries=1) for _ in range(6)], *[day(2, tenant="b", retries=1) for _ in range(2)])
    story.until(2)
    story.fail("n1")
    story.until(LATER)
    assert story.deserved("industry/a", "industry/b") == [6, 2]
    story.at(LATER + 1, change(owed("b", 5))).until(LATER + 1)
    assert story.answers[0].startswith("conflict: the root: 17 would be guaranteed, more than the 8 that")
    story.at(LATER + 1, f.NodeAdded("n1", "s", 8, 64_000, 512_000)).until(LATER + 2)
    assert story.deserved("industry/a", "industry/b") == [12, 4]


# ── a tenant goes while its jobs run ──────────────────────────────────────────────────────────────────────────────
def left_behind(story: Cloud) -> Cloud:
    """A has a run and a claim that waits for a run of b to end; b has a promise and a run; then A has to go."""
    story.at(1, day(8, hours=5), day(8, tenant="b", hours=6)).at(2, day(8, tenant="b", hours=1))
    return story.at(LATER, day(8)).until(LATER + 1)


def test_a_tenant_that_is_stopped_gives_up_what_runs_and_what_is_held_and_others_go_on() -> None:
    story = left_behind(cloud(8, 8, entitled=[owed("a", 16)]))
    assert story.evicted == ["b-1"]
    assert story.core.state.reservations["a-2"].kind == "claim"
    story.at(LATER + 5, a.TenantSuspended("a", "unpaid", "stop")).until(LATER + 60)
    assert story.core.state.reservations.keys() & {"a-1", "a-2"} == set()
    assert story.running == ["b-1", "b-2"], "the run that made way is the first to come back"
    story.at(LATER + 61, a.TenantResumed("a")).to_the_end()
    assert story.started("a-2")
    assert is_empty(story)


def test_a_tenant_that_leaves_takes_its_guarantee_its_runs_and_its_claims_with_it() -> None:
    terms = Exit(notice_us=SECOND_US, transition_us=SECOND_US, retrieval_us=HOUR_US)
    rules = msgspec.structs.replace(RULES, exit=terms)
    story = left_behind(cloud(8, 8, entitled=[owed("a", 16)], rules=rules))
    story.at(LATER + 2, a.TenantExitStarted("a", 0, 0, 0)).until(LATER + 60)
    assert story.core.state.tenants["a"].stage == "retrieval"
    assert story.running == ["b-1", "b-2"]
    standing = story.core.state.pools["shared"].standing
    assert standing is not None
    assert standing.tree.nodes["industry/a"].guarantee == 0
    assert story.deserved("industry/b") == [16]
    story.at(LATER + 60, change(owed("a", 1))).until(LATER + 60)
    assert story.answers == ["invalid: industry/a: a is in the stage retrieval of its exit"]
    story.to_the_end()
    assert is_empty(story)


# ── a node vanishes in the middle of a reservation ────────────────────────────────────────────────────────────────
def test_a_promise_on_a_node_that_vanishes_is_broken_by_name_and_made_anew_at_once() -> None:
    story = cloud(8, 8).at(1, day(8, hours=2), day(8, hours=3), day(8, hours=4)).until(2)
    assert story.reserved("a-3") == ("promise", 2 * 3600 + 1)
    story.fail("n0")
    assert story.all(f.PromiseBroken) == [f.PromiseBroken("a-3", "node_failed", (2 * 3600 + 1) * SECOND_US)]
    assert story.reserved("a-3") == ("promise", 3 * 3600 + 1)
    assert story.to_the_end().started("a-3") == [3 * 3600 + 1]


def test_a_plan_on_a_node_that_vanishes_is_made_anew() -> None:
    entitled = [owed("a", 16)]
    story = cloud(8, 8, entitled=entitled).at(1, day(8, tenant="b", hours=2), day(8, tenant="b", hours=3))
    story.at(2, day(8, tenant="b", hours=1)).until(3)
    assert story.reserved("b-3") == ("plan", 2 * 3600 + 1)
    story.fail("n0")
    assert story.all(f.PromiseBroken) == []
    assert story.reserved("b-3") == ("plan", 3 * 3600 + 1)


def test_a_claim_on_a_node_that_vanishes_is_dropped_and_takes_another_place() -> None:
    story = cloud(8, 8, entitled=[owed("a", 8)])
    story.at(1, day(8, tenant="b"), day(8, tenant="b")).at(LATER, day(8)).until(LATER + 5)
    (first,) = story.evicted
    story.fail("n0" if first == "b-1" else "n1")
    assert f.ReservationDropped("a-1", "failed") in [fact for _, fact in story.facts]
    story.until(LATER + 120)
    assert story.evicted == ["b-1", "b-2"]
    assert story.running == ["a-1"]
    assert story.to_the_end().started("b-2")


def test_a_node_that_comes_back_smaller_breaks_what_it_no_longer_holds() -> None:
    story = cloud(8, 8).at(1, day(8, hours=2), day(8, hours=3), day(8, hours=4)).until(2)
    story.at(3, f.NodeAdded("n0", "s", 4, 64_000, 512_000)).until(4)
    assert story.reserved("a-3") == ("promise", 3 * 3600 + 1)
    story.to_the_end()
    assert is_empty(story)
