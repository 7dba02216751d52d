# SPDX-License-Identifier: Apache-2.0
"""What is, as the journal says: tenants, jobs, runs, fleet. `State.apply` is the only writer.

Used by the core (decides on it), by followers (read it) and by snapshots (store its projection). Live jobs only:
an ended job leaves by `JobEnded` or `JobRejected`. Everything that is not in the projection is derived from it.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from leitstand.core import acts as a
from leitstand.core import budgets, fleet, onboarding, people, resizing, tenancy
from leitstand.core import facts as f
from leitstand.core.bookings import booked
from leitstand.core.bookings.booked import Bookings, Inside
from leitstand.core.fact import Fact
from leitstand.core.fleet import Node, Pool, Site
from leitstand.core.health import deciding as health
from leitstand.core.jobs import Job, Remembered, Reservation, Run, least
from leitstand.core.maintenance import windows
from leitstand.core.maintenance.windows import Maintenance
from leitstand.core.onboarding import Onboarding
from leitstand.core.people import People
from leitstand.core.places.cutting import by_position
from leitstand.core.places.placement import Place
from leitstand.core.queue import Key, Queue, rank
from leitstand.core.rules import Rules
from leitstand.core.sharing import entitlements, keeping, lengths, repair
from leitstand.core.sharing.entitlements import Contracts
from leitstand.core.sharing.keeping import Lags
from leitstand.core.sharing.shares import Clock
from leitstand.core.sharing.standing import Reserved
from leitstand.core.tenancy import Tenant
from leitstand.core.waiting import Array, Waiting, blocked

PROJECTION_VERSION: Final = 6


class Projection(msgspec.Struct):
    """The canonical form: what a snapshot stores and a digest covers. Lists keep the order of arrival."""

    version: int
    rules: Rules
    rules_digest: str
    submitted: int
    sites: list[Site]
    nodes: list[Node]
    tenants: list[Tenant]
    jobs: list[Job]
    runs: list[Run]
    requests: list[tuple[str, Remembered]]
    people: People
    onboarding: Onboarding
    budgets: int
    arrays: list[Array]
    outcomes: dict[str, dict[str, bool]]
    reservations: list[Reservation] = []
    lags: dict[str, Lags] = {}
    paced_us: int = 0
    contracts: dict[str, Contracts] = {}
    lengths: dict[str, dict[str, int]] = {}
    maintenance: Maintenance | msgspec.UnsetType = msgspec.UNSET  # before the first window
    bookings: Bookings | msgspec.UnsetType = msgspec.UNSET  # before the first booking


class State:
    """See the module. Dictionaries are in order of arrival and are read-only for everybody but `apply`."""

    def __init__(self) -> None:
        self.rules = Rules()
        self.rules_digest = ""  # of the bundle that was set; '' before the first
        self.submitted = 0  # jobs ever submitted
        self.sites: dict[str, Site] = {}
        self.nodes: dict[str, Node] = {}
        self.tenants: dict[str, Tenant] = {}
        self.jobs: dict[str, Job] = {}
        self.runs: dict[str, Run] = {}
        self.requests: dict[str, Remembered] = {}
        self.request_ages: deque[str] = (
            deque()
        )  # oldest first; a dict finds its first key slowly once many left
        self.pools: dict[str, Pool] = {}
        self.people = People()
        self.onboarding = Onboarding()
        self.budgets = 0  # ever granted
        self.waiting = Waiting()
        self.latest_starts = budgets.LatestStarts()  # of jobs that wait, for their budgets' sake; derived
        self.paced_us = 0  # no start before, if the rules set a pace
        self.reservations: dict[str, Reservation] = {}  # by job, in the order in which they were made
        self.contracts: dict[str, Contracts] = {}  # by pool
        self.lengths: dict[str, dict[str, int]] = {}  # what runs took, by project; under `fair` alone
        self.maintenance = Maintenance()
        self.bookings = Bookings()
        self.inside = Inside()  # the jobs that name a booking; derived
        self.exits: dict[str, int] = {}  # tenants that leave → when their next stage begins; derived
        self.digests: dict[str, str] = {}  # of tokens, invitations and claims → their ids; derived
        self.clock = Clock()  # when the last fact was applied; never stored
        self.access_version = 0  # rises whenever who may do what may have changed; never stored

    def apply(self, at: int, fact: Fact) -> None:
        """Fold one fact stamped `at` (µs)."""
        self.clock.us = at
        _APPLY[type(fact)](self, at, fact)

    # ── operator ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _rules_set(self, at: int, fact: f.RulesSet) -> None:
        self.rules = fact.rules
        self.rules_digest = fact.digest
        for pool in self.pools.values():
            pool.queue = Queue()
        lags = keeping.lags_of(self)
        keeping.stand(self)
        self._queue()
        keeping.remember(self, lags)

    def _queue(self) -> None:
        """Put all that waits into the queues, but for what has a claim, and hold what is reserved."""
        for job in self.jobs.values():
            if job.state == "pending":
                self._enqueue(job)
            if job.failed_us:
                keeping.call_first(self, job, job.failed_us)
        for made in self.reservations.values():
            self._reserve(self.jobs[made.job], made)
        booked.derive(self)

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _job_submitted(self, at: int, fact: f.JobSubmitted) -> None:
        self.submitted += 1
        self.tenants[fact.tenant].jobs += 1
        asked, others = fact.resources, fact.alternatives
        most: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
        if fact.elastic and not fact.booking:  # in a booking it takes what there is when it starts
            most = tuple(max(shape.nodes, shape.nodes_max) for shape in (asked, *others))
            asked, others = least(asked), tuple(least(shape) for shape in others)
        self.jobs[fact.job] = Job(
            fact.job,
            self.submitted,
            fact.tenant,
            fact.project,
            fact.user,
            asked,
            fact.priority,
            fact.max_duration_us,
            fact.expected_us,
            fact.spec,
            at,
            fact.retries,
            fact.retry_on,
            fact.checkpoint_every_us,
            fact.begin_us if fact.begin_us > at else 0,
            fact.after,
            fact.deadline_us,
            fact.held,
            fact.array,
            fact.index,
            fact.size,
            (asked, *others) if others else (),
            data_sites=fact.data_sites,
            most=most,
            booking=fact.booking or msgspec.UNSET,
            burn_in=fact.burn_in or msgspec.UNSET,
        )
        if fact.array:
            self.waiting.join(fact.array)
        self._forget_requests(at)
        if fact.request:
            self.requests[fact.request] = Remembered(fact.job, fact.request_digest, at)
            self.request_ages.append(fact.request)
            self.tenants[fact.tenant].requests += 1

    def _forget_requests(self, at: int) -> None:
        """Drop what is older than the rules say."""
        oldest_kept = at - self.rules.request_ttl_us
        ages, requests = self.request_ages, self.requests
        while ages and requests[ages[0]].at <= oldest_kept:
            forgotten = requests.pop(ages.popleft())
            self.tenants[forgotten.job.rpartition("-")[0]].requests -= 1

    def _job_admitted(self, at: int, fact: f.JobAdmitted) -> None:
        job = self.jobs[fact.job]
        job.pool = fact.pool
        job.max_duration_us = fact.max_duration_us
        job.charge_milli = fact.charge_milli
        if fact.alternative:
            job.resources = job.shapes[fact.alternative]
        budgets.hold(self, job, fact.reserved, fact.price_micro_eur)
        booking = booked.of_job(self, job)
        if booking is not None:
            job.ends_us = booking.until_us
            self.inside.enter(job)
        if self.pools[job.pool].standing is not None:
            job.predicted_us = lengths.predict(self, job)
        self._wait(job)

    def _job_switched(self, at: int, fact: f.JobSwitched) -> None:
        job = self.jobs[fact.job]
        self._drop(job)
        self._leave_queue(job)
        failed_us = job.failed_us
        keeping.call_no_more(self, job)
        job.pool, job.charge_milli = fact.pool, fact.charge_milli
        if job.shapes:
            job.resources = job.shapes[fact.alternative]
        job.switches += 1
        budgets.hold(self, job, fact.reserved, fact.price_micro_eur)
        if failed_us:
            keeping.call_first(self, job, failed_us)
        self._enqueue(job)

    def _job_requeued(self, at: int, fact: f.JobRequeued) -> None:
        job = self.jobs[fact.job]
        job.retried += fact.reason in f.RETRYABLE
        job.failures = job.failures + (fact.reason == f.NODE_FAILED) if fact.kept_us <= job.kept_us else 0
        job.kept_us = fact.kept_us
        if blocked(self, job):  # since it was told to move, or to yield
            self._drop(job)
            standing = self.pools[job.pool].standing
            if standing is not None:
                standing.forget(job.id)
        self._wait(job)

    def _wait(self, job: Job) -> None:
        job.state = "pending"
        self.tenants[job.tenant].pending += 1
        budgets.watch(self, job)
        self.waiting.enter(self, job)
        self._enqueue(job)

    def _wait_no_more(self, job: Job) -> None:
        self._leave_queue(job)
        self.tenants[job.tenant].pending -= 1
        self.waiting.leave(job)

    def _job_held(self, at: int, fact: f.JobHeld) -> None:
        job = self.jobs[fact.job]
        job.held = True
        self._leave_queue(job)
        self._drop(job)

    def _job_released(self, at: int, fact: f.JobReleased) -> None:
        job = self.jobs[fact.job]
        if fact.cause == "begin_time":
            job.begin_us = 0
            self.waiting.begin(job.id)
        else:
            job.held = False
        self._wake(job)

    def _over(self, job: Job, succeeded: bool) -> None:
        """The job has left the state; those that waited for it may go on."""
        for other in self.waiting.ended(self, job, succeeded):
            self._wake(other)

    def _wake(self, job: Job) -> None:
        """One thing less keeps a pending job from its queue."""
        self._enqueue(job)
        self.waiting.woken[job.pool] = None

    def _budget_reserved(self, at: int, fact: f.BudgetReserved) -> None:
        budgets.hold(self, self.jobs[fact.job], fact.reserved, fact.price_micro_eur)

    def hold(self, tenant: str) -> None:
        """Take what the tenant has waiting out of the queues, just before it counts as suspended."""
        for job in self.jobs.values():
            if job.tenant == tenant and job.state == "pending":
                self._leave_queue(job)
                self._drop(job)

    def release(self, tenant: str) -> None:
        """Put it back, when the tenant counts as suspended no more."""
        for job in self.jobs.values():
            if job.tenant == tenant and job.state == "pending":
                self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        made = self.reservations.get(job.id)
        if blocked(self, job) or (made is not None and made.kind == "claim"):
            return
        if job.booking is not msgspec.UNSET:
            self.inside.wait(job)
            return
        pool = self.pools[job.pool]
        if pool.standing is not None:
            pool.standing.wait(job, self.leaf(job))
            return
        order = rank(self.rules.discipline, job.priority, job.expected_us, job.max_duration_us)
        key: Key = (order, job.number, job.id)
        pool.queue.add(job.resources, key)

    def _job_rejected(self, at: int, fact: f.JobRejected) -> None:
        self._over(self.jobs.pop(fact.job), succeeded=False)

    def _job_ended(self, at: int, fact: f.JobEnded) -> None:
        job = self.jobs.pop(fact.job)
        budgets.hold(self, job, ())
        if job.state == "pending":
            self._wait_no_more(job)
        self._drop(job)
        keeping.call_no_more(self, job)
        standing = self.pools[job.pool].standing if job.pool else None
        if standing is not None:
            standing.forget(job.id)
        if job.booking is not msgspec.UNSET:
            self.inside.leave(job)
        self._over(job, fact.state == "succeeded")

    def _leave_queue(self, job: Job) -> None:
        if job.booking is not msgspec.UNSET:
            self.inside.wait_no_more(job)
            return
        pool = self.pools[job.pool]
        if pool.standing is None:
            if job.id in pool.queue.waiting:
                pool.queue.leave(job.resources, job.id)
        elif job.id in pool.standing.waiting:
            pool.standing.leave(job)

    def leaf(self, job: Job) -> str:
        """Where the job stands in the entitlement tree."""
        return f"{self.tenants[job.tenant].tenant_class}/{job.tenant}/{job.project}"

    # ── reservations ──────────────────────────────────────────────────────────────────────────────────────────────
    def _capacity_reserved(self, at: int, fact: f.CapacityReserved) -> None:
        job = self.jobs[fact.job]
        before = self.reservations.pop(job.id, None)
        self._release(job)
        if fact.kind == "claim":
            self._leave_queue(job)
        elif before is not None and before.kind == "claim":  # a failure left a part of it
            keeping.call_first(self, job, at)
            if job.state == "pending":
                self._enqueue(job)
        moved_us = self.runs[job.run].since_us if job.run and fact.kind == "claim" else msgspec.UNSET
        made = Reservation(fact.job, fact.kind, fact.start_us, fact.tasks, at, moved_us)
        if fact.promised:
            made.promised = True
        self._reserve(job, made)

    def _reserve(self, job: Job, made: Reservation) -> None:
        self.reservations[job.id] = made
        standing = self.pools[job.pool].standing
        if standing is not None:
            places, sharing = self.places(made.tasks), self.rules.sharing
            due_us = made.start_us - sharing.until_freed_us
            freed_us = sharing.freed_us if made.kind == "claim" else 0
            if made.kind == "hold":
                freed_us = sharing.recall_us
            times = (made.start_us, made.at_us, due_us, freed_us, made.since_us)
            instances = by_position(places, made.tasks) if job.resources.mig else None
            standing.reserve(job, self.leaf(job), Reserved(made.kind, places, *times, instances))

    def _reservation_dropped(self, at: int, fact: f.ReservationDropped) -> None:
        job = self.jobs[fact.job]
        kind = self.reservations[fact.job].kind
        self._drop(job)
        if kind == "claim" and job.state == "pending":
            self._enqueue(job)
        if fact.cause == "failed" and kind in ("claim", "promise"):
            keeping.call_first(self, job, at)

    def _drop(self, job: Job) -> None:
        if self.reservations.pop(job.id, None) is not None:
            self._release(job)

    def _release(self, job: Job) -> None:
        """Give back what is held for a job, in its pool; a claim counts as running no more."""
        standing = self.pools[job.pool].standing
        if standing is not None:
            standing.drop(job.id, self.leaf(job))

    def places(self, tasks: tuple[f.Task, ...]) -> list[Place]:
        """Positions and numbers of GPUs."""
        return [(self.nodes[task.node].position, task.bits.bit_count()) for task in tasks]

    # ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _run_placed(self, at: int, fact: f.RunPlaced) -> None:
        job = self.jobs[fact.job]
        self._wait_no_more(job)
        if self.rules.sharing.start_interval_us:
            self.paced_us = max(self.paced_us, at) + self.rules.sharing.start_interval_us
        keeping.call_no_more(self, job)
        job.state = "starting"
        budgets.watch(self, job)
        job.runs += 1
        job.run = fact.run
        run = self.runs[fact.run] = Run(fact.run, fact.job, fact.tasks, at)
        resizing.begin(job, run)
        reservation = self.reservations.get(job.id)
        if reservation is not None:
            run.moved_us = reservation.moved_us
            if reservation.pins:
                run.pinned_us = at + min(job.max_duration_us, self.rules.sharing.protected_us)
            latest_us = reservation.latest_us(self.rules.sharing.freed_us)
            if reservation.kind != "hold" and latest_us < at:
                run.planned_us = latest_us
        booking = booked.of_job(self, job)
        if booking is not None:
            run.pinned_us = booking.until_us
        if job.burn_in is not msgspec.UNSET:
            run.pinned_us = at + job.max_duration_us  # nobody else could have its node
            health.drained(self.nodes[job.burn_in]).burn_in = job.id
        standing = self.pools[job.pool].standing
        if standing is not None:
            standing.place(job, run, self.leaf(job), self.places(fact.tasks), run.pinned_us)
            self.reservations.pop(job.id, None)
        for task in fact.tasks:
            self.take(job, task)
        if booking is not None:
            booked.changed(self, job, at)

    def take(self, job: Job, task: f.Task) -> None:
        """A task of a run of the job holds its part of its node from now on."""
        node, bits = self.nodes[task.node], task.bits
        free, part = self.pools[node.pool].free, job.resources.part(bits.bit_count())
        if job.resources.mig:
            free.cut(node.position, bits.bit_length() - 1, task.slot, *part)
        else:
            free.take(node.position, bits, *part, job.resources.gpu_milli)

    def give(self, job: Job, task: f.Task) -> None:
        """It holds it no more."""
        fleet.vacate(self, task, job.resources)

    def _run_stop_ordered(self, at: int, fact: f.RunStopOrdered) -> None:
        run = self.runs[fact.run]
        job = self.jobs[run.job]
        standing = self.pools[job.pool].standing
        keeping.catch_up(self, job, run, at)
        was = run.stopping
        run.stopped_us = run.stopped_us if was else at
        if standing is not None and not was:
            standing.stop(job, run, keeping.stopped_by(self, run), fact.cause in f.AGAIN)
            standing.moved += fact.cause == f.MOVE
        if fact.cause not in f.AGAIN:  # it will not go on, here or elsewhere
            self._drop(job)
            if standing is not None:
                standing.forget(job.id)
        if fact.cause == f.NODE_FAILED and not was and repair.keeps_turn(job, run):
            keeping.call_first(self, job, at)
        run.stopping = fact.cause
        job.state = "stopping"

    def _run_started(self, at: int, fact: f.RunStarted) -> None:
        run = self.runs[fact.run]
        run.started_us = fact.at_us
        run.has_started = True
        resizing.started(run)
        job = self.jobs[run.job]
        if job.state == "starting":
            job.state = "running"
        standing = self.pools[job.pool].standing
        if standing is not None and not run.stopping:
            standing.started(job, run)

    def _run_ended(self, at: int, fact: f.RunEnded) -> None:
        run = self.runs[fact.run]
        job = self.jobs[run.job]
        keeping.catch_up(self, job, run, at)
        del self.runs[fact.run]
        job.run = ""
        standing = self.pools[job.pool].standing
        if standing is not None:
            standing.end(job, run)
            lengths.learn(self, job, run, fact.outcome, fact.at_us)
        for task in (*run.tasks, *run.leaving):
            self.give(job, task)
        booked.changed(self, job, at)

    def _usage_metered(self, at: int, fact: f.UsageMetered) -> None:
        if fact.posted:
            budgets.spend(self, self.jobs[fact.run.rpartition(".")[0]], fact.posted)

    def _noted(self, at: int, fact: Fact) -> None:
        """Only readings need it."""

    # ── projection ────────────────────────────────────────────────────────────────────────────────────────────────
    def project(self) -> Projection:
        """The canonical form; shares structures with the state, so encode it before the next fact."""
        return Projection(
            version=PROJECTION_VERSION,
            rules=self.rules,
            rules_digest=self.rules_digest,
            submitted=self.submitted,
            sites=list(self.sites.values()),
            nodes=list(self.nodes.values()),
            tenants=list(self.tenants.values()),
            jobs=list(self.jobs.values()),
            runs=list(self.runs.values()),
            requests=list(self.requests.items()),
            people=self.people,
            onboarding=self.onboarding,
            budgets=self.budgets,
            arrays=list(self.waiting.arrays.values()),
            outcomes=self.waiting.outcomes,
            reservations=list(self.reservations.values()),
            lags=keeping.lags_of(self),
            paced_us=self.paced_us,
            contracts=self.contracts,
            lengths=self.lengths,
            maintenance=self.maintenance if self.maintenance.made else msgspec.UNSET,
            bookings=self.bookings if self.bookings.made else msgspec.UNSET,
        )

    @classmethod
    def restore(cls, projection: Projection) -> "State":
        """The state that `projection` was made of; ValueError for another version."""
        if projection.version != PROJECTION_VERSION:
            raise ValueError(f"projection version {projection.version} is not {PROJECTION_VERSION}")
        state = cls()
        state.rules = projection.rules
        state.rules_digest = projection.rules_digest
        state.submitted = projection.submitted
        state.sites = {site.id: site for site in projection.sites}
        state.tenants = {tenant.id: tenant for tenant in projection.tenants}
        state.jobs = {job.id: job for job in projection.jobs}
        state.runs = {run.id: run for run in projection.runs}
        state.requests = dict(projection.requests)
        state.request_ages = deque(state.requests)
        state.people = projection.people
        state.onboarding = projection.onboarding
        state.budgets = projection.budgets
        state.waiting.arrays = {array.id: array for array in projection.arrays}
        state.waiting.outcomes = projection.outcomes
        for node in projection.nodes:
            state.nodes[node.id] = node
            state.pools.setdefault(node.pool, Pool())
        state.paced_us = projection.paced_us
        state.reservations = {made.job: made for made in projection.reservations}
        state.contracts = projection.contracts
        state.lengths = projection.lengths
        if projection.maintenance is not msgspec.UNSET:
            state.maintenance = projection.maintenance
        if projection.bookings is not msgspec.UNSET:
            state.bookings = projection.bookings
        state._derive(projection.lags)
        return state

    def _derive(self, lags: dict[str, Lags]) -> None:
        """Make pools and indexes anew, in one pass over each of what they are made of."""
        digests = self.digests
        digests.update((one.digest, one.id) for one in self.people.tokens.values())
        digests.update((one.digest, one.id) for one in self.people.invitations.values())
        digests.update((one.digest, one.id) for one in self.onboarding.applications.values())
        for tenant in self.tenants.values():
            stage, due = tenancy.next_stage(tenant)
            if stage:
                self.exits[tenant.id] = due
        held = fleet.held(self)
        for node in self.nodes.values():
            fleet.serve(self, node, held)
        windows.derive(self)
        keeping.stand(self)
        for job in self.jobs.values():
            budgets.watch(self, job)
            if job.booking is not msgspec.UNSET and job.pool:
                self.inside.enter(job)
            if job.state == "pending":
                self.waiting.enter(self, job)
        self._queue()
        keeping.remember(self, lags)

    def digest(self) -> str:
        """SHA-256 of the projection's JSON, hexadecimal: equal states, equal digests."""
        return hashlib.sha256(msgspec.json.encode(self.project())).hexdigest()


