# SPDX-License-Identifier: Apache-2.0
"""What bookings promise on any history under `fair`: each stands as it was made, nobody else has what it holds, who
names it starts as soon as there is room in it, promises and limits hold beside it, what failures take breaks by name,
everything ends, and a restart at any moment decides the same. LEITSTAND_HUNT=1000 looks for new counter-examples."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bench.support.cloud import play
from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.bookings import inside
from leitstand.core.bookings.booked import left
from leitstand.core.cycle import Core
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US, MINUTE_US
from tests.properties.test_fair import LEAVES, Checked, Scene, history, many, opened, scenes, submission

Plan = tuple[int, f.Observation]
BUDGET_US = 40 * HOUR_US  # GPU time of each tenant for its bookings


@st.composite
def plans(draw: Any) -> list[Plan]:
    """Bookings asked for and cancelled, and jobs that name them, in minutes; some of each are refused."""
    found: list[Plan] = []
    for number in range(1, draw(st.integers(3, 7))):
        at = draw(st.integers(20, 200))
        begin = at + draw(st.integers(5, 40))
        end = begin + draw(st.integers(6, 90))
        _, tenant, project = draw(st.sampled_from(LEAVES)).split("/")
        gpus, nodes = draw(st.sampled_from([(1, 1), (2, 1), (4, 1), (8, 2), (4, 2), (3, 0)]))
        asked = f.BookingMade(
            "",
            tenant,
            project,
            f.Resources(gpus, nodes, cpus_milli=draw(st.sampled_from([0, 1000 * max(nodes, 1)]))),
            begin * MINUTE_US,
            end * MINUTE_US,
            release_idle_us=draw(st.sampled_from([0, 0, 10 * MINUTE_US])),
        )
        found.append((at * MINUTE_US, asked))
        for _ in range(draw(st.integers(0, 5))):
            job = submission(draw, f"x/{tenant}/{project}")
            retries = draw(st.sampled_from([0, 1]))
            when = draw(st.integers(at, end + 5)) * MINUTE_US
            found.append((when, msgspec.structs.replace(job, booking=f"r{number}", retries=retries)))
        if draw(st.integers(0, 3)) == 0:
            found.append((draw(st.integers(at, end)) * MINUTE_US, f.BookingCancelled(f"r{number}")))
    return found


@st.composite
def worlds(draw: Any, losses: bool = False) -> tuple[Scene, list[Plan]]:
    scene = draw(scenes(losses))
    some = draw(st.sampled_from([2, 4, 100]))
    scene.guarantees = [
        guarantee // some for guarantee in scene.guarantees
    ]  # so that something can be booked
    asked = draw(plans())
    for at, node in (
        draw(st.lists(st.tuples(st.integers(30, 250), st.integers(0, 3)), max_size=3)) if losses else []
    ):
        scene.losses.append((at, node))  # it is back in the end
        asked.append((at * MINUTE_US, f.NodeRemoved(f"n{node % len(scene.nodes)}", failed=True)))
    return scene, asked


class Watched(Checked):
    """A core whose bookings are looked at after every cycle, too. `made`: how many there were; `used`: runs inside."""

    def __init__(self, scene: Scene, asked: list[Plan]) -> None:
        super().__init__(scene)
        self.asked = asked
        self.used = 0
        self.core.cycle(
            MINUTE_US // 2, [a.BudgetGranted("", one, BUDGET_US, 10**15) for one in ("acme", "beta", "uni")]
        )

    def run(self) -> None:
        play(self.core, sorted([*history(self.scene), *self.asked], key=lambda entry: entry[0]))

    def _look(self, now: int, facts: list[f.Fact]) -> list[f.Fact]:
        state = self.core.state
        for fact in facts:
            if isinstance(fact, f.BookingBroken | f.BookingMoved):
                assert self.scene.losses, f"{fact.booking}: {fact.cause}"
            elif isinstance(fact, f.RunPlaced) and state.jobs[fact.job].booking is not msgspec.UNSET:
                self.used += 1
        for booking in state.bookings.of.values():
            assert booking.until_us > now, "it is over"
            assert (booking.step in ("begun", "closing")) == (booking.from_us <= now)
            if booking.has_begun:
                self._look_inside(booking.id)
        for run in state.runs.values():
            name = state.jobs[run.job].booking
            if name is not msgspec.UNSET and not run.stopping:
                booking = state.bookings.of[name]
                assert booking.has_begun
                if not self.scene.losses:  # else what ran on a node that left service goes on there
                    assert {task.node for task in run.tasks} <= {task.node for task in booking.tasks}
        for tenant in state.tenants.values():
            assert all(budget.free >= 0 for budget in tenant.budgets)
        found = super()._look(now, facts)
        if not self.scene.losses:
            self._look_ahead(now)
        return found

    def _look_ahead(self, now: int) -> None:
        """Whatever else is reserved: each node has what is booked of it when it is, once nobody is leaving it."""
        state, pool = self.core.state, self.core.state.pools["shared"]
        assert pool.standing is not None
        leaving = {task.node for run in state.runs.values() if run.stopping for task in run.tasks}
        for booking in state.bookings.of.values():
            for task in booking.tasks:
                if task.node not in leaving:
                    position = state.nodes[task.node].position
                    assert not pool.standing.timeline.is_short(position, now), f"{booking.id} has no room"

    def _look_inside(self, id: str) -> None:
        state = self.core.state
        booking, pool = state.bookings.of[id], state.pools["shared"]
        leaving = {task.node for run in state.runs.values() if run.stopping for task in run.tasks}
        for position, (gpus, cpus_milli, memory_mib) in left(state, booking).items():
            node = state.nodes[pool.names[position]]
            if node.in_service and node.id not in leaving:
                assert pool.free.gpus[position].bit_count() >= gpus, "somebody else has what it holds"
                assert pool.free.cpus_milli[position] >= cpus_milli
                assert pool.free.memory_mib[position] >= memory_mib
        if booking.step == "begun":
            for job in inside.in_order(state, id):
                assert pool.place(job.resources, inside.free(state, booking)) is None, "it fits and waits"


@many(60)
@given(worlds())
def test_bookings_stand_and_promises_and_limits_hold_beside_them(world: tuple[Scene, list[Plan]]) -> None:
    watched = Watched(*world)
    watched.run()
    assert not watched.core.state.jobs
    assert not watched.core.state.bookings.of
    assert not watched.core.state.inside.jobs
    for tenant in watched.core.state.tenants.values():
        assert all(budget.reserved == 0 for budget in tenant.budgets)


@many(40)
@given(worlds(losses=True))
def test_what_is_lost_moves_or_breaks_bookings_by_name_and_everything_ends(
    world: tuple[Scene, list[Plan]],
) -> None:
    watched = Watched(*world)
    watched.run()
    assert not watched.core.state.jobs
    assert not watched.core.state.bookings.of


@many(25)
@given(worlds(losses=True), st.integers(0, 200))
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


@many(25)
@given(worlds(losses=True))
def test_the_journal_folds_to_the_state(world: tuple[Scene, list[Plan]]) -> None:
    watched = Watched(*world)
    watched.run()
    state = opened(world[0]).state
    for now, fact in watched.journal:
        state.apply(now, fact)
    assert state.digest() == watched.core.state.digest()
