# SPDX-License-Identifier: Apache-2.0
"""Why a job does not run: the one binding reason with its numbers, when it starts, and the least change with which it
would start now. Pure readings with the tests that decide. Called by the faces.

The binding reason is the first of `REASONS` that holds: what the job waits for itself, then what no start changes, then
whether an earlier job of its own project asks for the same, then capacity, by count before by shape.
"""

from bisect import bisect_left
from typing import Final

import msgspec

from leitstand.core.bookings import booked, inside
from leitstand.core.choosing.options import lacking
from leitstand.core.explaining.closing import in_the_way
from leitstand.core.explaining.remedies import Remedy, remedies
from leitstand.core.explaining.trial import Trial
from leitstand.core.facts import Resources
from leitstand.core.fleet import Pool
from leitstand.core.jobs import Job, Reservation
from leitstand.core.places.fit import WHOLE_MILLI, positions_of
from leitstand.core.places.siting import allowed, serving
from leitstand.core.sharing import keeping, repair
from leitstand.core.sharing.shares import Node
from leitstand.core.sharing.standing import Class, key_of, limit_of
from leitstand.core.state import State
from leitstand.core.waiting import blocked

REASONS: Final = {
    "held": "somebody holds it",
    "begin_time": "it must not begin before a time",
    "dependency": "other jobs have to end first",
    "tenant_suspended": "its tenant is suspended",
    "booking": "the booking that it names has not begun, or is full",
    "limit": "a node of the entitlement tree would use more than its guarantee and what it may borrow",
    "no_such_capacity": "what is in service could never hold it",
    "order": "others come first: an earlier job of its own project that asks for the same, or whose turn it is",
    "freeing": "capacity is being freed for it",
    "failure": "a node of it failed: the others are held until one takes its place, at most for the recall time",
    "moving": "its run makes room for another job and goes on elsewhere, where places are held for it",
    "maintenance": "the nodes that it would have are, or within its time limit will be, in a maintenance window",
    "capacity": "less is free, in all, than it asks for",
    "lending": "others do not lend what is idle",
    "reserved": "it fits now, but others have reserved what it would hold for its whole time limit",
    "share": "enough is free but not in its shape, and beyond its deserved share nobody makes room",
    "topology": "enough is free but not in its shape, and nobody can be asked to make room",
}
RESERVED: Final = (
    "law",
    "budget",
    "energy",
    "power",
)  # reasons of what is not built yet


class Binding(msgspec.Struct, frozen=True):
    """A reason with its numbers: `asked` of `resource` (as in `admission.RESOURCES`) against `limit`, at the `node` of
    the entitlement tree; `jobs_ahead`: waiting jobs of its project that come first; `job`: the first that asks for the
    same; `until_us`: when what it waits for comes at the latest, 0: not known;
    `window`: of maintenance, with `asked` as the time limit and `limit` as the time until it begins; `booking`: that it
    names."""

    reason: str
    asked: int = 0
    limit: int = 0
    resource: str = ""
    node: str = ""
    jobs_ahead: int = 0
    job: str = ""
    until_us: int = 0
    window: str = ""
    booking: str = ""


class Start(msgspec.Struct, frozen=True):
    """When it starts. `kind`: claim (once what is being freed is free), promise (kept), plan (unless lenders call what
    is theirs) or estimate (not before, as runs and reservations are now); '' if nothing is known."""

    kind: str = ""
    start_us: int = 0
    nodes: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    """Why a pending job waits. `changes`: of one thing each, all else equal; the first is the one to try."""

    job: str
    binding: Binding
    start: Start = Start()
    changes: tuple[Remedy, ...] = ()


def why(state: State, job_id: str, now: int, thorough: bool = False) -> Explanation:
    """The explanation at `now` (µs) of a job that is pending, or moves. `thorough`: as in `Trial`. KeyError: not
    live."""
    job = state.jobs[job_id]
    if not explains(state, job):
        return Explanation(job_id, Binding(""))
    reading = Reading(state, now)
    binding = reading.binding(job)
    changes: tuple[Remedy, ...] = ()
    if job_id in reading.waiting(job):
        trial = reading.trial(job.pool)
        trial.thorough = thorough
        changes = remedies(trial, job)
    return Explanation(job_id, binding, reading.start(job), changes)


def explains(state: State, job: Job) -> bool:
    """Whether there is something to explain: it waits, or its run stops so that it goes on elsewhere."""
    return job.state == "pending" or job.id in state.reservations


