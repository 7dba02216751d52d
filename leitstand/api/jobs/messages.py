# SPDX-License-Identifier: Apache-2.0
"""The sentences for reasons: why a job waits, how it ended, what a refusal was about, with amounts and units.

Called by the answers about jobs and by the plan. Reason codes are stable; these sentences are for people.
"""

from typing import Final

from leitstand.api.amounts import span
from leitstand.core.explaining.why import Binding
from leitstand.core.units import HOUR_US
from leitstand.views.rows import JobRow, decode_lacks

SHOWN_MAX: Final = 8  # pools and shapes that a refusal tells of
WAITING: Final = {
    "capacity": "waits until enough is free at once",
    "order": "waits until its turn comes",
    "held": "is held: it waits until somebody releases it",
    "begin_time": "waits until the time before which it must not begin",
    "dependency": "waits for the end of other jobs",
    "tenant_suspended": "waits until the suspension of its tenant is over",
    "booking": "waits for room in the booking that it names",
    "no_such_capacity": "waits for nodes that are out of service: what is left could never hold it",
    "limit": "waits: its project, tenant or class would use more than its guarantee and what it may borrow",
    "freeing": "waits for capacity that is being freed for it",
    "failure": "waits for nodes in the place of those that failed; the others are held for it, for a while",
    "moving": "waits to go on elsewhere, where places are held for it: its run makes room for another job",
    "maintenance": "waits for the end of maintenance on the nodes that it would have",
    "lending": "waits: what is idle is not lent",
    "reserved": "waits: it would fit now, but not for its whole time limit beside what others have reserved",
    "share": "waits: enough is free, not in its shape, and beyond its deserved share nobody makes room",
    "topology": "waits: enough is free, not in its shape, and nobody can be asked to make room",
}
NUMBERS: Final = {
    "limit": "({node} would use {asked}; its limit is {limit})",
    "capacity": "(it asks for {asked}; {limit} are free)",
    "failure": "(it asks for {asked}; {limit} are held)",
    "booking": "(it asks for {asked}; {limit} are free in it)",
    "maintenance": "({window}; it may last {asked}, and {limit} are left before it)",
    "lending": "({asked} would be in use or kept; there are {limit})",
    "share": "({node} would use {asked}; it deserves {limit})",
    "topology": "({node} would use {asked}; it deserves {limit})",
}
ENDED: Final = {
    "": "",
    "exit_code": "ended with exit code {exit_code}",
    "signal": "was killed by signal {signal}",
    "max_duration_exceeded": "was ended after its longest allowed time of {max_duration}",
    "cancelled": "was cancelled",
    "start_failed": "could not be started",
    "lost": "was running, and its end was not witnessed",
    "tenant_suspended": "was ended because its tenant was suspended",
    "tenant_exit": "was ended because its tenant leaves",
    "dependency_failed": "was ended because a job that it waited for ended otherwise",
    "booking_ended": "was ended because the booking that it names ended",
    "deadline_missed": "was ended while it waited, because it could not end by its deadline any more",
    "budget": "was ended because no budget that lasts until its end could pay a further run or a later start",
}
REFUSED: Final = {
    "tenant_suspended": "belongs to a tenant that is suspended",
    "tenant_exit": "belongs to a tenant that has left",
    "project_closed": "belongs to a project that is closed",
    "unknown_booking": "asks for a booking that is not there, is over, or is not for its project",
    "unknown_level": "asks for a level of the topology that no site has",
}
BUDGET: Final = (
    "asks for {asked} (its GPUs for its whole time limit); budgets that last until its end have {limit} left: "
    "ask for a shorter max_duration, or for a further budget"
)
NO_SUCH_CAPACITY: Final = {
    "gpus": "asks for {asked}; there are {limit} in all",
    "nodes": "asks for {asked} that each hold a task of it; {limit} could",
    "gpus_per_node": "asks for {asked} on a node; the largest has {limit}",
    "cpus_milli_per_node": "asks for {asked} on a node; the largest has {limit}",
    "memory_mib_per_node": "asks for {asked} on a node; the largest has {limit}",
    "gpu_type": "asks for a type of GPU that no node where it may run has",
    "mig": "asks for a MIG profile that no GPU where it may run can be cut into: none of them is in MIG mode, or they "
    "have others",
    "sites": "asks for sites that are not there, or have no node",
    "jurisdiction": "asks for a site under a law that holds at none where it may run",
    "partners": "asks for more than our own sites have; a partner's could run it, if the job lets it go there: with "
    "`partners: true`, or by naming the site in `sites`",
    "level": "asks for more in one domain of the topology than any has",
    "": "asks for GPUs, CPUs and memory that no single node has together",
}


