# SPDX-License-Identifier: Apache-2.0
"""Who yields to whom: legal acts of the model of sharing, their choice, and what a due promise may take. Called by the
model's simulator and by the property tests."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from tests.properties.sharing_model import (
    FOREVER,
    Job,
    Places,
    Promise,
    Run,
    World,
    as_run,
    by_leaf,
    called,
    capacity,
    ceiling,
    cover,
    due,
    guarantee,
    held_at,
    kappa,
    occupied,
    path,
    root_of,
    shares,
    standing,
    total,
    with_due,
)
from tests.properties.sharing_room import Booking, arrange, arrange_all, booked, wished


@dataclass(frozen=True)
class Act:
    """Start a job, evict others for it. `kind`: start, recall, priority or rebalance. `wait`: not before this time.
    `near`: look only m ahead, by when all that is not guaranteed can be gone."""

    job: Job
    victims: frozenset[str] = frozenset()
    kind: str = "start"
    wait: int = 0
    near: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a legal act comes to."""

    act: Act
    start: int
    places: Places


def recallable(world: World, job: Job) -> str:
    """The node below the root whose guarantee the job may call (promise 1), "" if none."""
    now = world.now
    for x in path(world.tree, job.leaf)[:-1]:
        node = world.tree[x]
        leaves = by_leaf([*standing(world), job])
        for p in world.promises:
            if p.job.id != job.id and p.start <= now + node.recall + world.terms.m:
                leaves[p.job.leaf] = leaves.get(p.job.leaf, 0) + p.job.charge
        if occupied(world.tree, leaves, now)[x] <= guarantee(node, now):
            return x
    return ""


def gone(world: World, run: Run) -> int:
    """When a run told to stop now will be gone. Mended: a claim that has not started has nothing to save."""
    if run.claim and run.start > world.now and not world.old.claims:
        return world.now
    return (
        max(world.now, run.pinned, run.start + world.terms.protected) + world.terms.grace + world.terms.stop
    )


def earliest(world: World, act: Act) -> int:
    """The earliest start of an act's job: once its victims are gone."""
    return max([world.now, act.wait, *(gone(world, r) for r in standing(world) if r.id in act.victims)])


def judged(world: World, act: Act) -> tuple[Outcome | None, list[str]]:
    """The outcome of an act if it is legal, else the rules it breaks."""
    faults = _faults(world, act)
    placed = _placed(world, act) if not faults else None
    if not faults and placed is None:
        faults = ["A1 vectors"]
    if not faults:
        for v in sorted(act.victims):
            less = replace(act, victims=act.victims - {v})
            if not _faults(world, less) and _placed(world, less) is not None:
                faults.append(f"A6 {v} can be put back")
    return (None if faults else placed), faults


def legal(world: World, act: Act) -> list[str]:
    """The rules that an act breaks, [] if it is legal. The job must be among those that wait."""
    return judged(world, act)[1]


def choose(world: World, job: Job, kind: str) -> Outcome | None:
    """The act that starts a job: what is being freed anyway first, then the cheapest legal victims."""
    recall = world.tree[recallable(world, job) or job.leaf].recall
    patience = recall if kind == "recall" else world.terms.grace + world.terms.stop
    ends = sorted(
        {r.end for r in world.runs if world.now < r.end <= world.now + min(patience, world.terms.m)}
    )
    for near in [False, *([True] if kind == "recall" else [])]:
        for wait in [world.now, *([] if kind == "start" else ends)]:
            outcome, _ = judged(world, Act(job, kind=kind, wait=wait, near=near))
            if outcome is not None or kind == "start":
                return outcome
        for victims in _by_choice(world, job, kind):
            for wait in [world.now, *(ends if kind == "recall" else [])]:
                outcome, _ = judged(world, Act(job, victims, kind, wait, near))
                if outcome is not None:
                    return outcome
    return None


def make_room(world: World, promise: Promise) -> frozenset[str] | None:
    """The runs that yield so that a due promise starts in time: never one that is pinned or inside the guaranteed
    amount as of then; None if no set does."""
    s = promise.start
    safe_there = _guaranteed(world, standing(world), s)
    mine = [
        r
        for r in standing(world)
        if r.pinned <= s and r.id not in safe_there and r.end > s and gone(world, r) <= s
    ]
    now_covered = cover(world.tree, with_due(world, standing(world)), shares(world), world.now, world.old)

    def harm(v: tuple[Run, ...]) -> tuple[int, int, int, int, list[str]]:
        kept = sum(r.charge for r in v if r.id in now_covered[r.leaf])
        return kept, sum(r.cost for r in v), sum(r.charge for r in v), len(v), [r.id for r in v]

    subsets = [v for k in range(len(mine) + 1) for v in combinations(mine, k)]
    for chosen in sorted(subsets, key=harm):
        ids = frozenset(r.id for r in chosen)
        if _closed(world, ids) and _room_at(world, promise, ids):
            return ids
    return None


