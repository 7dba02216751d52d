# SPDX-License-Identifier: Apache-2.0
"""Failures stay local, on any history: nodes of small racks fail and come back under gangs with and without a required
level. No node is oversold; what is held for a gang nobody else gets before its time, but for promises; every hold ends
by R; a gang runs in its domain; the journal folds to the state. LEITSTAND_HUNT=1000 looks for new counter-examples."""

import os
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.state import Projection, State
from leitstand.core.units import MINUTE_US, SECOND_US
from tests.unit.fair_story import AT_ONCE as RULES
from tests.unit.fair_story import SHARING, Cloud

HUNT = int(os.environ.get("LEITSTAND_HUNT", "0"))
GPUS = 2


def many(examples: int) -> settings:
    return settings(max_examples=HUNT or examples, derandomize=not HUNT, database=None, deadline=None)


@st.composite
def shapes(draw: Any) -> f.Resources:
    nodes = draw(st.integers(1, 4))
    level = draw(st.sampled_from(["", "", "rack", "rack"]))
    kind = draw(st.sampled_from(["plain", "plain", "plain", "slices", "fewest", "elastic", "part"]))
    if kind == "slices" and nodes % 2 == 0:
        return f.Resources(GPUS * nodes, nodes, slice_nodes=2, slice_level="rack")
    if kind == "fewest":
        return f.Resources(draw(st.integers(1, 6)), 0, level=level)
    if kind == "elastic":
        return f.Resources(nodes * GPUS, nodes, level=level, nodes_max=nodes + 2)
    if kind == "part":
        return f.Resources(0, nodes, gpu_milli=500, level=level)
    gpus = draw(st.integers(1, GPUS))
    return f.Resources(gpus * nodes, nodes, cpus_milli=draw(st.sampled_from([0, 1000])) * nodes, level=level)


@st.composite
def submissions(draw: Any) -> f.SubmitJob:
    minutes = draw(st.integers(1, 60))
    return f.SubmitJob(
        draw(st.sampled_from(["a", "b"])),
        "default",
        draw(shapes()),
        priority=draw(st.integers(0, 1)),
        expected_us=minutes * MINUTE_US,
        max_duration_us=minutes * MINUTE_US * draw(st.sampled_from([1, 2])),
        checkpoint_every_us=draw(st.sampled_from([0, 5 * MINUTE_US])),
        retry_on=draw(st.sampled_from([(), (), (), ("exit_code",)])),
    )


def node(number: int, racks: list[int]) -> f.NodeAdded:
    rows = [rack for rack, size in enumerate(racks) for _ in range(size)]
    return f.NodeAdded(f"n{number}", "s", GPUS, 2000, 0, domains=(f"r{rows[number]}",))


@st.composite
def clouds(draw: Any) -> Cloud:
    """A cloud that has been told its whole history."""
    racks = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    size = sum(racks)
    core = Core()
    seen: list[f.Observation] = [f.RulesSet(RULES, ""), f.TenantAdded("a"), f.TenantAdded("b")]
    seen.append(f.SiteAdded("s", "simulated", levels=("rack",)))
    seen += [node(number, racks) for number in range(size)]
    guarantee = draw(st.integers(0, size * GPUS))
    borrow = draw(st.sampled_from([-1, -1, 4]))
    entitled = (
        a.Entitlement("industry/a", guarantee * 1000),
        a.Entitlement("industry/b", (size * GPUS - guarantee) * 1000, 1, -1 if borrow < 0 else borrow * 1000),
    )
    seen.append(a.EntitlementsChanged("shared", entitled))
    core.cycle(0, seen)
    assert [one for one in core.answers if one.refused] == []
    cloud = Cloud(core, stop_us=draw(st.sampled_from([0, 10, 30])) * SECOND_US)
    for _ in range(draw(st.integers(1, 12))):
        cloud.at(draw(st.integers(1, 3600)), draw(submissions()))
    for _ in range(draw(st.integers(1, 5))):
        at, number = draw(st.integers(60, 7200)), draw(st.integers(0, size - 1))
        cloud.at(at, f.NodeRemoved(f"n{number}", failed=draw(st.sampled_from([True, True, True, False]))))
        cloud.at(at + draw(st.sampled_from([5, 60, 700, 4000])), node(number, racks))
    for _ in range(draw(st.integers(0, 2))):  # a bad GPU, and a burn-in that may come too early or fail
        at, number = draw(st.integers(60, 7200)), draw(st.integers(0, size - 1))
        cloud.at(at, f.NodeReported(f"n{number}", "xid", draw(st.sampled_from([79, 79, 94])), 0))
        repaired = f.NodeRepaired(f"n{number}", draw(st.sampled_from(["", "spec"])), "b", 60 * SECOND_US)
        cloud.at(at + draw(st.sampled_from([5, 60, 700, 4000])), repaired)
    for _ in range(draw(st.integers(0, 2))):
        tenant, number = draw(st.sampled_from("ab")), draw(st.integers(1, 6))
        cloud.at(draw(st.integers(60, 7200)), f.CancelJob(f"{tenant}-{number}"))
    for number in range(size):  # so that everything can end
        cloud.at(20_000, node(number, racks), f.NodeRepaired(f"n{number}"))
    return cloud


