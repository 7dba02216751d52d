# SPDX-License-Identifier: Apache-2.0
"""Failures stay local (docs/scheduling.md): what a gang that loses nodes keeps, gets, and gives up. Racks of nodes with
4 GPUs; a stop takes 30 s, the recall time is 10 minutes."""

from collections.abc import Callable

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.explaining.why import why
from leitstand.core.rules import Rules
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from tests.unit.fair_story import RULES, SHARING, Cloud, day, owed
from tests.unit.story import cluster

R = SHARING.recall_us // SECOND_US
STOP = 30
FAILS = 1000  # seconds: when a node fails


def racks(*sizes: int, entitled: tuple[a.Entitlement, ...] = (), rules: Rules = RULES) -> Cloud:
    """Nodes n0, n1, … with 4 GPUs in racks r0, r1, … of so many."""
    core = Core()
    seen: list[f.Observation] = [f.RulesSet(rules, ""), f.TenantAdded("a"), f.TenantAdded("b")]
    seen.append(f.SiteAdded("s", "simulated", logical=True, levels=("rack",)))
    rows = [rack for rack, size in enumerate(sizes) for _ in range(size)]
    seen += [node(number, rack) for number, rack in enumerate(rows)]
    if entitled:
        seen.append(a.EntitlementsChanged("shared", entitled))
    core.cycle(0, seen)
    assert [one for one in core.answers if one.refused] == []
    return Cloud(core)


def node(number: int, rack: int) -> f.NodeAdded:
    return f.NodeAdded(f"n{number}", "s", 4, 64_000, 512_000, domains=(f"r{rack}",))


def failed(*nodes: int) -> list[f.Observation]:
    return [f.NodeRemoved(f"n{number}", failed=True) for number in nodes]


def gang(
    nodes: int, level: str = "rack", tenant: str = "a", hours: float = 24, **more: object
) -> f.SubmitJob:
    shape = {key: more.pop(key) for key in ("slice_nodes", "slice_level", "nodes_max") if key in more}
    span = int(hours * HOUR_US)
    resources = f.Resources(4 * nodes, nodes, level=level, **shape)  # type: ignore[arg-type]
    return f.SubmitJob(tenant, "default", resources, max_duration_us=span, expected_us=span, **more)  # type: ignore[arg-type]


def where(cloud: Cloud, job: str) -> list[str]:
    """The nodes of the job's run, sorted."""
    run = cloud.core.state.runs[cloud.core.state.jobs[job].run]
    return sorted(task.node for task in run.tasks)


def held(cloud: Cloud, job: str) -> list[str]:
    """The nodes that are held for the job."""
    made = cloud.core.state.reservations.get(job)
    return sorted(task.node for task in made.tasks) if made is not None and made.kind == "hold" else []


# ── a replacement is there ────────────────────────────────────────────────────────────────────────────────────────────
def test_a_gang_that_loses_a_node_starts_again_on_the_others_and_a_free_one_of_its_rack() -> None:
    cloud = racks(4, 4)
    cloud.at(1, gang(3)).at(FAILS, *failed(1)).until(FAILS)
    assert held(cloud, "a-1") == ["n0", "n2", "n3"]
    cloud.until(FAILS + STOP)
    assert cloud.started("a-1") == [1, FAILS + STOP]
    assert where(cloud, "a-1") == ["n0", "n2", "n3"]
    assert cloud.core.state.reservations == {}


def test_it_comes_before_who_waited_longer_in_the_queue() -> None:
    cloud = racks(4)
    cloud.at(1, gang(2, priority=9)).at(2, gang(2)).at(3, gang(3, priority=9))
    cloud.at(FAILS, *failed(2)).at(FAILS + 1, gang(1, hours=0.1)).until(FAILS + 1)
    assert cloud.waiting == ["a-3", "a-4"]
    cloud.at(FAILS + 2, node(2, 0)).until(FAILS + STOP)
    assert where(cloud, "a-2") == ["n2", "n3"]
    assert cloud.waiting == ["a-3", "a-4"]


def test_without_a_required_level_the_nearest_free_node_takes_the_place_of_the_lost_one() -> None:
    cloud = racks(4, 4, 4)
    # the gang runs in r0, r2 is broken already, so that a placement of its own would prefer a node there
    cloud.at(1, gang(3, level="")).at(2, f.NodeRemoved("n11")).at(FAILS, *failed(0)).until(FAILS + STOP)
    assert where(cloud, "a-1") == ["n1", "n2", "n3"]


