# SPDX-License-Identifier: Apache-2.0
"""Two histories of the same jobs: who waited less, who longer, when they part, and where they end."""

from leitstand.core import facts as f
from leitstand.core.units import SECOND_US
from leitstand.twin.courses import Courses, compare

ONE = f.Resources(1)


def history(until_s: int, *jobs: tuple[str, int, int, int]) -> Courses:
    """`jobs`: name, and when it was submitted, placed and ended, in s; -1: never."""
    told: list[tuple[int, f.Fact]] = []
    for job, submitted, placed, ended in jobs:
        told.append((submitted, f.JobSubmitted(job, job.partition("-")[0], "default", ONE)))
        if placed >= 0:
            told.append((placed, f.RunPlaced(f"{job}.1", job, (f.Task("n"),))))
        if ended >= 0:
            told.append((ended, f.UsageMetered(f"{job}.1", "a", "default", 1, (ended - placed) * SECOND_US)))
            told.append((ended, f.JobEnded(job, "succeeded")))
    courses = Courses()
    for at, fact in sorted(told, key=lambda one: one[0]):
        courses.note(at * SECOND_US, [fact])
    courses.until_us = until_s * SECOND_US
    return courses


def test_equal_histories_never_part() -> None:
    jobs = (("a-1", 0, 5, 10), ("a-2", 1, -1, -1))
    found = compare(history(20, *jobs), history(20, *jobs))
    assert (found.jobs, found.same, found.earlier, found.later, found.first_s) == (2, 2, 0, 0, None)
    assert found.before == found.after
    assert (found.gained, found.lost) == ((), ())


def test_who_waits_less_and_who_longer_by_how_much_and_since_when() -> None:
    before = history(100, ("a-1", 0, 10, 20), ("b-1", 0, 20, 60), ("b-2", 5, 5, 9))
    after = history(100, ("a-1", 0, 50, 60), ("b-1", 0, 4, 44), ("b-2", 5, 5, 9))
    found = compare(before, after)
    assert (found.same, found.earlier, found.later) == (1, 1, 1)
    assert found.first_s == 4
    assert [(moved.job, moved.before_s, moved.after_s) for moved in found.gained] == [("b-1", 20, 4)]
    assert [(moved.job, moved.before_s, moved.after_s) for moved in found.lost] == [("a-1", 10, 50)]
    mine, others = found.per_tenant["b"]
    assert (mine.wait_s, others.wait_s, mine.jct_s, others.jct_s) == (10, 2, 32, 24)


def test_who_has_not_started_has_waited_until_the_end_and_is_no_job_that_ended() -> None:
    found = compare(history(100, ("a-1", 40, -1, -1)), history(100, ("a-1", 40, 50, 90)))
    assert (found.before.wait_s, found.after.wait_s) == (60, 10)
    assert (found.before.started, found.after.started, found.after.ended) == (0, 1, 1)
    assert (found.before.jct_s, found.after.jct_s) == (None, None), "of jobs that ended in both"
    assert found.earlier == 1


def test_histories_of_other_lengths_are_looked_at_until_the_end_of_the_shorter() -> None:
    found = compare(history(30, ("a-1", 0, -1, -1)), history(100, ("a-1", 0, 50, 90), ("a-2", 60, 61, 62)))
    assert (found.until_s, found.jobs, found.only_after) == (30, 1, 0)
    assert (found.before.wait_s, found.after.wait_s) == (30, 30)
    assert found.same == 1


def test_stops_for_others_are_counted_and_those_of_their_users_are_not() -> None:
    courses = history(100, ("a-1", 0, 1, 50))
    told: list[f.Fact] = [
        f.RunStopOrdered("a-1.1", cause, "b-1") for cause in ("recall", "cancel", "rebalance")
    ]
    courses.note(100 * SECOND_US, told)
    assert compare(courses, history(100, ("a-1", 0, 1, 50))).before.stops == 2
