# SPDX-License-Identifier: Apache-2.0
"""What sharing means, executable: an independent, slow and plain specification of docs/scheduling.md. Called by the
property tests, which hold its claims here and then compare the core with it; it shares no code with the core.

Everything is plain data. Times are whole numbers, charges whole units, and every search is brute force: worlds are
small (a dozen runs, a few machines). A pool is a set of *machines*; counting alone is the case of one big machine.
Rules that were mended have their old form under `Old`, so that each counter-example can be shown to be one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Steps = tuple[tuple[int, int], ...]  # ((from, value), …), ascending; before the first: its value
Places = tuple[tuple[str, int], ...]  # (machine, GPUs on it)
FOREVER = 10**9
UNIT = -1  # the priority of a unit that an elastic run has above its minimum: below every job


@dataclass(frozen=True)
class Node:
    """A node of the tree. `borrow`, `lend` None: no limit."""

    id: str
    parent: str | None = None
    guarantee: Steps = ((0, 0),)
    weight: int = 1
    borrow: int | None = None
    lend: int | None = None
    recall: int = 6


@dataclass(frozen=True)
class Terms:
    """M, g, e, and what is kept out of all guarantees."""

    protected: int = 3
    grace: int = 1
    stop: int = 1
    spare: int = 0

    @property
    def m(self) -> int:
        """How long after a decision, at most, a run is gone."""
        return self.protected + self.grace + self.stop


@dataclass(frozen=True)
class Old:
    """Which rules hold in the form they had before they were mended; all False: as docs/scheduling.md says now."""

    base: bool = False  # base(n) = max(min(G, dem), pinned), not counting what the children's bases need
    safe: bool = False  # W is held against the capacity only, not against the limits on the way
    due: bool = False  # a promise counts, and has others yield, only from its start on
    lending: bool = False  # an act is illegal while lending is above the capacity, even if it mends it
    floor: bool = False  # in the cover the floor G-L is not cut to D
    claims: bool = False  # a claim that waits for its capacity is protected like a run
    order: bool = False  # whoever is covered starts before whoever lags
    brake: bool = False  # rebalancing does not ask who lags


@dataclass(frozen=True)
class Run:
    """A run, or a claim: a job that counts as running while capacity is freed for it, from `start` on. `order`: the
    later it was decided the higher. `stop`: when it will be gone. `unit_of`: the elastic run it is a unit of."""

    id: str
    leaf: str
    charge: int
    order: int
    priority: int = 0
    start: int = 0
    limit: int = FOREVER
    pinned: int = -1
    cost: int = 0
    claim: bool = False
    stop: int = FOREVER
    places: Places = ()
    unit_of: str = ""

    @property
    def end(self) -> int:
        """When its capacity is free again at the latest."""
        return min(self.start + self.limit, self.stop)


@dataclass(frozen=True)
class Job:
    """One that waits: `tasks` equal tasks on a machine each. `limit`: of its time."""

    id: str
    leaf: str
    charge: int
    order: int
    priority: int = 0
    limit: int = FOREVER
    tasks: int = 1
    unit_of: str = ""


@dataclass(frozen=True)
class Promise:
    """A start that was promised to `job`."""

    job: Job
    start: int


@dataclass(frozen=True)
class World:
    """A moment of one pool. `machines`: the GPUs of each over time."""

    tree: Mapping[str, Node]
    machines: Mapping[str, Steps]
    runs: tuple[Run, ...] = ()
    waiting: tuple[Job, ...] = ()
    promises: tuple[Promise, ...] = ()
    now: int = 0
    terms: Terms = Terms()
    old: Old = Old()
    lag: Mapping[str, int] = field(default_factory=dict)


# ── the tree ──────────────────────────────────────────────────────────────────────────────────────────────────────
def at(steps: Steps, t: int) -> int:
    """The value of steps at a time."""
    value = steps[0][1]
    for since, amount in steps:
        if since <= t:
            value = amount
    return value


def children(tree: Mapping[str, Node], id: str) -> list[str]:
    """The ids of a node's children, sorted; [] for a leaf."""
    return sorted(n.id for n in tree.values() if n.parent == id)


def path(tree: Mapping[str, Node], leaf: str) -> list[str]:
    """From a leaf up to the root."""
    found = [leaf]
    while (parent := tree[found[-1]].parent) is not None:
        found.append(parent)
    return found


def upwards(tree: Mapping[str, Node]) -> list[str]:
    """All nodes, children before their parents."""
    return sorted(tree, key=lambda id: (-len(path(tree, id)), id))


