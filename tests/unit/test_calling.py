# SPDX-License-Identifier: Apache-2.0
"""Guarantees that are called while those who would yield are too young, or while only plans are in the way."""

from leitstand.core import acts as a
from leitstand.core import facts as f
from tests.unit.fair_story import cloud, day, owed

M_S = 300  # the protected time


def test_a_gang_that_calls_its_guarantee_is_not_kept_waiting_by_runs_that_come_and_go() -> None:
    story = cloud(4, entitled=[owed("a", 4), owed("b")])
    for number in range(20):  # three minutes each, and each says an hour or three
        story.at(90 * number, day(2, tenant="b", hours=1 if number > 1 else 3))
        story.at(90 * number + 180, f.CancelJob(f"b-{number + 1}"))
    story.at(120, day(4, hours=5)).until(3600)
    assert story.started("a-1") == [90 + 180 + 30], "when those are gone who were there"
    assert story.evicted == []


def test_who_would_yield_and_is_still_there_when_he_is_old_enough_is_told_then() -> None:
    story = cloud(4, entitled=[owed("a", 4), owed("b")])
    story.at(10, day(2, tenant="b")).at(90, day(2, tenant="b")).at(100, day(4)).until(110)
    assert story.reserved("a-1") == ("call", 90 + M_S)
    story.until(1000)
    assert story.evicted == ["b-1", "b-2"]
    assert story.started("a-1") == [90 + M_S + 30], "between two ticks"


def test_of_two_who_call_for_the_same_node_the_first_has_it_and_short_jobs_start_before() -> None:
    story = cloud(4, 4, entitled=[owed("a", 4), owed("b"), owed("c", 4)], tenants=("a", "b", "c"))
    story.at(10, day(3, tenant="b"), day(3, tenant="b")).at(100, day(4)).at(101, day(4, tenant="c")).until(
        110
    )
    assert [story.reserved(job) for job in ("a-1", "c-1")] == [("call", 10 + M_S)] * 2
    story.at(120, day(1, tenant="b", hours=1), day(1, tenant="b", hours=0.05)).until(130)
    assert story.started("b-3") == []
    assert story.started("b-4") == [120]
    story.until(1000)
    assert story.started("a-1") == story.started("c-1") == [10 + M_S + 30]


def test_what_is_only_planned_keeps_nobody_from_his_guarantee_between_ticks() -> None:
    story = cloud(4, 4, entitled=[owed("a", 2), owed("b", weight=2)], tenants=("a", "b"))
    story.at(1, day(4, tenant="b", hours=0.2), day(2, tenant="b", hours=0.4), day(1, tenant="b", hours=0.4))
    story.at(400, day(8, 2, tenant="b")).at(401, day(2, 2)).until(402)
    assert story.reserved("b-4") == ("plan", 1441), "of n0 is covered what runs there, so a has no shape"
    story.until(730)
    assert story.started("a-1") == [721], "when the run on n0 ends, and not at the next tick"


def test_the_guarantees_of_all_together_are_nobodys_to_call() -> None:
    # mended rule 18: what w and y run would be inside the guarantee of the root, for z uses nothing of its own
    story = cloud(4, tenants=("w", "x", "y"))
    lent = a.EntitlementsChanged("shared", (a.Entitlement("research/z", 4000),))
    story.at(0, a.TenantAdded("z", "research"), lent).at(1, day(3, tenant="y", hours=1))
    story.at(2, day(4, tenant="x", hours=2)).at(3, day(1, tenant="w", hours=3)).until(3)
    assert story.reserved("x-1") == ("plan", 3601)
    assert story.started("w-1") == [], "what is planned for x is not w's to take"
