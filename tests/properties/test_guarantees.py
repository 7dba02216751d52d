# SPDX-License-Identifier: Apache-2.0
"""Promise 1 through the core, for gangs and for guarantees of projects, tenants and classes: a job that is inside the
guarantee of a node on its path, and whose shape exists once runs have left that nobody's share covers, starts within
the recall time. LEITSTAND_HUNT=1000 looks for new counter-examples.

What *inside* means (docs/scheduling.md, mended rule 14): x occupies no more than its guarantee with the job and with
the promises below it that are due within R + m, and no node on the path of the job is ever beyond its limit while it
runs, beside all that is promised. The
shape *exists* if the job has places for its whole time limit, beside all promises, where no run is left that is covered
nowhere below the root and that nobody has promised: age does not count, since R is long enough for that.
"""

import random
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.places.timeline import ENDING
from leitstand.core.rules import Rules, Sharing
from leitstand.core.sharing.shares import Held, Node
from leitstand.core.sharing.standing import Standing, limit_of
from leitstand.core.units import MINUTE_US, SECOND_US
from leitstand.core.yielding.cover import Cover
from tests.properties.test_promises import Event, many
from tests.unit.fair_story import Cloud
from tests.unit.story import cluster

TENANTS = {"a": "industry", "b": "industry", "c": "research", "d": "startup"}
LEAVES = (("a", "default"), ("a", "second"), ("b", "default"), ("c", "default"), ("d", "default"))
SHARING = Sharing(
    protected_us=5 * MINUTE_US,
    grace_us=20 * SECOND_US,
    stop_us=10 * SECOND_US,
    recall_us=7 * MINUTE_US,  # m and hardly more than a tick
    restart_us=MINUTE_US,
)
RULES = Rules(discipline="fair", sharing=SHARING)
SHAPES = [(1, 1), (1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2), (8, 4), (12, 3), (16, 4)]


@dataclass
class Estate:
    """Nodes; what each node of the tree is entitled to, from above: path, guarantee, weight, borrow, lend (-1: no
    limit); and what happens."""

    nodes: list[int]
    entitled: list[tuple[str, int, int, int, int]]
    events: list[Event]


def estate(seed: int) -> Estate:
    told = random.Random(seed)
    nodes = [told.choice([4, 4, 8]) for _ in range(told.randint(1, 6))]
    entitled = _entitled(told, sum(nodes))
    short, last = told.random() < 0.5, told.choice([600, 1800, 5400])
    events: list[Event] = []
    for _ in range(told.randint(5, 60)):
        tenant, project = told.choice(LEAVES)
        shape = f.Resources(*told.choice(SHAPES))
        span = told.choice([1, 2, 3, 5, 8] if short else [1, 3, 8, 20, 60, 120]) * MINUTE_US
        asked = f.SubmitJob(
            tenant,
            project,
            shape,
            priority=told.randint(0, 1),
            expected_us=span,
            max_duration_us=span * told.choice([1, 1, 2, 10, 30]),
            checkpoint_every_us=told.choice([0, 10 * MINUTE_US]),
        )
        events.append((told.randint(0, last), asked))
    for _ in range(told.randint(0, 3)):
        act = told.choice([f.CancelJob, f.HoldJob, f.ReleaseJob])
        events.append((told.randint(0, 5400), ("job", act, told.randint(0, 30))))
    return Estate(nodes, entitled, sorted(events, key=lambda event: event[0]))


def _entitled(told: random.Random, room: int) -> list[tuple[str, int, int, int, int]]:
    """Guarantees of classes, of their tenants, of their projects: each within that of what is above."""
    paths = [f"{TENANTS[tenant]}/{tenant}/{project}" for tenant, project in LEAVES]
    left, found = {"": room}, []
    for depth in (1, 2, 3):
        for path in dict.fromkeys("/".join(path.split("/")[:depth]) for path in paths):
            above = path.rpartition("/")[0]
            guarantee = min(told.choice([0, 0, 1, 4, 8, 16, room]), left[above])
            left[above] -= guarantee
            left[path] = guarantee
            limited = told.random() < 0.3
            borrow, lend = (told.choice([-1, -1, 0, 4, 8]) if limited else -1 for _ in range(2))
            found.append((path, guarantee, told.randint(0, 2), borrow, min(lend, guarantee)))
    return found


def opened(estate: Estate, rules: Rules = RULES, resizes: bool = False) -> Cloud:
    core = cluster(*estate.nodes, rules=rules, tenants=(), resizes=resizes)
    seen: list[f.Observation] = [a.TenantAdded(tenant, sort) for tenant, sort in TENANTS.items()]
    said = tuple(
        a.Entitlement(
            path,
            guarantee * 1000,
            weight,
            borrow * 1000 if borrow >= 0 else -1,
            lend * 1000 if lend >= 0 else -1,
        )
        for path, guarantee, weight, borrow, lend in estate.entitled
    )
    core.cycle(0, [*seen, a.ProjectAdded("a", "second"), a.EntitlementsChanged("shared", said)])
    assert [one for one in core.answers if one.refused] == []
    return Cloud(core, rules.sharing.freed_us)


