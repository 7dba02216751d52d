# SPDX-License-Identifier: Apache-2.0
"""One plan of one small pool by its definition (docs/scheduling.md), by brute force: who comes next, whether he starts,
whom he stops, from when on he has a reservation. Called by the property test that holds the core's plan against it; it
shares no code with the core.

Every placement, every set of victims and every moment is tried. Nodes stand in racks of one site and have GPUs alone;
all of a guarantee is lent. Times are µs, charges thousandths of a GPU. Where several answers are equally good the core
chooses; which kind a reservation is, `test_safe` tells.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from tests.properties import sharing_model as model
from tests.properties.sharing_model import Load, Node

GPU = 1000
TICK_S = 60
Places = tuple[int, ...]  # the nodes of the tasks


@dataclass(frozen=True)
class Asked:
    """A job: `tasks` equal tasks of so many GPUs, each on a node of its own. `age`: the lower the earlier."""

    id: str
    leaf: str
    tasks: int
    gpus: int
    limit: int
    priority: int
    age: tuple[int, int]

    @property
    def charge(self) -> int:
        return self.tasks * self.gpus * GPU


@dataclass(frozen=True)
class Taken:
    """Nodes that a job has, or will have, from a time until another. `lost`: what its end would lose, × charge;
    `kind`: '' for a run, else of its reservation; `old`: the order in which it started."""

    job: Asked
    places: Places
    since: int
    until: int
    kind: str = ""
    lost: int = 0
    old: int = 0
    young: bool = False


@dataclass
class Moment:
    """What the plan begins with, and what it has decided so far. `nodes`: (GPUs, rack) of each. `wait`: how long a run
    that is told to stop may take. `leaving`: runs that were told to."""

    now: int
    nodes: Sequence[tuple[int, str]]
    tree: dict[str, Node]
    lag: dict[str, int]
    waiting: list[Asked]
    runs: dict[str, Taken]
    wait: int
    leaf_max: int = 4
    leaving: list[Taken] = field(default_factory=list)
    reserved: dict[str, Taken] = field(default_factory=dict)
    share: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        load = Load(model.by_leaf(self.as_runs()), model.by_leaf(map(as_job, self.waiting)))
        self.share = model.deserved(self.tree, load, self.capacity)

    @property
    def capacity(self) -> int:
        return sum(gpus for gpus, _ in self.nodes) * GPU

    def as_runs(self, gone: Collection[str] = (), more: Asked | None = None) -> list[model.Run]:
        """What runs, for the model of shares."""
        found = [as_run(run.job, run.old) for run in self.runs.values() if run.job.id not in gone]
        return found if more is None else [*found, as_run(more, 10**9)]

    def used(self, gone: Collection[str] = (), more: Asked | None = None) -> dict[str, int]:
        """What runs at every node of the tree."""
        return model.total(self.tree, model.by_leaf(self.as_runs(gone, more)))


def as_run(job: Asked, order: int) -> model.Run:
    return model.Run(job.id, job.leaf, job.charge, order, job.priority)


def as_job(job: Asked) -> model.Job:
    return model.Job(job.id, job.leaf, job.charge, 0, job.priority)


# ── whose turn ────────────────────────────────────────────────────────────────────────────────────────────────────
def next_turn(moment: Moment, done: Collection[str]) -> Asked | None:
    """First who stays inside a guarantee on his path, then the others; in both from the root down the child that lags
    most in proportion to its share, then by id; in a project by priority, then age."""
    used = moment.used()
    owed = [job for job in moment.waiting if job.id not in done and _is_owed(moment, job, used)]
    others = [job for job in moment.waiting if job.id not in done]
    return min(owed or others, key=lambda job: _claim(moment, job, used), default=None)


def _is_owed(moment: Moment, job: Asked, used: dict[str, int]) -> bool:
    guarantees = {
        node: model.guarantee(moment.tree[node], moment.now) for node in model.path(moment.tree, job.leaf)
    }
    return any(node and 0 < used[node] + job.charge <= guarantee for node, guarantee in guarantees.items())


def _claim(moment: Moment, job: Asked, used: dict[str, int]) -> tuple[object, ...]:
    claims: list[tuple[int, str]] = []
    for node in sorted((node for node in model.path(moment.tree, job.leaf) if node), key=len):
        lag = moment.lag.get(node, 0) + (moment.share[node] - used[node]) * TICK_S
        claims.append((-(lag << 20) // max(1, moment.share[node]), node))
    return (*claims, (-job.priority, job.age))


# ── who fits ──────────────────────────────────────────────────────────────────────────────────────────────────────
def within_limits(moment: Moment, job: Asked, since: int, until: int, booked: Sequence[Taken]) -> bool:
    """Whether no limit, and not the capacity, is exceeded at any time with the job beside all that is `booked`."""
    times = {since} | {one.since for one in booked if since < one.since < until}
    for time in times:
        there = [one.job for one in booked if one.since <= time < one.until]
        sums = model.total(moment.tree, model.by_leaf(as_run(one, 0) for one in [*there, job]))
        for node in model.path(moment.tree, job.leaf):
            if sums[node] > min(
                model.ceiling(moment.tree[node], moment.now), moment.capacity if not node else 10**9
            ):
                return False
    return True


def free(moment: Moment, since: int, until: int, booked: Sequence[Taken]) -> list[int]:
    """The least that is free on every node in that time."""
    times = {since} | {one.since for one in booked if since < one.since < until}
    left = [gpus for gpus, _ in moment.nodes]
    for time in times:
        held = [0] * len(left)
        for one in booked:
            if one.since <= time < one.until:
                for place in one.places:
                    held[place] += one.job.gpus
        left = [
            min(least, gpus - taken) for least, (gpus, _), taken in zip(left, moment.nodes, held, strict=True)
        ]
    return left


def ways(left: Sequence[int], job: Asked) -> list[Places]:
    """Every placement."""
    fit = [node for node, gpus in enumerate(left) if gpus >= job.gpus]
    return list(combinations(fit, job.tasks))


def worth(moment: Moment, left: Sequence[int], places: Places) -> tuple[int, ...]:
    """The lower the better: the lowest domain that holds all, what is broken of wholly free domains, nodes, what is
    left over."""
    racks = {moment.nodes[place][1] for place in places}
    height = 0 if len(places) == 1 else 1 if len(racks) == 1 else 2
    idle = [gpus == size for gpus, (size, _) in zip(left, moment.nodes, strict=True)]
    broken = sum(idle[place] for place in places)
    for rack in {*racks, None}:
        inside = [node for node, (_, of) in enumerate(moment.nodes) if rack in (None, of)]
        broken += len(inside) if all(idle[node] for node in inside) else 0
    return height, broken, len(places), sum(left[place] for place in places)


def best_places(moment: Moment, job: Asked, since: int, until: int, booked: Sequence[Taken]) -> list[Places]:
    """All that are equally the best; none: it does not fit."""
    left = free(moment, since, until, booked)
    found = ways(left, job)
    best = min((worth(moment, left, places) for places in found), default=())
    return [places for places in found if worth(moment, left, places) == best]


def start(moment: Moment, job: Asked) -> list[Places]:
    """Where it may start now, delaying nobody, by count or by place; none: it may not."""
    until = moment.now + job.limit
    counted = [*moment.runs.values(), *(one for one in moment.reserved.values() if one.kind != "claim")]
    if not within_limits(moment, job, moment.now, until, counted):
        return []
    return best_places(moment, job, moment.now, until, everything(moment))


def everything(moment: Moment) -> list[Taken]:
    """All that holds nodes at any time."""
    return [
        *moment.runs.values(),
        *moment.leaving,
        *(one for one in moment.reserved.values() if one.kind != "claim"),
    ]


def reservation(moment: Moment, job: Asked) -> tuple[int, list[Places]] | None:
    """The earliest start that is known, and the best places then; None: now, or his project has enough of them."""
    if (
        sum(one.job.leaf == job.leaf for one in moment.reserved.values() if one.kind != "claim")
        >= moment.leaf_max
    ):
        return None
    booked = everything(moment)
    counted = [one for one in booked if one not in moment.leaving]
    for time in sorted({moment.now} | {one.until for one in booked if one.until > moment.now}):
        if within_limits(moment, job, time, time + job.limit, counted):
            found = best_places(moment, job, time, time + job.limit, booked)
            if found:
                return (time, found) if time > moment.now else None
    return None


# ── who yields ────────────────────────────────────────────────────────────────────────────────────────────────────
def act(moment: Moment, job: Asked) -> tuple[tuple[str, ...], list[Places]] | None:
    """Whom it may stop, and where it then runs: the best of all legal sets, a recall before priority."""
    for cause in ("recall", "priority"):
        if not _has(moment, job, cause):
            continue
        runs = [run for run in moment.runs.values() if not run.kind]
        legal: dict[tuple[str, ...], list[Places]] = {}
        for size in range(len(runs) + 1):
            for some in combinations(runs, size):
                ids = tuple(sorted(run.job.id for run in some))
                if any(set(fewer) < set(ids) for fewer in legal):
                    continue  # somebody could be put back
                places = _places_without(moment, job, some, cause) if _legal(moment, job, some, cause) else []
                if places:
                    legal[ids] = places
        if legal:
            best = min(legal, key=lambda ids: _rank(moment, job, ids))
            return (best, legal[best]) if _keeps_promises(moment, job, best) else None
    return None


def _has(moment: Moment, job: Asked, cause: str) -> bool:
    """Whether the job has the cause: it is inside a guarantee, or before a run of its project."""
    used = moment.used(more=job)
    if cause == "recall":
        guarantees = {
            node: model.guarantee(moment.tree[node], moment.now)
            for node in model.path(moment.tree, job.leaf)[:-1]
        }
        return any(guarantee > 0 and used[node] <= guarantee for node, guarantee in guarantees.items())
    return any(run.job.leaf == job.leaf and run.job.priority < job.priority for run in moment.runs.values())


def _legal(moment: Moment, job: Asked, victims: Sequence[Taken], cause: str) -> bool:
    """A1 to A5, but for places."""
    tree, gone = moment.tree, {run.job.id for run in victims}
    before, after = moment.as_runs(), moment.as_runs(gone, job)
    covered = model.cover(tree, after, moment.share)
    path = model.path(tree, job.leaf)
    inside = [node for node in path[:-1] if job.id in covered[node]]
    if not inside or (cause == "priority" and job.leaf not in inside):
        return False
    for run in victims:
        theirs = model.path(tree, run.job.leaf)
        if run.young:
            return False
        if run.job.leaf == job.leaf:
            if run.job.priority >= job.priority or job.leaf not in inside:
                return False
            continue
        side = [node for node in path if node not in theirs][-1]
        if cause == "priority" or side not in inside:
            return False
    used = moment.used(gone, job)
    if any(used[node] > model.ceiling(tree[node], moment.now) for node in path) or used[""] > moment.capacity:
        return False
    kappa_before = model.kappa(tree, before, model.cover(tree, before, moment.share))
    kappa_after = model.kappa(tree, after, covered)
    return all(kappa_before[node] <= kappa_after[node] for node in tree if node not in path)


def _places_without(moment: Moment, job: Asked, victims: Sequence[Taken], cause: str) -> list[Places]:
    gone = {run.job.id for run in victims}
    kinds = ("promise",) if cause == "recall" else ("promise", "plan")
    booked = [run for run in moment.runs.values() if run.job.id not in gone]
    booked += [one for one in moment.reserved.values() if one.kind in kinds]
    return best_places(moment, job, moment.now, moment.now + job.limit + moment.wait, booked)


def now_free(moment: Moment, job: Asked) -> list[Places]:
    """The best places of a job with a claim, beside what was promised; none: not all of it is free yet."""
    others = [one for one in everything(moment) if one.job.id != job.id and one.kind != "plan"]
    return best_places(moment, job, moment.now, moment.now + job.limit, others)


def _keeps_promises(moment: Moment, job: Asked, gone: Collection[str]) -> bool:
    booked = [run for run in moment.runs.values() if run.job.id not in gone]
    promises = [one for one in moment.reserved.values() if one.kind == "promise"]
    return not promises or within_limits(
        moment, job, moment.now, moment.now + job.limit + moment.wait, [*booked, *promises]
    )


def _rank(moment: Moment, job: Asked, ids: tuple[str, ...]) -> tuple[object, ...]:
    runs = [moment.runs[id] for id in ids]
    lost, charge = sum(run.lost for run in runs), sum(run.job.charge for run in runs)
    names = tuple(sorted(ids))
    return (
        (False, lost, charge, len(ids), names)
        if 5 * charge <= 6 * job.charge
        else (True, charge, lost, len(ids), names)
    )


# ── what was decided ──────────────────────────────────────────────────────────────────────────────────────────────
def begin(moment: Moment, job: Asked, places: Places, wait: int = 0) -> None:
    """It runs there, or has a claim for which it may wait."""
    until = moment.now + wait + job.limit
    moment.waiting.remove(job)
    kind = "claim" if wait else ""
    moment.runs[job.id] = Taken(job, places, moment.now, until, kind, 0, 10**6 + len(moment.runs), young=True)


def starts_at(moment: Moment, job: Asked, places: Places) -> None:
    """Its claim is used up."""
    moment.runs[job.id] = replace(moment.runs[job.id], places=places, until=moment.now + job.limit)


def stop(moment: Moment, id: str) -> None:
    """The run is told to end."""
    run = moment.runs.pop(id)
    moment.leaving.append(replace(run, until=min(run.until, moment.now + moment.wait)))


def hold(moment: Moment, job: Asked, kind: str, since: int, places: Places) -> None:
    """It has a reservation."""
    moment.reserved[job.id] = Taken(job, places, since, since + job.limit, kind)


def turns(moment: Moment) -> Iterator[Asked]:
    """Everybody once."""
    done: set[str] = set()
    while (job := next_turn(moment, done)) is not None:
        done.add(job.id)
        yield job
