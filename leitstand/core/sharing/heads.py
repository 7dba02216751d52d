# SPDX-License-Identifier: Apache-2.0
"""Which waiting jobs a plan looks at, in the order of their project. Called by the fair plan.

Thousands wait and few can start, so a plan remembers who needs not be looked at again. A *class* (jobs of one shape and
time limit) sleeps once one of it found no place; so do longer ones of that shape, since who finds no place for an hour
finds none for two. It wakes when capacity is freed where one of its tasks would fit. What sleeps may be forgotten at
any time: it saves work and decides nothing.

Something is taken or reserved for a job (it is *served*) when its project is called (once a tick, each at its time,
`phases`), and in the cycle in which it begins to wait,
comes to be one of the first of its project, may have a reservation that others of its project had until then, or loses
what was held for it. That follows from the facts of the cycle alone, so that a restart serves nobody else.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from leitstand.core.facts import Resources
from leitstand.core.jobs import Job
from leitstand.core.places.fit import Free
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing.standing import Class, Key, Lane, Standing, key_of


class Head(NamedTuple):
    """`ahead`: one of the first of its project, who may have a reservation."""

    leaf: str
    job: str
    cls: Class
    charge: int
    ahead: bool


class Look(NamedTuple):
    """How a line is looked at: the first `most` of a project may have reservations; `owed`: whether those are asked who
    are owed a start."""

    most: int
    owed: bool


class Heads:
    """See the module."""

    def __init__(self) -> None:
        self.barred: dict[Resources, int] = {}  # shape → the least time limit that found no place
        self.shut: dict[Resources, int] = {}  # the same where plans of others are in nobody's way
        self.passed: dict[Resources, int] = {}  # the same of jobs with a reservation, since the turns began
        self.served: dict[str, str] = {}  # in this cycle, and their projects
        self.called: dict[str, None] = {}  # projects of which everybody is to be served in this cycle
        self.unserved: dict[str, None] = {}  # to be served in this cycle,
        self.all = False  # or whether everybody is
        self.cut = False  # whether the last plan could not go on to its end
        self.unreserved: dict[
            str, str
        ] = {}  # of them, whom a plan had no room to reserve for: their projects,
        self.reserves = True  # and whether this one has
        self.kept: dict[
            tuple[str, Resources], int
        ] = {}  # the same by project where limits forbid it, in one plan
        self.forbidden: dict[str, None] = {}  # jobs with a reservation that limits keep from starting sooner
        # by project, jobs with a reservation on a node where capacity was freed, wherever they stand in its line
        self.hopeful: dict[str, dict[str, tuple[Key, Class]]] = {}
        self.asking: dict[str, None] = {}  # projects with somebody to be served or hopeful
        self.again: dict[str, None] = {}  # projects that the next plan looks at in any case

    # ── who sleeps ────────────────────────────────────────────────────────────────────────────────────────────────
    def sleeps(self, cls: Class, owed: bool = False) -> bool:
        """Whether none of the class would find places; of one that is `owed`, not even where plans of others are."""
        return self._asleep(owed).get(cls.asked, INFINITY + 1) <= cls.limit_us

    def _asleep(self, owed: bool) -> dict[Resources, int]:
        return self.shut if owed else self.barred

    def bar(self, cls: Class) -> None:
        """One of the class found no place."""
        self.barred[cls.asked] = min(cls.limit_us, self.barred.get(cls.asked, INFINITY))

    def shut_out(self, cls: Class) -> None:
        """One of the class found no place, nor would it if it were owed one."""
        self.shut[cls.asked] = min(cls.limit_us, self.shut.get(cls.asked, INFINITY))

    def passes(self, cls: Class) -> None:
        """One of the class with a reservation found no place sooner."""
        self.passed[cls.asked] = cls.limit_us

    def keep(self, leaf: str, cls: Class, always: bool) -> None:
        """Limits forbid the class in this project, whatever its time limit, or for as long as that."""
        key = leaf, cls.asked
        self.kept[key] = 0 if always else min(cls.limit_us, self.kept.get(key, INFINITY))

    def allow(self) -> bool:
        """What is reserved has changed: forget whom it left no room; limits forbid what they forbade. Whether there was
        anybody."""
        before = len(self.kept)
        self.kept = {key: limit_us for key, limit_us in self.kept.items() if not limit_us}
        return len(self.kept) < before

    def keeps(self, leaf: str, cls: Class) -> bool:
        """Whether limits forbid the class in this project, as far as this plan knows."""
        return self.kept.get((leaf, cls.asked), INFINITY + 1) <= cls.limit_us

    def wake(self, positions: Iterable[int] | None, free: Free) -> bool:
        """Capacity was freed on these nodes; without positions: anywhere. Whether that wakes anybody."""
        asleep = [*{**self.barred, **self.shut, **self.passed}]
        if positions is not None:
            left = list(dict.fromkeys(positions))
            asleep = [asked for asked in asleep if any(may_serve(asked, at, free) for at in left)]
        for asked in asleep:
            for memory in (self.barred, self.shut, self.passed):
                memory.pop(asked, None)
        return bool(asleep)

    # ── who was looked at ─────────────────────────────────────────────────────────────────────────────────────────
    def begin(self) -> None:
        """A plan begins; one that was cut goes on."""
        if not self.cut:
            self.served.clear()

    def end(self, cut: bool) -> None:
        """It is over, or was `cut` by the pace that the rules set."""
        self.cut = cut
        if not cut:
            self.all = False
            self.called.clear()
            self.unserved.clear()

    def forget(self) -> None:
        """Everybody may be served again."""
        self.all = True
        self.served.clear()
        self.unreserved.clear()

    def call(self, projects: Mapping[str, None]) -> None:
        """Everybody of these projects may be served again."""
        self.called.update(projects)
        for jobs in (self.served, self.unreserved):
            for job in [job for job, leaf in jobs.items() if leaf in projects]:
                del jobs[job]

    def unserve(self, job: str, leaf: str) -> None:
        """Something else may be taken or reserved for the job now."""
        self.served.pop(job, None)
        self.unserved[job] = None
        self.asking[leaf] = None

    def hope(self, job: Job, leaf: str, cls: Class) -> None:
        """Capacity was freed where the job has a reservation."""
        self.hopeful.setdefault(leaf, {})[job.id] = key_of(job), cls
        self.again[leaf] = self.asking[leaf] = None

    def looked_at(self, head: Head) -> None:
        """It is tried now, and hopes no more."""
        hopeful = self.hopeful.get(head.leaf)
        if hopeful is not None and hopeful.pop(head.job, None) is not None and not hopeful:
            del self.hopeful[head.leaf]

    def ask(self, standing: Standing) -> None:
        """Note the projects of all who are to be served, or are hopeful and still wait."""
        waiting = standing.waiting
        self.asking = {**self.called, **dict.fromkeys(self.unreserved.values() if self.reserves else ())}
        self.asking.update((waiting[job][0], None) for job in self.unserved if job in waiting)
        for leaf, jobs in list(self.hopeful.items()):
            left = self.hopeful[leaf] = {job: known for job, known in jobs.items() if job in waiting}
            if left:
                self.asking[leaf] = None
            else:
                del self.hopeful[leaf]

    def take_up(self, standing: Standing) -> bool:
        """Who began to wait, is one of the first of its project only now, or is one of them without a reservation where
        its project may have another one, is to be served; whether there is anybody but the former."""
        for job in standing.arrived:
            if job not in self.served:
                self.unserved[job] = None
        found = False
        for leaf in {**standing.fresh, **standing.opened}:
            if leaf not in standing.lines:
                continue
            before = standing.fresh.get(leaf)
            for (*_, job), _ in standing.lines[leaf].order[: standing.ahead_max]:
                new = before is not None and job not in before
                opened = leaf in standing.opened and standing.timeline.reservation(job) is None
                if (new or opened) and job not in self.served:
                    self.unserved[job] = None
                    found = True
        return found

    def serve(self, job: str, leaf: str) -> bool:
        """Note that the job is served; whether it is the first time in this cycle that it has to be."""
        first = self._is_to_be(job, leaf)
        self.served[job] = leaf
        self.unserved.pop(job, None)
        return first

    def _is_to_be(self, job: str, leaf: str) -> bool:
        return job not in self.served and (self.all or job in self.unserved or leaf in self.called)

    def is_served(self, job: str, leaf: str) -> bool:
        """Whether nothing is to be taken or reserved for the job in this plan."""
        return not self._is_to_be(job, leaf) and not (self.reserves and job in self.unreserved)

    def asks(self, head: Head) -> bool:
        """Whether something is to be taken or reserved for it in its turn."""
        return head.ahead and not self.is_served(head.job, head.leaf)

    # ── whom to look at ───────────────────────────────────────────────────────────────────────────────────────────
    def leaves(self, standing: Standing) -> dict[str, None]:
        """Projects with somebody to look at."""
        lines = standing.lines
        leaves = dict.fromkeys((*standing.fresh, *standing.opened, *self.again, *self.called, *self.hopeful))
        leaves.update((standing.waiting[job][0], None) for job in self.unserved if job in standing.waiting)
        if self.reserves:
            leaves.update(dict.fromkeys(self.unreserved.values()))
        leaves = {leaf: None for leaf in leaves if leaf in lines}
        for cls, where in standing.classes.items():
            if not (self.sleeps(cls) and self.sleeps(cls, owed=True)):
                leaves.update(dict.fromkeys(where))
                if len(leaves) == len(lines):
                    break
        return leaves

    def line(self, leaf: str, line: Lane, jobs: Mapping[str, Job], look: "Look") -> Iterator[Head]:
        """Whom to look at in a project, one after another: of the first those who are not served, who is hopeful, of
        the rest the first of each class that may fit."""
        last: Key | None = None
        while (found := self._next(line, leaf, look, last)) is not None:
            last, cls, ahead = found
            yield Head(leaf, last[-1], cls, jobs[last[-1]].charge_milli, ahead)

    def _next(self, line: Lane, leaf: str, look: "Look", last: Key | None) -> tuple[Key, Class, bool] | None:
        most, owed = look
        asleep = self._asleep(owed)
        found: tuple[Key, Class, bool] | None = None
        if self.all or leaf in self.asking:
            begin = 0 if last is None else bisect_left(line.order, (last,))
            for key, cls in line.order[begin:most]:
                if key != last and (
                    not self.is_served(key[-1], leaf) or not (self.sleeps(cls, owed) or self.keeps(leaf, cls))
                ):
                    found = key, cls, True
                    break
            for key, cls in self.hopeful.get(leaf, _NOBODY).values():
                if (last is None or key > last) and (found is None or key < found[0]):
                    found = key, cls, False
        for asked, limits in line.limits.items():
            barred = asleep.get(asked, INFINITY + 1)
            if limits[0] >= barred:
                continue
            barred = min(barred, self.kept.get((leaf, asked), INFINITY + 1))
            for limit_us in limits:
                if limit_us >= barred:
                    break
                cls = Class(asked, limit_us)
                keys = line.classes[cls]
                index = 0 if last is None else bisect_right(keys, last)
                if index < len(keys) and (found is None or keys[index] < found[0]):
                    found = keys[index], cls, False
        return found

    def counts(self, head: Head, owed: bool) -> bool:
        """Whether a head is still to be looked at."""
        return self.may_start(head, owed) or self.asks(head)

    def may_start(self, head: Head, owed: bool) -> bool:
        """Whether it may find places."""
        return not self.sleeps(head.cls, owed) or head.job in self.hopeful.get(head.leaf, _NOBODY)


_NOBODY: Final[Mapping[str, tuple[Key, Class]]] = {}


def may_serve(asked: Resources, position: int, free: Free) -> bool:
    """Whether what is free on a node may be of use to a gang: none of its tasks fits in less."""
    gpus, cpus_milli, memory_mib = _least(asked, free.size)
    return position in free.shared or (
        free.gpus[position].bit_count() >= gpus
        and free.cpus_milli[position] >= cpus_milli
        and free.memory_mib[position] >= memory_mib
    )


def _least(asked: Resources, size: int) -> tuple[int, int, int]:
    """What a node must have free at least to be of use to a gang. `size`: GPUs of the largest node."""
    if asked.mig:
        return 0, 0, 0  # a partitioned GPU has no whole one
    if asked.gpu_milli:
        return 1, 0, 0
    if asked.nodes == 0 and (asked.gpus > size or asked.gpu_type or asked.level):
        return min(asked.gpus, 1), 0, 0  # how it is cut is not known yet
    count = max(asked.nodes, asked.nodes_max, 1)
    return asked.gpus // count, asked.cpus_milli // count, asked.memory_mib // count
