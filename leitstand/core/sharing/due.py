# SPDX-License-Identifier: Apache-2.0
"""Reservations whose time has come: each starts, or changes into what is next best. Called by the fair plan."""

from typing import TYPE_CHECKING

from leitstand.core import facts as f
from leitstand.core.places.fit import Free
from leitstand.core.places.placement import Place, holds
from leitstand.core.places.timeline import Reservation as Known
from leitstand.core.sharing import overdue, repair
from leitstand.core.sharing.claiming import before_later, beside_claims
from leitstand.core.sharing.heads import may_serve
from leitstand.core.sharing.shares import Node

if TYPE_CHECKING:
    from leitstand.core.jobs import Job, Reservation
    from leitstand.core.sharing.fair import Fair


def start_due(plan: "Fair") -> None:
    """Start what is due and free; claims come first, then what was reserved for the earliest time."""
    standing = plan.standing
    plan.moved |= standing.timeline.moved()
    due = standing.timeline.due(plan.now)
    for job_id in sorted(due, key=lambda id: _order(plan, id)):
        if not plan._may_start():
            return
        known = standing.timeline.reservation(job_id)
        if known is None or known.kind == "hold":  # what was due before it took its place
            continue
        if overdue.is_lost(plan, job_id):
            plan._drop(job_id, "expired")
            continue
        if plan.state.jobs[job_id].run:  # it moves: its run has not ended
            continue
        if plan.tried.get(job_id) == known.number and not _may_find(plan, known):
            continue
        plan.tried[job_id] = known.number
        start(plan, plan.state.jobs[job_id])
    plan.moved = {}


def _may_find(plan: "Fair", known: Known) -> bool:
    """Whether anything changed since it was tried on a node that may be of use to it: it starts wherever it fits."""
    asked, free = plan.state.jobs[known.job].resources, plan.pool.free
    own = {at for at, _ in known.places}
    return any(at in own or may_serve(asked, at, free) for at in plan.moved)


def _order(plan: "Fair", job_id: str) -> tuple[bool, int, int]:
    made = plan.state.reservations[job_id]
    return made.kind != "claim", made.start_us, plan.state.jobs[job_id].number


def start(plan: "Fair", job: "Job") -> None:
    """Start a job where it has a reservation, if that is free; else it waits, or what it was given changes."""
    made = plan.state.reservations[job.id]
    leaf = plan.standing.tree.node(plan.state.leaf(job))
    if _may_hold(plan, job.resources) and (
        made.kind == "claim" or not plan._forbidden(leaf, job.charge_milli)
    ):
        found = _found(plan, job, made)
        if found is not None and overdue.delays_nobody(plan, job, found[0]):
            places, view = found
            plan._start(job, leaf, places, view)
            plan._displace(places)
            repair.give_way(plan, places)
            return
    if made.kind == "promise":
        _keep(plan, job, leaf, made)
    elif made.kind in f.PLANNED:  # what comes later must not wait for it
        plan._drop(job.id, "replanned")


def _may_hold(plan: "Fair", asked: f.Resources) -> bool:
    """Whether as many GPUs are free as it asks for: most who wait for what is being freed find that they are not,
    and this is known sooner than where they would go."""
    free = enumerate(plan.pool.free.levels)
    return asked.is_part or asked.gpus <= sum(size * nodes.bit_count() for size, nodes in free)


def _found(plan: "Fair", job: "Job", made: "Reservation") -> tuple[list[Place], Free] | None:
    """Places for what is due, in what is free; None if there are none."""
    timeline, left_us = plan.standing.timeline, overdue.left_us(plan, job)
    ignore = () if made.kind in f.PLANNED or made.moves else f.PLANNED
    view = timeline.view(plan.now, left_us, own=job.id, ignore=ignore)
    places = _places(plan, job, made, view)
    if places is not None:
        return places, view
    if made.kind == "claim":
        return before_later(plan, job, made)
    if made.kind != "promise":
        return None
    if plan.standing.failed:
        view = timeline.view(plan.now, left_us, own=job.id, ignore=(*f.PLANNED, "hold"))
        places = plan.pool.place(job.resources, view)
    return beside_claims(plan, job) if places is None else (places, view)


def _places(plan: "Fair", job: "Job", made: "Reservation", view: Free) -> list[Place] | None:
    """Where a reservation starts: the end of a move where it holds places, all others where they fit best."""
    places = plan.state.places(made.tasks)
    if made.moves and holds(view, job.resources, places):
        return places
    return plan.pool.place(job.resources, view)


def _keep(plan: "Fair", job: "Job", leaf: Node, made: "Reservation") -> None:
    """A promise is due and cannot start as it is: it waits for who is late; else what is owed is taken back for it;
    where that is not enough, because capacity was lost or an engine is late, it is broken by name and the job gets the
    next best."""
    if overdue.may_wait(plan, job, leaf, made):
        del plan.tried[job.id]  # the next plan looks again
        return
    act = plan._act(job, leaf)
    if act is not None:
        plan._carry_out(job, leaf, act)
        return
    cause = "overdue" if overdue.is_kept_out(plan, job, made) else "capacity_lost"
    plan.emit(f.PromiseBroken(job.id, cause, made.start_us))
    plan._drop(job.id, "failed")