def test_the_lowest_domain_that_has_a_node_gives_it() -> None:
    cloud = racks(4, 4)
    cloud.at(
        1,
        f.SubmitJob(
            "a", "default", f.Resources(9, 3), max_duration_us=24 * HOUR_US, expected_us=24 * HOUR_US
        ),
    )
    cloud.at(2, *[f.NodeRemoved(f"n{number}") for number in range(4)]).at(3, day(1))
    cloud.at(4, *[node(number, 0) for number in range(4)]).until(5)
    assert (where(cloud, "a-1"), where(cloud, "a-2")) == (["n0", "n1", "n2"], ["n4"])
    cloud.at(FAILS, *failed(1)).until(FAILS + STOP)
    assert where(cloud, "a-1") == ["n0", "n2", "n3"], "n4 would be tighter, but stands in another rack"


def test_another_rack_that_holds_all_of_it_is_better_than_to_wait_in_its_own() -> None:
    cloud = racks(3, 3)
    cloud.at(1, gang(3)).at(FAILS, *failed(1)).until(FAILS)
    assert held(cloud, "a-1") == ["n3", "n4", "n5"]
    cloud.at(FAILS + 1, day(4, tenant="b")).until(FAILS + STOP)
    assert where(cloud, "a-1") == ["n3", "n4", "n5"]


def test_a_slice_is_made_whole_in_its_own_rack() -> None:
    cloud = racks(3, 3)
    cloud.at(1, gang(4, level="", slice_nodes=2, slice_level="rack")).until(2)
    before = where(cloud, "a-1")
    assert before == ["n0", "n1", "n3", "n4"]
    cloud.at(FAILS, *failed(1)).until(FAILS + STOP)
    assert [task.node for task in cloud.core.state.runs["a-1.2"].tasks] == ["n0", "n2", "n3", "n4"]


def test_gpus_over_several_nodes_get_others_for_those_that_are_gone() -> None:
    cloud = racks(4)
    ten = f.SubmitJob("a", "default", f.Resources(10, 0), max_duration_us=HOUR_US, expected_us=HOUR_US)
    cloud.at(1, ten).until(1)
    before = where(cloud, "a-1")
    cloud.at(FAILS, *failed(int(before[0][1:]))).until(FAILS + STOP)
    assert len(where(cloud, "a-1")) == 3
    assert set(before[1:]) < set(where(cloud, "a-1"))


def test_an_elastic_gang_goes_on_with_fewer() -> None:
    cloud = racks(4)
    cloud.at(1, gang(2, nodes_max=4)).until(2)
    assert len(where(cloud, "a-1")) == 4
    cloud.at(FAILS, *failed(2)).until(FAILS + STOP)
    assert where(cloud, "a-1") == ["n0", "n1", "n3"]


# ── it has to be freed first ──────────────────────────────────────────────────────────────────────────────────────────
def test_a_gang_takes_back_what_it_is_owed_in_its_rack() -> None:
    cloud = racks(3, entitled=(owed("a", 8),))
    cloud.at(1, gang(2)).at(2, day(4, tenant="b"), day(4, tenant="b")).at(FAILS, *failed(0)).until(FAILS)
    assert held(cloud, "a-1") == ["n1"]
    cloud.until(FAILS + STOP)
    assert cloud.evicted == ["b-1"]
    assert cloud.core.state.reservations["a-1"].kind == "claim"
    cloud.until(FAILS + 2 * STOP)
    assert where(cloud, "a-1") == ["n1", "n2"]
    assert cloud.started("b-1") == [2]


def test_a_gang_that_is_owed_nothing_evicts_nobody_and_takes_what_comes_free_first() -> None:
    cloud = racks(3)
    cloud.at(0, gang(2)).at(1, day(4, hours=0.3))
    cloud.at(FAILS, *failed(0)).at(FAILS + 1, day(4), day(4)).until(0.3 * 3600)
    assert cloud.evicted == []
    assert held(cloud, "a-1") == ["n1", "n2"], "what is free before the hold ends"
    cloud.until(0.3 * 3600 + 1)
    assert where(cloud, "a-1") == ["n1", "n2"]


