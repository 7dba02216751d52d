# SPDX-License-Identifier: Apache-2.0
"""A claim starts before those that were made later, though they share a node. Called by the fair plan for a claim that
finds no room beside all others.

A claim counts as holding its places from when it was made, although its victims are still there. So a later one on the
same node would keep an earlier one from what was freed for that; who comes first takes it, and the later one waits for
the rest, as it would have to.
"""

from typing import TYPE_CHECKING

from leitstand.core.places.fit import Free
from leitstand.core.places.placement import Place
from leitstand.core.sharing.standing import limit_of

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
    window = (plan.now, plan.now + limit_of(job))
    for position, amount in taken.items():
        free = timeline.room(position, window, job.id, ignore, ())
        if any(need > have for need, have in zip(amount, free, strict=True)):
            return None
    return list(mine.places), timeline.view(plan.now, limit_of(job), own=job.id, ignore=ignore)


def _sum(one: _Amount, other: _Amount) -> _Amount:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
