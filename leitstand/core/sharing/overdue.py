# SPDX-License-Identifier: Apache-2.0
"""What does not happen when it should: a run that outlasts its limit, a run that was told to end and does not. Called
by the fair plan.

A run past its end holds what it holds; when it goes nobody knows. So its place is planned for the next tick at the
earliest, and promised to nobody; who was promised it waits for g + e before anything else is done; and a claim is given
up after R, like a hold: the job waits again, at its place, and who keeps it waiting is counted on no more. So what is
done without any input is done once a tick, or once in R.
"""

from typing import TYPE_CHECKING

from leitstand.core.sharing.standing import limit_of

if TYPE_CHECKING:
    from leitstand.core.jobs import Job, Reservation
    from leitstand.core.sharing.fair import Fair
    from leitstand.core.sharing.shares import Node


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
    gone = timeline.ending(by_us)
    view = timeline.view(plan.now, limit_of(job), job.id, ("plan",), gone)
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