def test_two_lost_nodes_are_replaced_one_after_the_other_as_they_come_free() -> None:
    cloud = racks(5)
    cloud.at(0, gang(3)).at(1, day(4, hours=0.3), day(4, hours=0.35))
    cloud.at(FAILS, *failed(0, 2)).at(FAILS + 1, *[day(4) for _ in range(4)]).until(FAILS + STOP)
    assert held(cloud, "a-1") == ["n1", "n3", "n4"]
    cloud.until(0.3 * 3600 + 1)
    assert cloud.running == ["a-3"]
    cloud.until(0.35 * 3600 + 1)
    assert where(cloud, "a-1") == ["n1", "n3", "n4"]


def test_of_two_lost_nodes_the_one_that_is_free_is_held_even_if_there_is_no_other() -> None:
    cloud = racks(5)
    cloud.at(0, gang(3)).at(1, day(4))
    cloud.at(FAILS, *failed(0, 2)).at(FAILS + 1, day(4)).until(FAILS + STOP)
    assert held(cloud, "a-1") == ["n1", "n4"]
    cloud.at(FAILS + STOP + 1, node(0, 0)).until(FAILS + STOP + 2)
    assert where(cloud, "a-1") == ["n0", "n1", "n4"]


@pytest.mark.parametrize("level", ["", "rack"])
def test_no_gang_takes_a_node_of_another_site(level: str) -> None:
    core = Core()
    seen: list[f.Observation] = [f.RulesSet(RULES, ""), f.TenantAdded("a")]
    seen += [f.SiteAdded(site, "simulated", logical=True, levels=("rack",)) for site in "st"]
    homes = ("s", "s", "t")
    seen += [f.NodeAdded(f"n{at}", home, 4, 64_000, 512_000, domains=("r",)) for at, home in enumerate(homes)]
    core.cycle(0, seen)
    assert list(core.state.pools) == ["shared"]
    cloud = Cloud(core).at(0, gang(2, level=level)).at(FAILS, *failed(0)).until(FAILS + STOP)
    assert held(cloud, "a-1") == ["n1"], "n2 is free, and at another site"


# ── none comes ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_survivors_are_held_for_the_recall_time_and_then_given_up() -> None:
    cloud = racks(2)
    cloud.at(1, gang(2)).at(2, day(4)).at(FAILS, *failed(0)).until(FAILS + R - 1)
    assert held(cloud, "a-1") == ["n1"]
    assert cloud.running == []
    cloud.until(FAILS + R)
    assert [fact.cause for fact in cloud.all(f.ReservationDropped) if fact.job == "a-1"] == ["expired"]  # type: ignore[attr-defined]
    assert cloud.running == ["a-2"]
    assert cloud.waiting == ["a-1"]


def test_what_is_given_up_is_free_for_everybody_at_once() -> None:
    cloud = racks(2, entitled=(owed("a", 8),))
    cloud.at(1, gang(2)).at(2, day(4, tenant="b")).at(FAILS, *failed(0)).until(FAILS + R)
    assert cloud.started("b-1") == [FAILS + R]


def test_after_that_it_is_asked_first_when_nodes_come_back() -> None:
    cloud = racks(2)
    cloud.at(1, gang(2), gang(2, priority=9)).at(FAILS, *failed(0))
    cloud.at(FAILS + 2 * R, node(0, 0)).until(FAILS + 2 * R)
    assert cloud.running == ["a-2"]


def test_a_smaller_recall_time_of_anybody_holds_for_all() -> None:
    cloud = racks(2, entitled=(a.Entitlement("industry/b", 0, recall_us=7 * MINUTE_US),))
    cloud.at(1, gang(2)).at(2, day(4)).at(FAILS, *failed(0)).until(FAILS + 7 * 60)
    assert cloud.running == ["a-2"]


def test_the_failed_node_comes_back_while_the_others_are_held() -> None:
    cloud = racks(2)
    cloud.at(1, gang(2)).at(2, day(4)).at(FAILS, *failed(0)).at(FAILS + 300, node(0, 0))
    cloud.until(FAILS + 300)
    assert where(cloud, "a-1") == ["n0", "n1"]
    assert cloud.waiting == ["a-2"]


