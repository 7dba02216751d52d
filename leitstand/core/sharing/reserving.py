# SPDX-License-Identifier: Apache-2.0
"""Reservations for those who cannot start: who gets one, for when, and what it holds. Called by the fair plan, and by
what calls guarantees or explains a wait.
"""

from typing import TYPE_CHECKING, Final

from leitstand.core import facts as f
from leitstand.core.places.cutting import Asker, tasks_held
from leitstand.core.places.placement import Place
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing.counts import Found
from leitstand.core.sharing.shares import Node
from leitstand.core.sharing.standing import limit_of

if TYPE_CHECKING:
    from leitstand.core.jobs import Job
    from leitstand.core.sharing.fair import Fair

PER_PLAN: Final = (16, 128)  # at least, at most; further ones are made in later cycles
RESERVING_NODES: Final = 20_000  # between them as many as look at so many nodes together


def reserve(plan: "Fair", job: "Job", leaf: Node) -> None:
    """Reserve the earliest start that is known for a job that cannot start, if it may."""
    sharing, standing = plan.state.rules.sharing, plan.standing
    if not may_reserve(plan, job, leaf):
        return
    if leaf.is_ahead(sharing.ahead_s) and standing.tree.guaranteed(leaf, job.charge_milli) is None:
        return  # who lags starts first, also on what comes free later
    if plan.reserved >= most(plan):
        plan.heads.reserves = False
        plan.heads.unreserved[job.id] = leaf.id  # another plan has room
        return
    plan.heads.unreserved.pop(job.id, None)
    plan.reserved += 1
    found, guessed = expected(plan, job, leaf)
    if found is None or found[0] <= plan.now:  # there is room, but somebody else comes first
        return
    start_us, places = found
    kind = "promise" if not guessed and plan.usage.is_safe(job, leaf, start_us) else "plan"
    held = tasks(plan, job, places, Asker(plan.now, start_us, start_us, job.id))
    plan.emit(f.CapacityReserved(job.id, kind, start_us, held))
    plan.usage.reserves(job, leaf, kind, start_us)
    plan._touch(places)


def may_reserve(plan: "Fair", job: "Job", leaf: Node) -> bool:
    """Whether the rules allow another reservation for its project, and in the pool."""
    sharing = plan.state.rules.sharing
    if not plan.standing.has_slot(job.id, leaf.id, sharing.reservations_leaf_max):
        return False
    return len(plan.state.reservations) < sharing.reservations_max


def most(plan: "Fair") -> int:
    """How many reservations a plan makes: the later of those who wait for another plan are passed over in this."""
    at_least, at_most = PER_PLAN
    return min(max(at_least, RESERVING_NODES // max(len(plan.pool.names), 1)), at_most)


def tasks(plan: "Fair", job: "Job", places: list[Place], asker: Asker) -> tuple[f.Task, ...]:
    """What a reservation of these places holds for the job's time from the end of `asker` on."""
    asker = asker._replace(until_us=min(asker.until_us + limit_of(job), INFINITY))
    return tasks_held(plan.standing.timeline, job.resources, places, plan.pool.names, asker)


def expected(plan: "Fair", job: "Job", leaf: Node) -> tuple[Found | None, bool]:
    """The earliest start of a job, and whether it is guessed: the moment in which a run that is past its end might go
    is none; then the earliest from the next tick on."""
    found = earliest(plan, job, leaf)
    if found is None or found[0] != plan.now + 1:
        return found, False
    tick_us = plan.state.rules.sharing.tick_us
    return earliest(plan, job, leaf, (plan.now // tick_us + 1) * tick_us), True


def earliest(plan: "Fair", job: "Job", leaf: Node, from_us: int = 0) -> tuple[int, list[Place]] | None:
    """When, not before `from_us`, and where the job could start, by count and by place, as runs and reservations
    are known now."""

    def places(after_us: int) -> tuple[int, list[Place]] | None:
        return plan.standing.timeline.earliest(
            job.resources,
            plan.now,
            limit_of(job),
            lambda view: plan.pool.place(job.resources, view),
            own=job.id,
            where=plan.pool.where(job.resources),
            after_us=after_us,
        )

    return plan.usage.reserved().earliest_with(leaf, job.charge_milli, limit_of(job), places, from_us)