# ── the rules ─────────────────────────────────────────────────────────────────────────────────────────────────────
def _faults(world: World, act: Act) -> list[str]:
    """What is wrong but for vectors and put-back."""
    now, tree, old = world.now, world.tree, world.old
    runs = standing(world)
    victims = [r for r in runs if r.id in act.victims]
    job = as_run(act.job, max((r.order for r in world.runs), default=0) + 1, now)
    final = [*(r for r in runs if r.id not in act.victims), job]
    faults = []
    for v in victims:
        if v.pinned > now or (
            act.kind != "recall" and gone(world, v) > now + world.terms.grace + world.terms.stop
        ):
            faults.append(f"A5 {v.id} is protected")
    if not _closed(world, act.victims):
        faults.append("A5 units stay without their run")
    # Limits and lending are held when the job starts: who ends by then does not count, who is still leaving does.
    start = earliest(world, act)
    there = [r for r in final if r.end > start]
    leaving = [r for r in world.runs if r.stop != FOREVER and r.stop > start]
    used = total(tree, by_leaf([*there, *leaving]))
    before = occupied(tree, by_leaf(r for r in runs if r.end > start), now)
    faults += [f"A1 limit of {n}" for n in path(tree, act.job.leaf) if used[n] > ceiling(tree[n], now)]
    most = capacity(world.machines, now)
    root = root_of(tree)
    if occupied(tree, by_leaf(there), now)[root] > (most if old.lending else max(most, before[root])):
        faults.append("A1 lending")
    faults += _later_limits(world, act, final)
    if act.victims:
        faults += _cover_faults(world, act, runs, final)
    if act.near and not faults:
        faults += _beyond(world, final)
    return faults


def _cover_faults(world: World, act: Act, runs: list[Run], final: list[Run]) -> list[str]:
    tree, share, now, old = world.tree, shares(world), world.now, world.old
    after = cover(tree, with_due(world, final), share, now, old)
    before = cover(tree, with_due(world, runs), share, now, old)
    mine = path(tree, act.job.leaf)
    faults = []
    for v in (r for r in runs if r.id in act.victims):
        if v.leaf == act.job.leaf:
            if v.priority >= act.job.priority or act.job.id not in after[v.leaf]:
                faults.append(f"A3 {v.id}")
            continue
        theirs = path(tree, v.leaf)
        meet = next(n for n in mine if n in theirs)
        side, other = mine[mine.index(meet) - 1], theirs[theirs.index(meet) - 1]
        if act.job.id not in after[side]:
            faults.append(f"A2 {v.id}")
        mine_lags = world.lag.get(side, 0) * max(1, share[other])
        if (
            act.kind == "rebalance"
            and not old.brake
            and mine_lags < world.lag.get(other, 0) * max(1, share[side])
        ):
            faults.append(f"A7 {v.id}")
    was, will = kappa(tree, with_due(world, runs), before), kappa(tree, with_due(world, final), after)
    return faults + [f"A4 {n}" for n in tree if n not in mine and will[n] < was[n]]


def _later_limits(world: World, act: Act, final: list[Run]) -> list[str]:
    """Limits and lending at the starts of promises that the new run would meet."""
    faults = []
    until = world.now + act.job.limit
    if act.near:
        until = min(until, world.now + world.terms.m + 1)
    root = root_of(world.tree)
    for t in sorted({p.start for p in world.promises if world.now < p.start < until}):
        there = [r for r in final if (r.id == act.job.id or r.start <= t < r.end)]
        there += [
            as_run(p.job, 0, p.start)
            for p in world.promises
            if p.job.id != act.job.id and p.start <= t < p.start + p.job.limit
        ]
        used = total(world.tree, by_leaf(there))
        without = total(world.tree, by_leaf(r for r in there if r.id != act.job.id))
        for n in path(world.tree, act.job.leaf):
            if used[n] > max(ceiling(world.tree[n], t), 0) and any(
                n in path(world.tree, p.job.leaf) for p in world.promises if p.start <= t
            ):
                faults.append(f"A1 limit of {n} at {t}")
        most = max(capacity(world.machines, t), occupied(world.tree, _leaves(without, world), t)[root])
        if occupied(world.tree, _leaves(used, world), t)[root] > most:
            faults.append(f"A1 lending at {t}")
    return faults


def _leaves(sums: dict[str, int], world: World) -> dict[str, int]:
    inner = {n.parent for n in world.tree.values()}
    return {n: amount for n, amount in sums.items() if n not in inner}


def _placed(world: World, act: Act) -> Outcome | None:
    """Where the job would run and from when: with room for all its time limit or, `near`, as far as m ahead."""
    now, m = world.now, world.terms.m
    start = earliest(world, act)
    last = start + act.job.limit
    if act.near:
        last = min(last, max(start + 1, now + m + 1))
    fixed = [booked(replace(r, stop=gone(world, r)) if r.id in act.victims else r) for r in world.runs]
    loose = [
        wished(p.job, p.start)
        for p in world.promises
        if p.job.id != act.job.id and (p.start < last or not act.near)
    ]
    mine, window = wished(act.job, start), (now, last)
    if act.near:
        placed = arrange(world.machines, [mine, *fixed, *loose], window)
    else:
        placed = arrange_all(world.machines, [*fixed, *loose], mine, window)
    return None if placed is None else Outcome(act, start, placed[0])