class Reading:
    """Questions about waiting jobs at one moment; what they have in common is worked out once."""

    def __init__(self, state: State, now: int) -> None:
        self.state = state
        self.now = now
        self._trials: dict[str, Trial] = {}
        self._known: dict[tuple[object, ...], Binding] = {}

    def trial(self, name: str) -> Trial:
        """The tests of the plan of a pool under `fair`."""
        trial = self._trials.get(name)
        if trial is None:
            keeping.refresh(self.state, name, self.now)
            trial = self._trials[name] = Trial(self.state, name, self.now)
            trial.standing.tree.settle()
        return trial

    def waiting(self, job: Job) -> dict[str, tuple[str, object]]:
        """The jobs of its pool that wait for nothing but capacity; none under other disciplines."""
        standing = self.state.pools[job.pool].standing
        return {} if standing is None else standing.waiting  # type: ignore[return-value]

    # ── reasons ───────────────────────────────────────────────────────────────────────────────────────────────────
    def reason(self, job: Job) -> str:
        """The binding reason alone: the same for all jobs of a project that ask for the same, so it is kept."""
        if job.id not in self.waiting(job):
            return self.binding(job).reason
        trial = self.trial(job.pool)
        leaf, cls = trial.standing.waiting[job.id]
        first = trial.standing.lines[leaf].classes[cls][0][-1] == job.id
        key = (job.pool, leaf, cls, first)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self.binding(job)
        return known.reason

    def binding(self, job: Job) -> Binding:
        """The one binding reason of a pending job."""
        state, pool = self.state, self.state.pools[job.pool]
        made = state.reservations.get(job.id)
        if made is not None and made.moves:
            return Binding("moving", until_us=self._freed_us(job))
        if block := blocked(state, job):
            return Binding(block, until_us=job.begin_us if block == "begin_time" else 0)
        if job.booking is not msgspec.UNSET:
            return waits_inside(state, job)
        if made is not None and made.kind == "claim":
            return Binding("freeing", until_us=self._freed_us(job))
        if made is not None and made.kind == "hold":
            return self._of_failure(job, made)
        if pool.standing is None:
            return self._of_queue(job, pool)
        trial = self.trial(job.pool)
        leaf = trial.leaf(job)
        over = trial.standing.tree.over_limit(leaf, job.charge_milli)
        if over is not None:
            return _limited(over, job)
        if not pool.could_hold(job.resources):
            return Binding("no_such_capacity", *lacking(pool, job.resources))
        line = trial.standing.lines.get(leaf.id)
        same = line and line.classes.get(Class(job.resources, limit_of(job)))
        if same and same[0] < key_of(job):
            return Binding("order", node=leaf.id, jobs_ahead=self.ahead(job), job=same[0][-1])
        return self._of_maintenance(job, pool) or self._of_capacity(job, pool, trial)

    def _of_maintenance(self, job: Job, pool: Pool) -> Binding | None:
        """It waits until a window is over, or is told to be shorter than the time until one begins."""
        window = in_the_way(self.state, pool, job, self.now)
        if window is None:
            return None
        left_us = max(window.from_us - self.now, 0)
        return Binding(
            "maintenance",
            limit_of(job),
            left_us,
            "max_duration_us",
            until_us=window.until_us,
            window=window.id,
        )

    def _of_capacity(self, job: Job, pool: Pool, trial: Trial) -> Binding:
        """By count, then lending, then what is reserved, then by shape; if nothing of it lacks, it is not its turn."""
        tree, leaf, asked = trial.standing.tree, trial.leaf(job), job.resources
        ahead = self.ahead(job)
        short = _short(pool, asked)
        if short is not None:
            return Binding("capacity", *short, node=leaf.id, jobs_ahead=ahead)
        if not tree.lends(leaf, job.charge_milli):
            root = tree.occupied_with(tree.root, leaf, job.charge_milli)
            return Binding("lending", root, tree.capacity, "charge_milli", leaf.id, ahead)
        if pool.find(asked) is None:
            used = leaf.running + job.charge_milli
            reason = "topology" if trial.covered(job) else "share"
            if asked.mig:
                return Binding(reason, *_instances(pool, asked), node=leaf.id, jobs_ahead=ahead)
            return Binding(reason, used, leaf.deserved, "charge_milli", leaf.id, ahead)
        view = trial.standing.timeline.view(self.now, limit_of(job), own=job.id)
        if not trial.leaves_room(job) or pool.place(asked, view) is None:
            return Binding("reserved", node=leaf.id, jobs_ahead=ahead)
        return Binding("order", node=leaf.id, jobs_ahead=ahead, until_us=self.state.paced_us)

    def _of_failure(self, job: Job, made: Reservation) -> Binding:
        """It waits for nodes in the place of those that failed."""
        asked = job.resources
        until_us = repair.held_until_us(self.trial(job.pool), job)
        if asked.nodes:
            return Binding("failure", asked.nodes, len(made.tasks), "nodes", until_us=until_us)
        gpus = sum(task.bits.bit_count() for task in made.tasks)
        return Binding("failure", asked.gpus, gpus, "gpus", until_us=until_us)

    def _of_queue(self, job: Job, pool: Pool) -> Binding:
        """Under a discipline without shares."""
        if pool.find(job.resources) is not None:
            return Binding("order")
        if pool.could_hold(job.resources):
            window = self._of_maintenance(job, pool)
            if window is not None:
                return window
            short = _short(pool, job.resources)
            return Binding("capacity") if short is None else Binding("capacity", *short)
        return Binding("no_such_capacity", *lacking(pool, job.resources))

    def ahead(self, job: Job) -> int:
        """How many waiting jobs of its project come first."""
        trial = self.trial(job.pool)
        line = trial.standing.lines.get(self.state.leaf(job))
        return 0 if line is None else bisect_left(line.order, (key_of(job),))

    # ── start ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def start(self, job: Job) -> Start:
        """When it starts, as far as that is known."""
        made = self.state.reservations.get(job.id)
        if made is not None and made.kind != "hold":
            nodes = tuple(dict.fromkeys(task.node for task in made.tasks))
            start_us = self._freed_us(job) if made.kind == "claim" else made.start_us
            return Start(made.kind, start_us, nodes)
        booking = booked.of_job(self.state, job)
        if booking is not None and not booking.has_begun:
            return Start(
                "estimate", booking.from_us, tuple(dict.fromkeys(task.node for task in booking.tasks))
            )
        if job.id not in self.waiting(job):
            return Start()
        found = self.trial(job.pool).earliest(job)
        if found is None:
            return Start()
        names = self.state.pools[job.pool].names
        return Start("estimate", found[0], tuple(dict.fromkeys(names[position] for position, _ in found[1])))

    def _freed_us(self, job: Job) -> int:
        """When the last run on the places of a claim has gone, or the run of a job that moves."""
        made = self.state.reservations[job.id]
        sharing = self.state.rules.sharing
        if job.run:
            return max(self.now, keeping.stopped_by(self.state, self.state.runs[job.run]))
        nodes = {task.node for task in made.tasks}
        ends = [
            run.stopped_us + sharing.freed_us
            for run in self.state.runs.values()
            if run.stopping and any(task.node in nodes for task in run.tasks)
        ]
        ends += [
            one.at_us + sharing.freed_us
            for run in self.state.runs.values()
            for one in (run.sizes.pending if run.sizes is not msgspec.UNSET else ())
            if any(task.node in nodes for task in one.leaving)
        ]
        return max([self.now, *ends])


