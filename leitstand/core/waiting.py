# SPDX-License-Identifier: Apache-2.0
"""What keeps a pending job from waiting for capacity: a hold, a time before which it must not begin, other jobs.

The state keeps these indexes with every fact, the cycle says what became due, explanations name what blocks. Only jobs
that nothing blocks are in a queue. A job can name none but earlier jobs, so that nothing waits for itself. The id of an
array is that of its first job; who waits for that id waits for the whole array.
"""

from collections.abc import Iterable
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

import msgspec

from leitstand.core import facts as f
from leitstand.core.decision import DIGEST_MAX
from leitstand.core.places.placement import SHAPES_MAX

if TYPE_CHECKING:
    from leitstand.core.jobs import Job
    from leitstand.core.state import State

BLOCKS: Final = ("held", "begin_time", "dependency", "tenant_suspended")  # the first that holds is the reason
OUTCOMES_KEPT: Final = 1_000  # how the latest jobs of a tenant ended, so that others can still name them


class Array(msgspec.Struct, gc=False):
    """Jobs that were submitted as one. `live`: how many have not ended, `failed`: how many ended without success."""

    id: str
    live: int = 0
    failed: int = 0


def blocked(state: "State", job: "Job") -> str:
    """'' for a pending job that waits for nothing but capacity, else one of BLOCKS."""
    if job.held:
        return "held"
    if job.begin_us:
        return "begin_time"
    if job.id in state.waiting.unmet or job.doomed:
        return "dependency"
    return "tenant_suspended" if state.tenants[job.tenant].suspended else ""


def would_block(state: "State", asked: f.SubmitJob, now: int) -> str:
    """The same for a job that is not submitted yet and would be admitted."""
    if asked.held:
        return "held"
    if asked.begin_us > now:
        return "begin_time"
    return "dependency" if any(state.waiting.is_live(state, one.job) for one in asked.after) else ""


def dependency_fault(state: "State", tenant: str, after: Iterable[f.Dependency]) -> tuple[str, int]:
    """('', 0) if each can still be met or is met already; else why not, and the number of the first such job:
    `dependency_failed`, or `unknown_dependency` (of another tenant: number 0; never there; ended too long ago)."""
    outcomes = state.waiting.outcomes.get(tenant, {})
    for one in after:
        owner, _, number = one.job.rpartition("-")
        if owner != tenant or not (number.isascii() and number.isdigit() and len(number) <= _DIGITS_MAX):
            return "unknown_dependency", 0
        if state.waiting.is_live(state, one.job):
            continue
        if one.job not in outcomes:
            return "unknown_dependency", int(number)
        if not is_met(one.on, outcomes[one.job]):
            return "dependency_failed", int(number)
    return "", 0


def is_met(on: str, succeeded: bool) -> bool:
    """Whether a dependency on a job that ended so is met."""
    return on == "any" or (on == "ok") == succeeded


def fault_of(asked: f.SubmitJob) -> str:
    """Why no fact can hold what is asked; '' if one can."""
    if not 0 <= asked.array <= f.ARRAY_MAX:
        return f"an array of {asked.array}; the limit is {f.ARRAY_MAX}"
    if asked.after and (fault := _after_fault(asked)):
        return fault
    if len(asked.alternatives) > f.ALTERNATIVES_MAX:
        return f"{len(asked.alternatives)} alternatives; the limit is {f.ALTERNATIVES_MAX}"
    if len(asked.data_sites) > f.SITES_MAX:
        return f"{len(asked.data_sites)} sites with its data; the limit is {f.SITES_MAX}"
    if asked.data_sites and any(len(name) > DIGEST_MAX for name in asked.data_sites):
        return _LONG_SITE
    for shape in (asked.resources, *asked.alternatives):
        if fault := _shape_fault(shape):
            return fault
    return ""


def _after_fault(asked: f.SubmitJob) -> str:
    if len(asked.after) > f.AFTER_MAX or len(asked.after) * asked.array > f.ARRAY_AFTER_MAX:
        most = f"{f.AFTER_MAX}, and {f.ARRAY_AFTER_MAX} over an array"
        return f"waits for {len(asked.after)} jobs; the limit is {most}"
    if any(len(one.job) > DIGEST_MAX or one.on not in f.ENDS for one in asked.after):
        return f"after: the id of a job and one of {', '.join(f.ENDS)}"
    return ""


@lru_cache(SHAPES_MAX)
def _shape_fault(shape: f.Resources) -> str:
    for name in (shape.gpu_type, shape.level, shape.prefer, shape.slice_level):
        if len(name) > DIGEST_MAX:
            return f"a GPU type or a level of the topology has more than {DIGEST_MAX} characters"
    if len(shape.sites) > f.SITES_MAX:
        return f"{len(shape.sites)} sites; the limit is {f.SITES_MAX}"
    if any(len(name) > DIGEST_MAX for name in (*shape.sites, shape.jurisdiction)):
        return _LONG_SITE
    return ""


