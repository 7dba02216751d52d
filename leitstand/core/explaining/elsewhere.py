# SPDX-License-Identifier: Apache-2.0
"""Where else a waiting job could wait, what each choice counts for, and what the others lack. Called by the faces."""

import msgspec

from leitstand.core.choosing.options import options
from leitstand.core.choosing.score import ranked, sites_of
from leitstand.core.choosing.switching import asked_of
from leitstand.core.facts import Lack, Resources
from leitstand.core.state import State


class Alternative(msgspec.Struct, frozen=True):
    """A pool with one of the job's shapes (`number`, from 0 in its own order). `chosen`: it waits there. `seconds`:
    what it counts for, the sum of `parts`, of which `wait` is the expected wait; the least is chosen. `lack`: why it
    could never run there, None if it could."""

    pool: str
    sites: tuple[str, ...]
    number: int
    shape: Resources
    chosen: bool = False
    seconds: int = 0
    parts: tuple[tuple[str, int], ...] = ()
    lack: Lack | None = None


def alternatives(state: State, job_id: str, now: int) -> tuple[Alternative, ...]:
    """All there are at `now` (µs), the best first, then those that could never run it. () where the job does not wait
    or nobody chooses: one pool and one shape, or a discipline without shares. KeyError: not live."""
    job = state.jobs[job_id]
    if job.state != "pending" or state.rules.discipline != "fair":
        return ()
    asked = asked_of(state, job)
    found = options(state, asked.leaf, asked.shapes)
    if len(found.options) + len(found.lacks) < 2:
        return ()
    here = (job.pool, job.alternative)
    good = [
        Alternative(
            one.option.pool,
            tuple(sites_of(state, asked.shapes[one.option.alternative], one.option.pool)),
            one.option.alternative,
            asked.shapes[one.option.alternative],
            one.option[:2] == here,
            one.seconds,
            one.score.parts,
        )
        for one in ranked(state, asked, found.options, now)
    ]
    bad = [
        Alternative(
            lack.pool,
            tuple(state.pools[lack.pool].topology.sites()),
            lack.alternative,
            asked.shapes[lack.alternative],
            (lack.pool, lack.alternative) == here,
            lack=lack,
        )
        for lack in found.lacks
    ]
    return (*good, *bad)