def waits_inside(state: State, job: Job) -> Binding:
    """Why a job waits for its booking: that has not begun, or has no room for it."""
    booking = booked.of_job(state, job)
    assert booking is not None, "who waits for a booking ends with it"
    if not booking.has_begun:
        return Binding("booking", until_us=booking.from_us, booking=booking.id)
    free = inside.free(state, booking)
    asked, gpus = job.resources.gpus, sum(mask.bit_count() for mask in free.gpus)
    ahead = inside.in_order(state, booking.id)
    before = next((number for number, other in enumerate(ahead) if other.id == job.id), len(ahead))
    short = (asked, gpus, "gpus") if asked > gpus else (0, 0, "")
    return Binding("booking", *short, jobs_ahead=before, booking=booking.id)


def _limited(over: Node, job: Job) -> Binding:
    most = over.guarantee + over.borrow
    return Binding("limit", over.running + job.charge_milli, most, "charge_milli", over.id)


def _instances(pool: Pool, asked: Resources) -> tuple[int, int, str]:
    """(asked, free, resource) of MIG instances: what they count for against all that is left of GPUs that can have
    some, in whatever pieces."""
    free, within = pool.free, allowed(asked, pool.topology) & serving(pool.free)
    there = 0
    if free.slots is not None:
        for position in positions_of(within & free.slots.known(asked.mig)):
            whole = free.gpus[position].bit_count() if position in free.slots.cuttable else 0
            there += free.slots.left(position) + whole * WHOLE_MILLI
    return pool.instance_milli(asked) * max(asked.nodes, 1), there, "mig"


def _short(pool: Pool, asked: Resources) -> tuple[int, int, str] | None:
    """(asked, free, resource) of the first amount of which less is free on all nodes together than is asked."""
    free, within = pool.free, allowed(asked, pool.topology)
    gpus = sum(size * (mask & within).bit_count() for size, mask in enumerate(free.levels))
    if asked.mig:
        wanted, there, _ = _instances(pool, asked)
        if wanted > there:
            return wanted, there, "gpu_milli"
    if asked.gpu_milli:
        wanted = asked.gpu_milli * max(asked.nodes, 1)
        shared = sum(sum(left.values()) for at, left in free.shared.items() if within >> at & 1)
        if wanted > gpus * WHOLE_MILLI + shared:
            return wanted, gpus * WHOLE_MILLI + shared, "gpu_milli"
    if asked.gpus > gpus:
        return asked.gpus, gpus, "gpus"
    for wanted, column, resource in (
        (asked.cpus_milli, free.cpus_milli, "cpus_milli"),
        (asked.memory_mib, free.memory_mib, "memory_mib"),
    ):
        if wanted:
            there = sum(column[position] for position in free.ascending(0) if within >> position & 1)
            if wanted > there:
                return wanted, there, resource
    return None