_Change = Callable[[State, int, Any], None]


def _counted(change: _Change) -> _Change:
    """The change of an administrative act: who may do what may be another afterwards."""

    def apply(state: State, at: int, fact: Fact) -> None:
        change(state, at, fact)
        state.access_version += 1

    return apply


_ACTS: Final[dict[type[Fact], _Change]] = {
    **tenancy.APPLY,
    **budgets.APPLY,
    **entitlements.APPLY,
    **windows.APPLY,
    **people.APPLY,
    **onboarding.APPLY,
    a.LegalIdentityChanged: State._noted,
    a.TenantExported: State._noted,
    a.SecretSet: State._noted,
    a.SecretDeleted: State._noted,
    a.RecordsErased: State._noted,
}
_APPLY: Final[dict[type[Fact], _Change]] = {
    **{kind: _counted(change) for kind, change in _ACTS.items()},
    **fleet.APPLY,
    **health.APPLY,
    **keeping.APPLY,
    **resizing.APPLY,
    **booked.APPLY,
    f.WriterStarted: State._noted,
    f.RulesSet: State._rules_set,
    f.JobSubmitted: State._job_submitted,
    f.JobAdmitted: State._job_admitted,
    f.JobSwitched: State._job_switched,
    f.BudgetReserved: State._budget_reserved,
    f.JobRejected: State._job_rejected,
    f.JobHeld: State._job_held,
    f.JobReleased: State._job_released,
    f.CancelRequested: State._noted,
    f.JobRequeued: State._job_requeued,
    f.JobEnded: State._job_ended,
    f.CapacityReserved: State._capacity_reserved,
    f.ReservationDropped: State._reservation_dropped,
    f.PromiseBroken: State._noted,
    f.RunPlaced: State._run_placed,
    f.RunStopOrdered: State._run_stop_ordered,
    f.RunQueued: State._noted,
    f.RunStarted: State._run_started,
    f.RunEnded: State._run_ended,
    f.UsageMetered: State._usage_metered,
}
