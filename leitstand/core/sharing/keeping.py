# SPDX-License-Identifier: Apache-2.0
"""Keeps the standing of each pool up to date with facts, nodes, contracts and time. Part of the state."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from leitstand.core import facts as f
from leitstand.core.bookings import booked
from leitstand.core.fact import Fact
from leitstand.core.sharing import entitlements
from leitstand.core.sharing.standing import Standing, charge

if TYPE_CHECKING:
    from leitstand.core.fleet import Pool
    from leitstand.core.jobs import Job, Run
    from leitstand.core.state import State


class Lags(msgspec.Struct, omit_defaults=True):
    """What the shares of a pool remember: lag by node of the tree, taken up last at `ticked_us`, and what runs that
    began or ended since have `missed`; until when projects were called (0: by the tick), and how many runs were
    told to move since the tick."""

    ticked_us: int
    nodes: list[tuple[str, int]]
    missed: list[tuple[str, int]]
    called_us: int = 0
    moved: int = 0


def remember(state: "State", lags: dict[str, Lags]) -> None:
    """Give the shares of each pool, made anew, their memory; what made them anew was no usage."""
    for name, pool in state.pools.items():
        if pool.standing is None:
            continue
        tree, known = pool.standing.tree, lags.get(name)
        for node in tree.nodes.values():
            node.missed = 0
        if known is not None:
            tree.ticked_us = known.ticked_us
            pool.standing.called_us = known.called_us or known.ticked_us
            pool.standing.moved = known.moved
            for path, lag in known.nodes:
                tree.node(path).lag = lag
            for path, missed in known.missed:
                tree.node(path).missed = missed


def stand(state: "State") -> None:
    """Make anew what the fair plan knows of each pool, but for what waits and for what shares remember; nothing under
    another discipline."""
    for pool in state.pools.values():
        pool.standing = standing_of(state, pool)
    if state.rules.discipline != "fair":
        state.reservations.clear()
        return
    for job in state.jobs.values():
        if job.pool and not job.charge_milli and job.booking is msgspec.UNSET:
            # admitted under rules that do not charge
            job.charge_milli = charge_of(state, job.pool, job.resources)
    for run in state.runs.values():
        job = state.jobs[run.job]
        standing = state.pools[job.pool].standing
        assert standing is not None, "every pool has a standing"
        standing.place(job, run, state.leaf(job), state.places(run.tasks), run.pinned_us)
        if run.has_started:
            standing.started(job, run)
        if run.leaving:
            standing.resize(job, run, state.places(run.tasks), state.places(run.leaving))
        if run.stopping:
            standing.stop(job, run, stopped_by(state, run), run.stopping in f.AGAIN)


def standing_of(state: "State", pool: "Pool") -> Standing | None:
    if state.rules.discipline != "fair":
        return None
    sharing = state.rules.sharing
    standing = Standing(
        pool.free, pool.whole, pool.closures, sharing.reservations_leaf_max, clock=state.clock
    )
    standing.freed_us = sharing.freed_us
    for name, weight in sharing.weights.items():
        standing.tree.node(name, weight)
    return standing


def charge_of(state: "State", name: str, asked: f.Resources) -> int:
    """What a job counts for in a pool, milli; under rules that do not charge 0, but for MIG instances: budgets could
    not tell how large they are."""
    pool = state.pools[name]
    own = pool.instance_milli(asked) * max(asked.nodes, 1) if asked.mig else 0
    return charge(asked, pool.amounts(), own) if state.rules.discipline == "fair" else own


def refresh(state: "State", name: str, at: int) -> None:
    """Bring the shares of a pool up to date with its nodes and with what time alone changes."""
    pool = state.pools[name]
    standing = pool.standing
    if standing is not None:
        standing.tree.resize(pool.capacity())
        entitlements.refresh(standing.tree, state, name, at)
        late_us = standing.tree.recall_us(state.rules.sharing.recall_us) - standing.freed_us
        standing.advance(at, state, late_us)
        booked.call(state, name, at)


def catch_up(state: "State", job: "Job", run: "Run", at: int) -> None:
    """Before something becomes of a run that should have ended: what time alone made of it counts, whether or not a
    plan looked since."""
    standing = state.pools[job.pool].standing
    if standing is not None and standing.told_by.get(run.id, at + 1) <= at:
        refresh(state, job.pool, at)


def stopped_by(state: "State", run: "Run") -> int:
    return run.stopped_us + state.rules.sharing.freed_us


def call_first(state: "State", job: "Job", at: int) -> None:
    """A failure took something from the job: from now on it is asked before anybody's turn, until it starts."""
    standing = state.pools[job.pool].standing
    if standing is not None:
        job.failed_us = job.failed_us or at
        standing.failed[job.id] = None


def call_no_more(state: "State", job: "Job") -> None:
    """It started, or it is over."""
    standing = state.pools[job.pool].standing if job.failed_us else None
    job.failed_us = 0
    if standing is not None:
        standing.failed.pop(job.id, None)


def lags_of(state: "State") -> dict[str, Lags]:
    return {
        name: Lags(
            pool.standing.ticked_us,
            sorted((node.id, node.lag) for node in pool.standing.tree.nodes.values() if node.lag),
            sorted((node.id, node.missed) for node in pool.standing.tree.nodes.values() if node.missed),
            0 if pool.standing.called_us == pool.standing.ticked_us else pool.standing.called_us,
            pool.standing.moved,
        )
        for name, pool in state.pools.items()
        if pool.standing is not None
    }


def _shares_ticked(state: "State", at: int, fact: f.SharesTicked) -> None:
    standing = state.pools[fact.pool].standing
    if standing is not None:
        refresh(state, fact.pool, at)
        standing.tree.tick(fact.ticks, state.rules.sharing)
        standing.called_us = standing.ticked_us
        standing.moved = 0


def _projects_called(state: "State", at: int, fact: f.ProjectsCalled) -> None:
    standing = state.pools[fact.pool].standing
    if standing is not None:
        standing.called_us = fact.until_us


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {
    f.SharesTicked: _shares_ticked,
    f.ProjectsCalled: _projects_called,
}
