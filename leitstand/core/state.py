# SPDX-License-Identifier: Apache-2.0
"""What is, as the journal says: tenants, jobs, runs, fleet. `State.apply` is the only writer.

Used by the core (decides on it), by followers (read it) and by snapshots (store its projection). Live jobs only:
an ended job leaves by `JobEnded` or `JobRejected`. Everything that is not in the projection is derived from it.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from leitstand.core import acts as a
from leitstand.core import budgets, entitlements, onboarding, people, tenancy
from leitstand.core import facts as f
from leitstand.core.entitlements import Contracts
from leitstand.core.fact import Fact
from leitstand.core.fit import WHOLE_MILLI, Availability, Free
from leitstand.core.onboarding import Onboarding
from leitstand.core.people import People
from leitstand.core.placement import Place, place, tasks_max
from leitstand.core.queue import Key, Queue, rank
from leitstand.core.rules import Rules
from leitstand.core.shares import kept_per_tick
from leitstand.core.siting import allowed
from leitstand.core.standing import Reserved, Standing, charge
from leitstand.core.steps import Where
from leitstand.core.tenancy import Tenant
from leitstand.core.topology import NODE, Topology
from leitstand.core.waiting import Array, Waiting, blocked

PROJECTION_VERSION: Final = 3

_Held = tuple[int, int, int, dict[int, int]]


class Site(msgspec.Struct, gc=False):
    id: str
    engine: str
    logical: bool
    colocate: bool
    jurisdiction: str
    levels: tuple[str, ...] = ()


class Node(msgspec.Struct, gc=False):
    """`position`: its index in its pool. Out of service, it takes no new run."""

    id: str
    site: str
    pool: str
    gpus: int
    cpus_milli: int
    memory_mib: int
    gpu_type: str
    in_service: bool
    position: int
    domains: tuple[str, ...] = ()


class Job(msgspec.Struct, gc=False):
    """A live job. `begin_us`: 0 once it may begin; `doomed`: a job that it waited for ended otherwise; `shapes`: all
    that serve it, in order of preference, () if `resources` is the only one.

    `state`: submitted | pending | starting | running | stopping. `number`: arrival order of all jobs."""

    id: str
    number: int
    tenant: str
    project: str
    user: str
    resources: f.Resources
    priority: int
    max_duration_us: int
    expected_us: int
    spec: str
    submitted_us: int
    retries: int = 0
    retry_on: tuple[str, ...] = ()
    checkpoint_every_us: int = 0
    begin_us: int = 0
    after: tuple[f.Dependency, ...] = ()
    deadline_us: int = 0
    held: bool = False
    array: str = ""
    index: int = 0
    size: int = 0
    shapes: tuple[f.Resources, ...] = ()
    doomed: bool = False
    pool: str = ""
    state: str = "submitted"
    runs: int = 0
    run: str = ""
    charge_milli: int = 0
    kept_us: int = 0  # of its work, by checkpoints
    reserved: f.Parts = ()  # of budgets, in the order in which they pay
    price_micro_eur: int = 0


class Run(msgspec.Struct, gc=False):
    """`started_us`: the engine's time, 0 until it reported. `stopped_us`: when it was told to end. Until `pinned_us`
    nobody may take it: its start was promised."""

    id: str
    job: str
    tasks: tuple[f.Task, ...]
    placed_us: int
    started_us: int = 0
    has_started: bool = False
    stopping: str = ""  # the cause
    stopped_us: int = 0
    pinned_us: int = 0


class Reservation(msgspec.Struct, gc=False):
    """Places held for a waiting job from `start_us` on, decided at `at_us`. `kind`: claim | promise | plan."""

    job: str
    kind: str
    start_us: int
    tasks: tuple[f.Task, ...]
    at_us: int


class Lags(msgspec.Struct):
    """What the shares of a pool remember: lag by node of the tree, taken up last at `ticked_us`."""

    ticked_us: int
    nodes: list[tuple[str, int]]


class Remembered(msgspec.Struct, gc=False):
    """What an Idempotency-Key led to."""

    job: str
    digest: str
    at: int


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


class Pool:
    """The nodes that share a queue. `free`: now; `whole`: as if nothing ran; `standing`: under `fair` alone."""

    __slots__ = (
        "_amounts",
        "colocate",
        "free",
        "name_bytes",
        "names",
        "queue",
        "standing",
        "tasks_max",
        "topology",
        "whole",
    )

    def __init__(self) -> None:
        self.free = Availability()
        self.whole = Availability()
        self.names: list[str] = []
        self.name_bytes = 0  # of the longest node id
        self.tasks_max = 0  # of one gang, so that a fact can hold its placement
        self.queue = Queue()
        self.topology = Topology()
        self.colocate = False
        self.standing: Standing | None = None
        self._amounts: tuple[int, int, int] | None = None  # derived

    def find(self, asked: f.Resources) -> list[Place] | None:
        """Places for a gang now, or None."""
        return self.place(asked, self.free)

    def place(self, asked: f.Resources, free: Free) -> list[Place] | None:
        """Places for a gang on what is free, or None."""
        return self._recordable(place(free, asked, self.topology, self.colocate))

    def where(self, asked: f.Resources) -> Where:
        """What is known of where a gang may go."""
        within = allowed(asked, self.topology)
        size = self.topology.largest(self.whole, within)
        domain = None
        if asked.level not in ("", NODE):
            domain = [-1] * len(self.names)
            for number, one in enumerate(self.topology.of_level(asked.level)):
                for position in _positions(one.mask):
                    domain[position] = number
        return Where(self.colocate, within, size, domain)

    def within(self, asked: f.Resources) -> list[int]:
        """Bit masks over positions: the gang has to lie within one of them."""
        nodes = self.topology.of_type(asked.gpu_type) if asked.gpu_type else -1
        if not asked.level or asked.level == NODE:
            return [nodes]
        return [domain.mask & nodes for domain in self.topology.of_level(asked.level)]

    def could_hold(self, asked: f.Resources) -> bool:
        """Whether the gang would find places if nothing ran."""
        return self._recordable(place(self.whole, asked, self.topology, self.colocate)) is not None

    def _recordable(self, places: list[Place] | None) -> list[Place] | None:
        return None if places is None or len(places) > self.tasks_max else places

    def withdraw(self, position: int) -> None:
        """Take the node at `position` out of service."""
        self.free.withdraw(position)
        self.whole.withdraw(position)
        self.resize()

    def amounts(self) -> tuple[int, int, int]:
        """(GPUs, cpus_milli, memory_mib) in service."""
        if self._amounts is None:
            whole = self.whole
            positions = list(whole.ascending(0))
            self._amounts = (
                sum(whole.gpus[position].bit_count() for position in positions),
                sum(whole.cpus_milli[position] for position in positions),
                sum(whole.memory_mib[position] for position in positions),
            )
        return self._amounts

    def resize(self) -> None:
        """Note the size of the largest node in service, and what follows from it."""
        self._amounts = None
        levels = self.whole.levels
        size = max((size for size, mask in enumerate(levels) if mask), default=0)
        self.free.size = self.whole.size = size
        self.tasks_max = tasks_max(size, self.name_bytes)


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
        self.exits: dict[str, int] = {}  # tenants that leave → when their next stage begins; derived
        self.digests: dict[str, str] = {}  # of tokens, invitations and claims → their ids; derived
        self.access_version = 0  # rises whenever who may do what may have changed; never stored

    def apply(self, at: int, fact: Fact) -> None:
        """Fold one fact stamped `at` (µs)."""
        _APPLY[type(fact)](self, at, fact)

    # ── operator ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _rules_set(self, at: int, fact: f.RulesSet) -> None:
        self.rules = fact.rules
        self.rules_digest = fact.digest
        for pool in self.pools.values():
            pool.queue = Queue()
        self._stand(self._lags())
        self._queue()

    def _queue(self) -> None:
        """Put all that waits into the queues, but for what has a claim, and hold what is reserved."""
        for job in self.jobs.values():
            made = self.reservations.get(job.id)
            if job.state == "pending" and (made is None or made.kind != "claim"):
                self._enqueue(job)
        for made in self.reservations.values():
            self._reserve(self.jobs[made.job], made)

    def _site_added(self, at: int, fact: f.SiteAdded) -> None:
        self.sites[fact.site] = Site(
            fact.site, fact.engine, fact.logical, fact.colocate, fact.jurisdiction, fact.levels
        )
        for node in self.nodes.values():
            if node.site == fact.site:
                self.pools[node.pool].colocate = fact.colocate
        for pool in self.pools.values():
            pool.topology.name(fact.site, fact.levels)

    def _node_added(self, at: int, fact: f.NodeAdded) -> None:
        node = self.nodes.get(fact.node)
        pool = self.pools.get(fact.pool)
        if pool is None:
            pool = self.pools[fact.pool] = Pool()
            pool.standing = self._standing(pool)
        position = len(pool.names) if node is None else node.position
        self.nodes[fact.node] = Node(
            fact.node,
            fact.site,
            fact.pool,
            fact.gpus,
            fact.cpus_milli,
            fact.memory_mib,
            fact.gpu_type,
            True,
            position,
            fact.domains,
        )
        self._serve(self.nodes[fact.node], self._held())

    def _node_removed(self, at: int, fact: f.NodeRemoved) -> None:
        node = self.nodes[fact.node]
        node.in_service = False
        self.pools[node.pool].withdraw(node.position)

    def _serve(self, node: Node, held: dict[str, _Held]) -> None:
        """Bring a node into its pool with what its runs leave free."""
        pool = self.pools[node.pool]
        if node.position == len(pool.names):
            pool.names.append(node.id)
            pool.name_bytes = max(pool.name_bytes, len(node.id))
        site = self.sites.get(node.site)
        pool.colocate = site is not None and site.colocate
        pool.topology.name(node.site, site.levels if site is not None else ())
        pool.topology.add(node.position, node)
        every = (1 << node.gpus) - 1
        gpus, cpus_milli, memory_mib, parts = held.get(node.id, (0, 0, 0, {}))
        pool.whole.put(node.position, node.gpus, every, node.cpus_milli, node.memory_mib)
        pool.free.put(
            node.position,
            node.gpus,
            every & ~gpus,
            node.cpus_milli - cpus_milli,
            node.memory_mib - memory_mib,
            {index: WHOLE_MILLI - milli for index, milli in parts.items() if index < node.gpus},
        )
        pool.resize()
        if pool.standing is not None:
            pool.standing.timeline.touch(node.position)
        if not node.in_service:
            pool.withdraw(node.position)

    def _held(self) -> dict[str, _Held]:
        """By node: the GPUs (mask), CPU and memory that runs hold, and of GPUs that they share the thousandths."""
        held: dict[str, _Held] = {}
        for run in self.runs.values():
            resources = self.jobs[run.job].resources
            for task in run.tasks:
                gpus, cpus_milli, memory_mib, parts = held.get(task.node, (0, 0, 0, {}))
                bits = task.bits
                part = resources.part(bits.bit_count())
                if resources.gpu_milli:
                    index = bits.bit_length() - 1
                    parts[index] = parts.get(index, 0) + resources.gpu_milli
                held[task.node] = gpus | bits, cpus_milli + part[0], memory_mib + part[1], parts
        return held

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _job_submitted(self, at: int, fact: f.JobSubmitted) -> None:
        self.submitted += 1
        self.tenants[fact.tenant].jobs += 1
        self.jobs[fact.job] = Job(
            fact.job,
            self.submitted,
            fact.tenant,
            fact.project,
            fact.user,
            fact.resources,
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
            (fact.resources, *fact.alternatives) if fact.alternatives else (),
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
        self._wait(job)

    def _job_requeued(self, at: int, fact: f.JobRequeued) -> None:
        job = self.jobs[fact.job]
        job.kept_us = fact.kept_us
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
        if blocked(self, job):
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
        standing = self.pools[job.pool].standing if job.pool else None
        if standing is not None:
            standing.forget(job.id)
        self._over(job, fact.state == "succeeded")

    def _leave_queue(self, job: Job) -> None:
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
        self._release(job)
        if fact.kind == "claim":
            self._leave_queue(job)
        self._reserve(job, Reservation(fact.job, fact.kind, fact.start_us, fact.tasks, at))

    def _reserve(self, job: Job, made: Reservation) -> None:
        self.reservations[job.id] = made
        standing = self.pools[job.pool].standing
        if standing is not None:
            places = self.places(made.tasks)
            due_us = made.start_us - self.rules.sharing.until_freed_us
            standing.reserve(
                job, self.leaf(job), Reserved(made.kind, places, made.start_us, made.at_us, due_us)
            )

    def _reservation_dropped(self, at: int, fact: f.ReservationDropped) -> None:
        job = self.jobs[fact.job]
        claimed = self.reservations[fact.job].kind == "claim"
        self._drop(job)
        if claimed:
            self._enqueue(job)

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

    def _stand(self, lags: dict[str, Lags]) -> None:
        """Make anew what the fair plan knows of each pool, but for what waits; nothing under another discipline."""
        for name, pool in self.pools.items():
            standing = pool.standing = self._standing(pool)
            known = lags.get(name)
            if standing is not None and known is not None:
                standing.ticked_us = known.ticked_us
                for node, lag in known.nodes:
                    standing.tree.node(node).lag = lag
        if self.rules.discipline != "fair":
            self.reservations.clear()
            return
        for job in self.jobs.values():
            if job.pool and not job.charge_milli:  # admitted under rules that do not charge
                job.charge_milli = self.charge(job.pool, job.resources)
        for run in self.runs.values():
            job = self.jobs[run.job]
            standing = self.pools[job.pool].standing
            assert standing is not None, "every pool has a standing"
            standing.place(job, run, self.leaf(job), self.places(run.tasks), run.pinned_us)
            if run.has_started:
                standing.started(job, run)
            if run.stopping:
                standing.stop(job, run, self._stopped_by(run), run.stopping in f.YIELDS)

    def _standing(self, pool: Pool) -> Standing | None:
        if self.rules.discipline != "fair":
            return None
        standing = Standing(pool.free, pool.whole)
        for name, weight in self.rules.sharing.weights.items():
            standing.tree.node(name, weight)
        return standing

    def charge(self, name: str, asked: f.Resources) -> int:
        """What a job counts for in a pool, milli; 0 under rules that do not charge."""
        return charge(asked, self.pools[name].amounts()) if self.rules.discipline == "fair" else 0

    def refresh(self, name: str, at: int) -> None:
        """Bring the shares of a pool up to date with its nodes and with what time alone changes."""
        pool = self.pools[name]
        standing = pool.standing
        if standing is not None:
            gpus, cpus_milli, _ = pool.amounts()
            standing.tree.resize(gpus * 1000 or cpus_milli)
            entitlements.refresh(standing.tree, self, name, at)
            standing.advance(at, self.jobs)

    def _stopped_by(self, run: Run) -> int:
        return run.stopped_us + self.rules.sharing.grace_us + self.rules.sharing.stop_us

    def _lags(self) -> dict[str, Lags]:
        return {
            name: Lags(
                pool.standing.ticked_us,
                sorted((node.id, node.lag) for node in pool.standing.tree.nodes.values() if node.lag),
            )
            for name, pool in self.pools.items()
            if pool.standing is not None
        }

    def _shares_ticked(self, at: int, fact: f.SharesTicked) -> None:
        sharing = self.rules.sharing
        standing = self.pools[fact.pool].standing
        if standing is not None:
            self.refresh(fact.pool, at)
            kept = kept_per_tick(sharing.tick_us, sharing.half_life_us)
            standing.tree.tick(fact.ticks, sharing.tick_s, kept)
            standing.ticked_us = at - at % sharing.tick_us

    # ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _run_placed(self, at: int, fact: f.RunPlaced) -> None:
        job = self.jobs[fact.job]
        self._wait_no_more(job)
        if self.rules.sharing.start_interval_us:
            self.paced_us = max(self.paced_us, at) + self.rules.sharing.start_interval_us
        job.state = "starting"
        budgets.watch(self, job)
        job.runs += 1
        job.run = fact.run
        run = self.runs[fact.run] = Run(fact.run, fact.job, fact.tasks, at)
        reservation = self.reservations.get(job.id)
        if reservation is not None and reservation.kind == "promise":
            run.pinned_us = at + min(job.max_duration_us, self.rules.sharing.protected_us)
        standing = self.pools[job.pool].standing
        if standing is not None:
            standing.place(job, run, self.leaf(job), self.places(fact.tasks), run.pinned_us)
            self.reservations.pop(job.id, None)
        for task in fact.tasks:
            node, bits = self.nodes[task.node], task.bits
            free = self.pools[node.pool].free
            free.take(node.position, bits, *job.resources.part(bits.bit_count()), job.resources.gpu_milli)

    def _run_stop_ordered(self, at: int, fact: f.RunStopOrdered) -> None:
        run = self.runs[fact.run]
        job = self.jobs[run.job]
        standing = self.pools[job.pool].standing
        run.stopped_us = at
        if standing is not None and not run.stopping:
            standing.stop(job, run, self._stopped_by(run), fact.cause in f.YIELDS)
        elif standing is not None and fact.cause not in f.YIELDS:
            standing.forget(job.id)
        run.stopping = fact.cause
        job.state = "stopping"

    def _run_started(self, at: int, fact: f.RunStarted) -> None:
        run = self.runs[fact.run]
        run.started_us = fact.at_us
        run.has_started = True
        job = self.jobs[run.job]
        if job.state == "starting":
            job.state = "running"
        standing = self.pools[job.pool].standing
        if standing is not None and not run.stopping:
            standing.started(job, run)

    def _run_ended(self, at: int, fact: f.RunEnded) -> None:
        run = self.runs.pop(fact.run)
        job = self.jobs[run.job]
        job.run = ""
        standing = self.pools[job.pool].standing
        if standing is not None:
            standing.end(job, run)
        for task in run.tasks:
            node, bits = self.nodes[task.node], task.bits
            left = bits & ((1 << node.gpus) - 1)  # the node may have shrunk meanwhile
            free = self.pools[node.pool].free
            free.give(node.position, left, *job.resources.part(bits.bit_count()), job.resources.gpu_milli)

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
            lags=self._lags(),
            paced_us=self.paced_us,
            contracts=self.contracts,
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
        held = self._held()
        for node in self.nodes.values():
            self._serve(node, held)
        self._stand(lags)
        for job in self.jobs.values():
            budgets.watch(self, job)
            if job.state == "pending":
                self.waiting.enter(self, job)
        self._queue()

    def digest(self) -> str:
        """SHA-256 of the projection's JSON, hexadecimal: equal states, equal digests."""
        return hashlib.sha256(msgspec.json.encode(self.project())).hexdigest()


def _positions(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


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
    f.WriterStarted: State._noted,
    f.RulesSet: State._rules_set,
    f.SiteAdded: State._site_added,
    f.NodeAdded: State._node_added,
    f.NodeRemoved: State._node_removed,
    f.JobSubmitted: State._job_submitted,
    f.JobAdmitted: State._job_admitted,
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
    f.SharesTicked: State._shares_ticked,
    f.RunPlaced: State._run_placed,
    f.RunStopOrdered: State._run_stop_ordered,
    f.RunStarted: State._run_started,
    f.RunEnded: State._run_ended,
    f.UsageMetered: State._usage_metered,
}