SHAPES: Final = {
    "gpu_milli": "asks for whole GPUs and for a part of one",
    "mig": "asks for a MIG instance beside GPUs, or for a profile that is none, such as 3g.40gb",
    "nodes_max": "asks for at most {asked} nodes and at least {limit}",
    "slice_nodes": "asks for groups of {limit} nodes in one domain of a level, which do not make up {asked}",
}
BOOKING: Final = {
    "gpus": "asks for {asked} GPUs; its booking has {limit}",
    "gpus_per_node": "asks for {asked} GPUs on a node; its booking has at most {limit} on one",
    "cpus_milli": "asks for {asked} thousandths of a CPU; its booking has {limit}",
    "memory_mib": "asks for {asked} MiB of memory; its booking has {limit}",
    "nodes": "asks for {asked} nodes; its booking has {limit}",
    "level": "asks for more in one domain of the topology than its booking has",
    "mig": "asks for a MIG instance; its booking has whole GPUs",
    "jobs": "asks for a booking that has as many jobs as one may have, {limit}",
    "": "asks for GPUs, CPUs and memory that its booking has on no node together",
}
DEPENDENCIES: Final = {
    "unknown_dependency": "waits for {job}, which is not there, or ended too long ago to know how",
    "dependency_failed": "waits for {job}, which ended otherwise",
}


def sentence(row: JobRow, reason: str) -> str:
    """What `reason` says of the job."""
    if row.state == "pending":
        return WAITING.get(reason, reason)
    if row.state == "rejected":
        return refusal(reason, row.asked, row.limit, row.resource) + _elsewhere(row)
    return ENDED.get(reason, reason).format(
        exit_code=row.exit_code, signal=row.signal, max_duration=span(row.max_duration_us)
    )


def queued(site: str, reason: str, start: str) -> str:
    """What a run that waits in the queue of its site does; `start`: when it is expected to start, '' not said."""
    why = f" ({reason})" if reason else ""
    return f"waits in the queue of site {site}{why}" + (
        f", which expects to start it at {start}" if start else ""
    )


def _elsewhere(row: JobRow) -> str:
    """What each pool lacks, where there were several, the first SHOWN_MAX."""
    lacks = decode_lacks(row.lacks)
    shown = [
        f"{lack.pool}" + (f" (alternative {lack.alternative})" if lack.alternative else "") + f": it {said}"
        for lack in lacks[:SHOWN_MAX]
        for said in [refusal(lack.reason, lack.asked, lack.limit, lack.resource)]
    ]
    more = f"; and {len(lacks) - SHOWN_MAX} more" if len(lacks) > SHOWN_MAX else ""
    return f" [{'; '.join(shown)}{more}]" if shown else ""


def binding_sentence(found: Binding) -> str:
    """What a binding reason says, with its numbers."""
    said = WAITING[found.reason]
    if found.resource == "mig":
        asked, limit = amount(found.asked, "gpu_milli"), amount(found.limit, "gpu_milli")
        said += f" (its MIG instances take {asked} in one piece each; {limit} are free, in other pieces)"
    elif found.resource:
        asked, limit = amount(found.asked, found.resource), amount(found.limit, found.resource)
        said += " " + NUMBERS.get(found.reason, "({asked} of {limit})").format(
            asked=asked, limit=limit, node=found.node, window=found.window
        )
    if found.job:
        said += f"; {found.job} asks for the same and comes first"
    return said + (f"; {found.jobs_ahead} of its project come first" if found.jobs_ahead else "")


def refusal(reason: str, asked: int, limit: int, resource: str) -> str:
    """What admission refused, in the words of who asked."""
    if reason in REFUSED:
        return REFUSED[reason]
    if reason in DEPENDENCIES:
        return DEPENDENCIES[reason].format(job=f"job number {asked} of its tenant" if asked else "a job")
    if reason == "booking":
        lacks = BOOKING.get(resource or ("jobs" if asked else ""), BOOKING[""])
        return lacks.format(asked=asked, limit=limit)
    if reason == "deadline":
        return f"asks for {span(asked)}; before its deadline are {span(limit)}"
    if reason == "no_such_capacity":
        lacks = NO_SUCH_CAPACITY.get(resource, NO_SUCH_CAPACITY[""])
        return lacks.format(asked=amount(asked, resource), limit=amount(limit, resource))
    if reason == "budget":
        return BUDGET.format(asked=amount(asked, resource), limit=amount(limit, resource))
    if reason == "shape":
        if resource == "gpus" and not asked:
            return "asks for no GPU on as few nodes as hold them"
        if resource in SHAPES:
            return SHAPES[resource].format(asked=asked, limit=limit)
        return f"asks for {amount(asked, resource)}, which {limit} nodes cannot share evenly"
    if reason == "gang_too_wide":
        return f"spreads over {asked} nodes; one gang has at most {limit} here"
    return f"asks for {amount(asked, resource)}; the limit is {amount(limit, resource)}"


def amount(value: int, resource: str) -> str:
    """An amount of one of `leitstand.core.admission.RESOURCES` with its unit."""
    if resource == "gpu_us":
        return f"{value / HOUR_US:.6g} GPU-h"
    if resource == "micro_eur":
        return f"{value / 1_000_000:.2f} EUR"
    if resource.endswith("_us"):
        return span(value)
    if resource in ("gpu_milli", "charge_milli", "mig"):
        return f"{value / 1000:.12g} GPUs"
    if resource.startswith("cpus_milli"):
        return f"{value / 1000:.12g} CPUs"
    if resource.startswith("memory_mib"):
        return f"{value / 1024:.12g} GB of memory"
    noun = {"nodes": "node", "nodes_max": "node", "slice_nodes": "node", "retries": "further run"}.get(
        resource, "GPU"
    )
    return f"{value} {noun}" if value == 1 else f"{value} {noun}s"