def root_of(tree: Mapping[str, Node]) -> str:
    """The id of the root."""
    return next(n.id for n in tree.values() if n.parent is None)


def guarantee(node: Node, t: int) -> int:
    """G(n, t)."""
    return at(node.guarantee, t)


def floor(node: Node, t: int) -> int:
    """G - L: what a node does not lend."""
    return 0 if node.lend is None else max(0, guarantee(node, t) - node.lend)


def ceiling(node: Node, t: int) -> int:
    """G + B: what a node may use."""
    return FOREVER if node.borrow is None else guarantee(node, t) + node.borrow


def capacity(machines: Mapping[str, Steps], t: int) -> int:
    """C(t)."""
    return sum(at(steps, t) for steps in machines.values())


def valid(tree: Mapping[str, Node], machines: Mapping[str, Steps], terms: Terms, cycle: int = 1) -> list[str]:
    """What is wrong with a tree of entitlements, [] if nothing."""
    faults = []
    times = {t for n in tree.values() for t, _ in n.guarantee} | {t for s in machines.values() for t, _ in s}
    root = root_of(tree)
    for t in sorted(times):
        for id, node in sorted(tree.items()):
            below = sum(guarantee(tree[c], t) for c in children(tree, id))
            if below > guarantee(node, t):
                faults.append(f"{id} at {t}: its children are guaranteed {below}, it is {guarantee(node, t)}")
        if guarantee(tree[root], t) > capacity(machines, t) - terms.spare:
            faults.append(f"at {t} more is guaranteed than there is: {guarantee(tree[root], t)}")
    faults += [
        f"{n.id}: recall {n.recall} < {terms.m + cycle}" for n in tree.values() if n.recall < terms.m + cycle
    ]
    return faults


def total(tree: Mapping[str, Node], leaves: Mapping[str, int]) -> dict[str, int]:
    """Amounts at leaves, added up along the tree."""
    sums = dict.fromkeys(tree, 0)
    for leaf, amount in leaves.items():
        for id in path(tree, leaf):
            sums[id] += amount
    return sums


def by_leaf(runs: Iterable[Run | Job]) -> dict[str, int]:
    """The charge of each leaf."""
    sums: dict[str, int] = {}
    for run in runs:
        sums[run.leaf] = sums.get(run.leaf, 0) + run.charge
    return sums


def occupied(tree: Mapping[str, Node], leaves: Mapping[str, int], t: int) -> dict[str, int]:
    """occ(n, S) for the charges that S has at the leaves."""
    occ: dict[str, int] = {}
    for id in upwards(tree):
        below = children(tree, id)
        used = sum(occ[c] for c in below) if below else leaves.get(id, 0)
        occ[id] = max(used, floor(tree[id], t))
    return occ


# ── the deserved share ────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Load:
    """What leaves run, wait for and have pinned (a part of the former two)."""

    running: Mapping[str, int]
    pending: Mapping[str, int] = field(default_factory=dict)
    pinned: Mapping[str, int] = field(default_factory=dict)


def demand_and_base(
    tree: Mapping[str, Node], load: Load, t: int, old: Old = Old()
) -> tuple[dict[str, int], dict[str, int]]:
    """What each node could use, and what of it comes before all weights. Mended: base(n) is never less than the bases
    of its children together, or else what is pinned in one child eats the guarantee of another."""
    demand: dict[str, int] = {}
    base: dict[str, int] = {}
    pinned = total(tree, load.pinned)
    for id in upwards(tree):
        node, below = tree[id], children(tree, id)
        wanted = sum(demand[c] for c in below) if below else load.running.get(id, 0) + load.pending.get(id, 0)
        demand[id] = max(min(max(wanted, floor(node, t)), ceiling(node, t)), pinned[id])
        base[id] = max(min(guarantee(node, t), demand[id]), pinned[id])
        if not old.base:
            base[id] = max(base[id], sum(base[c] for c in below))
            demand[id] = max(demand[id], base[id])
    return demand, base


