# SPDX-License-Identifier: Apache-2.0
"""A record through the real core and the real loop, in virtual time. Called by studies and by the benchmarks of real
months.

As `leitstand twin replay`, with what a recorded trace does not have: time limits, checkpoints, guarantees as large as
the partitions, and nodes of several sizes.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import TENANT_CLASSES, Rules
from leitstand.core.units import DAY_US
from leitstand.engines.simulated import SimulatedEngine
from leitstand.runtime.clock import VirtualClock
from leitstand.runtime.loop import Loop
from leitstand.runtime.ports import Entry, Head, Journal, Source
from leitstand.twin.rulefile import overlaid
from leitstand.twin.studies.record import Record, limits_us
from leitstand.twin.traces import Ints

POOL: Final = "shared"
TOLD: Final = 200  # nodes of the tree in one change: a fact has 64 KiB
LONGEST_US: Final = 100 * DAY_US
PROGRESS_EVERY: Final = 200  # jobs


@dataclass(frozen=True)
class Plan:
    """How to play a record. `changes`: of the rules, beyond the discipline. `static`: each tenant has its own nodes
    alone; else its guarantee is as large as they are, and its weight (`owed` False: weights alone share). `limits`:
    jobs have time limits as people set them. `checkpoint_us`: how often a job that is longer says that it saves, 0:
    never. `until_us`: where to stop."""

    discipline: str = "fair"
    static: bool = False
    owed: bool = True
    limits: bool = True
    checkpoint_us: int = 0
    until_us: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Played:
    """What became of the jobs of a record, by their row: first start and end (-1: none), in µs.

    `runs`: [row, placed, ended] of every run. `evictions` by cause, `evicted_gpus`, both without moves; `moves`: runs
    that were stopped to go on elsewhere; `lost_gpu_us`: work that was done
    again; `restart_gpu_us`: what restarts took.
    """

    start_us: Ints
    end_us: Ints
    cpu_s: float = 0.0
    rejected: list[int] = field(default_factory=list)
    runs: list[tuple[int, int, int]] = field(default_factory=list)
    evictions: dict[str, int] = field(default_factory=dict)
    evicted_gpus: int = 0
    moves: int = 0
    lost_gpu_us: int = 0
    restart_gpu_us: int = 0
    broken: list[tuple[int, str, str]] = field(default_factory=list)  # PromiseBroken: time, job, cause
    cycles: int = 0

    @classmethod
    def empty(cls, jobs: int) -> "Played":
        return cls(np.full(jobs, -1, np.int64), np.full(jobs, -1, np.int64))


Watch = Callable[[Core, int], None]
Progress = Callable[[int, int], None]


def play(record: Record, plan: Plan, watch: Watch | None = None, progress: Progress | None = None) -> Played:
    """Play the record to its end; `watch` sees the core after every cycle, with the time; `progress` is called with the
    jobs that are done and all, now and then. TraceError for changes that no rules can have."""
    rules = rules_of(record, plan)
    heard = _Heard(record, rules, progress)
    loop = Loop(Core(), heard, VirtualClock(), SimulatedEngine(), [_Recorded(record, plan, rules)])
    decide = loop.core.cycle

    def cycle(now: int, observations: Any) -> list[f.Fact]:
        facts = decide(now, observations)
        refused = next((answer for answer in loop.core.answers if answer.refused), None)
        assert refused is None, refused
        heard.played.cycles += 1
        if watch is not None:
            watch(loop.core, now)
        if plan.until_us is not None and now >= plan.until_us:
            loop.stopping = True
        return facts

    loop.core.cycle = cycle  # type: ignore[method-assign]
    begun_s = time.process_time()
    loop.run()
    heard.played.cpu_s = time.process_time() - begun_s
    assert plan.until_us is not None or not loop.core.state.jobs, "jobs never ended"
    return heard.played


def rules_of(record: Record, plan: Plan) -> Rules:
    """The bundle that is in force, with limits that no job of the record meets."""
    lengths_us = [record.duration_us, *([] if record.limit_us is None else [record.limit_us])]
    longest_us = max(LONGEST_US, *(2 * int(column.max(initial=0)) for column in lengths_us))
    rules = Rules(
        name="study",
        discipline=plan.discipline,
        max_duration_default_us=dict.fromkeys(TENANT_CLASSES, longest_us),
        max_duration_limit_us=longest_us,
        pending_jobs_max=1_000_000,
        requests_max=0,
    )
    return overlaid(rules, {**plan.changes, "static": plan.static}, "rules of the study")


def recount(record: Record, plan: Plan, journal: Journal) -> None:
    """Play the record to its end and keep all facts in `journal`."""
    Loop(
        Core(), journal, VirtualClock(), SimulatedEngine(), [_Recorded(record, plan, rules_of(record, plan))]
    ).run()


class _Recorded(Source):
    """Rules, fleet and guarantees with the first submission, then every job at its time."""

    def __init__(self, record: Record, plan: Plan, rules: Rules) -> None:
        self._opening = opening(record, plan, rules)
        self._submit_us: list[int] = record.submit_us.tolist()
        self._requests = _requests(record, plan, rules)
        self._next = 0

    def next_time(self) -> int | None:
        return self._submit_us[self._next] if self._next < len(self._submit_us) else None

    def take(self, now: int) -> Sequence[f.Observation]:
        first = self._next
        self._next = bisect_right(self._submit_us, now, first)
        taken = [*self._opening, *(next(self._requests) for _ in range(first, self._next))]
        self._opening = []
        return taken


def opening(record: Record, plan: Plan, rules: Rules) -> list[f.Observation]:
    """Rules, tenants, nodes, and what everybody is guaranteed."""
    said: list[f.Observation] = [f.RulesSet(rules, ""), f.SiteAdded("site", "simulated", logical=True)]
    class_of = [record.class_of(tenant) for tenant in range(len(record.tenants))]
    said += [
        f.TenantAdded(tenant, tenant_class=kind)
        for tenant, kind in zip(record.tenants, class_of, strict=True)
    ]
    said += [
        f.NodeAdded(f"n{number:05d}", "site", gpus, 0, 0, pool=record.tenants[owner] if plan.static else POOL)
        for number, (gpus, owner) in enumerate(record.nodes, 1)
    ]
    if rules.discipline == "fair" and not plan.static:
        owned = [sum(record.partition(tenant)) for tenant in range(len(record.tenants))]
        there = [kind for kind in TENANT_CLASSES if kind in class_of]
        entitled = [a.Entitlement(kind, -1, max(_of(kind, class_of, owned), 1)) for kind in there]
        entitled += [
            a.Entitlement(f"{kind}/{tenant}", gpus * 1000 * plan.owed, max(gpus, 1))
            for tenant, kind, gpus in zip(record.tenants, class_of, owned, strict=True)
        ]
        said += [
            a.EntitlementsChanged(POOL, tuple(entitled[first : first + TOLD]))
            for first in range(0, len(entitled), TOLD)
        ]
    return said


def _of(kind: str, class_of: list[str], owned: list[int]) -> int:
    return sum(gpus for one, gpus in zip(class_of, owned, strict=True) if one == kind)


def _requests(record: Record, plan: Plan, rules: Rules) -> Iterator[f.SubmitJob]:
    shapes = {gpus: f.Resources(gpus=gpus, nodes=0) for gpus in np.unique(record.gpus).tolist()}
    limits = limits_us(record, rules.sharing.restart_us) if plan.limits else np.zeros(len(record), np.int64)
    every = np.where(record.duration_us > plan.checkpoint_us, plan.checkpoint_us, 0)
    nothing = np.zeros(len(record), np.int64)
    priority = nothing if record.priority is None else record.priority
    user = nothing - 1 if record.user is None else record.user
    columns = (record.tenant, record.gpus, limits, record.duration_us, every, priority, user)
    users = (*record.users, "")  # the last for -1: nobody is named
    for tenant, gpus, limit, duration, saves, rank, who in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        yield f.SubmitJob(
            record.tenants[tenant],
            "default",
            shapes[gpus],
            users[who],
            rank,
            max_duration_us=limit,
            expected_us=duration,
            checkpoint_every_us=saves,
        )


class _Heard(Journal):
    """Keeps no facts; notes what became of each job."""

    def __init__(self, record: Record, rules: Rules, progress: Progress | None = None) -> None:
        self.played = Played.empty(len(record))
        self._progress = progress
        self._done = 0
        self._restart_us = rules.sharing.restart_us
        self._gpus: list[int] = record.gpus.tolist()
        self._row_of: dict[str, int] = {}
        numbers: dict[int, int] = {}
        for row, tenant in enumerate(record.tenant.tolist()):
            numbers[tenant] = number = numbers.get(tenant, 0) + 1
            self._row_of[f"{record.tenants[tenant]}-{number}"] = row
        self._placed: dict[str, int] = {}
        self._worked: dict[str, int] = {}  # by the last run of a job
        self._kept: dict[str, int] = {}
        self._head = Head(0, 0, b"")
        self._note: dict[type[f.Fact], Callable[[int, Any], None]] = {
            f.RunPlaced: self._run_placed,
            f.RunStopOrdered: self._run_stop_ordered,
            f.RunEnded: self._run_ended,
            f.JobRequeued: self._job_requeued,
            f.JobRejected: self._job_rejected,
            f.JobEnded: self._job_ended,
            f.PromiseBroken: self._promise_broken,
        }

    @property
    def head(self) -> Head:
        return self._head

    def append(self, head: Head, now: int, facts: Sequence[f.Fact]) -> Head:
        kinds = self._note
        for fact in facts:
            kind = kinds.get(type(fact))
            if kind is not None:
                kind(now, fact)
        return self._head

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]:
        return iter(())

    def close(self) -> None:
        pass

    def _run_placed(self, at: int, fact: f.RunPlaced) -> None:
        row = self._row_of[fact.job]
        if self.played.start_us[row] < 0:
            self.played.start_us[row] = at
        else:
            self.played.restart_gpu_us += self._restart_us * self._gpus[row]
        self._placed[fact.run] = at

    def _run_stop_ordered(self, at: int, fact: f.RunStopOrdered) -> None:
        played = self.played
        if fact.cause == f.MOVE:
            played.moves += 1
            return
        played.evictions[fact.cause] = played.evictions.get(fact.cause, 0) + 1
        played.evicted_gpus += self._gpus[self._row_of[fact.run.rpartition(".")[0]]]

    def _run_ended(self, at: int, fact: f.RunEnded) -> None:
        job = fact.run.rpartition(".")[0]
        placed = self._placed.pop(fact.run)
        self._worked[job] = at - placed
        self.played.runs.append((self._row_of[job], placed, at))

    def _job_requeued(self, at: int, fact: f.JobRequeued) -> None:
        kept = fact.kept_us - self._kept.get(fact.job, 0)
        self._kept[fact.job] = fact.kept_us
        self.played.lost_gpu_us += (self._worked[fact.job] - kept) * self._gpus[self._row_of[fact.job]]

    def _job_rejected(self, at: int, fact: f.JobRejected) -> None:
        self.played.rejected.append(self._row_of[fact.job])

    def _job_ended(self, at: int, fact: f.JobEnded) -> None:
        assert fact.state == "succeeded", f"{fact.job}: {fact.state} {fact.reason}"
        self.played.end_us[self._row_of[fact.job]] = at
        self._done += 1
        if self._progress is not None and self._done % PROGRESS_EVERY == 0:
            self._progress(self._done, len(self._gpus))

    def _promise_broken(self, at: int, fact: f.PromiseBroken) -> None:
        self.played.broken.append((at, fact.job, fact.cause))
