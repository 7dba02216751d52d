# SPDX-License-Identifier: Apache-2.0
"""What the fair plan knows of one pool: who waits, who runs, and what is held from when on. Kept by the state with
every fact and read by the plan; all of it follows from the facts.

A job is *waiting* while nothing but capacity keeps it from running, *yielding* between the order that stops its run for
another job and the end of that run (it counts as demand then, not as usage), and *running* from its placement, or from
the claim that capacity is being freed for. It is *moving* while its run has not ended and a claim holds places where it
goes on: it counts once, as what it was, from the order that stops its run until the next one is placed.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from leitstand.core import facts as f
from leitstand.core.places.closures import Closures
from leitstand.core.places.cutting import Instance, by_position
from leitstand.core.places.fit import Availability
from leitstand.core.places.placement import Place
from leitstand.core.places.steps import INFINITY
from leitstand.core.places.timeline import Timeline
from leitstand.core.sharing.backlog import Backlog
from leitstand.core.sharing.shares import Clock, Held, Node, Tree
from leitstand.core.sharing.units import Units

if TYPE_CHECKING:
    from leitstand.core.jobs import Job, Run
    from leitstand.core.state import State

Key = tuple[int, int, int, str]  # of a waiting job in its project: the lower the earlier


class Class(NamedTuple):
    """What jobs have in common if none of them fits when one does not."""

    asked: f.Resources
    limit_us: int  # INFINITY for a job without


class Lane:
    """Who waits in one leaf: all in order, and by class. `limits`: of the classes of a shape, ascending."""

    __slots__ = ("classes", "limits", "order")

    def __init__(self) -> None:
        self.order: list[tuple[Key, Class]] = []
        self.classes: dict[Class, list[Key]] = {}
        self.limits: dict[f.Resources, list[int]] = {}

    def add(self, key: Key, cls: Class) -> None:
        insort(self.order, (key, cls))
        keys = self.classes.get(cls)
        if keys is None:
            keys = self.classes[cls] = []
            insort(self.limits.setdefault(cls.asked, []), cls.limit_us)
        insort(keys, key)

    def remove(self, key: Key, cls: Class) -> None:
        del self.order[bisect_left(self.order, (key,))]
        keys = self.classes[cls]
        del keys[bisect_left(keys, key)]
        if not keys:
            del self.classes[cls]
            limits = self.limits[cls.asked]
            del limits[bisect_left(limits, cls.limit_us)]
            if not limits:
                del self.limits[cls.asked]


class Standing:
    """See the module. `classes`: class → leaf → how many wait there; `ahead_max`: how many of a leaf may have a
    reservation."""

    def __init__(
        self,
        free: Availability,
        whole: Availability,
        closures: Closures | None = None,
        ahead_max: int = 4,
        clock: Clock | None = None,
    ) -> None:
        self.ahead_max = ahead_max
        self.tree = Tree(clock)
        self.closures = closures or Closures()
        self.timeline = Timeline(free, whole, self.closures)
        self.lines: dict[str, Lane] = {}
        self.classes: dict[Class, dict[str, int]] = {}
        self.waiting: dict[str, tuple[str, Class]] = {}  # job → where it stands
        self.yielding: dict[str, tuple[Node, int]] = {}
        self.moving: dict[str, _Moving] = {}
        self.pins: list[tuple[int, str]] = []  # heap of (end of the pin, job)
        self.calls: list[tuple[int, str]] = []  # heap of (when a promise is due, job)
        self.promised: dict[str, int] = {}  # jobs with a promise → when it is due
        self.due: dict[str, tuple[Node, int]] = {}  # jobs with a promise so soon that it counts as pinned
        self.booked: dict[str, tuple[Node, int]] = {}  # bookings that begin so soon that they do
        self.claims: dict[str, int] = {}  # jobs with a claim → since when
        self.told: list[tuple[int, str]] = []  # heap of (when a run that was told to end should have, run)
        self.told_held: dict[str, Held] = {}  # by run, as it stood in the tree
        self.told_by: dict[str, int] = {}  # by run that nobody doubts yet, when it should have ended
        self.cuts: dict[str, int] = {}  # runs in the place of a booking → when it begins
        self.stopping: dict[str, None] = {}  # runs that were told to end
        self.reserved: dict[str, int] = {}  # leaf → reservations of its waiting jobs
        self.backlog = Backlog()
        self.choosy = 0  # how many waiting jobs have several shapes
        self.failed: dict[str, None] = {}  # jobs with first call, because a failure took something from them
        self.stops = 0  # runs told to end so far: what capacity is being freed has changed if this has
        self.freed_us = 0  # how long the engine takes to end what it was told to (g + e)
        self.units = Units(self)
        self.called_us = 0  # until when the projects were looked at anew, each at its time in the tick
        self.moved = 0  # runs told to move since the tick
        # since the last plan: of leaves whose line changed, who were the first of it before, and who began to wait
        self.fresh: dict[str, tuple[str, ...]] = {}
        self.arrived: dict[str, None] = {}
        self.opened: dict[
            str, None
        ] = {}  # and leaves that had no reservation left for another job, and have one now

    @property
    def ticked_us(self) -> int:
        """The last tick."""
        return self.tree.ticked_us

    # ── waiting ───────────────────────────────────────────────────────────────────────────────────────────────────
    def wait(self, job: "Job", leaf: str) -> None:
        """The job waits for capacity."""
        cls = Class(job.resources, job.max_duration_us or INFINITY)
        line = self.lines.get(leaf)
        if line is None:
            line = self.lines[leaf] = Lane()
        self._note(leaf, line)
        self.arrived[job.id] = None
        line.add(key_of(job), cls)
        at = self.classes.setdefault(cls, {})
        at[leaf] = at.get(leaf, 0) + 1
        self.waiting[job.id] = leaf, cls
        self.backlog.wait(leaf, job.charge_milli, cls.limit_us)
        self.choosy += bool(job.shapes)
        if self.yielding.pop(job.id, None) is None:
            self.tree.wait(self.tree.node(leaf), job.most_milli)

    def leave(self, job: "Job") -> None:
        """It waits no more: it starts, has a claim, was cancelled or is held."""
        leaf, cls = self.waiting.pop(job.id)
        line, at = self.lines[leaf], self.classes[cls]
        self._note(leaf, line)
        self.arrived.pop(job.id, None)
        line.remove(key_of(job), cls)
        at[leaf] -= 1
        if not at[leaf]:
            del at[leaf]
            if not at:
                del self.classes[cls]
        if not line.order:
            del self.lines[leaf]
        self.backlog.leave(leaf, job.charge_milli, cls.limit_us)
        self.choosy -= bool(job.shapes)
        self.tree.wait(self.tree.node(leaf), -job.most_milli)

    def _note(self, leaf: str, line: Lane) -> None:
        """The line is about to change."""
        if leaf not in self.fresh:
            self.fresh[leaf] = tuple(key[-1] for key, _ in line.order[: self.ahead_max])

    # ── running ───────────────────────────────────────────────────────────────────────────────────────────────────
    def place(self, job: "Job", run: "Run", leaf: str, places: Sequence[Place], pinned_us: int) -> None:
        """The job runs; a reservation that it had is used up. It waits no more already."""
        self.drop(job.id, leaf)
        held = Held(job.id, self.tree.node(leaf), job.charge_milli, job.priority, (run.since_us, job.number))
        held.pinned_us = pinned_us
        every, places = places, places[: job.resources.nodes] if job.nodes_most else places
        held.until_us = self._ends(job, run.placed_us, (position for position, _ in places))
        held.planned_us = self.planned(job, run, (position for position, _ in places))
        if pinned_us:
            heappush(self.pins, (pinned_us, job.id))
        self.tree.start(held)
        self.backlog.run(job.id, held.charge, run.placed_us, held.until_us)
        parts, milli = parts_of(job.resources, places), job.resources.gpu_milli
        shares = [(task.bits.bit_length() - 1, milli) for task in run.tasks] if milli else ()
        instances = by_position(places, run.tasks) if job.resources.mig else None
        self.timeline.occupy(run.id, places, parts, held.until_us, shares, instances)
        self.units.begin(job, held.leaf)
        self.units.stand(job, run, every, ())

    def resize(self, job: "Job", run: "Run", places: Sequence[Place], leaving: Sequence[Place]) -> None:
        """The run of an elastic job has these places from now on; what it has to leave it holds until it has."""
        least = places[: job.resources.nodes]
        if dict.fromkeys(at for at, _ in least) != dict.fromkeys(self.timeline.positions(run.id)):
            ends_us = self.ends(job, run, (position for position, _ in least))
            self.timeline.vacate(run.id)
            self.timeline.occupy(run.id, least, parts_of(job.resources, least), ends_us)
            self.tree.until(job.id, ends_us)
            self.tree.held[job.id].planned_us = self.planned(job, run, (position for position, _ in least))
        self.units.stand(job, run, places, leaving)

    def started(self, job: "Job", run: "Run") -> None:
        """Its run began when the engine says."""
        self.cut(job, run)

    def cut(self, job: "Job", run: "Run") -> None:
        """It is over at its limit, or before a window on one of its nodes."""
        start_us = run.started_us if run.has_started else run.placed_us
        ends_us = self.ends(job, run, self.timeline.positions(run.id))
        self.tree.until(job.id, ends_us)
        self.backlog.run(job.id, job.charge_milli, start_us, ends_us)
        self.timeline.until(run.id, ends_us)
        self.units.until(job, run)

    def ends(self, job: "Job", run: "Run", positions: Iterable[int]) -> int:
        """When what a run has on these nodes is over at the latest."""
        start_us = run.started_us if run.has_started else run.placed_us
        return min(self._ends(job, start_us, positions), max(self.cuts.get(run.id, INFINITY), start_us))

    def planned(self, job: "Job", run: "Run", positions: Iterable[int]) -> int:
        """When what a run has on these nodes should be over, had its engine started it when it got its places, and had
        it got them when they were to be free."""
        begin_us = run.placed_us if run.planned_us is msgspec.UNSET else run.planned_us
        return self._ends(job, begin_us, positions)

    def _ends(self, job: "Job", start_us: int, positions: Iterable[int]) -> int:
        return self.closures.cut(positions, start_us, until_us(job, start_us))

    def stop(self, job: "Job", run: "Run", by_us: int, yields: bool) -> None:
        """Its run was told to end, and will have by then; if it moves, its claim counts in its place."""
        self.stops += 1
        self.backlog.run(job.id, job.charge_milli, run.placed_us, by_us)
        self.timeline.stop(run.id, by_us)
        self.stopping[run.id] = None
        heappush(self.told, (by_us, run.id))
        self.told_by[run.id] = by_us
        if yields and job.id in self.moving:
            end_us = self.moving[job.id].end_us
            self.tree.until(job.id, end_us)
            self.moving[job.id] = _Moving(end_us, True, self.backlog.until_us(job.id))
            self.backlog.run(job.id, job.charge_milli, run.stopped_us, end_us)
            return
        held = self.told_held[run.id] = self.tree.end(job.id)
        self.units.stop(job, by_us)
        if yields:
            self._yield(held, job.most_milli)

    def _yield(self, held: Held, charge: int) -> None:
        self.yielding[held.id] = held.leaf, charge
        self.tree.wait(held.leaf, charge)

    def end(self, job: "Job", run: "Run") -> None:
        """Its run is over."""
        self.told_by.pop(run.id, None)
        self.timeline.vacate(run.id)
        self.units.end(job.id)
        if self.moving.pop(job.id, None) is None:
            self.backlog.end(job.id)
        told = self.told_held.pop(run.id, None)
        if self.stopping.pop(run.id, self) is self or (told and self.tree.held.get(job.id) is told):
            self.tree.end(job.id)

    def forget(self, job: str) -> None:
        """The job is over: it will not wait again."""
        where = self.yielding.pop(job, None)
        if where is not None:
            self.tree.wait(where[0], -where[1])

    # ── reservations ──────────────────────────────────────────────────────────────────────────────────────────────
    def looked(self) -> None:
        """A plan has looked at everybody who came, or came to be one of the first."""
        self.fresh.clear()
        self.arrived.clear()
        self.opened.clear()

    def has_slot(self, job: str, leaf: str, most: int) -> bool:
        """Whether its project may have another reservation for the job: `most` in all, and as many again for those who
        came to stand before their holders, so that a lower priority that was there first keeps nobody from his."""
        have = self.reserved.get(leaf, 0)
        if have < most or have >= 2 * most:
            return have < most
        return any(key[-1] == job for key, _ in self.lines[leaf].order[:most])

    def reserve(self, job: "Job", leaf: str, reservation: "Reserved") -> None:
        """Hold places for a job; a job with a claim counts as running, others go on waiting. That of one whose run is
        to move counts once that run has been stopped."""
        self.drop(job.id, leaf)
        limit_us = job.max_duration_us or INFINITY
        end_us = min(reservation.start_us + reservation.freed_us + limit_us, INFINITY)
        parts = parts_of(job.resources, reservation.places)
        self.timeline.reserve(
            job.id,
            reservation.kind,
            reservation.places,
            parts,
            reservation.start_us,
            end_us,
            job.resources.gpu_milli,
            reservation.freed_us if reservation.kind == "claim" else 0,
            job.resources.mig,
            reservation.instances,
        )
        if reservation.kind == "claim":
            self.claims[job.id] = reservation.at_us
            counts = job.id in self.tree.held
            if job.run:
                self.moving[job.id] = _Moving(end_us, not counts, self.backlog.until_us(job.id))
            if counts:
                return
            self.forget(job.id)
            order = (reservation.since_us, job.number)
            held = Held(job.id, self.tree.node(leaf), job.charge_milli, job.priority, order)
            held.until_us = end_us
            self.tree.start(held)
            self.units.begin(job, held.leaf)
            self.backlog.run(job.id, held.charge, reservation.at_us, end_us)
            return
        if reservation.kind == "hold":
            return
        self.reserved[leaf] = self.reserved.get(leaf, 0) + 1
        if reservation.kind == "promise":
            if reservation.due_us <= reservation.at_us:
                self._call(job)
            else:
                heappush(self.calls, (reservation.due_us, job.id))
            self.promised[job.id] = reservation.due_us

    def drop(self, job: str, leaf: str) -> None:
        """Nothing is held for the job any more. One whose run is being stopped for a move yields instead."""
        known = self.timeline.reservation(job)
        if known is None:
            return
        self.timeline.release(job)
        if known.kind == "claim":
            self.claims.pop(job, None)
            moving = self.moving.pop(job, None)
            if moving is not None and not moving.counts:
                return
            held = self.tree.end(job)
            self.units.end(job)
            self.backlog.end(job)
            if moving is not None:
                self.backlog.run(job, held.charge, moving.before_us, moving.before_us)
                self._yield(held, held.charge)
            return
        if known.kind == "hold":
            return
        self.promised.pop(job, None)
        if job in self.due:
            at, charge_milli = self.due.pop(job)
            self.tree.book(at, -charge_milli)
        if self.reserved[leaf] >= self.ahead_max:
            self.opened[leaf] = None
        self.reserved[leaf] -= 1
        if not self.reserved[leaf]:
            del self.reserved[leaf]

    def advance(self, now: int, state: "State", late_us: int) -> None:
        """Runs whose pin is over can be taken; promises that are due count as pinned; who should have ended `late_us`
        ago is counted on no more."""
        while self.told and self.told[0][0] + late_us <= now:
            by_us, run = heappop(self.told)
            if self.told_by.get(run) == by_us:
                self._doubt(run, state.runs[run].stopping in f.TAKES, by_us + late_us)
        while self.calls and self.calls[0][0] <= now:
            due_us, job = heappop(self.calls)
            if self.promised.get(job) == due_us and job in self.waiting and job not in self.due:
                self._call(state.jobs[job])
        while self.pins and self.pins[0][0] <= now:
            until, job = heappop(self.pins)
            held = self.tree.held.get(job)
            if held is not None and held.pinned_us == until:
                self.tree.pin(job, 0)

    def next_call(self) -> int | None:
        """When the next promise begins to count as pinned."""
        while self.calls and self.promised.get(self.calls[0][1]) != self.calls[0][0]:
            heappop(self.calls)  # it is promised no more, or for another time
        return self.calls[0][0] if self.calls else None

    def _doubt(self, run: str, was_taken: bool, since_us: int) -> None:
        """A run that was told to end has not: nobody waits for it, and if it `was_taken` for another job, whose it is
        uses it still, `since_us`: when somebody looks makes no difference to usage."""
        del self.told_by[run]
        self.timeline.doubt(run)
        held = self.told_held.get(run)
        if was_taken and held is not None and held.id in self.yielding:
            self.forget(held.id)
            held.pinned_us = 0
            self.tree.start(held, since_us)

    def _call(self, job: "Job") -> None:
        """Its promise counts as pinned from now on."""
        leaf = self.tree.node(self.waiting[job.id][0])
        self.due[job.id] = leaf, job.charge_milli
        self.tree.book(leaf, job.charge_milli)


class _Moving(NamedTuple):
    """Of a job whose run has not ended: the end of its claim, whether that counts (its run was stopped), and until when
    the run counts in the backlog otherwise."""

    end_us: int
    counts: bool
    before_us: int


class Reserved(NamedTuple):
    """`at_us`: when it was decided; `due_us`: when a promise begins to count as pinned; `freed_us`: how long a
    claim may wait until its capacity is free, or a hold for the rest of it; `since_us`: since when a job with
    the claim counts as running; `instances`: of partitioned GPUs, by position."""

    kind: str
    places: Sequence[Place]
    start_us: int
    at_us: int
    due_us: int
    freed_us: int = 0
    since_us: int = 0
    instances: Mapping[int, Sequence[Instance]] | None = None


def key_of(job: "Job") -> Key:
    """Priority, then age with predicted length: the job counts as submitted later by that."""
    return (-job.priority, job.submitted_us + job.predicted_us, job.number, job.id)


def limit_of(job: "Job") -> int:
    """Its time limit, INFINITY for a job without."""
    return job.max_duration_us or INFINITY


def until_us(job: "Job", start_us: int) -> int:
    """When a run that starts then is over at the latest: at its limit, or with the booking in which it runs."""
    until_us = start_us + job.max_duration_us if job.max_duration_us else INFINITY
    return until_us if job.ends_us is msgspec.UNSET else min(until_us, max(job.ends_us, start_us))


def parts_of(asked: f.Resources, places: Iterable[Place]) -> list[tuple[int, int]]:
    """CPU and memory of each place."""
    return [asked.part(gpus) for _, gpus in places]


def charge(asked: f.Resources, whole: tuple[int, int, int], instances: int = 0) -> int:
    """What a job counts for, milli: the largest of its GPU, CPU and memory share of a pool with `whole` = (GPUs,
    cpus_milli, memory_mib), rounded up; at least 1. In a pool without GPUs thousandths of a core. `instances`: what its
    MIG instances count for."""
    gpus, cpus_milli, memory_mib = whole
    own = asked.gpus * _GPU or asked.gpu_milli * max(asked.nodes, 1) or instances
    unit = gpus * _GPU or cpus_milli
    by_cpu = -(-asked.cpus_milli * unit // cpus_milli) if cpus_milli else 0
    by_memory = -(-asked.memory_mib * unit // memory_mib) if memory_mib else 0
    return max(own, by_cpu, by_memory, 1)


_GPU: Final = 1000