class Due:
    """Jobs with a time, the earliest first. Entries that no longer hold are dropped when they come up, or when they
    outnumber the others."""

    __slots__ = ("_entries", "times")

    def __init__(self) -> None:
        self.times: dict[str, int] = {}
        self._entries: list[tuple[int, int, str]] = []

    def put(self, job: "Job", at_us: int) -> None:
        self.times[job.id] = at_us
        heappush(self._entries, (at_us, job.number, job.id))

    def drop(self, job: str) -> None:
        if self.times.pop(job, None) is None:
            return
        entries = self._entries
        if len(entries) > 2 * len(self.times) + 1024:
            entries[:] = [entry for entry in entries if self.times.get(entry[2]) == entry[0]]
            heapify(entries)

    def first(self) -> tuple[int, str] | None:
        """(time, job) of the earliest."""
        entries = self._entries
        while entries and self.times.get(entries[0][2]) != entries[0][0]:
            heappop(entries)
        return (entries[0][0], entries[0][2]) if entries else None


class Waiting:
    """See the module. `arrays` and `outcomes` (tenant → job → whether it succeeded) are stored; the rest follows from
    the jobs. `woken`: pools that a job entered since the last plan."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self.outcomes: dict[str, dict[str, bool]] = {}
        self.begins = Due()
        self.deadlines = Due()  # the first instant at which a start would be too late
        self.unmet: dict[str, int] = {}  # → how many of the jobs and arrays that it waits for are live
        self.waiters: dict[str, dict[str, None]] = {}  # job or array → who waits for its end
        self.doomed: list[
            tuple[int, str]
        ] = []  # heap of whom a dependency failed; some may have ended meanwhile
        self.woken: dict[str, None] = {}

    def is_live(self, state: "State", name: str) -> bool:
        """Whether the job, or the array of that id, has not ended."""
        return name in self.arrays or name in state.jobs

    def enter(self, state: "State", job: "Job") -> None:
        """The job is pending from now on."""
        if job.begin_us:
            self.begins.put(job, job.begin_us)
        if job.deadline_us:
            self.deadlines.put(job, job.deadline_us - job.max_duration_us + 1)
        if job.doomed:
            heappush(self.doomed, (job.number, job.id))
        live = {one.job: None for one in job.after if self.is_live(state, one.job)} if job.after else None
        if live:
            self.unmet[job.id] = len(live)
            for name in live:
                self.waiters.setdefault(name, {})[job.id] = None

    def begin(self, job: str) -> None:
        """Its time has come."""
        self.begins.drop(job)

    def leave(self, job: "Job") -> None:
        """The job is pending no more."""
        if self.has_times:
            self.begins.drop(job.id)
            self.deadlines.drop(job.id)
        if job.after and self.unmet.pop(job.id, 0):
            for name in {one.job: None for one in job.after}:
                waiters = self.waiters.get(name)
                if waiters is not None and waiters.pop(job.id, self) is None and not waiters:
                    del self.waiters[name]

    def join(self, array: str) -> None:
        """A job of the array was submitted."""
        self.arrays.setdefault(array, Array(array)).live += 1

    def ended(self, state: "State", job: "Job", succeeded: bool) -> list["Job"]:
        """The job is over, and perhaps its array. The jobs that wait for no other any more, in order."""
        free: list[Job] = []
        if job.id != job.array:
            free += self._settle(state, job, job.id, succeeded)
        if job.array:
            array = self.arrays[job.array]
            array.live -= 1
            array.failed += not succeeded
            if not array.live:
                del self.arrays[array.id]
                free += self._settle(state, job, array.id, not array.failed)
        return free

    def _settle(self, state: "State", job: "Job", name: str, succeeded: bool) -> list["Job"]:
        outcomes = self.outcomes.setdefault(job.tenant, {})
        outcomes[name] = succeeded
        if len(outcomes) >= 2 * OUTCOMES_KEPT:
            self.outcomes[job.tenant] = dict(list(outcomes.items())[-OUTCOMES_KEPT:])
        free = []
        for waiter in self.waiters.pop(name, ()):
            other = state.jobs[waiter]
            self.unmet[waiter] -= 1
            met = all(is_met(one.on, succeeded) for one in other.after if one.job == name)
            if not met and not other.doomed:
                other.doomed = True
                heappush(self.doomed, (other.number, waiter))
            if not self.unmet[waiter]:
                del self.unmet[waiter]
                if not other.doomed:
                    free.append(other)
        return free

    @property
    def has_times(self) -> bool:
        """Whether time alone may change anything for anybody who waits."""
        return bool(self.doomed or self.begins.times or self.deadlines.times)

    def next_time(self) -> int | None:
        """When time alone will change something (µs); 0 if something is due already."""
        if not self.has_times:
            return None
        if self.doomed:
            return 0
        firsts = [first[0] for first in (self.begins.first(), self.deadlines.first()) if first is not None]
        return min(firsts, default=None)

    def due(self, state: "State", now: int) -> f.Fact | None:
        """The next fact that is due at `now`; applied, it is due no more."""
        while self.doomed:
            job = self.doomed[0][1]
            if job in state.jobs:
                return f.JobEnded(job, "failed", "dependency_failed")
            heappop(self.doomed)
        missed = self.deadlines.first()
        if missed is not None and missed[0] <= now:
            return f.JobEnded(missed[1], "failed", "deadline_missed")
        begins = self.begins.first()
        if begins is not None and begins[0] <= now:
            return f.JobReleased(begins[1], "begin_time")
        return None


_DIGITS_MAX: Final = 15
_LONG_SITE: Final = f"a site or a jurisdiction has more than {DIGEST_MAX} characters"
