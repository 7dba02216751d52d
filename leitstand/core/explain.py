# SPDX-License-Identifier: Apache-2.0
"""Why not now, and what would happen: readings of the state with the same tests that decide. Called by the faces."""

import msgspec
from msgspec.structs import replace

from leitstand.core import budgets
from leitstand.core.admission import admit
from leitstand.core.budgets import Payment
from leitstand.core.facts import SubmitJob, Task
from leitstand.core.placement import tasks_of
from leitstand.core.queue import STRICT, rank
from leitstand.core.state import Pool, State
from leitstand.core.waiting import blocked, would_block


class Plan(msgspec.Struct, frozen=True):
    """What a job would meet if it were submitted now. `waits_for`: '' (starts now), `held`, `begin_time`, `dependency`,
    `order` (others come first) or `capacity`; `jobs_ahead`: pending jobs of its pool that come first; `payment`: what
    budgets would reserve for it; `micro_eur`: what it would cost at most, 0: no price is in force."""

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


def plan(state: State, asked: SubmitJob, now: int) -> Plan:
    """The plan at `now` (µs) for a job of a known tenant and project; changes nothing."""
    verdict = admit(state, asked, now)
    if verdict.reason:
        return Plan(False, *verdict[:4])
    if verdict.alternative:
        asked = replace(asked, resources=asked.alternatives[verdict.alternative - 1])
    pool = state.pools[verdict.pool]
    price = budgets.price_of(state.rules, state.tenants[asked.tenant])
    charge_milli = state.charge(verdict.pool, asked.resources)
    milli_us = budgets.most(asked.resources, charge_milli) * verdict.max_duration_us
    made = Plan(True, payment=verdict.payment, micro_eur=budgets.euros(milli_us, price))
    order = rank(state.rules.discipline, asked.priority, asked.expected_us, verdict.max_duration_us)
    ahead = _ahead(pool, order, state.submitted + 1)
    if block := would_block(state, asked, now):
        return replace(made, waits_for=block, jobs_ahead=ahead)
    if state.rules.discipline in STRICT and ahead:
        return replace(made, waits_for="order", jobs_ahead=ahead)
    places = None
    if asked.resources not in pool.queue.classes:  # else one of its own class waits already
        places = pool.find(asked.resources)
    if places is None:
        return replace(made, waits_for="capacity", jobs_ahead=ahead)
    tasks = tasks_of(places, pool.free, pool.names, asked.resources.gpu_milli)
    return replace(made, starts_now=True, tasks=tasks, jobs_ahead=ahead)


def waits_for(state: State, job_id: str) -> str:
    """Why a pending job does not run: one of BLOCKS of `leitstand.core.waiting`, `order`, `capacity`, or
    `no_such_capacity` if the fleet has become too small for it; '' for a job that does not wait. KeyError: not live."""
    job = state.jobs[job_id]
    if job.state != "pending":
        return ""
    if block := blocked(state, job):
        return block
    pool = state.pools[job.pool]
    if pool.find(job.resources) is not None:
        return "order"
    return "capacity" if pool.could_hold(job.resources) else "no_such_capacity"


def _ahead(pool: Pool, order: int, number: int) -> int:
    """Pending jobs with a smaller key."""
    waiting = pool.queue.waiting
    return sum(
        key[:2] < (order, number) and key[2] in waiting
        for heap in pool.queue.classes.values()
        for key in heap
    )