def _guaranteed(world: World, runs: list[Run], s: int) -> frozenset[str]:
    """The runs that all guarantees together cover as of s, promises first."""
    there = [r for r in runs if r.end > s]
    there += [
        as_run(p.job, 0, p.start, FOREVER) for p in world.promises if p.start <= s < p.start + p.job.limit
    ]
    need = called(world.tree, held_at(world, s), s)
    covered = cover(world.tree, there, need, s, world.old)
    return frozenset().union(*(covered[n] for n in world.tree if n != root_of(world.tree)))


def _beyond(world: World, final: list[Run]) -> list[str]:
    """Promises later than m whose shape would not exist even if everything that is not guaranteed left."""
    faults = []
    for p in world.promises:
        if p.start > world.now + world.terms.m:
            stay = _guaranteed(world, final, p.start)
            fixed = [booked(r) for r in final if r.id in stay and r.places]
            loose = [wished(q.job, q.start) for q in world.promises]
            window = (p.start, p.start + min(p.job.limit, world.terms.m))
            if arrange(world.machines, [*fixed, *loose], window) is None:
                faults.append(f"A1 promise of {p.job.id}")
    return faults


def _room_at(world: World, promise: Promise, victims: frozenset[str]) -> bool:
    s, tree = promise.start, world.tree
    final = [r for r in standing(world) if r.id not in victims]
    there = [r for r in final if r.start <= s < r.end]
    there += [as_run(p.job, 0, p.start) for p in world.promises if p.start <= s < p.start + p.job.limit]
    used = total(tree, by_leaf(there))
    if any(used[n] > ceiling(tree[n], s) for n in path(tree, promise.job.leaf)):
        return False
    root = root_of(tree)
    if occupied(tree, by_leaf(there), s)[root] > max(capacity(world.machines, s), 0):
        return False
    fixed = [
        booked(replace(r, stop=min(r.end, gone(world, r))) if r.id in victims else r) for r in world.runs
    ]
    loose = [wished(p.job, p.start) for p in world.promises if p.start <= s]
    until = s + min(promise.job.limit, world.terms.m)
    return arrange(world.machines, [*fixed, *loose], (s, until)) is not None


def _closed(world: World, victims: frozenset[str]) -> bool:
    """Whoever yields takes its elastic units along."""
    return all(r.id in victims for r in standing(world) if r.unit_of in victims)


def _by_choice(world: World, job: Job, kind: str) -> Iterator[frozenset[str]]:
    """Sets of victims in the order of choice: within 1.2 times the job's charge by cost, then the rest by charge."""
    mine = [r for r in standing(world) if r.pinned <= world.now]
    if kind == "priority":
        mine = [r for r in mine if r.leaf == job.leaf]
    mine = [r for r in mine if r.leaf != job.leaf or r.priority < job.priority]
    found = []
    for k in range(1, len(mine) + 1):
        for v in combinations(mine, k):
            charge, cost = sum(r.charge for r in v), sum(r.cost for r in v)
            ids = sorted(r.id for r in v)
            near = 5 * charge <= 6 * job.charge
            found.append(((0, cost, charge, k, ids) if near else (1, charge, cost, k, ids), frozenset(ids)))
    yield from (ids for _, ids in sorted(found, key=lambda f: f[0]))


def moves(world: World, job: Job, least: int = 12) -> dict[str, Places] | None:
    """Consolidation: the fewest runs that make room for a covered job by moving, each to a place that is free *before*
    it stops; with the job under its own id; None if no such moves within 1.2 times its charge."""
    now = world.now
    share = shares(world)
    runs = [*standing(world), as_run(job, max((r.order for r in world.runs), default=0) + 1, now)]
    covered = cover(world.tree, with_due(world, runs), share, now, world.old)
    if job.id not in frozenset().union(*(covered[n] for n in world.tree if n != root_of(world.tree))):
        return None
    movable = [r for r in standing(world) if r.pinned <= now and not r.claim][:least]
    later = [wished(p.job, p.start) for p in world.promises]
    for k in range(len(movable) + 1):
        for chosen in combinations(movable, k):
            if 5 * sum(r.charge for r in chosen) > 6 * job.charge:
                continue
            fixed = [booked(r) for r in world.runs]
            again = [Booking(now, r.end, (), len(r.places), r.places[0][1]) for r in chosen]
            held = arrange(world.machines, [*fixed, *again, *later], (now, now + job.limit))
            if held is None:
                continue
            places = dict(zip((r.id for r in chosen), held[len(fixed) :], strict=False))
            there = [booked(replace(r, places=places.get(r.id, r.places))) for r in world.runs]
            final = arrange(world.machines, [*there, *later, wished(job, now)], (now, now + job.limit))
            if final is not None:
                return places | {job.id: final[-1]}
    return None


__all__ = ["Act", "Outcome", "choose", "due", "gone", "judged", "legal", "make_room", "moves", "recallable"]
