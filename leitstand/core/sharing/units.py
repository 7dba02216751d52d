# SPDX-License-Identifier: Apache-2.0
"""What runs of elastic jobs have beyond their least size, as shares and the timeline see it: each *unit* (a node, or
a slice) is a run of its own, of a priority below all, that leaves with its run. What a run lacks to its most is demand.
Part of the standing, which keeps it with every fact.

A unit's name is that of its run, or in the tree that of its job, `+`, the position of its first node and the GPUs
there, the same after a restart: `acme-42.1+7xff`.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import UNSET

from leitstand.core.places.placement import Place
from leitstand.core.sharing.shares import Held, Node

if TYPE_CHECKING:
    from leitstand.core.facts import Task
    from leitstand.core.jobs import Job, Run
    from leitstand.core.sharing.standing import Standing

PRIORITY: Final = -(2**31)  # below that of every job
_LATER: Final = 2**62  # covered after all runs, and before a job that would start now (`cover.LAST`)
_JOB, _NODE = 1 << 256, 1 << 192  # what numbers of jobs and positions of nodes weigh in the order of units


class Unit(NamedTuple):
    """A unit on its nodes. `id`: its name with that of its run."""

    id: str
    places: tuple[Place, ...]
    parts: tuple[tuple[int, int], ...]
    order: int  # among the units of all jobs


class _Elastic:
    """The run, or the claim, of an elastic job. `units` by their names in the tree; `leaving`: what was told to end, by
    the same; `lacks`: the charge that counts as demand; `counts`: nobody told the run to end."""

    __slots__ = ("counts", "lacks", "leaf", "leaving", "units")

    def __init__(self, leaf: Node) -> None:
        self.leaf = leaf
        self.counts = True
        self.lacks = 0
        self.units: dict[str, Unit] = {}
        self.leaving: dict[str, Unit] = {}


class Units:
    """See the module. `growing`: by leaf, the jobs whose runs have less than their most."""

    def __init__(self, standing: "Standing") -> None:
        self._standing = standing
        self._of: dict[str, _Elastic] = {}  # by job
        self.growing: dict[str, dict[str, None]] = {}

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────
    def unit(self, name: str) -> Unit | None:
        """The unit that stands in the tree by this name; None for a run, or a claim."""
        job, plus, _ = name.partition("+")
        return self._of[job].units[name] if plus else None

    def units(self, job: str) -> dict[str, Unit]:
        """Those of an elastic job, by their names in the tree."""
        return self._of[job].units if job in self._of else {}

    # ── called by the standing ────────────────────────────────────────────────────────────────────────────────────
    def begin(self, job: "Job", leaf: Node) -> None:
        """The job counts as running, with its least size."""
        if job.nodes_most:
            self._of[job.id] = _Elastic(leaf)
            self._lack(job)

    def stand(self, job: "Job", run: "Run", places: Sequence[Place], leaving: Sequence[Place]) -> None:
        """The run has all of `places`, and `leaving` until the engine reports that what was to end has. Its least part
        stands in the tree already."""
        if job.id not in self._of:
            return
        known, least = self._of[job.id], job.resources.nodes
        timeline, stopping = self._standing.timeline, self._standing.stopping
        before, gone = {**known.units, **known.leaving}, known.leaving
        units = dict(_units(job, run, run.tasks[least:], places[least:]))
        gone_us, known.leaving = self._leave(job, run, leaving)
        for name, unit in before.items():
            if name not in units and name not in known.leaving:
                timeline.vacate(unit.id)
                stopping.pop(unit.id, None)
        for name, unit in {**units, **known.leaving}.items():
            if name not in before:
                timeline.occupy(unit.id, unit.places, unit.parts, self._until(job, run, unit))
        for name, unit in known.leaving.items():
            if name not in gone:
                self._standing.stops += 1
                stopping[unit.id] = None
                timeline.stop(unit.id, gone_us[name])
        self._count(job, run, known, units)

    def until(self, job: "Job", run: "Run") -> None:
        """The run ends sooner or later than said."""
        if job.id not in self._of:
            return
        for name, unit in self._of[job.id].units.items():
            until_us = self._until(job, run, unit)
            self._standing.timeline.until(unit.id, until_us)
            self._standing.tree.until(name, until_us)

    def stop(self, job: "Job", by_us: int) -> None:
        """The run was told to end, and will have by then; its units with it."""
        known = self._of.get(job.id)
        if known is None:
            return
        self._forget(job.id, known)
        for unit in known.units.values():
            self._standing.timeline.stop(unit.id, by_us)
            self._standing.stopping[unit.id] = None

    def end(self, job: str) -> None:
        """The run is over, or the claim dropped."""
        known = self._of.get(job)
        if known is None:
            return
        if known.counts:
            self._forget(job, known)
        for unit in (*known.units.values(), *known.leaving.values()):
            self._standing.timeline.vacate(unit.id)
            self._standing.stopping.pop(unit.id, None)
        del self._of[job]

    # ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _count(self, job: "Job", run: "Run", known: _Elastic, units: dict[str, Unit]) -> None:
        """The tree knows the units of a run that nobody told to end."""
        tree = self._standing.tree
        if not known.counts:
            known.units = units
            return
        for name in known.units:
            if name not in units:
                tree.end(name)
        for name, unit in units.items():
            if name not in known.units:
                order = (_LATER + run.placed_us, unit.order)
                held = Held(name, known.leaf, job.unit_milli, PRIORITY, order)
                held.until_us = self._until(job, run, unit)
                held.planned_us = self._standing.planned(job, run, (position for position, _ in unit.places))
                tree.start(held)
        known.units = units
        self._lack(job)

    def _lack(self, job: "Job") -> None:
        """What the job lacks to its most is demand."""
        known = self._of[job.id]
        lacks = job.most_milli - job.charge_milli - len(known.units) * job.unit_milli
        if lacks != known.lacks:
            self._standing.tree.wait(known.leaf, lacks - known.lacks)
            known.lacks = lacks
        jobs = self.growing.setdefault(known.leaf.id, {})
        jobs.pop(job.id, None)
        if lacks > 0 and job.run:
            jobs[job.id] = None
        if not jobs:
            del self.growing[known.leaf.id]

    def _forget(self, job: str, known: _Elastic) -> None:
        """The job counts as running no more."""
        known.counts = False
        for name in known.units:
            self._standing.tree.end(name)
        self._standing.tree.wait(known.leaf, -known.lacks)
        known.lacks = 0
        jobs = self.growing.get(known.leaf.id, {})
        jobs.pop(job, None)
        if not jobs:
            self.growing.pop(known.leaf.id, None)

    def _until(self, job: "Job", run: "Run", unit: Unit) -> int:
        return self._standing.ends(job, run, (position for position, _ in unit.places))

    def _leave(
        self, job: "Job", run: "Run", places: Sequence[Place]
    ) -> tuple[dict[str, int], dict[str, Unit]]:
        """What was told to end and stands at `places`: by when it is gone, and the units."""
        gone_us: dict[str, int] = {}
        units: dict[str, Unit] = {}
        for one in run.sizes.pending if run.sizes is not UNSET and places else ():
            here, places = places[: len(one.leaving)], places[len(one.leaving) :]
            for name, unit in _units(job, run, one.leaving, here):
                units[name], gone_us[name] = unit, one.at_us + self._standing.freed_us
        return gone_us, units


def counts_as(run: str) -> str:
    """The name by which the tree knows a run, or a unit of one: `acme-42.1` is `acme-42`."""
    job, _, rest = run.rpartition(".")
    return job + rest[rest.find("+") :] if "+" in rest else job


def owner(name: str) -> str:
    """The job that the tree knows by this name, or that has the unit."""
    return name.partition("+")[0]


def run_of(entry: str) -> str:
    """The run that the timeline knows by this name, or that has the unit."""
    return entry.partition("+")[0]


def _units(
    job: "Job", run: "Run", tasks: Sequence["Task"], places: Sequence[Place]
) -> Iterator[tuple[str, Unit]]:
    """The units that these tasks make up, by their names in the tree."""
    size = job.unit_nodes
    for first in range(0, len(tasks), size):
        here = tuple(places[first : first + size])
        position, bits = here[0][0], tasks[first].bits
        parts = tuple(job.resources.part(gpus) for _, gpus in here)
        name = f"+{position}x{tasks[first].mask}"
        order = job.number * _JOB + position * _NODE + bits
        yield job.id + name, Unit(run.id + name, here, parts, order)
