# SPDX-License-Identifier: Apache-2.0
"""What became of each job in two histories of the same requests, and who gained or lost. Called by replays under other
rules and by forks.

A job that has not started by the end of a history has waited until then: such waits are too short in both, and counted.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from leitstand.core import facts as f
from leitstand.core.units import HOUR_US, SECOND_US

NAMED_MAX: Final = 10  # jobs that gained or lost most, of each


class Course(msgspec.Struct):
    """One job: when it was submitted, first placed and ended (µs, 0: not yet), how often it was stopped for another
    one, and the GPU time that was metered."""

    tenant: str
    submitted_us: int
    placed_us: int = 0
    ended_us: int = 0
    state: str = ""  # succeeded | failed | cancelled | rejected, '' while it lives
    stops: int = 0
    gpu_us: int = 0

    def wait_us(self, until_us: int) -> int:
        """From its submission to its first placement; to its end, or that of the history, if it had none."""
        return (self.placed_us or self.ended_us or until_us) - self.submitted_us


class Courses:
    """Of all jobs of one history; `note` takes its facts in order."""

    def __init__(self) -> None:
        self.of: dict[str, Course] = {}
        self.until_us = 0
        self._note: dict[type[f.Fact], Callable[[int, Any], None]] = {
            f.JobSubmitted: self._submitted,
            f.JobRejected: self._rejected,
            f.RunPlaced: self._placed,
            f.RunStopOrdered: self._stopped,
            f.UsageMetered: self._metered,
            f.JobEnded: self._ended,
        }

    def note(self, at: int, facts: Sequence[f.Fact]) -> None:
        """Take up facts stamped `at`."""
        self.until_us = at
        for fact in facts:
            note = self._note.get(type(fact))
            if note is not None:
                note(at, fact)

    def _submitted(self, at: int, fact: f.JobSubmitted) -> None:
        self.of[fact.job] = Course(fact.tenant, at)

    def _rejected(self, at: int, fact: f.JobRejected) -> None:
        course = self.of[fact.job]
        course.ended_us, course.state = at, "rejected"

    def _placed(self, at: int, fact: f.RunPlaced) -> None:
        course = self.of[fact.job]
        course.placed_us = course.placed_us or at

    def _stopped(self, at: int, fact: f.RunStopOrdered) -> None:
        if fact.cause in f.YIELDS:
            self.of[_job_of(fact.run)].stops += 1

    def _metered(self, at: int, fact: f.UsageMetered) -> None:
        self.of[_job_of(fact.run)].gpu_us += fact.gpu_us

    def _ended(self, at: int, fact: f.JobEnded) -> None:
        course = self.of[fact.job]
        course.ended_us, course.state = at, fact.state


class Side(msgspec.Struct, frozen=True):
    """Some jobs in one history. `started`, `ended`: how many; `wait_s`: mean over all of them; `jct_s`: mean, from
    submission to end, of those that ended in both; `stops`: for another job; `gpu_hours`: metered."""

    started: int
    ended: int
    wait_s: float | None
    jct_s: float | None
    stops: int
    gpu_hours: float


class Moved(msgspec.Struct, frozen=True):
    """One job whose wait changed, from so many seconds to so many."""

    job: str
    before_s: float
    after_s: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two histories of the same jobs. `same`: jobs that were first placed and ended at the same times in both;
    `earlier`, `later`: that were first placed so; `only_before`, `only_after`: jobs of one alone. `first_s`: when they
    part, seconds since the epoch; None: they do not. `gained`, `lost`: the jobs whose waits changed most."""

    until_s: float
    jobs: int
    same: int
    earlier: int
    later: int
    only_before: int
    only_after: int
    first_s: float | None
    before: Side
    after: Side
    per_tenant: dict[str, tuple[Side, Side]]
    gained: tuple[Moved, ...]
    lost: tuple[Moved, ...]


def compare(before: Courses, after: Courses) -> Comparison:
    """What is different in `after`. Both are looked at until the end of the shorter."""
    until_us = min(before.until_us, after.until_us)
    one, other = _until(before, until_us), _until(after, until_us)
    both = [job for job in one if job in other]
    waits = {job: (one[job].wait_us(until_us), other[job].wait_us(until_us)) for job in both}
    changes = sorted((after_us - before_us, job) for job, (before_us, after_us) in waits.items())
    times = {job: (one[job].placed_us, other[job].placed_us) for job in both}
    parted = [min(filter(None, pair)) for pair in times.values() if pair[0] != pair[1]]
    tenants = sorted({course.tenant for course in one.values()})
    return Comparison(
        until_s=until_us / SECOND_US,
        jobs=len(both),
        same=sum(times[job][0] == times[job][1] and one[job].ended_us == other[job].ended_us for job in both),
        earlier=sum(_is_before(after_us, before_us) for before_us, after_us in times.values()),
        later=sum(_is_before(before_us, after_us) for before_us, after_us in times.values()),
        only_before=len(one) - len(both),
        only_after=len(other) - len(both),
        first_s=min(parted) / SECOND_US if parted else None,
        before=_side(one, other, both, until_us),
        after=_side(other, one, both, until_us),
        per_tenant={
            tenant: (_side(one, other, mine, until_us), _side(other, one, mine, until_us))
            for tenant in tenants
            if (mine := [job for job in both if one[job].tenant == tenant])
        },
        gained=tuple(_moved(job, waits) for change, job in changes[:NAMED_MAX] if change < 0),
        lost=tuple(_moved(job, waits) for change, job in reversed(changes[-NAMED_MAX:]) if change > 0),
    )


def _until(courses: Courses, until_us: int) -> dict[str, Course]:
    """What was so at that time. Stops and GPU time stay those of the whole history."""
    kept = {}
    for job, course in courses.of.items():
        if course.submitted_us <= until_us:
            placed_us = course.placed_us if course.placed_us <= until_us else 0
            ended = course.ended_us <= until_us
            kept[job] = msgspec.structs.replace(
                course,
                placed_us=placed_us,
                ended_us=course.ended_us if ended else 0,
                state=course.state if ended else "",
            )
    return kept


def _side(own: dict[str, Course], other: dict[str, Course], jobs: Sequence[str], until_us: int) -> Side:
    over = [job for job in jobs if all(one[job].placed_us and one[job].ended_us for one in (own, other))]
    return Side(
        started=sum(bool(own[job].placed_us) for job in jobs),
        ended=sum(bool(own[job].ended_us) for job in jobs),
        wait_s=_mean_s([own[job].wait_us(until_us) for job in jobs]),
        jct_s=_mean_s([own[job].ended_us - own[job].submitted_us for job in over]),
        stops=sum(own[job].stops for job in jobs),
        gpu_hours=sum(own[job].gpu_us for job in jobs) / HOUR_US,
    )


def _is_before(one_us: int, other_us: int) -> bool:
    """Whether the one was placed first; 0: it was not placed."""
    return bool(one_us) and (not other_us or one_us < other_us)


def _mean_s(times_us: Sequence[int]) -> float | None:
    return sum(times_us) / (len(times_us) * SECOND_US) if times_us else None


def _moved(job: str, waits: dict[str, tuple[int, int]]) -> Moved:
    before_us, after_us = waits[job]
    return Moved(job, before_us / SECOND_US, after_us / SECOND_US)


def _job_of(run: str) -> str:
    return run.rpartition(".")[0]
