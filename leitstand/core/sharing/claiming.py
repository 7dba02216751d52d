# SPDX-License-Identifier: Apache-2.0
"""Who comes first where claims share a node with others. Called by the fair plan for what is due and finds no room
beside all others.

A claim counts as holding its places from when it was made, although its victims are still there. So a later one on the
same node would keep an earlier one from what was freed for that; who comes first takes it, and the later one waits for
the rest, as it would have to. And it would keep a promise from what is free already; the promise takes that, if the
claim has its own once its victims are gone.
"""

from typing import TYPE_CHECKING

from leitstand.core import facts as f
from leitstand.core.places.fit import Free
from leitstand.core.places.placement import Place, holds
from leitstand.core.places.timeline import ENDING
from leitstand.core.sharing import overdue

if TYPE_CHECKING:
    from leitstand.core.jobs import Job, Reservation
    from leitstand.core.sharing.fair import Fair

_Amount = tuple[int, int, int]  # GPUs, CPU, memory


def before_later(plan: "Fair", job: "Job", made: "Reservation") -> tuple[list[Place], Free] | None:
    """The places of the claim of `job`, with what is free for it there, if they are free beside the claims that were
    made before it; None if they are not, or if parts of GPUs are claimed there."""
    timeline, state = plan.standing.timeline, plan.state
    mine = timeline.reservation(job.id)
    assert mine is not None, "it has a claim"
    taken: dict[int, _Amount] = {}
    later = False
    for position in dict.fromkeys(position for position, _ in mine.places):
        for name in timeline.on(position):
            other = timeline.reservation(name)
            assert other is not None, "it lies on the node"
            if other.kind != "claim":
                continue
            asked = state.jobs[name].resources
            if asked.is_part:
                return None
            later = later or other.number > mine.number
            if other.number <= mine.number:
                for at, gpus in other.places:
                    if at == position:
                        taken[at] = _sum(taken.get(at, (0, 0, 0)), (gpus, *asked.part(gpus)))
    if not later:
        return None
    ignore = ("claim",) if made.moves else ("plan", "claim")
    left_us = overdue.left_us(plan, job)
    window = (plan.now, plan.now + left_us)
    for position, amount in taken.items():
        free = timeline.room(position, window, job.id, ignore, ())
        if any(need > have for need, have in zip(amount, free, strict=True)):
            return None
    return list(mine.places), timeline.view(plan.now, left_us, own=job.id, ignore=ignore)


def beside_claims(plan: "Fair", job: "Job") -> tuple[list[Place], Free] | None:
    """Places for the promise of `job`, with what is free for it there: free now, and beside all claims once everybody
    has gone who was told to end; None if there are none, or if it has parts of GPUs."""
    timeline, asked, left_us = plan.standing.timeline, job.resources, overdue.left_us(plan, job)
    if asked.is_part or not plan.standing.claims:
        return None
    then = timeline.view(plan.now, left_us, job.id, (*f.PLANNED, ENDING))
    places = plan.pool.place(asked, then)
    if places is None:
        return None
    view = timeline.view(plan.now, left_us, job.id, (*f.PLANNED, "claim"))
    return (places, view) if holds(view, asked, places) else None


def _sum(one: _Amount, other: _Amount) -> _Amount:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
