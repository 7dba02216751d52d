# SPDX-License-Identifier: Apache-2.0
"""Engines that are late: runs that outlast their limit, runs that are told to end and do not."""

from leitstand.core import facts as f
from leitstand.core.units import SECOND_US
from tests.unit.fair_story import Cloud, cloud, day, owed

HOUR = 3600
FOREVER = 10**15  # µs that an engine takes to stop a run: it does not
RECALL = 600  # s


def late(story: Cloud, seconds: int) -> Cloud:
    """Runs outlast their limit by that."""
    story.late_us = seconds * SECOND_US
    return story


def test_a_plan_behind_a_run_that_outlasts_its_limit_is_made_anew_once_a_tick_and_starts_when_it_is_gone() -> (
    None
):
    story = late(cloud(4, entitled=[owed("a", 4)]), 130)
    story.at(1, day(4, hours=1)).at(2, day(4, tenant="b")).until(HOUR + 129)
    assert story.reserved("b-1") is not None
    assert len(story.all(f.ReservationDropped)) <= 4
    story.until(HOUR + 140)
    assert story.started("b-1") == [HOUR + 131]


def test_a_promise_behind_a_run_that_outlasts_its_limit_waits_for_it_and_takes_from_nobody() -> None:
    story = late(cloud(4), 20).at(1, day(4, hours=1)).at(2, day(4, tenant="b"))
    assert story.until(10).reserved("b-1") == ("promise", HOUR + 1)
    story.until(HOUR + 60)
    assert (story.started("b-1"), story.evicted) == ([HOUR + 21], [])
    assert story.all(f.PromiseBroken) == []


def test_a_promise_is_broken_by_name_once_if_who_is_in_its_place_does_not_go() -> None:
    story = late(cloud(4, entitled=[owed("a", 4)]), 10 * HOUR)
    story.at(1, day(4, hours=1), day(4, hours=1))
    assert story.until(10).reserved("a-2") == ("promise", HOUR + 1)
    story.until(2 * HOUR)
    assert [fact.job for fact in story.all(f.PromiseBroken)] == ["a-2"]
    assert story.reserved("a-2") is not None
    assert len(story.all(f.ReservationDropped)) <= 61  # once a tick


def test_a_claim_that_is_not_freed_is_given_up_after_the_recall_time_and_others_are_taken() -> None:
    """Who is not gone counts as what it is: its project has more than its share, so the next of it is taken."""
    story = cloud(1, 1, entitled=[owed("a", 1)], stop_us=FOREVER)
    story.at(1, day(tenant="b"), day(tenant="b")).at(400, day()).until(410)
    assert story.evicted == ["b-1"]
    story.until(400 + RECALL - 1)
    assert story.reserved("a-1") == ("claim", 400)
    story.stop_us = 30 * SECOND_US
    story.until(2000)
    dropped = [(fact.job, fact.cause) for fact in story.all(f.ReservationDropped)]
    assert dropped == [("a-1", "expired")]
    assert story.evicted == ["b-1", "b-2"]
    assert story.started("a-1") == [400 + RECALL + 30]


def test_where_nobody_is_left_to_take_from_a_claim_is_given_up_once_and_the_job_waits() -> None:
    story = cloud(1, entitled=[owed("a", 1)], stop_us=FOREVER)
    story.at(1, day(tenant="b", hours=100)).at(400, day()).until(6 * HOUR)
    claims = [fact for fact in story.all(f.CapacityReserved) if fact.kind == "claim"]
    assert (len(claims), story.evicted, story.waiting) == (1, ["b-1"], ["a-1"])


def test_a_claim_that_is_late_starts_where_others_left_before_it_is_given_up() -> None:
    story = cloud(1, 1, entitled=[owed("a", 1)], stop_us=FOREVER)
    story.at(1, day(tenant="b", hours=24), day(tenant="b", hours=0.15)).at(400, day()).until(1200)
    assert story.evicted == ["b-1"]
    assert story.started("a-1") == [541]