def deserved(
    tree: Mapping[str, Node], load: Load, capacity: int, t: int = 0, old: Old = Old()
) -> dict[str, int]:
    """D(n) of every node."""
    demand, base = demand_and_base(tree, load, t, old)
    pinned = total(tree, load.pinned)
    share = {root_of(tree): capacity}
    for id in reversed(upwards(tree)):
        below = children(tree, id)
        if not below:
            continue
        bases = {c: base[c] for c in below}
        if sum(bases.values()) > share[id]:
            share.update(shrunk(bases, {c: pinned[c] for c in below}, share[id]))
            continue
        rest = share[id] - sum(bases.values())
        room = {c: demand[c] - base[c] for c in below}
        weighted = {c: tree[c].weight for c in below if tree[c].weight}
        granted = poured(rest, {c: room[c] for c in weighted}, weighted)
        rest -= sum(granted.values())
        idle = {c: 1 for c in below if not tree[c].weight}
        granted.update(poured(rest, {c: room[c] for c in idle}, idle))
        share.update({c: base[c] + granted[c] for c in below})
    return share


def poured(amount: int, room: Mapping[str, int], weight: Mapping[str, int]) -> dict[str, int]:
    """Water-filling of `amount` by weight, nobody above its room."""
    granted: dict[str, int] = {}
    left, weights = amount, sum(weight.values())
    open_ = sorted(room, key=lambda c: (room[c] / weight[c], c))
    while open_ and room[open_[0]] * weights <= left * weight[open_[0]]:
        full = open_.pop(0)
        granted[full] = room[full]
        left -= room[full]
        weights -= weight[full]
    return granted | in_proportion(left, {c: weight[c] for c in open_})


