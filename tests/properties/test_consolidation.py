# SPDX-License-Identifier: Apache-2.0
"""What moves promise on any history of a small fragmented fleet: who moves has a place before it stops and runs again
there, nobody is oversold, few move, ticks alone move nobody for ever, and a restart in the middle changes nothing.
Small fleets against an exhaustive search. LEITSTAND_HUNT=1000 looks for new counter-examples."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import combinations, product
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.jobs import Run
from leitstand.core.rules import Rules, Sharing
from leitstand.core.state import Projection, State
from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US, SECOND_US

HUNT = int(os.environ.get("LEITSTAND_HUNT", "0"))
SHARING = Sharing(ahead_us=0, protected_us=5 * MINUTE_US, recall_us=10 * MINUTE_US, restart_us=MINUTE_US)
OPENED_US = 1000 * MINUTE_US
QUIET_US = OPENED_US + 4 * HOUR_US  # nothing but ticks after that
END_US = QUIET_US + 4 * HOUR_US


def many(examples: int) -> settings:
    return settings(max_examples=HUNT or examples, derandomize=not HUNT, database=None, deadline=None)


@dataclass
class Scene:
    """A fleet in racks of two nodes, runs of which some end, and jobs that come when it is in pieces. `slow_us`: how
    long each stop takes, in turn."""

    nodes: list[int]
    runs: list[tuple[int, bool]]  # GPUs, whether it saves its work
    ended: list[int]
    jobs: list[tuple[int, f.SubmitJob]]
    guarantee: int
    slow_us: list[int]
    others: list[tuple[int, f.Observation]] = field(default_factory=list)


SHAPES = (
    f.Resources(4),
    f.Resources(4),
    f.Resources(3),
    f.Resources(2),
    f.Resources(8, 2),
    f.Resources(6, 2),
    f.Resources(8, 2, level="rack"),
    f.Resources(4, 2, level="rack"),
    f.Resources(8, 0),
    f.Resources(2, 1, cpus_milli=3000),
)


@st.composite
def scenes(draw: Any, troubles: bool = False) -> Scene:
    nodes = draw(st.lists(st.sampled_from([4, 4, 8]), min_size=2, max_size=6))
    runs: list[tuple[int, bool]] = []
    for node in nodes:  # each is filled
        while node:
            runs.append((draw(st.integers(1, min(3, node))), draw(st.booleans())))
            node -= runs[-1][0]
    stays = [draw(st.integers(0, 4)) < 2 for _ in runs]
    minutes = st.integers(0, 90)
    jobs = [
        (
            draw(minutes),
            f.SubmitJob(
                draw(st.sampled_from(["beta", "beta", "acme"])),
                "default",
                draw(st.sampled_from(SHAPES)),
                priority=draw(st.integers(0, 1)),
                max_duration_us=draw(st.sampled_from([2 * HOUR_US, DAY_US])),
                expected_us=draw(st.sampled_from([HOUR_US, 20 * DAY_US])),
                checkpoint_every_us=draw(st.sampled_from([0, 10 * MINUTE_US])),
            ),
        )
        for _ in range(draw(st.integers(1, 4)))
    ]
    others: list[tuple[int, f.Observation]] = []
    if troubles:
        names = [f"{tenant}-{n}" for tenant in ("acme", "beta") for n in range(1, 12)]
        calls = st.sampled_from([*map(f.CancelJob, names), *map(f.HoldJob, names)])
        lost = st.sampled_from([f.NodeRemoved(f"n{n}") for n in range(len(nodes))])
        ends = st.sampled_from([a.TenantSuspended("acme", "unpaid"), a.TenantSuspended("beta", "unpaid")])
        seen = st.one_of(calls, calls, lost, ends)
        times = st.integers(0, 90 * 60)
        others = [(at, one) for at, one in draw(st.lists(st.tuples(times, seen), min_size=1, max_size=6))]
    return Scene(
        nodes,
        runs,
        [number for number, stay in enumerate(stays) if not stay],
        jobs,
        draw(st.sampled_from([0, 0, 4, 8])),
        draw(st.lists(st.integers(0, 60 * SECOND_US), min_size=1, max_size=4)),
        others,
    )


class World:
    """A core, and an engine whose stops take their time. `journal`: all facts."""

    def __init__(self, scene: Scene, restarts_at: int = -1, moves_max: int = 1000) -> None:
        self.scene = scene
        self.core = Core()
        self.restarts_at = restarts_at
        self.journal: list[tuple[int, f.Fact]] = []
        self.cycles = self.stops = self.moves = self.number = 0
        self.due: list[tuple[int, int, f.Observation]] = []
        milli = min(scene.guarantee, sum(scene.nodes)) * 1000
        shares = [
            a.Entitlement(node, milli) for node in ("industry", "industry/beta", "industry/beta/default")
        ]
        for seen in (
            f.RulesSet(Rules(discipline="fair", sharing=replace(SHARING, moves_max=moves_max)), ""),
            f.TenantAdded("acme"),
            f.TenantAdded("beta"),
            f.SiteAdded("s", "simulated", levels=("rack",)),
            *(
                f.NodeAdded(f"n{at}", "s", gpus, 1000 * gpus, 0, domains=(f"r{at // 2}",))
                for at, gpus in enumerate(scene.nodes)
            ),
            a.EntitlementsChanged("shared", tuple(shares)),
        ):
            self.at(SECOND_US, seen)
        for number, (gpus, saves) in enumerate(scene.runs):
            every = 10 * MINUTE_US if saves else 0
            self.at(
                (2 + number) * SECOND_US,
                f.SubmitJob(
                    "acme",
                    "default",
                    f.Resources(gpus),
                    max_duration_us=20 * DAY_US + number * HOUR_US,
                    expected_us=DAY_US * 20,
                    checkpoint_every_us=every,
                ),
            )
        for number in scene.ended:
            self.at(MINUTE_US, f.CancelJob(f"acme-{number + 1}"))
        for minute, job in scene.jobs:
            self.at(OPENED_US + minute * MINUTE_US, job)
        for second, seen in scene.others:
            self.at(OPENED_US + second * SECOND_US, seen)

    def at(self, time_us: int, seen: f.Observation) -> None:
        self.number += 1
        heappush(self.due, (time_us, self.number, seen))

    def run(self, until_us: int = END_US) -> None:
        now = 0
        while True:
            times = [self.due[0][0]] if self.due else []
            wake = self.core.next_wake()
            if wake is not None:
                times.append(max(wake, now + 1))
            if not times or min(times) > until_us:
                return
            now = min(times)
            seen: list[f.Observation] = []
            while self.due and self.due[0][0] <= now:
                seen.append(heappop(self.due)[2])
            self.cycle(now, seen)

    def cycle(self, now: int, seen: list[f.Observation]) -> None:
        if self.cycles == self.restarts_at:
            stored = msgspec.msgpack.encode(self.core.state.project())
            self.core = Core(State.restore(msgspec.msgpack.decode(stored, type=Projection)))
        self.cycles += 1
        facts = self.core.cycle(now, seen)
        self.journal += [(now, fact) for fact in facts]
        for fact in facts:
            if isinstance(fact, f.RunPlaced):
                self.at(now, f.RunStarted(fact.run, now))
                job = next(one for one in self.core.state.jobs.values() if one.id == fact.job)
                spent_us = min(max(job.expected_us - job.kept_us, 0), job.max_duration_us)
                self.at(now + spent_us, f.RunEnded(fact.run, now + spent_us, "exited", 0))
            elif isinstance(fact, f.RunStopOrdered):
                slow_us = self.scene.slow_us[self.stops % len(self.scene.slow_us)]
                self.stops += 1
                self.at(now + slow_us, f.RunEnded(fact.run, now + slow_us, "stopped"))
        self.look(now, facts)

    def look(self, now: int, facts: list[f.Fact]) -> None:
        state = self.core.state
        self.look_at_nodes()
        claimed: dict[str, f.CapacityReserved] = {}
        moved: dict[str, list[str]] = {}
        for fact in facts:
            if isinstance(fact, f.CapacityReserved) and fact.kind == "claim":
                claimed[fact.job] = fact
            elif isinstance(fact, f.RunStopOrdered) and fact.cause == "move":
                job = fact.run.rpartition(".")[0]
                assert job in claimed, f"{job} stops without a place to go"
                assert fact.job in claimed, f"{fact.job} does not hold what is freed for it"
                moved.setdefault(fact.job, []).append(job)
        for job, others in moved.items():
            self.moves += 1
            charge = sum(state.jobs[other].charge_milli for other in others)
            saves = all(state.jobs[other].checkpoint_every_us for other in others)
            assert saves or 5 * charge <= 6 * state.jobs[job].charge_milli, "too much moves for it"
        for job_id, made in state.reservations.items():
            job_ = state.jobs[job_id]
            assert not (made.moves and not job_.run), f"{job_id} has left and does not run at its new place"

    def look_at_nodes(self) -> None:
        """What runs, and what is held for whom moves, fits on each node at the same time."""
        state = self.core.state
        used: dict[str, int] = {}
        held = [run.tasks for run in state.runs.values()]
        held += [made.tasks for made in state.reservations.values() if made.moves]
        for tasks in held:
            for task in tasks:
                used[task.node] = used.get(task.node, 0) + task.bits.bit_count()
        for node, gpus in used.items():
            assert gpus <= state.nodes[node].gpus or not state.nodes[node].in_service, f"{node} is oversold"
        standing = state.pools["shared"].standing
        assert standing is not None
        tree = standing.tree
        assert tree.root.running == sum(held.charge for held in tree.held.values())
        assert not set(standing.yielding) & set(tree.held), "nobody counts twice"
        live = {job.id for job in state.jobs.values() if job.run and not state.runs[job.run].stopping}
        claims = {job for job, made in state.reservations.items() if made.kind == "claim"}
        assert set(tree.held) == live | claims, "who runs, or has a claim, counts once"


@many(60)
@given(scenes())
def test_who_moves_has_a_place_before_it_stops_and_runs_again_there(scene: Scene) -> None:
    world = World(scene)
    world.run()
    placed: dict[str, list[f.RunPlaced]] = {}
    held: dict[str, tuple[str, ...]] = {}
    for _, fact in world.journal:
        if isinstance(fact, f.CapacityReserved) and fact.kind == "claim":
            held[fact.job] = tuple(task.node for task in fact.tasks)
        elif isinstance(fact, f.JobRequeued) and fact.reason == "move":
            placed[fact.job] = []
        elif isinstance(fact, f.RunPlaced) and fact.job in placed:
            placed[fact.job].append(fact)
            if len(placed[fact.job]) == 1:
                assert tuple(task.node for task in fact.tasks) == held[fact.job], (
                    "it moved to where it was held"
                )
    assert all(placed.values()), "who moved runs again"


@many(60)
@given(scenes())
def test_ticks_alone_do_not_move_for_ever(scene: Scene) -> None:
    world = World(scene)
    world.run()
    late = [
        fact
        for at, fact in world.journal
        if at >= QUIET_US and isinstance(fact, f.RunStopOrdered) and fact.cause in f.YIELDS
    ]
    ends = sum(isinstance(fact, f.RunEnded) and fact.outcome == "exited" for _, fact in world.journal)
    assert world.moves <= len(world.scene.jobs) + ends, "each starts a job"
    assert not late or ends, "nothing happens but ticks"


@many(80)
@given(scenes(troubles=True))
def test_whatever_happens_in_the_middle_of_a_move_nobody_is_oversold_or_counts_twice(scene: Scene) -> None:
    World(scene).run()


@many(40)
@given(scenes(troubles=True), st.integers(0, 300))
def test_a_restart_in_the_middle_of_a_move_changes_no_decision(scene: Scene, cut: int) -> None:
    straight, restarted = World(scene), World(scene, restarts_at=cut)
    straight.run()
    restarted.run()
    assert straight.journal == restarted.journal
    folded = State()
    for at, fact in straight.journal:
        folded.apply(at, fact)
    assert folded.digest() == straight.core.state.digest()


# ── against an exhaustive search ──────────────────────────────────────────────────────────────────────────────────────
def least_loss(state: State, job_id: str, now: int) -> int | None:
    """The least work, milli-GPU·µs, that moves within the bounds can lose; None: there are none. Every set of runs,
    all their places, all places of the job."""
    job = state.jobs[job_id]
    gpus = [node.gpus for node in state.nodes.values()]
    free = list(gpus)
    for run in state.runs.values():
        for task in run.tasks:
            free[state.nodes[task.node].position] -= task.bits.bit_count()
    wait_us = SHARING.grace_us + SHARING.stop_us
    most = job.charge_milli * (state.reservations[job_id].start_us - now - wait_us)
    best: int | None = None
    runs = list(state.runs.values())
    for count in range(1, len(runs) + 1):
        for some in combinations(runs, count):
            others = [state.jobs[run.job] for run in some]
            saved = all(other.checkpoint_every_us for other in others)
            if not saved and 5 * sum(other.charge_milli for other in others) > 6 * job.charge_milli:
                continue
            loss = sum(loss_of(state, run, now) for run in some)
            if loss <= most and (best is None or loss < best) and can_move(state, job.resources, some, free):
                best = loss
    return best


def loss_of(state: State, run: Run, now: int) -> int:
    job = state.jobs[run.job]
    worked = now - run.started_us
    lost = worked % job.checkpoint_every_us if job.checkpoint_every_us else worked
    return (lost + SHARING.restart_us) * job.charge_milli


def can_move(state: State, asked: f.Resources, some: tuple[Run, ...], free: list[int]) -> bool:
    leaving = [0] * len(free)
    for run in some:
        (task,) = run.tasks
        leaving[state.nodes[task.node].position] += task.bits.bit_count()
    sizes = [run.tasks[0].bits.bit_count() for run in some]
    for taken in shapes_of(asked, state):
        left = [min(have, have + more - less) for have, more, less in zip(free, leaving, taken, strict=True)]
        if min(left) < 0:
            continue
        for where in product(range(len(free)), repeat=len(sizes)):
            rest = list(left)
            for position, size in zip(where, sizes, strict=True):
                rest[position] -= size
            if min(rest) >= 0:
                return True
    return False


def shapes_of(asked: f.Resources, state: State) -> Iterator[list[int]]:
    """All ways to take what is asked: GPUs by position."""
    nodes = list(state.nodes.values())
    size = max(node.gpus for node in nodes)
    tasks = [asked.gpus // asked.nodes] * asked.nodes if asked.nodes else [size] * (asked.gpus // size)
    if not asked.nodes and asked.gpus % size:
        tasks.append(asked.gpus % size)
    for where in combinations(nodes, len(tasks)) if len(set(tasks)) == 1 else _ordered(nodes, len(tasks)):
        if asked.level and len({node.domains for node in where}) > 1:
            continue
        taken = [0] * len(nodes)
        for node, gpus in zip(where, tasks, strict=True):
            taken[node.position] += gpus
        yield taken


def _ordered(nodes: list[Any], count: int) -> Iterator[tuple[Any, ...]]:
    return (where for where in product(nodes, repeat=count) if len(set(map(id, where))) == count)


@st.composite
def puzzles(draw: Any) -> Scene:
    """One job and at most seven runs on up to four nodes."""
    nodes = draw(st.lists(st.sampled_from([4, 4, 8]), min_size=2, max_size=4))
    runs, stays = [], []
    for node in nodes:
        while node:
            runs.append((draw(st.integers(1, min(3, node))), draw(st.booleans())))
            stays.append(draw(st.integers(0, 4)) < 2 and sum(stays) < 7)
            node -= runs[-1][0]
    asked = draw(st.sampled_from(SHAPES[:-1]))
    job = f.SubmitJob("beta", "default", asked, max_duration_us=DAY_US, expected_us=DAY_US)
    ended = [number for number, stay in enumerate(stays) if not stay]
    return Scene(nodes, runs, ended, [(0, job)], 0, [0])


def compared(scene: Scene) -> tuple[int | None, int | None]:
    """The least work that moves can lose for the job, and what those of the core lose."""
    still, world = World(scene, moves_max=0), World(scene)
    still.run(OPENED_US)
    world.run(OPENED_US)
    state = still.core.state
    made = state.reservations.get("beta-1")
    if made is None or made.kind == "claim":  # it starts, or cannot, without moves
        return None, None
    least = least_loss(state, "beta-1", OPENED_US)
    facts = [fact for at, fact in world.journal if at == OPENED_US]
    moved = [fact.run for fact in facts if isinstance(fact, f.RunStopOrdered) and fact.cause == "move"]
    return least, sum(loss_of(state, state.runs[run], OPENED_US) for run in moved) if moved else None


@many(150)
@given(puzzles())
def test_where_moves_are_possible_the_cheapest_are_found(scene: Scene) -> None:
    least, found = compared(scene)
    assert found == least
