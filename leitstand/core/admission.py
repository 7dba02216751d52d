# SPDX-License-Identifier: Apache-2.0
"""Who may run what, at all: could the job ever run? Pure checks before a job queues. Called by the cycle and the plan.

A refusal is a decision with a reason from `REASONS`, the amount asked and the limit; it is recorded.
"""

from typing import Final, NamedTuple

from msgspec.structs import replace

from leitstand.core import budgets
from leitstand.core.budgets import Need, Payment, Short
from leitstand.core.facts import RETRIES_MAX, Resources, SubmitJob
from leitstand.core.fleet import Pool
from leitstand.core.places.fit import WHOLE_MILLI
from leitstand.core.places.placement import tasks_held
from leitstand.core.places.siting import allowed
from leitstand.core.sharing import entitlements, keeping
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
    "level",
    "nodes_max",
    "slice_nodes",
    "",
)

NODES_MAX: Final = 10_000  # of one gang
GPUS_MAX: Final = 100_000
AMOUNT_MAX: Final = 2**53  # of CPU and memory: exact in every JSON reader


class Verdict(NamedTuple):
    """`reason` '': admitted to `pool` with `max_duration_us`, paid by `payment`, to wait with the shape `alternative`
    (0: `resources`); else refused, `asked` of `resource` against `limit`."""

    reason: str
    asked: int = 0
    limit: int = 0
    resource: str = ""
    pool: str = ""
    max_duration_us: int = 0
    payment: Payment = Payment()
    alternative: int = 0


def admit(state: State, job: SubmitJob, now: int) -> Verdict:
    """The verdict at `now` (µs) on a job of a known tenant. It waits with the first of its shapes that could ever run;
    if none could, the first says why."""
    others = [replace(job, resources=shape) for shape in job.alternatives]
    for one in (job, *others):
        if (fault := _shape_fault(one)) is not None:
            return fault
    verdict = _admit(state, job, now)
    if verdict.reason not in _OF_SHAPE:
        return verdict
    for index, one in enumerate(others, 1):
        other = _admit(state, one, now)
        if other.reason not in _OF_SHAPE:
            return other._replace(alternative=index)
    return verdict


_OF_SHAPE: Final = frozenset({"no_such_capacity", "gang_too_wide", "unknown_level", "entitlement"})


def _admit(state: State, job: SubmitJob, now: int) -> Verdict:
    rules = state.rules
    tenant = state.tenants[job.tenant]
    if tenant.stage not in WORKING:
        return Verdict("tenant_exit")
    if tenant.suspended:
        return Verdict("tenant_suspended")
    if not tenant.projects[job.project]:
        return Verdict("project_closed")
    duration = job.max_duration_us or rules.max_duration_default_us[tenant.tenant_class]
    if duration > rules.max_duration_limit_us:
        return Verdict("limit", duration, rules.max_duration_limit_us, "max_duration_us")
    why, number = dependency_fault(state, job.tenant, job.after)
    if why:
        return Verdict(why, number, 0, "after")
    start = max(now, job.begin_us)
    if job.deadline_us and start + duration > job.deadline_us:
        return Verdict("deadline", duration, max(job.deadline_us - start, 0), "max_duration_us")
    name = job.tenant if rules.static else "shared"
    pool = state.pools.get(name)
    if pool is None:
        return Verdict("no_such_capacity", job.resources.gpus, 0, "gpus")
    asked = job.resources
    for level in (asked.level, asked.prefer, asked.slice_level):
        if level and not pool.topology.knows(level):
            return Verdict("unknown_level", resource="level")
    tasks = max(asked.nodes, asked.nodes_max) or -(-job.resources.gpus // max(pool.whole.size, 1))
    if tasks > pool.tasks_max:
        return Verdict("gang_too_wide", tasks, pool.tasks_max, "nodes")
    if not pool.could_hold(job.resources):
        return Verdict("no_such_capacity", *lacking(pool, job.resources))
    charge = keeping.charge_of(state, name, job.resources)
    if pool.standing is not None:
        tree = pool.standing.tree
        entitled = tree.most(tree.node(entitlements.node_of(tenant, job.project)))
        if charge > entitled and not entitlements.changes(state, name):
            return Verdict("entitlement", charge, entitled, "charge_milli")
    most = budgets.most(job.resources, charge) if budgets.has_gpus(state, name) else 0
    payment = budgets.reserve(state, tenant, Need(most, duration), now)
    if isinstance(payment, Short):
        return Verdict("budget", *payment)
    return Verdict("", pool=name, max_duration_us=duration, payment=payment)


def _shape_fault(job: SubmitJob) -> Verdict | None:
    asked = job.resources
    for amount, limit, resource in (
        (asked.gpus, GPUS_MAX, "gpus"),
        (asked.nodes, NODES_MAX, "nodes"),
        (asked.nodes_max, NODES_MAX, "nodes_max"),
        (asked.slice_nodes, NODES_MAX, "slice_nodes"),
        (asked.gpu_milli, WHOLE_MILLI, "gpu_milli"),
        (asked.cpus_milli, AMOUNT_MAX, "cpus_milli"),
        (asked.memory_mib, AMOUNT_MAX, "memory_mib"),
        (job.max_duration_us, AMOUNT_MAX, "max_duration_us"),
        (job.expected_us, AMOUNT_MAX, "expected_us"),
        (job.retries, RETRIES_MAX, "retries"),
        (job.checkpoint_every_us, AMOUNT_MAX, "checkpoint_every_us"),
        (job.begin_us, AMOUNT_MAX, "begin_us"),
        (job.deadline_us, AMOUNT_MAX, "deadline_us"),
    ):
        if not 0 <= amount <= limit:
            return Verdict("limit", amount, limit, resource)
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
    if asked.gpu_milli and asked.gpus:
        return Verdict("shape", asked.gpus, 0, "gpu_milli")
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


def lacking(pool: Pool, asked: Resources) -> tuple[int, int, str]:
    """(asked, limit, resource) of what the whole fleet of `pool` lacks for this gang, the first that does."""
    whole = pool.whole
    if asked.gpu_type and not pool.topology.of_type(asked.gpu_type):
        return 0, 0, "gpu_type"
    within = allowed(asked, pool.topology)
    in_service = [position for position in whole.ascending(0) if within >> position & 1]
    largest = max((whole.gpus[position].bit_count() for position in in_service), default=0)
    gpus = asked.gpus // asked.nodes if asked.nodes else min(asked.gpus, largest)
    cpus_milli, memory_mib = asked.part(gpus)
    for amount, limit, resource in (
        (asked.gpus, sum(whole.gpus[position].bit_count() for position in in_service), "gpus"),
        (gpus, largest, "gpus_per_node"),
        (
            cpus_milli,
            max((whole.cpus_milli[position] for position in in_service), default=0),
            "cpus_milli_per_node",
        ),
        (
            memory_mib,
            max((whole.memory_mib[position] for position in in_service), default=0),
            "memory_mib_per_node",
        ),
    ):
        if amount > limit:
            return amount, limit, resource
    if asked.nodes > 1:
        held = (tasks_held(whole, position, asked) for position in in_service)
        most = sum(held if pool.colocate else (min(1, room) for room in held))
        if most < asked.nodes or not (asked.level or asked.slice_nodes):
            return asked.nodes, most, "nodes"
    return (asked.nodes, 0, "level") if asked.level or asked.slice_nodes else (0, 0, "")
