# SPDX-License-Identifier: Apache-2.0
"""Waiting jobs that go to another pool or shape: at ticks, and when nodes come or go. Called by the cycle.

Only a bounded number is looked at, the heads of all projects first. A job switches if that gains enough, and needs more
for each further time, so that none goes to and fro. Who holds a reservation gives it up for an earlier one alone, who
holds a promise for an earlier promise alone; that is made at once.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from leitstand.core import budgets
from leitstand.core import facts as f
from leitstand.core.budgets import Need, Payment, Short
from leitstand.core.choosing.options import Option, options
from leitstand.core.choosing.score import Asked, Choice, ranked
from leitstand.core.places.cutting import Asker, tasks_held
from leitstand.core.places.placement import Place
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing import keeping
from leitstand.core.sharing.fair import Fair
from leitstand.core.units import SECOND_US

if TYPE_CHECKING:
    from leitstand.core.jobs import Job
    from leitstand.core.sharing.standing import Standing
    from leitstand.core.state import State


class Offer(NamedTuple):
    """A reservation in another pool."""

    kind: str
    start_us: int
    places: list[Place]


def switch(state: "State", now: int, emit: Callable[[f.Fact], None]) -> dict[str, None]:
    """Let the heads of waiting jobs switch at `now` (µs); the pools that lost or won one. `emit` records, applies."""
    if not _can_choose(state):
        return {}
    touched: dict[str, None] = {}
    choosing, reserved = state.rules.choosing, 0
    for name in state.pools:
        keeping.refresh(state, name, now)
    for job_id in list(islice(_heads(state, now), choosing.looked_max)):
        job = state.jobs[job_id]
        held = job_id in state.reservations
        if held and reserved >= choosing.reservations_max:
            continue
        reserved += held
        before = job.pool
        for fact in _switched(state, job, now):
            emit(fact)
            touched[before] = touched[job.pool] = None
    return touched


def next_wake(state: "State") -> int | None:
    """When the next tick is for jobs that could go elsewhere, in case that nothing runs where they wait."""
    if not _can_choose(state):
        return None
    standings = list(_standings(state).values())
    if not any(one.waiting for one in standings) or not any(one.tree.held for one in standings):
        return None
    return min(one.ticked_us for one in standings) + state.rules.sharing.tick_us


def asked_of(state: "State", job: "Job") -> Asked:
    """What choosing needs of a job that waits, or would."""
    made = state.reservations.get(job.id)
    standing = state.pools[job.pool].standing
    waits = standing is not None and job.id in standing.waiting
    return Asked(
        state.leaf(job),
        job.shapes or (job.resources,),
        job.max_duration_us or INFINITY,
        job.data_sites,
        job.id,
        job.pool if waits else "",
        job.charge_milli,
        made.start_us if made is not None else 0,
    )


# ── whom to look at ───────────────────────────────────────────────────────────────────────────────────────────────
def _can_choose(state: "State") -> bool:
    """Whether there is anything to choose: several pools, or shapes of a job that waits."""
    rules = state.rules
    if rules.discipline != "fair":
        return False
    several = len(state.pools) > 1 and not rules.static
    return several or any(one.choosy for one in _standings(state).values())


def _standings(state: "State") -> "dict[str, Standing]":
    return {name: pool.standing for name, pool in state.pools.items() if pool.standing is not None}


def _heads(state: "State", now: int) -> Iterator[str]:
    """Waiting jobs: the first of every project in every pool, then the second, …; where that is more than is looked at,
    each tick begins at another project."""
    most = state.rules.choosing.looked_max
    lines = [line for standing in _standings(state).values() for _, line in sorted(standing.lines.items())]
    if not lines:
        return
    first = now // state.rules.sharing.tick_us * most % len(lines) if len(lines) > most else 0
    lines = (lines[first:] + lines[:first])[:most]
    each = -(-most // len(lines))
    heads = [line.order[:each] for line in lines]
    for rank in range(each):
        for keys in heads:
            if rank < len(keys):
                yield keys[rank][0][-1]


# ── one job ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _switched(state: "State", job: "Job", now: int) -> list[f.Fact]:
    """The facts with which it goes to the best that gains enough; none if it stays."""
    asked = asked_of(state, job)
    found = options(state, asked.leaf, asked.shapes).options
    here = (job.pool, job.alternative)
    if not any((one.pool, one.alternative) != here for one in found):
        return []
    choices = ranked(state, asked, found, now)
    stays = next((one for one in choices if one.option[:2] == here), None)
    needed = state.rules.choosing.gain_s * (1 + job.switches)
    for choice in choices:
        gain = 0 if stays is None else stays.seconds - choice.seconds
        if choice is stays or (stays is not None and gain < needed):
            return []
        payment = _paid(state, job, choice, now)
        if isinstance(payment, Short):
            continue
        offer = _offer(state, job, choice, now)
        if stays is not None and job.id in state.reservations and not _is_better(state, job, offer):
            continue
        fact = f.JobSwitched(job.id, *choice.option, *payment, choice.score.parts, gain)
        broken = _broken(state, job, offer)
        if offer is None or (offer.start_us <= now and offer.kind != "promise"):
            return [*broken, fact]
        tasks = _tasks_held(state, job, choice.option, offer, now)
        return [*broken, fact, f.CapacityReserved(job.id, offer.kind, offer.start_us, tasks)]
    return []


def _broken(state: "State", job: "Job", offer: Offer | None) -> list[f.Fact]:
    """That a promise is broken, if the job goes because it can stay no more, and has none so early elsewhere."""
    made = state.reservations.get(job.id)
    if made is None or made.kind != "promise":
        return []
    if offer is not None and offer.kind == "promise" and offer.start_us <= made.start_us:
        return []
    new_us = 0 if offer is None else offer.start_us
    return [f.PromiseBroken(job.id, "capacity_lost", made.start_us, new_us)]


def _tasks_held(state: "State", job: "Job", option: Option, offer: Offer, now: int) -> tuple[f.Task, ...]:
    """What its reservation there holds."""
    pool, shape = state.pools[option.pool], (job.shapes or (job.resources,))[option.alternative]
    assert pool.standing is not None, "it has a reservation"
    start_us = max(offer.start_us, now)
    asker = Asker(now, start_us, min(start_us + (job.max_duration_us or INFINITY), INFINITY), job.id)
    return tasks_held(pool.standing.timeline, shape, offer.places, pool.names, asker)


def _paid(state: "State", job: "Job", choice: Choice, now: int) -> Payment | Short:
    option, tenant = choice.option, state.tenants[job.tenant]
    shape = (job.shapes or (job.resources,))[option.alternative]
    most = budgets.most(shape, option.charge_milli) if budgets.has_gpus(state, option.pool) else 0
    return budgets.reserve(state, tenant, Need(most, job.max_duration_us, option.pool), now, job.reserved)


def _is_better(state: "State", job: "Job", offer: Offer | None) -> bool:
    """Whether it starts earlier by what a switch has to gain, and a promise is not given up for less."""
    made = state.reservations[job.id]
    if offer is None:
        return False
    gain_us = state.rules.choosing.gain_s * (1 + job.switches) * SECOND_US
    return offer.start_us + gain_us <= made.start_us and (made.kind != "promise" or offer.kind == "promise")


def _offer(state: "State", job: "Job", choice: Choice, now: int) -> Offer | None:
    """The earliest reservation that it could have there; None: it holds none, or could not have one."""
    if job.id not in state.reservations:
        return None
    option = choice.option
    shape = (job.shapes or (job.resources,))[option.alternative]
    moved = replace(job, pool=option.pool, resources=shape, charge_milli=option.charge_milli)
    return _Asking(state, option.pool, now).offer(moved)


class _Asking(Fair):
    """The plan of another pool, asked for a reservation and deciding nothing."""

    def __init__(self, state: "State", name: str, now: int) -> None:
        super().__init__(state, name, _decides_nothing)
        self.now = now

    def offer(self, job: "Job") -> Offer | None:
        leaf = self.standing.tree.node(self.state.leaf(job))
        limit_us = job.max_duration_us or INFINITY
        if self.standing.reserved.get(leaf.id, 0) >= self.state.rules.sharing.reservations_leaf_max:
            return None
        open_us = self.usage.reserved().earliest(leaf, job.charge_milli, limit_us)
        if open_us is None:
            return None
        found = self.standing.timeline.earliest(
            job.resources,
            self.now,
            limit_us,
            lambda view: self.pool.place(job.resources, view),
            where=self.pool.where(job.resources),
            after_us=open_us,
        )
        if found is None:
            return None
        kind = "promise" if self.usage.is_safe(job, leaf, found[0]) else "plan"
        return Offer(kind, found[0], found[1])


def _decides_nothing(fact: f.Fact) -> None:
    raise AssertionError(f"a question decides {type(fact).__name__}")