def test_what_is_held_counts_and_no_more() -> None:
    """8 GPUs are left, the gang holds 4: others may have 4."""
    cloud = racks(2, 1)
    cloud.at(1, gang(2)).at(FAILS, *failed(0)).until(FAILS)
    standing = cloud.core.state.pools["shared"].standing
    assert standing is not None
    plan = cloud.core._fair["shared"]
    plan.now = cloud.now
    plan.usage.forget()
    leaf = standing.tree.node("industry/a/default")
    assert plan.usage.reserved().allows(leaf, 4_000, HOUR_US, "")
    assert not plan.usage.reserved().allows(leaf, 8_000, HOUR_US, "")


def test_what_others_reserve_behind_a_hold_leaves_the_gang_its_whole_time() -> None:
    cloud = racks(3, 4)
    four = f.Resources(4, 4, level="rack")  # one GPU of each node of r1
    cloud.at(1, f.SubmitJob("b", "default", four, max_duration_us=72 * HOUR_US, expected_us=72 * HOUR_US))
    cloud.at(2, gang(3)).at(FAILS, *failed(0)).at(FAILS + 1, gang(2, tenant="b")).until(FAILS + 100)
    assert cloud.reserved("b-2") is not None
    cloud.at(FAILS + 300, node(0, 0)).until(FAILS + 300)
    assert where(cloud, "a-1") == ["n0", "n1", "n2"]


def test_nodes_that_are_promised_within_its_time_are_not_held_for_a_gang() -> None:
    cloud = racks(2)
    cloud.at(1, gang(2, hours=1)).at(2, day(4)).at(3300, *failed(1)).until(3300)
    assert cloud.reserved("a-2") == ("promise", 3601)
    assert held(cloud, "a-1") == []
    cloud.until(3601)
    assert cloud.running == ["a-2"]
    assert cloud.all(f.PromiseBroken) == []


# ── more fails ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_second_node_fails_while_the_others_are_held_and_the_clock_goes_on() -> None:
    cloud = racks(3)
    cloud.at(1, gang(3)).at(FAILS, *failed(0)).at(FAILS + 400, *failed(1)).until(FAILS + R - 1)
    assert held(cloud, "a-1") == ["n2"]
    cloud.until(FAILS + R)
    assert held(cloud, "a-1") == []


def test_two_nodes_fail_within_the_stop_of_one_run() -> None:
    cloud = racks(5)
    cloud.at(1, gang(3)).at(FAILS, *failed(0)).at(FAILS + 10, *failed(1)).until(FAILS + STOP)
    assert where(cloud, "a-1") == ["n2", "n3", "n4"]
    assert len(cloud.all(f.RunStopOrdered)) == 1


def test_all_nodes_of_a_gang_fail() -> None:
    cloud = racks(2, 3)
    cloud.at(1, gang(2)).at(FAILS, *failed(0, 1)).until(FAILS)
    assert set(held(cloud, "a-1")) < {"n2", "n3", "n4"}
    cloud.until(FAILS + STOP)
    assert cloud.started("a-1") == [1, FAILS + STOP]


def test_the_replacement_fails_before_the_gang_is_back() -> None:
    cloud = racks(4)
    cloud.at(1, gang(2)).at(FAILS, *failed(0)).at(FAILS + 10, *failed(2)).until(FAILS + STOP)
    assert where(cloud, "a-1") == ["n1", "n3"]


def test_the_replacement_fails_when_the_gang_is_back() -> None:
    cloud = racks(4)
    cloud.at(1, gang(2)).at(FAILS, *failed(0)).at(2 * FAILS, *failed(2)).until(2 * FAILS + STOP)
    assert where(cloud, "a-1") == ["n1", "n3"]
    assert cloud.core.state.jobs["a-1"].failures == 2


def test_what_is_claimed_for_a_gang_fails_and_something_else_is_freed_for_the_rest() -> None:
    cloud = racks(3, entitled=(owed("a", 8),))
    cloud.at(1, *[day(4, tenant="b") for _ in range(3)]).at(FAILS, gang(2)).until(FAILS)
    first, second = (task.node for task in cloud.core.state.reservations["a-1"].tasks)
    cloud.at(FAILS + 10, f.NodeRemoved(first, failed=True)).until(FAILS + 10)
    claim = cloud.core.state.reservations["a-1"]
    assert (claim.kind, [task.node for task in claim.tasks]) == ("claim", [second, "n2"])
    cloud.until(FAILS + 10 + STOP)
    assert where(cloud, "a-1") == [second, "n2"]


