# SPDX-License-Identifier: Apache-2.0
"""Who may run what, at all: could the job ever run? Pure checks before a job queues. Called by the cycle and the plan.

A refusal is a decision with a reason from `REASONS`, the amount asked and the limit; it is recorded.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from leitstand.core import budgets
from leitstand.core.bookings import inside
from leitstand.core.budgets import Need, Payment, Short
from leitstand.core.choosing.options import Option, options
from leitstand.core.choosing.score import Asked, ranked
from leitstand.core.facts import RETRIES_MAX, Lack, Parts, Resources, SubmitJob
from leitstand.core.jobs import least
from leitstand.core.places.fit import WHOLE_MILLI
from leitstand.core.places.mig import is_profile
from leitstand.core.places.placement import SHAPES_MAX
from leitstand.core.sharing import entitlements
from leitstand.core.state import State
from leitstand.core.tenancy import WORKING
from leitstand.core.waiting import dependency_fault

REASONS: Final = {
    "shape": "an amount of the gang does not divide by its number of nodes",
    "limit": "an amount or a duration is over what the rules or this version allow",
    "gang_too_wide": "more tasks than one placement can record",
    "tenant_suspended": "the tenant is suspended",
    "tenant_exit": "the tenant has left; its data can be fetched",
    "project_closed": "the project takes no new job",
    "unknown_level": "no site has a level of the topology with this name",
    "no_such_capacity": "no fleet of this kind could ever hold the job",
    "unknown_dependency": "it waits for a job that is not one of its tenant, or ended too long ago",
    "dependency_failed": "it waits for a job that ended otherwise",
    "deadline": "its time limit does not fit before its deadline",
    "entitlement": "more than the entitlements of its project, tenant or class ever let run at once",
    "unknown_booking": "there is no such booking of its project, or no longer",
    "booking": "the booking that it names could not hold it, or has too many jobs",
    "budget": "no budget that lasts until the job's end has enough left for its whole time limit",
}
# What `asked` and `limit` of a refusal count; '' where no single amount is to blame.
RESOURCES: Final = (
    "gpus",
    "nodes",
    "cpus_milli",
    "memory_mib",
    "max_duration_us",
    "expected_us",
    "gpus_per_node",
    "cpus_milli_per_node",
    "memory_mib_per_node",
    "retries",
    "checkpoint_every_us",
    "begin_us",
    "deadline_us",
    "after",
    "charge_milli",
    "gpu_us",
    "micro_eur",
    "gpu_milli",
    "gpu_type",
    "mig",
    "sites",
    "jurisdiction",
    "partners",
    "level",
    "nodes_max",
    "slice_nodes",
    "",
)

_NOTHING: Final = Payment()
NODES_MAX: Final = 10_000  # of one gang
GPUS_MAX: Final = 100_000
AMOUNT_MAX: Final = 2**53  # of CPU and memory: exact in every JSON reader


class Verdict(NamedTuple):
    """`reason` '': admitted to `pool` with `max_duration_us`, paid by `payment`, to wait with the shape `alternative`
    (0: `resources`), which counts for `score` if there was a choice; else refused, `asked` of `resource` against
    `limit`, and `lacks` tells of each pool and shape."""

    reason: str
    asked: int = 0
    limit: int = 0
    resource: str = ""
    pool: str = ""
    max_duration_us: int = 0
    payment: Payment = Payment()
    alternative: int = 0
    score: Parts = ()
    lacks: tuple[Lack, ...] = ()


def admit(state: State, job: SubmitJob, now: int) -> Verdict:
    """The verdict at `now` (µs) on a job of a known tenant. It waits in the pool and with the shape that is chosen of
    those that could ever run it (`leitstand.core.choosing`); if none could, the nearest says why."""
    shapes = (job.resources, *job.alternatives)
    for shape in shapes:
        fault = _size_fault(shape) or _amount_fault(job) or _shape_fault(shape, job.elastic)
        if fault is not None:
            return fault
    if job.elastic:
        shapes = tuple(least(shape) for shape in shapes)
    tenant = state.tenants[job.tenant]
    duration = job.max_duration_us or state.rules.max_duration_default_us[tenant.tenant_class]
    if (fault := _fault(state, job, now, duration)) is not None:
        return fault
    if job.booking:
        return _in_booking(state, job, duration)
    leaf = entitlements.node_of(tenant, job.project)
    found = options(state, leaf, shapes)
    if not found.options:
        lack = found.furthest()
        return Verdict(lack.reason, lack.asked, lack.limit, lack.resource, lacks=found.recorded())
    refused = None
    ways: list[tuple[Option, Parts]] = [(found.options[0], ())]  # without shares the first is taken
    if state.rules.discipline == "fair" and len(found.options) > 1:
        asked = Asked(leaf, shapes, duration, job.data_sites)
        ways = [(choice.option, choice.score.parts) for choice in ranked(state, asked, found.options, now)]
    for option, score in ways:
        shape = shapes[option.alternative]
        payment: Payment | Short = _NOTHING
        if budgets.is_limited(state.rules, tenant):
            most = budgets.most(shape, option.charge_milli) if budgets.has_gpus(state, option.pool) else 0
            payment = budgets.reserve(state, tenant, Need(most, duration, option.pool), now)
        if not isinstance(payment, Short):
            return Verdict("", 0, 0, "", option.pool, duration, payment, option.alternative, score)
        refused = refused or Verdict("budget", *payment)
    assert refused is not None, "there was an option"
    return refused


def _in_booking(state: State, job: SubmitJob, duration: int) -> Verdict:
    """It waits with the first of its shapes that its booking could hold; that has paid for it."""
    booking = inside.named(state, job)
    if booking is None:
        return Verdict("unknown_booking")
    named = len(state.inside.jobs.get(booking.id, ()))
    if named >= inside.JOBS_MAX:
        return Verdict("booking", named + 1, inside.JOBS_MAX)
    lacks = [inside.lacking(state, booking, shape) for shape in (job.resources, *job.alternatives)]
    if None not in lacks:
        return Verdict("booking", *(lacks[0] or ()))
    return Verdict("", pool=booking.pool, max_duration_us=duration, alternative=lacks.index(None))


def _fault(state: State, job: SubmitJob, now: int, duration: int) -> Verdict | None:
    """What no pool can help against."""
    rules = state.rules
    tenant = state.tenants[job.tenant]
    if tenant.stage not in WORKING:
        return Verdict("tenant_exit")
    if tenant.suspended:
        return Verdict("tenant_suspended")
    if not tenant.projects[job.project]:
        return Verdict("project_closed")
    if duration > rules.max_duration_limit_us:
        return Verdict("limit", duration, rules.max_duration_limit_us, "max_duration_us")
    why, number = dependency_fault(state, job.tenant, job.after) if job.after else ("", 0)
    if why:
        return Verdict(why, number, 0, "after")
    start = max(now, job.begin_us)
    if job.deadline_us and start + duration > job.deadline_us:
        return Verdict("deadline", duration, max(job.deadline_us - start, 0), "max_duration_us")
    return None


def _amount_fault(job: SubmitJob) -> Verdict | None:
    for amount, limit, resource in (
        (job.max_duration_us, AMOUNT_MAX, "max_duration_us"),
        (job.expected_us, AMOUNT_MAX, "expected_us"),
        (job.retries, RETRIES_MAX, "retries"),
        (job.checkpoint_every_us, AMOUNT_MAX, "checkpoint_every_us"),
        (job.begin_us, AMOUNT_MAX, "begin_us"),
        (job.deadline_us, AMOUNT_MAX, "deadline_us"),
    ):
        if not 0 <= amount <= limit:
            return Verdict("limit", amount, limit, resource)
    return None


@lru_cache(SHAPES_MAX)
def _size_fault(asked: Resources) -> Verdict | None:
    for amount, limit, resource in (
        (asked.gpus, GPUS_MAX, "gpus"),
        (asked.nodes, NODES_MAX, "nodes"),
        (asked.nodes_max, NODES_MAX, "nodes_max"),
        (asked.slice_nodes, NODES_MAX, "slice_nodes"),
        (asked.gpu_milli, WHOLE_MILLI, "gpu_milli"),
        (asked.cpus_milli, AMOUNT_MAX, "cpus_milli"),
        (asked.memory_mib, AMOUNT_MAX, "memory_mib"),
    ):
        if not 0 <= amount <= limit:
            return Verdict("limit", amount, limit, resource)
    return None


@lru_cache(SHAPES_MAX)
def _shape_fault(asked: Resources, elastic: bool) -> Verdict | None:
    if asked.nodes == 0 and asked.gpus == 0:
        return Verdict("shape", 0, 1, "gpus")
    if asked.nodes > 1:
        for amount, resource in (
            (asked.gpus, "gpus"),
            (asked.cpus_milli, "cpus_milli"),
            (asked.memory_mib, "memory_mib"),
        ):
            if amount % asked.nodes:
                return Verdict("shape", amount, asked.nodes, resource)
    if elastic and asked.nodes_max and not asked.gpus:
        return Verdict("shape", asked.gpus, asked.nodes, "gpus")
    if asked.gpu_milli and asked.gpus:
        return Verdict("shape", asked.gpus, 0, "gpu_milli")
    if asked.mig and (asked.gpus or asked.gpu_milli or not asked.nodes or not is_profile(asked.mig)):
        return Verdict("shape", asked.gpus, 0, "mig")
    if asked.nodes_max and not 0 < asked.nodes <= asked.nodes_max:
        return Verdict("shape", asked.nodes_max, asked.nodes, "nodes_max")
    group = asked.slice_nodes
    if bool(group) != bool(asked.slice_level) or (group and not asked.nodes):
        return Verdict("shape", asked.nodes, group, "slice_nodes")
    if group and (asked.nodes % group or asked.nodes_max % group):
        return Verdict(
            "shape", asked.nodes_max if not asked.nodes % group else asked.nodes, group, "slice_nodes"
        )
    return None
