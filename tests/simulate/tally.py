# SPDX-License-Identifier: Apache-2.0
"""What the journal says, followed fact by fact without the core: who lives, who holds what, what was paid. Called by
the world (feeds it) and by the checks (read it).

It reads the stored bytes, as a follower does, and shares no code with `State.apply` but the structs of the facts.
"""

from dataclasses import dataclass, field
from typing import Any

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.rules import Rules


@dataclass(slots=True)
class TellJob:
    """A job that has not ended."""

    said: f.JobSubmitted
    at: int
    pool: str = ""
    resources: f.Resources = field(default_factory=f.Resources)
    limit_us: int = 0
    charge_milli: int = 0
    reserved: dict[str, int] = field(default_factory=dict)
    run: str = ""
    runs: int = 0
    waits: bool = False
    held: bool = False
    begun: bool = False  # its begin time has come
    moves_since: int = -1  # of one that is to go on elsewhere: from when on it counts as running
    kept_us: int = 0


@dataclass(slots=True)
class TellRun:
    """A run that has not ended. `steps`: (from, tasks), as reported; `leaving`: by order, tasks that hold what they
    hold until it is carried out; `sizes`: tasks by order."""

    job: str
    tasks: tuple[f.Task, ...]
    placed: int
    steps: list[tuple[int, int]] = field(default_factory=list)
    started: int = -1  # stamp of its start report
    since: int = 0  # from when on it counts as running: a move makes nobody younger
    stopping: str = ""
    stopped: int = 0
    leaving: dict[int, tuple[f.Task, ...]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)

    def holds(self) -> list[f.Task]:
        return [*self.tasks, *(task for some in self.leaving.values() for task in some)]


@dataclass(slots=True)
class TellBooking:
    """A booking that is not over."""

    leaf: str
    said: f.BookingMade
    charge_milli: int
    tasks: tuple[f.Task, ...]
    step: str = ""