def test_what_is_left_of_a_claim_is_held_if_nothing_else_can_be_freed() -> None:
    cloud = racks(2, 1, entitled=(owed("a", 8),))
    cloud.at(1, *[day(4, tenant="b") for _ in range(3)]).at(FAILS, gang(2)).until(FAILS)
    cloud.at(FAILS + 10, *failed(0)).until(FAILS + R)
    assert held(cloud, "a-1") == ["n1"]
    cloud.until(FAILS + 10 + R)
    assert cloud.reserved("a-1") is None


# ── promises and plans ────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_promise_on_a_node_that_fails_is_broken_by_name_and_made_anew_at_once() -> None:
    cloud = racks(3)
    cloud.at(1, day(4, hours=2), day(4, hours=3), day(4, hours=4)).at(2, gang(2)).until(2)
    assert cloud.reserved("a-4") == ("promise", 1 + 3 * 3600)
    cloud.at(FAILS, *failed(0)).until(FAILS)
    (broken,) = cloud.all(f.PromiseBroken)
    assert broken == f.PromiseBroken("a-4", "node_failed", (1 + 3 * 3600) * SECOND_US)
    assert cloud.reserved("a-4") == ("promise", 1 + 4 * 3600)


def test_whose_promise_was_broken_has_first_call_on_what_comes_free() -> None:
    cloud = racks(3)
    cloud.at(1, day(4, hours=2), day(4, hours=3), day(4, hours=4)).at(2, gang(2)).at(FAILS, *failed(0))
    cloud.at(FAILS + 1, day(4, hours=2.5, priority=9), f.CancelJob("a-2"), f.CancelJob("a-3"))
    cloud.until(FAILS + 1 + STOP)
    assert where(cloud, "a-4") == ["n1", "n2"]


def test_a_promise_that_is_made_anew_for_the_same_time_is_pinned_once() -> None:
    cloud = racks(4)
    cloud.at(1, day(4, hours=2), day(4, hours=2), day(4, hours=2), day(4, hours=9)).at(
        2, gang(2, hours=1)
    ).until(2)
    assert cloud.reserved("a-5") == ("promise", 7201)
    lost = cloud.core.state.reservations["a-5"].tasks[0].node
    cloud.at(FAILS, f.NodeRemoved(lost)).until(FAILS)
    assert cloud.reserved("a-5") == ("promise", 7201)
    cloud.until(7201 + 3600)
    standing = cloud.core.state.pools["shared"].standing
    assert standing is not None
    assert standing.tree.root.pinned == 0


def test_a_promise_comes_before_what_is_held_on_its_nodes() -> None:
    cloud = racks(3)
    cloud.at(1, gang(2, hours=0.5)).at(2, day(4, hours=5)).at(3, gang(2, hours=1)).until(3)
    assert cloud.reserved("a-3") == ("promise", 1801)
    cloud.at(1700, *failed(0)).until(1700)
    assert cloud.reserved("a-3") != ("promise", 1801)  # it named the failed node
    cloud.to_the_end()


def test_a_gang_does_not_start_over_a_limit_or_over_what_others_were_promised() -> None:
    for entitled in ((a.Entitlement("industry/a", 0, 1, 8_000),), ()):
        cloud = racks(4, entitled=entitled)
        cloud.at(1, gang(2, hours=1)).at(2, gang(1, hours=5, tenant="b")).until(3)
        cloud.at(FAILS, *failed(0))
        if entitled:  # less may be borrowed, from a time at which its run has not gone
            changed = a.EntitlementsChanged("shared", (a.Entitlement("industry/a", 0, 1, 4_000),))
            cloud.at(FAILS + 1, changed).until(FAILS + R - 1)
            assert cloud.waiting == ["a-1"]
        else:
            cloud.until(FAILS + STOP)
            assert cloud.running == ["a-1", "b-1"]


def test_a_job_that_saved_more_once_more_is_not_given_up() -> None:
    cloud = racks(2)
    cloud.at(
        1, gang(2, checkpoint_every_us=20 * MINUTE_US)
    )  # 1000 s are too short for a checkpoint, 2000 s are not
    for turn in range(1, f.FAILURES_MAX + 1):
        cloud.at(turn * FAILS, *failed(0)).at(turn * FAILS + 100, node(0, 0))
    last = (f.FAILURES_MAX + 3) * FAILS
    cloud.at(last, *failed(0)).at(last + 100, node(0, 0)).until(last + 200)
    assert cloud.running == ["a-1"]
    assert cloud.core.state.jobs["a-1"].failures == 0


