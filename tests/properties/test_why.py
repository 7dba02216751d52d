# SPDX-License-Identifier: Apache-2.0
"""Explanations are honest on any history: every waiting job has one reason of the documented list, and the smallest
change is the smallest: what the core does in a cycle held now was tried for every value before it.
LEITSTAND_HUNT=1000 looks for new counter-examples."""

import os
from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.support.cloud import play
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.explaining.remedies import GPU_MILLI, Remedy, changed_job, raised, sizes
from leitstand.core.explaining.trial import Trial
from leitstand.core.explaining.why import REASONS, Reading, why
from leitstand.core.jobs import Job
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing import keeping
from leitstand.core.state import Projection, State
from leitstand.core.units import MINUTE_US, SECOND_US
from tests.properties.test_fair import Scene, history, opened, scenes

DONE = ("start", "claim")


def paused(scene: Scene, at: int) -> tuple[Core, int]:
    """The core after the cycles up to a moment, and that moment."""
    core = opened(scene)
    times = [SECOND_US]
    decide = core.cycle

    def cycle(now: int, seen: Any) -> list[f.Fact]:
        times.append(now)
        return decide(now, seen)

    core.cycle = cycle  # type: ignore[method-assign,assignment]
    play(core, history(scene), at)
    return core, times[-1]


def settled(core: Core, now: int) -> Core:
    """Another core with the same state that has planned all that it can at `now`."""
    other = looking(copied(core.state))
    for _ in range(50):
        if not other.cycle(now, []):
            break
        other = looking(copied(other.state))
    return other


def looking(state: State) -> Core:
    """A core that looks at everybody in its first cycle, like at a tick: a job that was changed begins to wait."""
    core = Core(state)
    for plan in core._plans():
        plan.heads.forget()
    return core


def copied(state: State) -> State:
    raw = msgspec.msgpack.encode(state.project())
    return State.restore(msgspec.msgpack.decode(raw, type=Projection))


def serves(state: State, now: int, job: Job, remedy: Remedy, value: int) -> str:
    """What a cycle now does first, with the change: '' nothing, 'start' for the job, 'claim' for what is freed for it,
    or 'other'."""
    core = looking(changed(state, now, job, remedy, value))
    done, asked = "", False  # whether others were told to end for it
    for fact in core.cycle(now, []):
        if isinstance(fact, f.RunPlaced) or (isinstance(fact, f.CapacityReserved) and fact.kind == "claim"):
            if fact.job != job.id:
                return done or "other"
            done = "start" if isinstance(fact, f.RunPlaced) and not asked else "claim"
        asked = asked or (isinstance(fact, f.RunStopOrdered | f.RunResizeOrdered) and fact.job == job.id)
    return done


def changed(state: State, now: int, job: Job, remedy: Remedy, value: int) -> State:
    state = copied(state)
    keeping.refresh(state, job.pool, now)
    trial = Trial(state, job.pool, now)
    own = state.jobs[job.id]
    projection = state.project()
    if remedy.dimension in ("guarantee", "borrow_limit"):
        contracts = projection.contracts[job.pool]
        entitled = contracts.entitlements
        if remedy.dimension == "guarantee":
            for one in raised(trial, own, value):
                entitled[one.node] = one
        else:
            for node in trial.leaf(own).path():
                most = node.running + own.charge_milli - node.guarantee
                if 0 <= node.borrow < most - value:
                    entitled[node.id] = replace(node.entitlement(), borrow_milli=most - value)
        return copied(state)
    other = own
    if remedy.dimension == "max_duration":
        other = changed_job(trial, own, max_duration_us=value)
    elif remedy.dimension == "priority":
        other = changed_job(trial, own, priority=value)
    elif remedy.dimension == "size":
        smaller, most, now_value, _ = sizes(own.resources)
        steps = value // (now_value // (most + 1))
        other = changed_job(trial, own, resources=smaller(steps))
    projection.jobs[:] = [other if one.id == own.id else one for one in projection.jobs]
    raw = msgspec.msgpack.encode(projection)
    return State.restore(msgspec.msgpack.decode(raw, type=Projection))


