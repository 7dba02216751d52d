# SPDX-License-Identifier: Apache-2.0
"""Explanations are honest on any history: every waiting job has one reason of the documented list, and the smallest
change, once made, does start the job in a cycle held now; one step less does not."""

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
from leitstand.core.sharing import keeping
from leitstand.core.state import Projection, State
from leitstand.core.units import MINUTE_US, SECOND_US
from tests.properties.test_fair import Scene, history, opened, scenes

STEP = {"max_duration": SECOND_US, "guarantee": GPU_MILLI, "borrow_limit": 1, "priority": 1, "size": 1}


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
    other = Core(copied(core.state))
    for _ in range(50):
        if not other.cycle(now, []):
            break
        other = Core(copied(other.state))
    return other


def copied(state: State) -> State:
    raw = msgspec.msgpack.encode(state.project())
    return State.restore(msgspec.msgpack.decode(raw, type=Projection))


def starts(state: State, now: int, job: Job, remedy: Remedy, value: int, wanted: bool) -> bool:
    """Whether a cycle now starts the job, or frees capacity for it, with the change; `wanted` if that is open."""
    core = Core(changed(state, now, job, remedy, value))
    for fact in core.cycle(now, []):
        if remedy.dimension == "size" and isinstance(fact, f.CapacityReserved) and fact.job != job.id:
            return wanted  # others deserve more once it asks for less, and one of them came first
        if isinstance(fact, f.RunPlaced) and fact.job == job.id:
            return True
        if isinstance(fact, f.CapacityReserved) and fact.job == job.id and fact.kind == "claim":
            return remedy.waits
    return False


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
            entitled[remedy.node] = replace(
                trial.standing.tree.node(remedy.node).entitlement(), borrow_milli=value
            )
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


@settings(max_examples=100, deadline=None)
@given(st.one_of(scenes(), crowded()), st.integers(0, 300))
def test_every_waiting_job_has_one_reason_and_what_would_start_it_does(scene: Scene, minutes: int) -> None:
    core, now = paused(scene, minutes * MINUTE_US)
    now += SECOND_US
    core = settled(core, now)
    before = core.state.digest()
    for job in [job for job in core.state.jobs.values() if job.state == "pending"]:
        said = why(core.state, job.id, now)
        assert said.binding.reason in REASONS
        assert said.binding.reason == Reading(core.state, now).reason(job)
        event(f"reason {said.binding.reason}")
        for remedy in said.changes:
            event(f"change {remedy.dimension}")
            assert starts(core.state, now, job, remedy, remedy.value, True), (said.binding, remedy)
            less = one_less(job, remedy)
            covers = (
                remedy.dimension == "guarantee" and remedy.waits
            )  # less may do where it moves who is covered
            if less is not None and not covers:
                assert not starts(core.state, now, job, remedy, less, False), (said.binding, remedy)
    assert core.state.digest() == before


def one_less(job: Job, remedy: Remedy) -> int | None:
    """The value one step closer to what is now; None: that is what is now."""
    step = STEP[remedy.dimension]
    if remedy.dimension == "size":
        _, most, now, _ = sizes(job.resources)
        step = now // (most + 1)
    value = remedy.value + step * (1 if remedy.dimension in ("size", "max_duration") else -1)
    towards = value < remedy.now if step and value > remedy.value else value > remedy.now
    return value if towards else None