def test_a_reservation_on_a_failed_node_is_dropped_and_planned_anew() -> None:
    cloud = racks(2, entitled=(owed("b", 8),))
    cloud.at(1, day(4, hours=2), day(4, hours=3)).at(2, day(4)).until(2)
    assert cloud.reserved("a-3") == ("plan", 1 + 2 * 3600)
    cloud.at(FAILS, *failed(0)).until(FAILS + STOP)
    assert cloud.core.state.reservations["a-3"].tasks[0].node == "n1"


# ── the job changes its mind ──────────────────────────────────────────────────────────────────────────────────────────
def test_a_job_cancelled_while_its_run_ends_gives_its_nodes_up() -> None:
    cloud = racks(2)
    cloud.at(1, gang(2)).at(2, day(4)).at(FAILS, *failed(0)).at(FAILS + 5, f.CancelJob("a-1")).until(
        FAILS + 5
    )
    assert cloud.reserved("a-1") is None
    cloud.until(FAILS + STOP)
    assert cloud.running == ["a-2"]
    assert cloud.all(f.JobEnded) == [f.JobEnded("a-1", "cancelled", "cancelled")]


def test_a_job_cancelled_while_its_nodes_are_held_gives_them_up() -> None:
    cloud = racks(2)
    cloud.at(1, gang(2)).at(2, day(4)).at(FAILS, *failed(0)).at(FAILS + 100, f.CancelJob("a-1"))
    cloud.until(FAILS + 100)
    assert cloud.running == ["a-2"]


def test_a_user_who_holds_the_job_gives_its_nodes_up() -> None:
    cloud = racks(2)
    cloud.at(1, gang(2)).at(2, day(4)).at(FAILS, *failed(0)).at(FAILS + 100, f.HoldJob("a-1"))
    cloud.until(FAILS + 100)
    assert cloud.running == ["a-2"]
    cloud.at(FAILS + 200, f.ReleaseJob("a-1"), node(0, 0)).until(FAILS + 200)
    assert cloud.waiting == ["a-1"]


def test_a_job_that_ends_well_all_the_same_gives_its_nodes_up() -> None:
    cloud = racks(2)
    cloud.at(1, gang(2, hours=0.3)).at(2, day(4)).at(1075, *failed(0)).until(1081)
    assert cloud.all(f.JobEnded) == [f.JobEnded("a-1", "succeeded", "", 0)]
    assert cloud.running == ["a-2"]


# ── who runs again ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_job_on_one_node_waits_again_and_holds_nothing() -> None:
    cloud = racks(2)
    cloud.at(1, day(2)).at(FAILS, *failed(0)).until(FAILS + STOP)
    assert cloud.all(f.CapacityReserved) == []
    assert cloud.all(f.JobRequeued) == [f.JobRequeued("a-1", "node_failed")]
    assert cloud.started("a-1") == [1, FAILS + STOP]


@pytest.mark.parametrize("outcome", ["lost", "exited", "stopped", "start_failed"])
def test_however_the_run_ends_the_gang_runs_again_without_a_retry(outcome: str) -> None:
    core = racks(3).core
    core.cycle(SECOND_US, [gang(2)])
    core.cycle(2 * SECOND_US, [f.RunStarted("a-1.1", SECOND_US)])
    report = f.RunEnded("a-1.1", 3 * SECOND_US, outcome, 1 if outcome == "exited" else None)
    facts = core.cycle(3 * SECOND_US, [*failed(0), report])
    assert [fact.reason for fact in facts if isinstance(fact, f.JobRequeued)] == ["node_failed"]
    assert core.state.jobs["a-1"].run == "a-1.2"
    assert core.state.jobs["a-1"].retried == 0