class Tally:
    """See the module. `seq`: the last entry that it took up."""

    def __init__(self) -> None:
        self.seq = 0
        self.at = 0
        self.rules = Rules()
        self.jobs: dict[str, TellJob] = {}
        self.runs: dict[str, TellRun] = {}
        self.placed: dict[str, None] = {}  # all runs that ever were
        self.ended: dict[str, str] = {}  # job → how
        self.requests: dict[str, list[str]] = {}  # of submissions → jobs, the first of an array alone
        self.acts: dict[str, str] = {}  # author → what the act made
        self.classes: dict[str, str] = {}
        self.suspended: set[str] = set()
        self.nodes: dict[str, f.NodeAdded] = {}
        self.out: set[str] = set()
        self.drained: dict[str, bool] = {}  # nodes → whether their engine says that they are there
        self.reports: dict[str, int] = {}  # of nodes that were not well
        self.levels: dict[str, tuple[str, ...]] = {}
        self.entitled: dict[str, dict[str, int]] = {}  # pool → node of its tree → weight
        self.budgets: dict[str, a.BudgetGranted] = {}
        self.posted: dict[str, int] = {}
        self.reservations: dict[str, f.CapacityReserved] = {}
        self.bookings: dict[str, TellBooking] = {}
        self.windows: dict[str, tuple[a.MaintenancePlanned, str]] = {}
        self.ends: dict[str, tuple[int, f.RunEnded, TellRun]] = {}  # of runs that started → stamp, report
        self.metered: dict[str, f.UsageMetered] = {}
        self.losses = 0  # nodes that left service, came back otherwise, or are closed at once
        self.bundles = 0  # rules that were set
        self.contracts = 0  # changes of entitlements since the first
        self.paced_us = 0  # when the pace of the rules allows the next start

    def leaf(self, job: TellJob) -> str:
        """Where it stands in the tree."""
        return f"{self.classes[job.said.tenant]}/{job.said.tenant}/{job.said.project}"

    def charge(self, job: TellJob, tasks: int) -> int:
        """What it counts for with so many tasks."""
        least = job.resources.nodes
        if not job.said.elastic or tasks <= least:
            return job.charge_milli
        unit = max(1, job.resources.slice_nodes)
        return job.charge_milli + (tasks - least) // unit * -(-job.charge_milli * unit // least)

    def apply(self, at: int, fact: f.Fact) -> None:
        """Take up one fact."""
        self.at = at
        take = getattr(self, f"_{type(fact).__name__}", None)
        if take is not None:
            take(at, fact)
        author = getattr(fact, "by", "")
        if author:
            self.acts.setdefault(author, _made(fact))

    # ── operator ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _RulesSet(self, at: int, fact: f.RulesSet) -> None:
        self.contracts += self.bundles > 0
        self.bundles += 1
        self.rules = fact.rules
        if fact.rules.discipline != "fair":  # the others know none
            self.reservations.clear()

    def _SiteAdded(self, at: int, fact: f.SiteAdded) -> None:
        self.levels[fact.site] = fact.levels

    def _NodeAdded(self, at: int, fact: f.NodeAdded) -> None:
        before = self.nodes.get(fact.node)
        self.losses += before is not None and (before.gpus, before.cpus_milli) != (
            fact.gpus,
            fact.cpus_milli,
        )
        self.nodes[fact.node] = fact
        if fact.node in self.drained:
            self.drained[fact.node] = True
        else:
            self.out.discard(fact.node)

    def _NodeRemoved(self, at: int, fact: f.NodeRemoved) -> None:
        self.losses += 1
        self.out.add(fact.node)
        if fact.node in self.drained:
            self.drained[fact.node] = False

    def _NodeReported(self, at: int, fact: f.NodeReported) -> None:
        self.reports[fact.node] = self.reports.get(fact.node, 0) + 1

    def _NodeDrained(self, at: int, fact: f.NodeDrained) -> None:
        self.losses += 1
        self.drained[fact.node] = fact.node not in self.out
        self.out.add(fact.node)

    def _NodeReturned(self, at: int, fact: f.NodeReturned) -> None:
        self.losses += 1
        if self.drained.pop(fact.node):
            self.out.discard(fact.node)

    def _TenantAdded(self, at: int, fact: a.TenantAdded) -> None:
        self.classes[fact.tenant] = fact.tenant_class

    def _TenantSuspended(self, at: int, fact: a.TenantSuspended) -> None:
        self.suspended.add(fact.tenant)
        for name, job in self.jobs.items():
            if job.waits and job.said.tenant == fact.tenant:
                self.reservations.pop(name, None)

    def _TenantResumed(self, at: int, fact: a.TenantResumed) -> None:
        self.suspended.discard(fact.tenant)

    def _EntitlementsChanged(self, at: int, fact: a.EntitlementsChanged) -> None:
        self.contracts += fact.by != ""
        self.entitled.setdefault(fact.pool, {}).update({one.node: one.weight for one in fact.entitlements})

    def _CommitmentMade(self, at: int, fact: a.CommitmentMade) -> None:
        self.contracts += 1

    def _MaintenancePlanned(self, at: int, fact: a.MaintenancePlanned) -> None:
        self.losses += 1
        self.windows[fact.window] = fact, "planned"

    def _MaintenanceAdvanced(self, at: int, fact: a.MaintenanceAdvanced) -> None:
        planned, _ = self.windows.pop(fact.window)
        if fact.step != "ended":
            self.windows[fact.window] = planned, fact.step

    def _MaintenanceCancelled(self, at: int, fact: a.MaintenanceCancelled) -> None:
        del self.windows[fact.window]

    def _BudgetGranted(self, at: int, fact: a.BudgetGranted) -> None:
        self.budgets[fact.budget] = fact
        self.posted[fact.budget] = 0

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _JobSubmitted(self, at: int, fact: f.JobSubmitted) -> None:
        self.jobs[fact.job] = TellJob(fact, at, resources=_least(fact, 0), held=fact.held)
        self.jobs[fact.job].begun = fact.begin_us <= at
        if fact.request:
            self.requests.setdefault(fact.request, []).append(fact.job)

    def _JobAdmitted(self, at: int, fact: f.JobAdmitted) -> None:
        job = self.jobs[fact.job]
        job.limit_us, job.waits = fact.max_duration_us, True
        self._choose(job, fact)

    def _JobSwitched(self, at: int, fact: f.JobSwitched) -> None:
        self.reservations.pop(fact.job, None)
        self._choose(self.jobs[fact.job], fact)

    def _choose(self, job: TellJob, fact: Any) -> None:
        job.pool, job.charge_milli = fact.pool, fact.charge_milli
        job.resources = _least(job.said, fact.alternative)
        job.reserved = dict(fact.reserved)

    def _BudgetReserved(self, at: int, fact: f.BudgetReserved) -> None:
        self.jobs[fact.job].reserved = dict(fact.reserved)

    def _JobHeld(self, at: int, fact: f.JobHeld) -> None:
        self.jobs[fact.job].held = True
        self.reservations.pop(fact.job, None)

    def _JobReleased(self, at: int, fact: f.JobReleased) -> None:
        if fact.cause == "begin_time":
            self.jobs[fact.job].begun = True
        else:
            self.jobs[fact.job].held = False

    def _JobRequeued(self, at: int, fact: f.JobRequeued) -> None:
        job = self.jobs[fact.job]
        job.waits, job.kept_us = True, fact.kept_us
        if job.held or job.said.tenant in self.suspended:
            self.reservations.pop(fact.job, None)

    def _JobRejected(self, at: int, fact: f.JobRejected) -> None:
        del self.jobs[fact.job]
        self.ended[fact.job] = "rejected"

    def _JobEnded(self, at: int, fact: f.JobEnded) -> None:
        del self.jobs[fact.job]
        self.reservations.pop(fact.job, None)
        self.ended[fact.job] = fact.state

    # ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _CapacityReserved(self, at: int, fact: f.CapacityReserved) -> None:
        self.reservations[fact.job] = fact
        job = self.jobs[fact.job]
        job.moves_since = self.runs[job.run].since if job.run and fact.kind == "claim" else -1

    def _ReservationDropped(self, at: int, fact: f.ReservationDropped) -> None:
        self.reservations.pop(fact.job, None)

    def _RunPlaced(self, at: int, fact: f.RunPlaced) -> None:
        job = self.jobs[fact.job]
        moves = self.reservations.pop(fact.job, None) is not None and job.moves_since >= 0
        job.run, job.runs, job.waits = fact.run, job.runs + 1, False
        self.placed[fact.run] = None
        self.paced_us = max(self.paced_us, at) + self.rules.sharing.start_interval_us
        self.runs[fact.run] = TellRun(fact.job, fact.tasks, at, sizes={0: len(fact.tasks)})
        self.runs[fact.run].since = job.moves_since if moves else at

    def _RunStopOrdered(self, at: int, fact: f.RunStopOrdered) -> None:
        run = self.runs[fact.run]
        run.stopped = run.stopped if run.stopping else at
        run.stopping = fact.cause
        if fact.cause not in f.AGAIN:
            self.reservations.pop(run.job, None)

    def _RunResizeOrdered(self, at: int, fact: f.RunResizeOrdered) -> None:
        run = self.runs[fact.run]
        run.leaving[fact.number] = tuple(task for task in run.tasks if task not in fact.tasks)
        run.tasks, run.sizes[fact.number] = fact.tasks, len(fact.tasks)

    def _RunResized(self, at: int, fact: f.RunResized) -> None:
        run = self.runs[fact.run]
        run.leaving = {number: some for number, some in run.leaving.items() if number > fact.number}
        run.steps.append((fact.at_us, run.sizes[fact.number]))

    def _RunStarted(self, at: int, fact: f.RunStarted) -> None:
        run = self.runs[fact.run]
        run.started = at
        run.steps.append((fact.at_us, len(run.tasks)))

    def _RunEnded(self, at: int, fact: f.RunEnded) -> None:
        run = self.runs.pop(fact.run)
        self.jobs[run.job].run = ""
        if run.steps:
            self.ends[fact.run] = at, fact, run

    def _UsageMetered(self, at: int, fact: f.UsageMetered) -> None:
        self.metered[fact.run] = fact
        job = self.jobs[fact.run.rpartition(".")[0]]
        for budget, amount in fact.posted:
            self.posted[budget] += amount
            job.reserved[budget] = job.reserved.get(budget, 0) - amount

    # ── bookings ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _BookingMade(self, at: int, fact: f.BookingMade) -> None:
        leaf = f"{self.classes[fact.tenant]}/{fact.tenant}/{fact.project}"
        self.bookings[fact.booking] = TellBooking(leaf, fact, fact.charge_milli, fact.tasks)

    def _BookingAdvanced(self, at: int, fact: f.BookingAdvanced) -> None:
        self.bookings[fact.booking].step = fact.step

    def _BookingMoved(self, at: int, fact: f.BookingMoved) -> None:
        self.bookings[fact.booking].tasks = fact.tasks

    def _BookingBroken(self, at: int, fact: f.BookingBroken) -> None:
        booking = self.bookings[fact.booking]
        booking.tasks, booking.charge_milli = fact.tasks, fact.charge_milli

    def _BookingEnded(self, at: int, fact: Any) -> None:
        del self.bookings[fact.booking]
        for budget, amount in fact.posted:
            self.posted[budget] += amount

    _BookingCancelled = _BookingEnded


def _least(said: f.JobSubmitted, alternative: int) -> f.Resources:
    return (said.resources, *said.alternatives)[alternative]


def _made(fact: Any) -> str:
    """The id of what an act made, '' if it has none."""
    for name in ("budget", "commitment", "window", "booking", "tenant"):
        made = getattr(fact, name, "")
        if made:
            return str(made)
    return "done"