def in_proportion(amount: int, parts: Mapping[str, int]) -> dict[str, int]:
    """`amount` split in proportion, what rounding leaves by largest remainder, then id."""
    whole = sum(parts.values())
    if not whole:
        return dict.fromkeys(parts, 0)
    split = {c: amount * part // whole for c, part in parts.items()}
    spare = amount - sum(split.values())
    for c in sorted(parts, key=lambda c: (-(amount * parts[c] % whole), c))[:spare]:
        split[c] += 1
    return split


def shrunk(bases: Mapping[str, int], pinned: Mapping[str, int], amount: int) -> dict[str, int]:
    """Bases when capacity was lost: in proportion, what is pinned last."""
    if sum(pinned.values()) >= amount:
        return in_proportion(amount, pinned)
    rest = in_proportion(amount - sum(pinned.values()), {c: bases[c] - pinned[c] for c in bases})
    return {c: pinned[c] + rest[c] for c in bases}


# ── the cover ─────────────────────────────────────────────────────────────────────────────────────────────────────
def cover(
    tree: Mapping[str, Node],
    runs: Sequence[Run],
    share: Mapping[str, int],
    t: int = 0,
    old: Old = Old(),
) -> dict[str, frozenset[str]]:
    """The ids of the runs that each node covers. Mended: within the cover G-L counts only up to D."""
    covered: dict[str, frozenset[str]] = {}
    by_id = {r.id: r for r in runs}
    inside = {id: [r for r in runs if id in path(tree, r.leaf)] for id in tree}

    def occ(id: str, ids: Iterable[str]) -> int:
        leaves = by_leaf(by_id[i] for i in ids)
        held: dict[str, int] = {}
        for n in upwards(tree):
            below = children(tree, n)
            least = floor(tree[n], t) if old.floor else min(floor(tree[n], t), share[n])
            held[n] = max(sum(held[c] for c in below) if below else leaves.get(n, 0), least)
        return held[id]

    for id in upwards(tree):
        below = children(tree, id)
        if not below:
            kept, left = set(), share[id]
            for run in sorted(inside[id], key=lambda r: (r.pinned <= t, -r.priority, r.order)):
                if run.charge <= left:
                    kept.add(run.id)
                    left -= run.charge
        else:
            kept = set()
            first = sorted(
                (r for r in inside[id] if any(r.id in covered[c] for c in below)), key=lambda r: r.order
            )
            rest = sorted((r for r in inside[id] if r not in first), key=lambda r: r.order)
            for run in first + rest:
                if occ(id, kept | {run.id}) <= share[id]:
                    kept.add(run.id)
        covered[id] = frozenset(kept)
    return covered


def kappa(
    tree: Mapping[str, Node],
    runs: Sequence[Run],
    covered: Mapping[str, frozenset[str]],
    levels: Sequence[int] = (3, 2, 1, 0, UNIT),
) -> dict[str, tuple[int, ...]]:
    """κ(n): the covered charge; at a leaf by priority, a number for each of `levels`."""
    amounts: dict[str, tuple[int, ...]] = {}
    for id in tree:
        mine = [r for r in runs if r.id in covered[id]]
        if children(tree, id):
            amounts[id] = (sum(r.charge for r in mine),)
        else:
            amounts[id] = tuple(sum(r.charge for r in mine if r.priority == p) for p in levels)
    return amounts


def potential(
    tree: Mapping[str, Node], runs: Sequence[Run], share: Mapping[str, int], t: int
) -> tuple[object, ...]:
    """Φ of a set of runs under fixed deserved shares. Compare only values of worlds with the same priorities."""
    amounts = kappa(tree, runs, cover(tree, runs, share, t))  # due promises among the runs
    depths = {id: len(path(tree, id)) for id in tree}
    found: list[object] = []
    for depth in range(max(depths.values()), 1, -1):
        level = [id for id in tree if depths[id] == depth]
        leaves = [amounts[id] for id in level if not children(tree, id)]
        found.append(tuple(map(sum, zip(*leaves, strict=True))) if leaves else ())
        found.append(sum(amounts[id][0] for id in level if children(tree, id)))
    return (*found, sum(r.charge for r in runs))


# ── promises over time ────────────────────────────────────────────────────────────────────────────────────────────
def held_at(world: World, t: int) -> dict[str, int]:
    """The charge that each leaf has promised or pinned at a time. A promise counts from its start for min(limit, m), a
    pinned run as long as it takes to be gone."""
    held: dict[str, int] = {}
    leaving = world.terms.grace + world.terms.stop
    for run in world.runs:
        if run.pinned > world.now and run.start <= t < min(run.pinned + leaving, run.end):
            held[run.leaf] = held.get(run.leaf, 0) + run.charge
    for p in world.promises:
        if p.start <= t < p.start + min(p.job.limit, world.terms.m):
            held[p.job.leaf] = held.get(p.job.leaf, 0) + p.job.charge
    return held


def called(tree: Mapping[str, Node], held: Mapping[str, int], t: int) -> dict[str, int]:
    """W(n, t): what each node needs if every guarantee is called and everything in `held` stands."""
    need: dict[str, int] = {}
    for id in upwards(tree):
        below = children(tree, id)
        need[id] = max(guarantee(tree[id], t), sum(need[c] for c in below) if below else held.get(id, 0))
    return need


def safe(world: World) -> list[str]:
    """Why what is promised and pinned could break, [] if nobody can recall it. Mended: W is held against the limit of
    each node too. To ask for one more promise or another contract, put it into the world."""
    times = {world.now} | {p.start for p in world.promises}
    times |= {t for n in world.tree.values() for t, _ in n.guarantee}
    times |= {t for s in world.machines.values() for t, _ in s}
    faults = []
    for t in sorted(t for t in times if t >= world.now):
        held = held_at(world, t)
        if not held:
            continue
        need = called(world.tree, held, t)
        if need[root_of(world.tree)] > capacity(world.machines, t) - world.terms.spare:
            faults.append(f"at {t}: {need[root_of(world.tree)]} needed of {capacity(world.machines, t)}")
        pinned = total(world.tree, held)
        for id, node in sorted(world.tree.items()):
            if not world.old.safe and pinned[id] and need[id] > ceiling(node, t):
                faults.append(f"at {t}: {id} needs {need[id]}, may use {ceiling(node, t)}")
    return faults


def due(world: World) -> list[Promise]:
    """The promises that count as pinned now. Mended: from m before their start on, since a run takes m to leave."""
    ahead = 0 if world.old.due else world.terms.m
    return [p for p in world.promises if p.start <= world.now + ahead]


def load_of(world: World) -> Load:
    """What deserved shares follow from."""
    pinned = by_leaf(r for r in world.runs if r.pinned > world.now)
    for p in due(world):
        pinned[p.job.leaf] = pinned.get(p.job.leaf, 0) + p.job.charge
    return Load(by_leaf(standing(world)), by_leaf(world.waiting), pinned)


def standing(world: World) -> list[Run]:
    """The runs that count: not those that were told to stop."""
    return [r for r in world.runs if r.stop == FOREVER]


def shares(world: World) -> dict[str, int]:
    """D(n) now."""
    return deserved(world.tree, load_of(world), capacity(world.machines, world.now), world.now, world.old)


def as_run(job: Job, order: int, start: int, pinned: int = -1) -> Run:
    """A job as if it ran."""
    return Run(
        job.id, job.leaf, job.charge, order, job.priority, start, job.limit, pinned, unit_of=job.unit_of
    )


def with_due(world: World, runs: Sequence[Run]) -> list[Run]:
    """Runs and the promises that count as pinned now, as cover sees them."""
    return [*runs, *(as_run(p.job, 0, p.start, p.start + world.terms.m) for p in due(world))]
