# SPDX-License-Identifier: Apache-2.0
"""Whether it is maintenance that a job waits for: it would find places if no node was or would be closed, and finds
none as it is. Called by explanations."""

from leitstand.core.fleet import Pool
from leitstand.core.jobs import Job
from leitstand.core.maintenance.windows import Window
from leitstand.core.places.closures import Closures
from leitstand.core.places.fit import Free, positions_of
from leitstand.core.sharing.standing import limit_of
from leitstand.core.state import State


def in_the_way(state: State, pool: Pool, job: Job, now: int) -> Window | None:
    """The window that begins first of those on the places that the job would have without any; None: it would have none
    either, or has some as it is."""
    until_us = now + limit_of(job)
    closures = pool.closures
    if not closures.within(now, until_us) or _places(pool, pool.free, job, now) is not None:
        return None
    opened = pool.free.copy()
    for position in positions_of(closures.down):
        if state.nodes[pool.names[position]].in_service:
            opened.restore(position)
    free: Free = opened
    if pool.standing is not None:
        free = pool.standing.timeline.copy(Closures(), opened).view(now, limit_of(job), own=job.id)
    places = pool.place(job.resources, free)
    nodes = {pool.names[position] for position, _ in places or ()}
    found = [
        window
        for window in state.maintenance.windows.values()
        if window.from_us < until_us and window.span[1] > now and any(node in nodes for node in window.nodes)
    ]
    return min(found, key=lambda window: (window.from_us, window.id), default=None)


def _places(pool: Pool, free: Free, job: Job, now: int) -> object | None:
    """Places as things are."""
    if pool.standing is not None:
        free = pool.standing.timeline.view(now, limit_of(job), own=job.id)
    return pool.place(job.resources, free)
