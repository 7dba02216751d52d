# SPDX-License-Identifier: Apache-2.0
"""The account of promise 2: what each tenant got in a month, and what it would have got with its guarantee as a static
partition. Called by `leitstand twin partition`. docs/twin.md says what is compared and what is not.

Both are histories of the same jobs from the beginning of the journal on: the one that is recorded, and one that the
same core decides in which every tenant has only nodes of its own (`leitstand.twin.own`). Each job takes as long as it
took in truth.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

import numpy as np
from msgspec import Struct

from leitstand.core.units import DAY_US, HOUR_US, SECOND_US
from leitstand.runtime.ports import Entry
from leitstand.twin.alone import is_judged, pays, times_of
from leitstand.twin.courses import Course, Courses
from leitstand.twin.history import moments
from leitstand.twin.own import UNIT, Owned
from leitstand.twin.retelling import Play, play, truth_of
from leitstand.twin.truth import Truth

TAIL_US: Final = 90 * DAY_US  # played on after the journal's end, so that own partitions end what they have


class Account(Struct, frozen=True, kw_only=True):
    """One tenant in one month: the jobs that it submitted then.

    `guarantee_gpus`: mean over the month. `jobs`: those that are compared; of them waits to the first start, times from
    submission to end (JCT), bounded slowdowns, all means, and metered GPU-hours, in truth and alone. `apart`: jobs that
    the own partition, as it then was, could never hold; `left_out`: those that were cancelled, or had not ended in one
    of the histories. `judged`: enough jobs; `worse_off`: it was, by more than R (`recall_s`) or 1.02 times.
    """

    tenant: str
    tenant_class: str
    guarantee_gpus: float
    jobs: int
    wait_s: float | None
    alone_wait_s: float | None
    jct_s: float | None
    alone_jct_s: float | None
    slowdown: float | None
    alone_slowdown: float | None
    gpu_hours: float
    alone_gpu_hours: float
    apart: int
    left_out: int
    recall_s: float
    judged: bool
    worse_off: bool


class Month(Struct, frozen=True):
    """`month`: YYYY-MM, UTC; tenants that submitted anything in it, by name."""

    month: str
    tenants: tuple[Account, ...]


def accounts(read: Callable[[], Iterable[Entry]], month: str = "") -> tuple[Month, ...]:
    """The account of every month of a journal in which anything was submitted, or of one. `read`: all its entries,
    twice."""
    shared, alone, owned = Courses(), Courses(), Owned()
    truth = truth_of(read(), shared.note)
    play(Play(truth, owned.told(moments(read())), until_us=shared.until_us + TAIL_US), watch=alone.note)
    by_month: dict[str, dict[str, list[str]]] = {}
    for job, course in shared.of.items():
        if course.state != "rejected":
            of_tenant = by_month.setdefault(_month(course.submitted_us), {})
            of_tenant.setdefault(course.tenant, []).append(job)
    both = _Both(shared, alone, truth, owned)
    return tuple(
        Month(name, tuple(both.account(name, tenant, jobs) for tenant, jobs in sorted(of_tenant.items())))
        for name, of_tenant in sorted(by_month.items())
        if month in ("", name)
    )


class _Both:
    """The two histories."""

    def __init__(self, shared: Courses, alone: Courses, truth: Truth, owned: Owned) -> None:
        self._shared = shared
        self._alone = alone
        self._truth = truth
        self._owned = owned

    def account(self, month: str, tenant: str, jobs: list[str]) -> Account:
        """One tenant over these jobs."""
        apart = [job for job in jobs if self._alone.of[job].state == "rejected"]
        over = [job for job in jobs if job not in set(apart) and self._is_over(job)]
        duration_us = np.array([self._duration_us(job) for job in over], np.int64)
        in_truth, on_own = ([one.of[job] for job in over] for one in (self._shared, self._alone))
        shared, alone = (times_of(_jct_us(one), duration_us) for one in (in_truth, on_own))
        recall_us = self._owned.recall_us.get(tenant, self._owned.state.rules.sharing.recall_us)
        judged = shared is not None and is_judged(shared)
        worse = shared is not None and alone is not None and not pays(shared, alone, recall_us)
        return Account(
            tenant=tenant,
            tenant_class=self._owned.state.tenants[tenant].tenant_class,
            guarantee_gpus=self._guarantee_gpus(month, tenant),
            jobs=len(over),
            wait_s=_wait_s(in_truth),
            alone_wait_s=_wait_s(on_own),
            jct_s=None if shared is None else shared.jct_s,
            alone_jct_s=None if alone is None else alone.jct_s,
            slowdown=None if shared is None else shared.slowdown,
            alone_slowdown=None if alone is None else alone.slowdown,
            gpu_hours=sum(course.gpu_us for course in in_truth) / HOUR_US,
            alone_gpu_hours=sum(course.gpu_us for course in on_own) / HOUR_US,
            apart=len(apart),
            left_out=len(jobs) - len(apart) - len(over),
            recall_s=recall_us / SECOND_US,
            judged=judged,
            worse_off=judged and worse,
        )

    def _is_over(self, job: str) -> bool:
        """Whether it ran to its own end in both histories."""
        ends = [one.of[job].state for one in (self._shared, self._alone)]
        return job in self._truth.attempts and all(end in ("succeeded", "failed") for end in ends)

    def _duration_us(self, job: str) -> int:
        """How long it worked, all attempts together, restarts for others not counted."""
        return sum(attempt.work_us for attempt in self._truth.attempts[job])

    def _guarantee_gpus(self, month: str, tenant: str) -> float:
        """Mean over the part of the month that the journal knows."""
        steps = self._owned.milli.get(tenant, [])
        if not steps:
            return 0.0
        first, until = _bounds_us(month)
        first, until = max(first, steps[0][0]), min(until, self._shared.until_us)
        held = 0
        for (since, milli), after in zip(steps, [*(at for at, _ in steps[1:]), until], strict=True):
            held += milli * max(min(after, until) - max(since, first), 0)
        return held / UNIT / max(until - first, 1)


def _jct_us(courses: list[Course]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array([course.ended_us - course.submitted_us for course in courses], np.int64)


def _wait_s(courses: list[Course]) -> float | None:
    waits = [course.placed_us - course.submitted_us for course in courses]
    return sum(waits) / (len(waits) * SECOND_US) if waits else None


def _month(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us // SECOND_US, UTC):%Y-%m}"


def _bounds_us(month: str) -> tuple[int, int]:
    """From its first moment to that of the next."""
    first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return int(first.timestamp()) * SECOND_US, int(after.timestamp()) * SECOND_US
