# SPDX-License-Identifier: Apache-2.0
"""Why not now, and what would happen: readings of the state with the same tests that decide. Called by the faces."""

import msgspec
from msgspec.structs import replace

from leitstand.core import budgets
from leitstand.core.admission import Verdict, admit
from leitstand.core.bookings import inside
from leitstand.core.budgets import Payment
from leitstand.core.explaining.affording import affording
from leitstand.core.explaining.remedies import Remedy
from leitstand.core.explaining.why import Reading
from leitstand.core.facts import SubmitJob, Task
from leitstand.core.fleet import Pool
from leitstand.core.jobs import Job
from leitstand.core.places.placement import tasks_of
from leitstand.core.queue import STRICT, rank
from leitstand.core.sharing import keeping, lengths
from leitstand.core.sharing.standing import limit_of
from leitstand.core.state import State
from leitstand.core.waiting import would_block


class Plan(msgspec.Struct, frozen=True):
    """What a job would meet if it were submitted now. `waits_for`: '' (starts now), or one of
    `leitstand.core.explaining.why.REASONS`; `jobs_ahead`: pending jobs of its pool (under `fair` of its
    project) that come first; `payment`: what
    budgets would reserve for it; `micro_eur`: what it would cost at most, 0: no price is in force; `changes`:
    with which it would be admitted, each alone, if no budget can pay it."""

    admitted: bool
    reason: str = ""
    asked: int = 0
    limit: int = 0
    resource: str = ""
    starts_now: bool = False
    waits_for: str = ""
    tasks: tuple[Task, ...] = ()
    jobs_ahead: int = 0
    payment: Payment = Payment()
    micro_eur: int = 0
    changes: tuple[Remedy, ...] = ()


def plan(state: State, asked: SubmitJob, now: int) -> Plan:
    """The plan at `now` (µs) for a job of a known tenant and project; changes nothing."""
    verdict = admit(state, asked, now)
    if verdict.reason:
        return Plan(False, *verdict[:4], changes=affording(state, asked, now, verdict))
    if verdict.alternative:
        asked = replace(asked, resources=asked.alternatives[verdict.alternative - 1])
    pool = state.pools[verdict.pool]
    price = budgets.price_of(state.rules, state.tenants[asked.tenant], verdict.pool)
    charge_milli = 0 if asked.booking else keeping.charge_of(state, verdict.pool, asked.resources)
    milli_us = budgets.most(asked.resources, charge_milli) * verdict.max_duration_us
    made = Plan(True, payment=verdict.payment, micro_eur=budgets.euros(milli_us, price))
    order = rank(state.rules.discipline, asked.priority, asked.expected_us, verdict.max_duration_us)
    ahead = _ahead(pool, order, state.submitted + 1)
    if block := would_block(state, asked, now):
        return replace(made, waits_for=block, jobs_ahead=ahead)
    if asked.booking:
        return _inside(state, asked, made)
    if state.rules.discipline in STRICT and ahead:
        return replace(made, waits_for="order", jobs_ahead=ahead)
    if pool.standing is not None:
        return _shared(state, asked, verdict, made, now)
    places = None
    if asked.resources not in pool.queue.classes:  # else one of its own class waits already
        places = pool.find(asked.resources)
    if places is None:
        return replace(made, waits_for="capacity", jobs_ahead=ahead)
    tasks = tasks_of(places, pool.free, pool.names, asked.resources.gpu_milli, asked.resources.mig)
    return replace(made, starts_now=True, tasks=tasks, jobs_ahead=ahead)


def waits_for(state: State, job_id: str, now: int = 0) -> str:
    """The binding reason of a pending job at `now` (µs; it matters under `fair` alone), one of
    `leitstand.core.explaining.why.REASONS`; '' for a job that does not wait. KeyError: not live. For
    many jobs ask one `Reading`."""
    job = state.jobs[job_id]
    return Reading(state, now).reason(job) if job.state == "pending" else ""


def _inside(state: State, asked: SubmitJob, made: Plan) -> Plan:
    """The same in a booking, which has paid."""
    booking = inside.named(state, asked)
    assert booking is not None, "it was admitted"
    pool, made = state.pools[booking.pool], replace(made, micro_eur=0)
    made = replace(made, jobs_ahead=len(state.inside.waiting.get(booking.id, ())))
    view = inside.free(state, booking)
    places = pool.place(asked.resources, view) if booking.step == "begun" else None
    if places is None:
        return replace(made, waits_for="booking")
    tasks = tasks_of(places, view, pool.names, asked.resources.gpu_milli)
    return replace(made, starts_now=True, tasks=tasks)


def _shared(state: State, asked: SubmitJob, verdict: Verdict, made: Plan, now: int) -> Plan:
    """The same under `fair`."""
    pool, reading = state.pools[verdict.pool], Reading(state, now)
    job = Job(
        f"{asked.tenant}-{state.tenants[asked.tenant].jobs + 1}",
        state.submitted + 1,
        asked.tenant,
        asked.project,
        asked.user,
        asked.resources,
        asked.priority,
        verdict.max_duration_us,
        asked.expected_us,
        "",
        now,
        pool=verdict.pool,
        state="pending",
        charge_milli=keeping.charge_of(state, verdict.pool, asked.resources),
    )
    job.predicted_us = lengths.predict(state, job)
    trial = reading.trial(verdict.pool)
    made = replace(made, jobs_ahead=reading.ahead(job))
    binding = reading.binding(job)
    places = trial.starts(job) if binding.reason == "order" and not binding.job else None
    if places is None:
        return replace(made, waits_for=binding.reason)
    view = trial.standing.timeline.view(now, limit_of(job))
    tasks = tasks_of(places, view, pool.names, asked.resources.gpu_milli, asked.resources.mig)
    return replace(made, starts_now=True, tasks=tasks)


def _ahead(pool: Pool, order: int, number: int) -> int:
    """Pending jobs with a smaller key."""
    waiting = pool.queue.waiting
    return sum(
        key[:2] < (order, number) and key[2] in waiting
        for heap in pool.queue.classes.values()
        for key in heap
    )
