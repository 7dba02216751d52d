# SPDX-License-Identifier: Apache-2.0
"""What holds on any history with elastic jobs: nothing is oversold, limits, budgets and promises hold, nobody has fewer
nodes than he needs or more than he may, usage is metered segment by segment, what nobody disturbs comes to rest, and
the journal folds to the state. LEITSTAND_HUNT=1000 looks for new counter-examples."""

import itertools
from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.sharing import keeping
from leitstand.core.state import Projection, State
from leitstand.core.units import DAY_US, HOUR_US, SECOND_US
from tests.properties.test_fair import Checked, Scene, history, many, scenes
from tests.properties.test_fair import play as played

BUDGET_H = 60  # GPU-hours of the tenant acme


@st.composite
def elastic_scenes(draw: Any, losses: bool = False, endless: bool = False) -> Scene:
    """A scene in which some jobs are elastic. `endless`: nobody ends before the story does."""
    scene: Scene = draw(scenes(losses))
    jobs = []
    for at, job in scene.jobs:
        if draw(st.booleans()):
            least, size = draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, 4, 4]))
            most = least + draw(st.integers(1, 4))
            shape = f.Resources(
                size * least, least, nodes_max=most, cpus_milli=least * draw(st.sampled_from([0, 1500]))
            )
            job = msgspec.structs.replace(job, resources=shape, elastic=True)
        if endless:
            job = msgspec.structs.replace(job, expected_us=9 * DAY_US, max_duration_us=9 * DAY_US)
        jobs.append((at, job))
    scene.jobs = jobs
    return scene


class Elastic(Checked):
    """As `Checked`; runs resize, one tenant has a budget, and what runs have is followed with its times."""

    def __init__(self, scene: Scene) -> None:
        self.tasks: dict[str, list[tuple[int, int]]] = {}  # run → (from, tasks), as reported
        self.counts: dict[tuple[str, int], int] = {}  # (run, order) → tasks
        self.metered: list[tuple[int, int]] = []
        self.last_us = 0  # when a run was told to change last
        super().__init__(scene)
        self.core.cycle(SECOND_US, [f.SiteAdded("s", "simulated", resizes=True)])
        self.core.cycle(SECOND_US, [a.BudgetGranted("", "acme", BUDGET_H * HOUR_US, 400 * DAY_US, "grant")])
        assert [answer for answer in self.core.answers if answer.refused] == []

    def _look(self, now: int, facts: list[f.Fact]) -> list[f.Fact]:
        for fact in facts:
            if isinstance(fact, f.RunPlaced):
                self.counts[fact.run, 0] = len(fact.tasks)
            elif isinstance(fact, f.RunResizeOrdered):
                self.counts[fact.run, fact.number] = len(fact.tasks)
                self.last_us = now
            elif isinstance(fact, f.RunStarted):
                self.tasks[fact.run] = [(fact.at_us, self.counts[fact.run, 0])]
            elif isinstance(fact, f.RunResized):
                self.tasks[fact.run].append((fact.at_us, self.counts[fact.run, fact.number]))
            elif isinstance(fact, f.RunEnded) and fact.run in self.tasks:
                self.tasks[fact.run].append((fact.at_us, 0))
        super()._look(now, facts)
        self._look_at_runs(facts)
        return facts

    def _look_at_runs(self, facts: list[f.Fact]) -> None:
        state = self.core.state
        held: dict[str, int] = {}
        for run in state.runs.values():
            job = state.jobs[run.job]
            if job.nodes_most:
                assert job.resources.nodes <= len(run.tasks) <= job.nodes_most
                assert len({task.node for task in run.tasks}) == len(run.tasks)
            for task in (*run.tasks, *run.leaving):
                assert not held.get(task.node, 0) & task.bits, "a GPU serves two tasks"
                held[task.node] = held.get(task.node, 0) | task.bits
        pool = state.pools["shared"]
        for node in state.nodes.values():
            free = pool.free.gpus[node.position]
            assert not node.in_service or free == ((1 << node.gpus) - 1) & ~held.get(node.id, 0)
        for budget in state.tenants["acme"].budgets:
            assert budget.free >= 0
        for fact in facts:
            if isinstance(fact, f.UsageMetered):
                self._look_at_usage(fact)

    def _look_at_usage(self, fact: f.UsageMetered) -> None:
        """Usage is the sum over segments, to the µs."""
        steps = self.tasks[fact.run]
        tasks_us = sum(tasks * (end_us - at_us) for (at_us, tasks), (end_us, _) in itertools.pairwise(steps))
        job = next(
            one
            for _, one in self.journal
            if isinstance(one, f.JobSubmitted) and one.job == fact.run.split(".")[0]
        )
        if job.resources.nodes:
            per_task = job.resources.gpus // job.resources.nodes
            assert fact.gpu_us == tasks_us * per_task