class Watch:
    """Looks at every cycle of a cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self.state = cloud.core.state
        self.since: dict[str, int] = {}  # who holds something → the first failure

    def __call__(self, now: int, facts: list[f.Fact]) -> None:
        state = self.state
        for fact in facts:
            if isinstance(fact, f.CapacityReserved) and fact.kind == "hold":
                self.since.setdefault(fact.job, now)
            elif isinstance(fact, f.RunPlaced):
                self.since.pop(fact.job, None)
                self._in_domain(fact)
            elif isinstance(fact, f.JobEnded):
                self.since.pop(fact.job, None)
        self._holds(now)
        self._kept_apart()
        assert all(state.jobs[job].failed_us for job in state.pools["shared"].standing.failed)  # type: ignore[union-attr]

    def _in_domain(self, fact: f.RunPlaced) -> None:
        asked = self.state.jobs[fact.job].resources
        if self.state.jobs[fact.job].burn_in:
            assert not self.state.nodes[fact.tasks[0].node].in_service
            return
        racks = [self.state.nodes[task.node].domains for task in fact.tasks]
        assert all(self.state.nodes[task.node].in_service for task in fact.tasks)
        if asked.level == "rack":
            assert len(set(racks)) == 1
        if asked.slice_level == "rack":
            assert all(len(set(racks[i : i + 2])) == 1 for i in range(0, len(racks), 2))
        if asked.nodes and asked.nodes_max <= asked.nodes:
            assert len(fact.tasks) == asked.nodes
        if not asked.nodes:
            assert sum(task.bits.bit_count() for task in fact.tasks) == asked.gpus

    def _holds(self, now: int) -> None:
        state = self.state
        for made in state.reservations.values():
            assert made.tasks
            assert all(state.nodes[task.node].in_service for task in made.tasks)
            if made.kind == "hold":
                job = state.jobs[made.job]
                assert job.id in state.pools["shared"].standing.failed  # type: ignore[union-attr]
                assert now < self.since[job.id] + SHARING.recall_us, "a hold ends"
                assert job.state == "pending" or state.runs[job.run].stopping

    def _kept_apart(self) -> None:
        """What is held and has no run of others on it stays so: together with what runs it fits on its node."""
        state = self.state
        held: dict[str, int] = {}
        for made in state.reservations.values():
            if made.kind == "hold":
                for task in made.tasks:
                    held[task.node] = held.get(task.node, 0) + task.bits.bit_count()
        for name, gpus in held.items():
            for run in state.runs.values():
                if not run.stopping and not state.jobs[run.job].resources.gpu_milli:
                    ends = run.placed_us + state.jobs[run.job].max_duration_us
                    here = sum(task.bits.bit_count() for task in run.tasks if task.node == name)
                    late = max(
                        self.since[made.job] for made in state.reservations.values() if made.kind == "hold"
                    )
                    if here and ends > late + SHARING.recall_us + 60 * SECOND_US:
                        gpus += here
            assert gpus <= GPUS, f"{name} is held and others run there"


@many(150)
@given(clouds())
def test_failures_stay_local_and_everything_ends(cloud: Cloud) -> None:
    cloud.watch = Watch(cloud)
    cloud.to_the_end()
    assert not cloud.core.state.jobs
    assert not cloud.core.state.reservations
    assert not cloud.core.state.pools["shared"].standing.failed  # type: ignore[union-attr]


@many(40)
@given(clouds(), st.integers(0, 120))
def test_the_journal_folds_to_the_state_at_any_moment(cloud: Cloud, cut: int) -> None:
    opening = msgspec.msgpack.encode(cloud.core.state.project())
    digests: list[tuple[int, str]] = []

    def watch(now: int, facts: list[f.Fact]) -> None:
        if len(digests) <= cut:
            digests.append((len(cloud.facts), cloud.core.state.digest()))

    cloud.watch = watch
    cloud.to_the_end()
    length, digest = digests[-1]
    state = State.restore(msgspec.msgpack.decode(opening, type=Projection))
    for at, fact in cloud.facts[:length]:
        state.apply(at, fact)
    assert state.digest() == digest
    again = State.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(state.project()), type=Projection))
    for at, fact in cloud.facts[length:]:
        state.apply(at, fact)
        again.apply(at, fact)
    assert state.digest() == again.digest() == cloud.core.state.digest()
