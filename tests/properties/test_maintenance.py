# SPDX-License-Identifier: Apache-2.0
"""What planned maintenance promises on any history under `fair`: nobody runs in a window on its nodes, no promise is
broken but by an emergency and by name, everything ends, and a restart at any moment decides the same.
LEITSTAND_HUNT=1000 looks for new counter-examples."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bench.support.cloud import play
from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.state import Projection, State
from leitstand.core.units import MINUTE_US
from tests.properties.test_fair import Checked, Scene, history, many, scenes

Plan = tuple[int, f.Observation]


@st.composite
def plans(draw: Any, nodes: int, emergencies: bool) -> list[Plan]:
    """Windows asked for, and cancelled, in minutes; some of them are refused."""
    found: list[Plan] = []
    for number in range(draw(st.integers(1, 4))):
        at = draw(st.integers(1, 250))
        some = draw(st.lists(st.integers(0, nodes - 1), min_size=1, max_size=2, unique=True))
        begin = at + draw(st.integers(0, 90))
        end = begin + draw(st.integers(1, 120))
        emergency = emergencies and draw(st.booleans())
        asked = a.MaintenancePlanned(
            "",
            0 if emergency else begin * MINUTE_US,
            end * MINUTE_US,
            tuple(f"n{one}" for one in some),
            emergency=emergency,
            scale=draw(st.booleans()),
        )
        found.append((at * MINUTE_US, asked))
        if draw(st.integers(0, 3)) == 0:
            found.append(
                ((at + draw(st.integers(0, 100))) * MINUTE_US, a.MaintenanceCancelled(f"m{number + 1}"))
            )
    return found


@st.composite
def worlds(draw: Any, emergencies: bool = False) -> tuple[Scene, list[Plan]]:
    scene = draw(scenes())
    scene.guarantees = [guarantee // 2 for guarantee in scene.guarantees]  # so that something may be closed
    return scene, draw(plans(len(scene.nodes), emergencies))


class Watched(Checked):
    """A core whose windows are looked at after every cycle, too."""

    def __init__(self, scene: Scene, asked: list[Plan]) -> None:
        super().__init__(scene)
        self.asked = asked
        self.emergency = False
        self.moved = 0

    def run(self) -> None:
        timed = sorted([*history(self.scene), *self.asked], key=lambda entry: entry[0])
        play(self.core, timed)

    def _look(self, now: int, facts: list[f.Fact]) -> list[f.Fact]:
        for fact in facts:
            if isinstance(fact, a.MaintenancePlanned) and fact.emergency:
                self.emergency = True
                self.scene.losses = [(0, 0)]  # from here on promises may break
            elif isinstance(fact, f.PromiseBroken):
                assert self.emergency, f"{fact.job}: promise broken by {fact.cause}"
            elif isinstance(fact, f.RunPlaced):
                self._look_at_start(now, fact)
        found = super()._look(now, facts)
        self._look_at_nodes(now)
        return found

    def _look_at_start(self, now: int, fact: f.RunPlaced) -> None:
        job = self.core.state.jobs[fact.job]
        for window in self.core.state.maintenance.windows.values():
            from_us, until_us = window.span
            if any(task.node in window.nodes for task in fact.tasks):
                assert now + job.max_duration_us <= from_us or until_us <= now, (
                    f"{fact.run} starts into {window.id}"
                )

    def _look_at_nodes(self, now: int) -> None:
        state = self.core.state
        begun = [window for window in state.maintenance.windows.values() if window.step == "begun"]
        down = {node for window in begun for node in window.nodes}
        for window in state.maintenance.windows.values():
            assert (window.step == "begun") == (window.span[0] <= now)
        for run in state.runs.values():
            if any(task.node in down for task in run.tasks):
                assert run.stopping == "maintenance", f"{run.id} runs in a window"
                assert run.stopped_us == now, f"{run.id} runs in a window"
        pool = state.pools["shared"]
        assert pool.capacity() == sum(
            1000 * node.gpus for node in state.nodes.values() if node.id not in down and node.in_service
        )

    def _look_at_shares(self) -> None:
        if not self.core.state.maintenance.made:
            super()._look_at_shares()


@many(60)
@given(worlds())
def test_nobody_runs_in_a_planned_window_and_no_promise_breaks_by_one(
    world: tuple[Scene, list[Plan]],
) -> None:
    watched = Watched(*world)
    watched.run()
    assert not watched.core.state.jobs
    assert not watched.core.state.maintenance.windows


@many(40)
@given(worlds(emergencies=True))
def test_an_emergency_breaks_promises_by_name_alone(world: tuple[Scene, list[Plan]]) -> None:
    watched = Watched(*world)
    watched.run()
    assert not watched.core.state.jobs


@many(25)
@given(worlds(emergencies=True), st.integers(0, 200))
def test_a_restart_at_any_moment_decides_the_same(world: tuple[Scene, list[Plan]], cut: int) -> None:
    watched = Watched(*world)
    core, decide = watched.core, watched.core.cycle
    cycles = 0
    other: list[Core] = []

    def cycle(now: int, seen: Any) -> list[f.Fact]:
        nonlocal cycles
        seen = list(seen)
        if cycles == cut:
            stored = msgspec.msgpack.encode(core.state.project())
            other.append(Core(State.restore(msgspec.msgpack.decode(stored, type=Projection))))
        cycles += 1
        facts = decide(now, seen)
        if other:
            assert other[0].cycle(now, seen) == facts, "a restart decides otherwise"
            assert other[0].state.digest() == core.state.digest()
        return facts

    core.cycle = cycle  # type: ignore[method-assign]
    watched.run()
