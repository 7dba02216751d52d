# SPDX-License-Identifier: Apache-2.0
"""What the discipline `fair` promises on any history: limits and lending hold, promises are kept, acts end, everything
ends, and the journal folds to the state. LEITSTAND_HUNT=1000 looks for new counter-examples."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.support.cloud import play
from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules, Sharing
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US

HUNT = int(os.environ.get("LEITSTAND_HUNT", "0"))  # so many new examples of each, instead of the same few


def many(examples: int) -> settings:
    return settings(max_examples=HUNT or examples, derandomize=not HUNT, database=None, deadline=None)


LEAVES = ("industry/acme/default", "industry/beta/default", "research/uni/default", "research/uni/lab")
SHARING = Sharing(
    ahead_us=0,
    protected_us=5 * MINUTE_US,
    grace_us=0,
    stop_us=0,
    recall_us=10 * MINUTE_US,
    restart_us=MINUTE_US,
)


@dataclass
class Scene:
    """A small cloud and what happens in it. Guarantees in GPUs by leaf; limits -1 for none."""

    nodes: list[int]
    guarantees: list[int]
    weights: list[int]
    borrow: list[int]
    lend: list[int]
    jobs: list[tuple[int, f.SubmitJob]]
    cancels: list[tuple[int, int]] = field(default_factory=list)
    losses: list[tuple[int, int]] = field(default_factory=list)


def submission(draw: Any, leaf: str) -> f.SubmitJob:
    _, tenant, project = leaf.split("/")
    gpus, nodes = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (4, 1), (8, 2), (4, 2), (12, 3), (0, 1)]))
    minutes = draw(st.integers(1, 90))
    return f.SubmitJob(
        tenant,
        project,
        f.Resources(gpus, nodes, cpus_milli=nodes * draw(st.sampled_from([0, 0, 1000, 3000]))),
        priority=draw(st.integers(0, 2)),
        expected_us=minutes * MINUTE_US,
        max_duration_us=minutes * MINUTE_US * draw(st.sampled_from([1, 1, 2, 5])),
        checkpoint_every_us=draw(st.sampled_from([0, 10 * MINUTE_US])),
    )


@st.composite
def scenes(draw: Any, losses: bool = False) -> Scene:
    nodes = draw(st.lists(st.sampled_from([4, 4, 8]), min_size=1, max_size=4))
    room = sum(nodes)
    guarantees = []
    for _ in LEAVES:
        guarantees.append(draw(st.integers(0, room)))
        room -= guarantees[-1]
    limits = st.sampled_from([-1, -1, -1, 0, 2, 4])
    times = st.integers(0, 5 * 60)
    return Scene(
        nodes,
        guarantees,
        [draw(st.integers(0, 3)) for _ in LEAVES],
        [draw(limits) for _ in LEAVES],
        [draw(limits) for _ in LEAVES],
        [
            (draw(times), submission(draw, draw(st.sampled_from(LEAVES))))
            for _ in range(draw(st.integers(1, 25)))
        ],
        draw(st.lists(st.tuples(times, st.integers(0, 24)), max_size=4)),
        draw(st.lists(st.tuples(times, st.integers(0, 3)), max_size=2)) if losses else [],
    )


def opened(scene: Scene) -> Core:
    core = Core()
    opening: list[f.Observation] = [f.RulesSet(Rules(discipline="fair", sharing=SHARING), "")]
    opening += [f.TenantAdded("acme"), f.TenantAdded("beta"), f.TenantAdded("uni", "research")]
    opening += [a.ProjectAdded("uni", "lab"), f.SiteAdded("s", "simulated")]
    opening += [f.NodeAdded(f"n{i}", "s", gpus, 1000 * gpus, 0) for i, gpus in enumerate(scene.nodes)]
    milli = [gpus * 1000 for gpus in scene.guarantees]
    sums = {"industry": sum(milli[:2]), "research": sum(milli[2:]), "research/uni": sum(milli[2:])}
    sums |= {"industry/acme": milli[0], "industry/beta": milli[1]}
    entitled = [a.Entitlement(node, guarantee) for node, guarantee in sums.items()]
    for leaf, guarantee, weight, borrow, lend in zip(
        LEAVES, milli, scene.weights, scene.borrow, scene.lend, strict=True
    ):
        lent = -1 if lend < 0 else min(lend * 1000, guarantee)
        entitled.append(a.Entitlement(leaf, guarantee, weight, -1 if borrow < 0 else borrow * 1000, lent))
    opening.append(a.EntitlementsChanged("shared", tuple(entitled)))
    core.cycle(SECOND_US, opening)
    assert [answer for answer in core.answers if answer.refused] == []
    return core


def history(scene: Scene) -> list[tuple[int, f.Observation]]:
    timed: list[tuple[int, f.Observation]] = [(at * MINUTE_US, job) for at, job in scene.jobs]
    timed += [
        (at * MINUTE_US, f.CancelJob(f"{scene.jobs[n % len(scene.jobs)][1].tenant}-{1 + n % 5}"))
        for at, n in scene.cancels
    ]
    timed += [(at * MINUTE_US, f.NodeRemoved(f"n{n % len(scene.nodes)}")) for at, n in scene.losses]
    # each node that was lost is back later, so that everything can end
    timed += [
        (8 * HOUR_US, f.NodeAdded(f"n{n}", "s", scene.nodes[n], 1000 * scene.nodes[n], 0))
        for n in sorted({n % len(scene.nodes) for _, n in scene.losses})
    ]
    return sorted(timed, key=lambda entry: entry[0])


class Checked:
    """A core that is looked at after every cycle. `journal`: all facts."""

    def __init__(self, scene: Scene) -> None:
        self.core = opened(scene)
        self.scene = scene
        self.journal: list[tuple[int, f.Fact]] = []
        self.promised: dict[str, int] = {}
        self.claimed: dict[str, int] = {}
        decide = self.core.cycle
        self.core.cycle = lambda now, seen: self._look(now, decide(now, seen))  # type: ignore[method-assign]

    def run(self) -> None:
        play(self.core, history(self.scene))

    def _look(self, now: int, facts: list[f.Fact]) -> list[f.Fact]:
        for fact in facts:
            self.journal.append((now, fact))
            if isinstance(fact, f.CapacityReserved):
                if fact.kind == "promise":
                    before = self.promised.get(fact.job)
                    assert before is None or fact.start_us <= before, "a promise moved back"
                    self.promised[fact.job] = fact.start_us
                if fact.kind == "claim":
                    self.claimed[fact.job] = now
            elif isinstance(fact, f.PromiseBroken):
                assert self.scene.losses, f"{fact.job}: promise broken by {fact.cause}"
                del self.promised[fact.job]
            elif isinstance(fact, f.RunPlaced | f.JobEnded):
                if isinstance(fact, f.RunPlaced):
                    assert now <= self.promised.get(fact.job, now), "a promise was not kept"
                self.promised.pop(fact.job, None)
                self.claimed.pop(fact.job, None)
        late = [job for job, start in self.promised.items() if start < now]
        assert not late, f"{late} were promised a start before {now}"
        for job, since in self.claimed.items():
            assert now <= since or self.scene.losses, f"{job} claims what is not freed"
        self._look_at_shares()
        return facts

    def _look_at_shares(self) -> None:
        standing = self.core.state.pools["shared"].standing
        assert standing is not None
        tree = standing.tree
        if not self.scene.losses:
            assert tree.root.occupied <= tree.capacity
            for node in tree.nodes.values():
                assert node.borrow < 0 or node.running <= node.guarantee + node.borrow
        tree.settle()
        for node in tree.nodes.values():
            if node.children:
                below = list(node.children.values())
                assert node.running == sum(child.running for child in below)
                assert node.demand >= sum(child.deserved for child in below) or node is tree.root
                assert sum(child.deserved for child in below) <= node.deserved


@many(60)
@given(scenes())
def test_limits_lending_and_promises_hold_and_everything_ends(scene: Scene) -> None:
    checked = Checked(scene)
    checked.run()
    assert not checked.core.state.jobs


@many(40)
@given(scenes(losses=True))
def test_what_is_lost_breaks_promises_by_name_and_everything_ends(scene: Scene) -> None:
    checked = Checked(scene)
    checked.run()
    assert not checked.core.state.jobs


@many(25)
@given(scenes(losses=True), st.integers(0, 400))
def test_the_journal_folds_to_the_state_at_any_moment(scene: Scene, cut: int) -> None:
    checked = Checked(scene)
    journal, core = checked.journal, checked.core
    digests: list[tuple[int, str]] = []
    decide = core.cycle

    def cycle(now: int, seen: Iterable[f.Observation]) -> list[f.Fact]:
        facts = decide(now, seen)
        if len(digests) <= cut:
            digests.append((len(journal), core.state.digest()))
        return facts

    opening = msgspec.msgpack.encode(core.state.project())
    core.cycle = cycle  # type: ignore[method-assign]
    checked.run()
    length, digest = digests[-1]
    state = State.restore(msgspec.msgpack.decode(opening, type=Projection))
    for at, fact in journal[:length]:
        state.apply(at, fact)
    assert state.digest() == digest
    again = State.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(state.project()), type=Projection))
    assert again.digest() == digest
    for at, fact in journal[length:]:
        state.apply(at, fact)
        again.apply(at, fact)
    assert state.digest() == again.digest() == core.state.digest()