@many(40)
@given(elastic_scenes())
def test_limits_budgets_and_promises_hold_and_everything_ends(scene: Scene) -> None:
    checked = Elastic(scene)
    checked.run()
    assert not checked.core.state.jobs
    standing = checked.core.state.pools["shared"].standing
    assert standing is not None
    assert not standing.tree.held
    assert not any(node.pending for node in standing.tree.nodes.values())
    assert not standing.units.growing
    assert sum(budget.reserved for budget in checked.core.state.tenants["acme"].budgets) == 0


@many(40)
@given(elastic_scenes(losses=True))
def test_what_is_lost_takes_units_or_runs_and_everything_ends(scene: Scene) -> None:
    checked = Elastic(scene)
    checked.run()
    assert not checked.core.state.jobs


@many(20)
@given(elastic_scenes(endless=True))
def test_with_nothing_but_ticks_resizing_ceases(scene: Scene) -> None:
    checked = Elastic(scene)
    played(checked.core, history(scene), until_us=12 * HOUR_US)
    assert checked.last_us <= 8 * HOUR_US, "the last job comes after five hours"


@many(25)
@given(elastic_scenes(losses=True), st.integers(0, 400))
def test_the_journal_folds_to_the_state_at_any_moment(scene: Scene, cut: int) -> None:
    checked = Elastic(scene)
    journal, core = checked.journal, checked.core
    opening = msgspec.msgpack.encode(core.state.project())
    begun, digests = len(journal), []
    look = core.cycle

    def cycle(now: int, seen: Any) -> list[f.Fact]:
        facts = look(now, seen)
        if len(digests) <= cut:
            digests.append((len(journal), core.state.digest()))
        return facts

    core.cycle = cycle  # type: ignore[method-assign]
    checked.run()
    assume(digests)
    length, digest = digests[-1]
    state = State.restore(msgspec.msgpack.decode(opening, type=Projection))
    for at, fact in journal[begun:length]:
        state.apply(at, fact)
    assert state.digest() == digest
    again = State.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(state.project()), type=Projection))
    assert again.digest() == digest
    for one in (state, again):  # pins that are over go when somebody looks
        keeping.refresh(one, "shared", journal[length - 1][0])
    assert standing_of(again) == standing_of(state)
    for at, fact in journal[length:]:
        state.apply(at, fact)
        again.apply(at, fact)
    assert state.digest() == again.digest() == core.state.digest()


def standing_of(state: State) -> list[object]:
    """What is derived of runs and units."""
    standing = state.pools["shared"].standing
    assert standing is not None
    tree, timeline = standing.tree, standing.timeline
    found: list[object] = [
        (node.id, node.running, node.pending, [held.id for _, held in node.runs])
        for _, node in sorted(tree.nodes.items())
        if node.running or node.pending
    ]
    found += sorted((held.id, held.charge, held.until_us, held.key) for held in tree.held.values())
    found += [sorted(timeline.runs_on(position)) for position in range(len(state.nodes))]
    found.append(sorted(timeline.ending(2**62)))
    found.append({leaf: sorted(jobs) for leaf, jobs in standing.units.growing.items()})
    found.append(sorted(standing.stopping))
    return found