def test_retries_are_for_other_failures() -> None:
    core = racks(4).core
    core.cycle(SECOND_US, [gang(2, retries=1)])
    core.cycle(2 * SECOND_US, [*failed(0), f.RunEnded("a-1.1", 2 * SECOND_US, "lost")])
    facts = core.cycle(3 * SECOND_US, [f.RunEnded("a-1.2", 3 * SECOND_US, "exited", 7)])
    assert [fact.reason for fact in facts if isinstance(fact, f.JobRequeued)] == ["exit_code"]
    facts = core.cycle(4 * SECOND_US, [f.RunEnded("a-1.3", 4 * SECOND_US, "exited", 7)])
    assert [fact.reason for fact in facts if isinstance(fact, f.JobEnded)] == ["exit_code"]


@pytest.mark.parametrize(("retry_on", "again"), [((), True), (("lost",), True), (("exit_code",), False)])
def test_who_names_what_to_retry_and_not_lost_is_not_run_again(
    retry_on: tuple[str, ...], again: bool
) -> None:
    cloud = racks(3)
    cloud.at(1, gang(2, retry_on=retry_on)).at(FAILS, *failed(0)).until(FAILS + STOP)
    assert bool(cloud.all(f.JobRequeued)) == again
    assert bool(cloud.all(f.CapacityReserved)) == again
    ends = [] if again else [f.JobEnded("a-1", "failed", "lost")]
    assert cloud.all(f.JobEnded) == ends


def test_a_job_that_saves_nothing_is_given_up_when_nodes_fail_under_it_again_and_again() -> None:
    cloud = racks(2)
    cloud.at(1, gang(2))
    for turn in range(1, f.FAILURES_MAX + 2):
        cloud.at(turn * FAILS, *failed(0)).at(turn * FAILS + 100, node(0, 0))
    cloud.until((f.FAILURES_MAX + 2) * FAILS)
    assert len(cloud.all(f.JobRequeued)) == f.FAILURES_MAX
    assert cloud.all(f.JobEnded) == [f.JobEnded("a-1", "failed", "lost")]
    assert cloud.core.state.reservations == {}


def test_a_job_that_saves_its_work_is_never_given_up() -> None:
    cloud = racks(2)
    cloud.at(1, gang(2, checkpoint_every_us=MINUTE_US))
    for turn in range(1, f.FAILURES_MAX + 4):
        cloud.at(turn * FAILS, *failed(0)).at(turn * FAILS + 100, node(0, 0))
    cloud.until((f.FAILURES_MAX + 4) * FAILS)
    assert cloud.running == ["a-1"]


def test_a_run_that_is_being_taken_from_a_job_fails_and_the_job_waits_again() -> None:
    cloud = racks(3, entitled=(owed("b", 12),))
    cloud.at(1, gang(3)).at(FAILS, gang(3, tenant="b")).at(FAILS + 5, *failed(0)).until(FAILS + STOP)
    assert [fact.reason for fact in cloud.all(f.JobRequeued)] == ["node_failed"]  # type: ignore[attr-defined]
    assert held(cloud, "a-1") == []
    assert held(cloud, "b-1") == ["n1", "n2"]


# ── budgets ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def budgeted(gpu_hours: int, **more: object) -> Cloud:
    cloud = racks(3)
    granted = a.BudgetGranted("", "a", gpu_hours * HOUR_US, 1000 * HOUR_US, "paid")
    cloud.core.cycle(0, [granted])
    assert [one for one in cloud.core.answers if one.refused] == []
    return cloud.at(1, gang(2, hours=2, **more)).at(1 + 3600, *failed(0))


def test_a_budget_pays_what_checkpoints_keep_and_reserves_again() -> None:
    cloud = budgeted(24, checkpoint_every_us=45 * MINUTE_US).until(1 + 3600 + STOP)
    (used,) = cloud.all(f.UsageMetered)
    assert sum(amount for _, amount in used.posted) == 8 * 45 * MINUTE_US  # type: ignore[attr-defined]
    (budget,) = cloud.core.state.tenants["a"].budgets
    assert (budget.posted, budget.reserved) == (8 * 45 * MINUTE_US, 16 * HOUR_US)
    assert where(cloud, "a-1") == ["n1", "n2"]


def test_a_job_whose_budget_cannot_pay_another_run_ends_and_holds_nothing() -> None:
    cloud = budgeted(16, checkpoint_every_us=45 * MINUTE_US).until(1 + 3600 + STOP)
    assert [(fact.state, fact.reason) for fact in cloud.all(f.JobEnded)] == [("failed", "budget")]  # type: ignore[attr-defined]
    assert cloud.core.state.reservations == {}


