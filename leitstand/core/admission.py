# SPDX-License-Identifier: Apache-2.0
"""Who may run what, at all: could the job ever run? Pure checks before a job queues. Called by the cycle and the plan.

A refusal is a decision with a reason from `REASONS`, the amount asked and the limit; it is recorded.
"""

from typing import Final, NamedTuple

from leitstand.core.facts import SubmitJob
from leitstand.core.state import State

REASONS: Final = {
    "shape": "the amounts do not divide by the number of nodes, or are out of range",
    "no_such_capacity": "no free fleet of this kind could ever hold the job",
    "gang_too_wide": "more tasks than one placement can record",
    "limit": "the duration exceeds what the rules allow",
}

NODES_MAX: Final = 10_000  # of one gang
GPUS_MAX: Final = 100_000
AMOUNT_MAX: Final = 2**53  # of CPU and memory: exact in every JSON reader


class Verdict(NamedTuple):
    """`reason` '' : admitted to `pool` with `max_duration_us`; else refused, `asked` against `limit`."""

    reason: str
    asked: int = 0
    limit: int = 0
    pool: str = ""
    max_duration_us: int = 0


def admit(state: State, job: SubmitJob) -> Verdict:
    """The verdict on a job of a known tenant."""
    fault = _shape_fault(job)
    if fault is not None:
        return fault
    rules = state.rules
    tenant = state.tenants[job.tenant]
    duration = job.max_duration_us or rules.max_duration_default_us[tenant.tenant_class]
    if duration > rules.max_duration_limit_us:
        return Verdict("limit", duration, rules.max_duration_limit_us)
    name = job.tenant if rules.static else "shared"
    pool = state.pools.get(name)
    if pool is None:
        return Verdict("no_such_capacity", job.resources.gpus, 0)
    tasks = job.resources.nodes or -(-job.resources.gpus // max(pool.whole.size, 1))
    if tasks > pool.tasks_max:
        return Verdict("gang_too_wide", tasks, pool.tasks_max)
    if not pool.could_hold(job.resources):
        return Verdict("no_such_capacity", job.resources.gpus, _largest(state, name))
    return Verdict("", pool=name, max_duration_us=duration)


def _shape_fault(job: SubmitJob) -> Verdict | None:
    asked = job.resources
    for amount, limit in (
        (asked.gpus, GPUS_MAX),
        (asked.nodes, NODES_MAX),
        (asked.cpus_milli, AMOUNT_MAX),
        (asked.memory_mib, AMOUNT_MAX),
        (job.max_duration_us, AMOUNT_MAX),
        (job.expected_us, AMOUNT_MAX),
    ):
        if not 0 <= amount <= limit:
            return Verdict("shape", amount, limit)
    if asked.nodes == 0 and asked.gpus == 0:
        return Verdict("shape", 0, 1)
    if asked.nodes > 1:
        for amount in (asked.gpus, asked.cpus_milli, asked.memory_mib):
            if amount % asked.nodes:
                return Verdict("shape", amount, asked.nodes)
    return None


def _largest(state: State, pool: str) -> int:
    """GPUs in service in the pool."""
    return sum(node.gpus for node in state.nodes.values() if node.pool == pool and node.in_service)