def play(cloud: Cloud, estate: Estate) -> None:
    """Everything happens; then time passes until all is over."""
    for at, event in estate.events:
        cloud.until(at)
        live = list(cloud.core.state.jobs)
        if not isinstance(event, tuple):
            cloud.at(at, event)
        elif live:
            cloud.at(at, event[1](live[event[2] % len(live)]))
    cloud.at(3 * 3600, *[f.ReleaseJob(job) for job in cloud.core.state.jobs])
    cloud.until(8 * 3600)


class Owed:
    """A cloud in which every job that is owed its start is watched."""

    def __init__(self, estate: Estate) -> None:
        self.cloud = opened(estate)
        self.cloud.watch = self._look
        self.since: dict[str, int] = {}
        play(self.cloud, estate)

    @property
    def standing(self) -> Standing:
        standing = self.cloud.core.state.pools["shared"].standing
        assert standing is not None
        return standing

    def _look(self, now: int, facts: list[f.Fact]) -> None:
        state, standing = self.cloud.core.state, self.standing
        standing.tree.settle()
        loose = self._loose()
        owed: dict[str, int] = {}
        for job in state.jobs.values():
            made = state.reservations.get(job.id)
            if made is not None and made.kind == "claim" and job.id in self.since:
                owed[job.id] = self.since[job.id]
            elif job.id in standing.waiting:
                inside, may_go = self._guarantee(now, job.id), loose
                if made is not None and made.kind == "promise":
                    since = self.since.get(job.id, now)
                    may_go = {run: None for run in loose if state.runs[run].since_us <= since}
                if inside is not None and self._has_shape(now, job.id, may_go):
                    owed[job.id] = self.since.get(job.id, now)
        self.since = owed
        for id, since in owed.items():
            assert now < since + SHARING.recall_us, f"{id} is owed its start since {since / SECOND_US}"

    def _guarantee(self, now: int, id: str) -> Node | None:
        """The lowest node inside whose guarantee the job is, with what is promised there soon."""
        state, tree = self.cloud.core.state, self.standing.tree
        leaf, charge = tree.node(self.standing.waiting[id][0]), state.jobs[id].charge_milli
        soon = now + SHARING.recall_us + SHARING.until_freed_us
        used = {node: node.running for node in tree.nodes.values() if not node.children}
        used[leaf] = leaf.running + charge
        for made in state.reservations.values():
            if made.kind == "promise" and made.job != id and made.start_us <= soon:
                at, other = tree.node(state.leaf(state.jobs[made.job])), state.jobs[made.job]
                used[at] = used.get(at, 0) + other.charge_milli
        return next(
            (
                node
                for node in leaf.path()
                if node.depth and node.guarantee and _occupied(node, used) <= node.guarantee
            ),
            None,
        )

    def _has_count(self, now: int, id: str, gone: dict[str, None]) -> bool:
        """Whether limits, and what is not lent, leave room for the job at any time while it runs, beside all that is
        promised and all that runs but these runs."""
        state, tree = self.cloud.core.state, self.standing.tree
        job, leaf = state.jobs[id], tree.node(self.standing.waiting[id][0])
        left = dict.fromkeys(state.runs[run].job for run in gone)
        until_us = now + limit_of(job) + SHARING.recall_us
        spans = [(leaf, job.charge_milli, now, until_us)]
        for held in tree.held.values():
            if held.id not in left:
                spans.append((held.leaf, held.charge, now, max(held.until_us, now + 1)))
        for made in state.reservations.values():
            other = state.jobs[made.job]
            if made.kind == "promise" and made.job != id:
                end_us = made.start_us + limit_of(other)
                spans.append((tree.node(state.leaf(other)), other.charge_milli, made.start_us, end_us))
        for moment in dict.fromkeys(begin for _, _, begin, _ in spans if begin < until_us):
            used: dict[Node, int] = {}
            for at, charge, begin, end in spans:
                if begin <= moment < end:
                    used[at] = used.get(at, 0) + charge
            if _occupied(tree.root, used) > tree.capacity:
                return False
            for node in leaf.path():
                below = sum(charge for at, charge in used.items() if node in at.path())
                if 0 <= node.borrow < below - node.guarantee:
                    return False
        return True

    def _loose(self) -> dict[str, None]:
        """The runs that nobody has promised and no share covers."""
        standing = self.standing
        cover = Cover(standing.tree)
        covered: dict[str, Held] = {}
        for node in standing.tree.root.children.values():
            covered.update(cover.runs(node))
        found = {}
        for run in self.cloud.core.state.runs.values():
            held = standing.tree.held.get(run.job)
            if held is not None and not run.stopping and run.job not in covered and not held.pinned_us:
                found[run.id] = None
        return found

    def _has_shape(self, now: int, id: str, gone: dict[str, None]) -> bool:
        pool, job = self.cloud.core.state.pools["shared"], self.cloud.core.state.jobs[id]
        view = self.standing.timeline.view(now, limit_of(job) + SHARING.recall_us, id, ("plan", ENDING), gone)
        return self._has_count(now, id, gone) and pool.place(job.resources, view) is not None


def _occupied(node: Node, used: dict[Node, int]) -> int:
    """What a node occupies with this use of leaves."""
    if not node.children:
        return max(used.get(node, 0), node.floor)
    return max(sum(_occupied(child, used) for child in node.children.values()), node.floor)


@many(40)
@given(st.integers(0, 2**32))
def test_who_is_inside_a_guarantee_and_has_a_shape_starts_within_the_recall_time(seed: int) -> None:
    Owed(estate(seed))
