# SPDX-License-Identifier: Apache-2.0
"""What becomes of jobs and capacity in one course, hour by hour. Fed with facts by `course`; read by `figures`.

Amounts are thousandths of a GPU, times µs; areas are their products, so that an hour is the exact mean of what was.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.jobs import Job
from leitstand.core.state import State
from leitstand.core.units import HOUR_US
from leitstand.twin.forking.terms import TERMS, Terms, terms_of

FLEET: Final = (
    f.NodeAdded,
    f.NodeRemoved,
    f.NodeDrained,
    f.NodeReturned,
    a.MaintenancePlanned,
    a.MaintenanceCancelled,
    a.MaintenanceAdvanced,
)
MILLI_HOUR: Final = 1000 * HOUR_US  # of one GPU


class Row(msgspec.Struct):
    """One job. Times in µs, 0: not yet; amounts of GPU time in thousandths × µs. `ran`: it had been placed before
    the fork already, so that it has no wait to compare."""

    job: str
    tenant: str
    tenant_class: str
    project: str
    gpus_milli: int
    submitted_us: int
    placed_us: int = 0
    ended_us: int = 0
    state: str = ""  # succeeded | failed | cancelled | rejected, '' while it lives
    stops: int = 0  # for others
    failures: int = 0  # of nodes
    used: int = 0  # after the fork
    lost: int = 0  # of it: was done and must be done again
    ran: bool = False


class Hour(msgspec.Struct):
    """One hour, or the part of it that lies before the end. Means over it in GPUs, by class where it says so;
    `waiting_jobs`: at its end; `eur`: what was earned."""

    at_us: int
    capacity: float
    used: dict[str, float]
    waiting: dict[str, float]
    guaranteed: dict[str, float]
    within: dict[str, float]  # of what is guaranteed, used
    waiting_jobs: int
    eur: dict[str, float]


class _Level:
    """An amount over time, and its area."""

    __slots__ = ("area", "at", "value")

    def __init__(self, at: int) -> None:
        self.value = 0
        self.area = 0
        self.at = at

    def add(self, at: int, amount: int) -> None:
        self.area += self.value * (at - self.at)
        self.at = at
        self.value += amount

    def take(self, at: int) -> int:
        """The area since the last time."""
        self.add(at, 0)
        area, self.area = self.area, 0
        return area


class _Held(msgspec.Struct):
    """What a run holds since when it started (0: not yet), and the area of it so far."""

    job: str
    leaf: str
    milli: int
    since_us: int
    started_us: int
    area: int = 0


class Tally:
    """See the module. `note` takes the facts of each cycle once the state has applied them; `close` at the end."""

    def __init__(self, state: State, from_us: int, until_us: int) -> None:
        self.rows: dict[str, Row] = {}
        self.hours: list[Hour] = []
        self._state = state
        self._until_us = until_us
        self._hour_us = from_us
        self._next_us = (from_us // HOUR_US + 1) * HOUR_US
        self._capacity = _Level(from_us)
        self._used: dict[str, _Level] = {}  # by leaf
        self._waiting: dict[str, _Level] = {}
        self._waits: dict[str, tuple[str, int]] = {}  # jobs that wait → leaf, amount
        self._held: dict[str, _Held] = {}
        self._last: dict[str, tuple[int, int]] = {}  # of runs that ended: area, work in µs
        self._kept: dict[str, int] = {}
        self._note: dict[type[f.Fact], Callable[[int, Any], None]] = {
            f.JobSubmitted: self._submitted,
            f.JobRejected: self._rejected,
            f.JobAdmitted: self._admitted,
            f.JobRequeued: self._requeued,
            f.JobEnded: self._ended,
            f.RunPlaced: self._placed,
            f.RunStarted: self._started,
            f.RunStopOrdered: self._stopped,
            f.RunResizeOrdered: lambda at, fact: self._resized(at, fact.run),
            f.RunResized: lambda at, fact: self._resized(at, fact.run),
            f.RunEnded: self._over,
            **dict.fromkeys(FLEET, lambda at, fact: self._size(at)),
        }
        self._owed: dict[str, _Level] = {}  # by class
        self._terms = Terms()
        self._begin(from_us)

    def note(self, at: int, facts: Sequence[f.Fact]) -> None:
        """Take up facts stamped `at`."""
        agreed = any(type(fact) in TERMS for fact in facts)
        self._advance(at, looks=not agreed)
        for fact in facts:
            note = self._note.get(type(fact))
            if note is not None:
                note(at, fact)
        if agreed:
            self._look(at)

    def close(self) -> None:
        """The course is over: runs have held what they hold until its end."""
        self._advance(self._until_us)
        if self._hour_us < self._until_us:
            self._hour(self._until_us)
        for held in self._held.values():
            self.rows[held.job].used += held.area + held.milli * (self._until_us - held.since_us)

    # ── the fork ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _begin(self, at: int) -> None:
        state = self._state
        for job in state.jobs.values():
            row = self._row(job, job.submitted_us)
            self._kept[job.id] = job.kept_us
            if job.runs:
                row.ran, row.placed_us = True, job.submitted_us  # the first placement is no more known
            if job.state == "pending":
                self._wait(at, job)
        for run in state.runs.values():
            self.rows[run.job].placed_us = min(run.placed_us, at)
            self._hold(at, run.id, run.job, run.started_us)
        self._size(at)
        self._look(at)

    def _row(self, job: Job, submitted_us: int) -> Row:
        tenant = self._state.tenants[job.tenant].tenant_class
        row = Row(job.id, job.tenant, tenant, job.project, _asked(job.resources), submitted_us)
        self.rows[job.id] = row
        return row

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _submitted(self, at: int, fact: f.JobSubmitted) -> None:
        tenant = self._state.tenants[fact.tenant].tenant_class
        self.rows[fact.job] = Row(fact.job, fact.tenant, tenant, fact.project, _asked(fact.resources), at)

    def _rejected(self, at: int, fact: f.JobRejected) -> None:
        row = self.rows[fact.job]
        row.ended_us, row.state = at, "rejected"

    def _admitted(self, at: int, fact: f.JobAdmitted) -> None:
        row = self.rows[fact.job]
        self._enter(at, fact.job, f"{row.tenant_class}/{row.tenant}/{row.project}", row.gpus_milli)

    def _wait(self, at: int, job: Job) -> None:
        self._enter(at, job.id, self._state.leaf(job), _asked(job.resources))

    def _enter(self, at: int, job: str, leaf: str, milli: int) -> None:
        self._waits[job] = leaf, milli
        self._level(self._waiting, leaf).add(at, milli)

    def _leave(self, at: int, job: str) -> None:
        waited = self._waits.pop(job, None)
        if waited is not None:
            self._waiting[waited[0]].add(at, -waited[1])

    def _requeued(self, at: int, fact: f.JobRequeued) -> None:
        row, kept_us = self.rows[fact.job], self._kept.get(fact.job, 0)
        area, worked_us = self._last.pop(fact.job, (0, 0))
        if worked_us:
            lost_us = min(max(kept_us + worked_us - fact.kept_us, 0), worked_us)
            row.lost += area * lost_us // worked_us
        self._kept[fact.job] = fact.kept_us
        row.failures += fact.reason == f.NODE_FAILED
        self._enter(at, fact.job, f"{row.tenant_class}/{row.tenant}/{row.project}", row.gpus_milli)

    def _ended(self, at: int, fact: f.JobEnded) -> None:
        row = self.rows[fact.job]
        row.ended_us, row.state = at, fact.state
        self._leave(at, fact.job)
        area, _ = self._last.pop(fact.job, (0, 0))
        if fact.reason == "lost":
            row.lost += area
            row.failures += 1
        self._kept.pop(fact.job, None)

    # ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _placed(self, at: int, fact: f.RunPlaced) -> None:
        row = self.rows[fact.job]
        row.placed_us = row.placed_us or at
        self._leave(at, fact.job)
        self._hold(at, fact.run, fact.job, 0, fact.tasks)

    def _hold(self, at: int, run: str, job: str, started_us: int, tasks: tuple[f.Task, ...] = ()) -> None:
        row, known = self.rows[job], self._state.runs.get(run)
        if known is not None:
            tasks = (*known.tasks, *known.leaving)
        leaf = f"{row.tenant_class}/{row.tenant}/{row.project}"
        held = self._held[run] = _Held(job, leaf, self._milli(job, tasks), at, started_us)
        self._level(self._used, leaf).add(at, held.milli)

    def _milli(self, job: str, tasks: tuple[f.Task, ...]) -> int:
        """What tasks hold; a job that is gone by now asked for whole GPUs of them."""
        live = self._state.jobs.get(job)
        part = live.resources.gpu_milli if live is not None else 0
        return sum(task.slot_milli or part or task.bits.bit_count() * 1000 for task in tasks)

    def _started(self, at: int, fact: f.RunStarted) -> None:
        held = self._held.get(fact.run)
        if held is not None:
            held.started_us = fact.at_us

    def _resized(self, at: int, run: str) -> None:
        held, known = self._held.get(run), self._state.runs.get(run)
        if held is None or known is None:
            return
        milli = self._milli(held.job, (*known.tasks, *known.leaving))
        self._used[held.leaf].add(at, milli - held.milli)
        held.area += held.milli * (at - held.since_us)
        held.milli, held.since_us = milli, at

    def _stopped(self, at: int, fact: f.RunStopOrdered) -> None:
        held = self._held.get(fact.run)
        if held is not None and fact.cause in f.YIELDS:
            self.rows[held.job].stops += 1

    def _over(self, at: int, fact: f.RunEnded) -> None:
        held = self._held.pop(fact.run, None)
        if held is None:
            return
        self._used[held.leaf].add(at, -held.milli)
        area = held.area + held.milli * (at - held.since_us)
        self.rows[held.job].used += area
        worked_us = max(fact.at_us - held.started_us, 0) if held.started_us else 0
        # a run that began before the fork counts from the fork on, so does what it loses
        self._last[held.job] = area, worked_us

    # ── hours ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _level(self, levels: dict[str, _Level], name: str) -> _Level:
        found = levels.get(name)
        if found is None:
            found = levels[name] = _Level(self._hour_us)
        return found

    def _size(self, at: int) -> None:
        """Nodes came or went."""
        milli = sum(
            pool.amounts()[0] * 1000 - pool.closures.closed(pool.whole) for pool in self._state.pools.values()
        )
        self._capacity.add(at, milli - self._capacity.value)

    def _advance(self, at: int, *, looks: bool = True) -> None:
        """`looks`: the state still says what is in force now; else it knows more already than was so by then."""
        while self._next_us <= min(at, self._until_us):
            self._hour(self._next_us)
            self._next_us += HOUR_US
            if looks and self._terms.may_change:
                self._look(self._hour_us)

    def _hour(self, at: int) -> None:
        """The hour that began at `_hour_us` ends at `at`."""
        long_us = 1000 * (at - self._hour_us)
        used = {leaf: level.take(at) / long_us for leaf, level in self._used.items()}
        waiting = {leaf: level.take(at) / long_us for leaf, level in self._waiting.items()}
        guaranteed = {name: area / long_us for name, level in self._owed.items() if (area := level.take(at))}
        by_class = _sums(used)
        self.hours.append(
            Hour(
                self._hour_us,
                self._capacity.take(at) / long_us,
                by_class,
                _sums(waiting),
                guaranteed,
                {name: min(gpus, by_class.get(name, 0.0)) for name, gpus in guaranteed.items()},
                len(self._waits),
                self._terms.earned(used, self._hour_us, at),
            )
        )
        self._hour_us = at

    def _look(self, at: int) -> None:
        """Take up what is in force from `at` on."""
        self._terms = terms_of(self._state, at)
        for name in {**self._owed, **self._terms.guaranteed}:
            level = self._level(self._owed, name)
            level.add(at, self._terms.guaranteed.get(name, 0) - level.value)


def _asked(asked: f.Resources) -> int:
    """What a job waits for; a MIG instance counts as nothing before it is placed."""
    return asked.gpus * 1000 or asked.gpu_milli * max(asked.nodes, 1)


def _sums(leaves: dict[str, float]) -> dict[str, float]:
    """By class."""
    found: dict[str, float] = {}
    for leaf, amount in leaves.items():
        name = leaf.partition("/")[0]
        found[name] = found.get(name, 0.0) + amount
    return found