def test_without_checkpoints_a_lost_run_costs_nothing() -> None:
    cloud = budgeted(16).until(1 + 3600 + STOP)
    (budget,) = cloud.core.state.tenants["a"].budgets
    assert (budget.posted, budget.reserved) == (0, 16 * HOUR_US)
    assert where(cloud, "a-1") == ["n1", "n2"]


# ── what stays ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("discipline", ["fifo-strict", "fifo-greedy", "sjf", "priority"])
def test_other_disciplines_only_take_the_node_out_of_service(discipline: str) -> None:
    said = []
    for failing in (True, False):
        core = cluster(4, 4, 4, rules=Rules(discipline=discipline))
        core.cycle(SECOND_US, [f.SubmitJob("acme", "default", f.Resources(8, 2), retries=1)])
        facts = core.cycle(2 * SECOND_US, [f.NodeRemoved("n0", failed=failing)])
        assert facts == [f.NodeRemoved("n0", failed=failing)]
        assert core.cycle(3 * SECOND_US, [f.NodeRemoved("n0", failed=True)]) == []
        said.append(core.cycle(4 * SECOND_US, [f.RunEnded("acme-1.1", 4 * SECOND_US, "lost")]))
    assert said[0] == said[1]


def test_a_node_that_is_said_to_have_failed_again_changes_nothing() -> None:
    cloud = racks(3)
    cloud.at(1, gang(2)).at(FAILS, *failed(0)).until(FAILS)
    before = cloud.core.state.digest()
    assert cloud.core.cycle(FAILS * SECOND_US, failed(0)) == []
    assert cloud.core.state.digest() == before


def test_a_node_that_was_taken_out_of_service_fails_with_what_still_runs_there() -> None:
    cloud = racks(3)
    cloud.at(1, gang(2)).at(500, f.NodeRemoved("n0")).at(FAILS, *failed(0)).until(FAILS + STOP)
    assert where(cloud, "a-1") == ["n1", "n2"]


STORIES: list[Callable[[], Cloud]] = [
    lambda: racks(4).at(1, gang(3)).at(FAILS, *failed(1)),
    lambda: racks(2).at(1, gang(2)).at(2, day(4)).at(FAILS, *failed(0)),
    lambda: (
        racks(5)
        .at(0, gang(3))
        .at(1, day(4, hours=0.3), day(4, hours=0.35))
        .at(3, day(4))
        .at(FAILS, *failed(0, 2))
    ),
    lambda: (
        racks(3, entitled=(owed("a", 8),))
        .at(1, *[day(4, tenant="b") for _ in range(3)])
        .at(FAILS, gang(2))
        .at(FAILS + 10, *failed(0))
    ),
    lambda: (
        racks(3).at(1, day(4, hours=2), day(4, hours=3), day(4, hours=4)).at(2, gang(2)).at(FAILS, *failed(0))
    ),
]


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("seconds", [0, 5, STOP, 100, R + 1])
def test_a_restart_in_between_changes_nothing(story: Callable[[], Cloud], seconds: int) -> None:
    stays, restarts = story(), story()
    stays.until(FAILS + seconds)
    restarts.until(FAILS + seconds)
    stored = msgspec.msgpack.encode(restarts.core.state.project())
    restarts.core = Core(State.restore(msgspec.msgpack.decode(stored, type=Projection)))
    assert restarts.core.state.digest() == stays.core.state.digest()
    stays.until(3 * FAILS)
    restarts.until(3 * FAILS)
    assert [fact for fact in restarts.facts if decides(fact[1])] == [
        fact for fact in stays.facts if decides(fact[1])
    ]


def decides(fact: f.Fact) -> bool:
    return not isinstance(fact, f.SharesTicked)


# ── explanations ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_reason_is_the_failure_while_nodes_are_held() -> None:
    cloud = racks(3)
    cloud.at(1, gang(3)).at(FAILS, *failed(0)).until(FAILS + STOP)
    found = why(cloud.core.state, "a-1", cloud.now)
    assert found.binding.reason == "failure"
    assert (found.binding.asked, found.binding.limit, found.binding.resource) == (3, 2, "nodes")
    assert found.binding.until_us == (FAILS + R) * SECOND_US
    assert found.start.kind != "hold"