@st.composite
def crowded(draw: Any) -> Scene:
    """Few nodes and much that is alike and waits."""
    scene: Scene = draw(scenes())
    scene.nodes = scene.nodes[:2]
    left = sum(scene.nodes)
    for index, guarantee in enumerate(scene.guarantees):
        scene.guarantees[index] = min(guarantee, left)
        left -= scene.guarantees[index]
    scene.jobs = [(at % 30, job) for at, job in scene.jobs for _ in range(draw(st.integers(1, 3)))][:40]
    scene.cancels = []
    return scene


@settings(max_examples=int(os.environ.get("LEITSTAND_HUNT", "60")))
@given(st.one_of(scenes(), crowded()), st.integers(0, 300))
def test_every_waiting_job_has_one_reason_and_the_smallest_change_is_the_smallest(
    scene: Scene, minutes: int
) -> None:
    core, now = paused(scene, minutes * MINUTE_US)
    now += SECOND_US
    core = settled(core, now)
    before = core.state.digest()
    for job in [job for job in core.state.jobs.values() if job.state == "pending"]:
        said = why(core.state, job.id, now)
        assert said.binding.reason in REASONS
        assert said.binding.reason == Reading(core.state, now).reason(job)
        event(f"reason {said.binding.reason}")
        look_at(core.state, now, job, {one.dimension: one for one in said.changes})
    assert core.state.digest() == before


def look_at(state: State, now: int, job: Job, found: dict[str, Remedy]) -> None:
    """Against every value between what is now and what was found; or all there are, if nothing was."""
    keeping.refresh(state, job.pool, now)
    trial = Trial(state, job.pool, now)
    trial.standing.tree.settle()
    if job.id not in trial.standing.waiting or trial.serves(job) is not None:
        assert not found
        return
    for dimension, values in every(trial, job).items():
        remedy = found.get(dimension)
        best = nearest(state, now, job, remedy or Remedy(dimension), values)
        if remedy is None:
            assert best is None, (job.id, dimension, best)
        else:
            event(f"change {dimension} {'waits' if remedy.waits else 'starts'}")
            assert best == (remedy.value, "claim" if remedy.waits else "start"), (job.id, remedy, best)
    check_edge(state, now, job, found)


def nearest(
    state: State, now: int, job: Job, remedy: Remedy, values: Iterable[int]
) -> tuple[int, str] | None:
    """The first value with which the job is served first, and how."""
    for value in values:
        done = serves(state, now, job, remedy, value)
        if done == "other" and remedy.dimension == "size" and job.id in state.reservations:
            # what is reserved for it is smaller in this cycle, too; that others come first by that is not asked
            done = ("claim" if remedy.waits else "start") if value == remedy.value else ""
        if done and done != "other":
            return value, done
    return None


def every(trial: Trial, job: Job) -> dict[str, Iterable[int]]:
    """The values of a dimension, the nearest to what is now first."""
    leaf = trial.leaf(job)
    _, most, now, _ = sizes(job.resources)
    highest = max((held.priority for _, held in leaf.runs), default=-1)
    room = trial.standing.tree.capacity
    guarantees = range(leaf.guarantee + GPU_MILLI, room + 1, GPU_MILLI)
    return {
        "size": [steps * (now // (most + 1)) for steps in range(most, 0, -1)],
        "priority": range(job.priority + 1, highest + 2),
        "guarantee": [milli for milli in guarantees if raised(trial, job, milli)[-1].guarantee_milli <= room],
    }


def check_edge(state: State, now: int, job: Job, found: dict[str, Remedy]) -> None:
    """Where too many values come into question: the one that was found does, the one before it does not."""
    longest = found.get("max_duration")
    if longest is not None:
        assert serves(state, now, job, longest, longest.value) in DONE, (job.id, longest)
        if longest.value + SECOND_US < (job.max_duration_us or INFINITY):
            assert serves(state, now, job, longest, longest.value + SECOND_US) not in DONE, (job.id, longest)
    limit = found.get("borrow_limit")
    if limit is not None:
        node = Trial(state, job.pool, now).standing.tree.node(limit.node)
        less = node.running + job.charge_milli - node.guarantee - limit.value
        assert serves(state, now, job, limit, less) in DONE, (job.id, limit)
        assert limit.value - 1 == limit.now or serves(state, now, job, limit, less + 1) not in DONE, (
            job.id,
            limit,
        )
