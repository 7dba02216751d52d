# SPDX-License-Identifier: Apache-2.0
"""What does not happen when it should: a run that begins later than it was to, or outlasts its limit, a run that was
told to end and does not. Called by the fair plan.

A run past its end holds what it holds; when it goes nobody knows. So its place is planned for the next tick at the
earliest, and promised to nobody; who was promised it waits for g + e before anything else is done; and a claim is given
up after R, like a hold: the job waits again, at its place, and who keeps it waiting is counted on no more. So what is
done without any input is done once a tick, or once in R.

What starts late ends late, and what was promised behind it relies on the end that it should have had. That keeps nobody
from his start: who is first starts, what is behind waits, too, or is broken by name (decision 21).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from leitstand.core.places.placement import Place
from leitstand.core.sharing.standing import limit_of

if TYPE_CHECKING:
    from leitstand.core.jobs import Job, Reservation
    from leitstand.core.sharing.fair import Fair
    from leitstand.core.sharing.shares import Node


def left_us(plan: "Fair", job: "Job") -> int:
    """For how long (µs) the places of what is due are its own, its limit if it is not late: what others reserved since
    for later relies on the end that it should have had."""
    made = plan.standing.timeline.reservation(job.id)
    assert made is not None, "it is due"
    limit_us = limit_of(job)
    return min(limit_us, max(made.until_us - plan.now, 1)) if made.kind in ("claim", "promise") else limit_us


def delays_nobody(plan: "Fair", job: "Job", places: Iterable[Place]) -> bool:
    """Whether the job, which is due and perhaps late, may run here for all its limit as far as windows and those are
    concerned who reserved something before it."""
    timeline, end_us = plan.standing.timeline, plan.now + limit_of(job)
    made = timeline.reservation(job.id)
    assert made is not None, "it is due"
    late = (plan.now + left_us(plan, job), end_us)
    closed = plan.standing.closures.within(plan.now, end_us)
    positions = dict.fromkeys(position for position, _ in places)
    return not any(closed >> at & 1 or timeline.comes_first(at, made.number, late) for at in positions)


def may_wait(plan: "Fair", job: "Job", leaf: "Node", made: "Reservation") -> bool:
    """Whether a promise that is due, and finds no place, has one once runs have gone that are past their limit, or will
    be before the engine would have ended them."""
    sharing, timeline = plan.state.rules.sharing, plan.standing.timeline
    by_us = made.start_us + sharing.freed_us
    if plan.now >= by_us:
        return False
    free_us = plan.usage.running().earliest(leaf, job.charge_milli, limit_of(job))
    if free_us is None or free_us > max(by_us, plan.now + 1):
        return False
    view = timeline.view(plan.now, left_us(plan, job), job.id, ("plan",), timeline.ending(by_us))
    places = plan.pool.place(job.resources, view)
    return places is not None and delays_nobody(plan, job, places)


def is_kept_out(plan: "Fair", job: "Job", made: "Reservation") -> bool:
    """Whether a promise that finds no place would have one if nobody were there who should have gone by its start."""
    standing, state = plan.standing, plan.state
    gone = standing.timeline.ending(made.start_us)
    for held in standing.tree.held.values():
        if held.planned_us <= made.start_us and (unit := standing.units.unit(held.id)) is not None:
            gone[unit.id] = None
        elif held.planned_us <= made.start_us and state.jobs[held.id].run:
            gone[state.jobs[held.id].run] = None
    view = standing.timeline.view(plan.now, left_us(plan, job), job.id, ("plan",), gone)
    return plan.pool.place(job.resources, view) is not None


def is_lost(plan: "Fair", job: str) -> bool:
    """Whether the job has a claim since so long that what it waits for will not come."""
    claimed_us = plan.standing.claims.get(job)
    return claimed_us is not None and claimed_us + patience_us(plan) <= plan.now


def next_time(plan: "Fair") -> int | None:
    """When time alone ends a claim (µs)."""
    claims = plan.standing.claims
    return min(claims.values()) + patience_us(plan) if claims else None


def patience_us(plan: "Fair") -> int:
    """How long a claim waits: the smallest recall time of the pool."""
    return plan.standing.tree.recall_us(plan.state.rules.sharing.recall_us)
