# SPDX-License-Identifier: Apache-2.0
"""What contracts make of shares: who is guaranteed what, deserves what now, and would deserve what if all wanted more.
Called by the API to show the entitlement tree and, before a change is made, who wins and who loses by it.

Nothing of the state is touched: the shares are those of a tree of its own with the usage of the state.
"""

from typing import TYPE_CHECKING, NamedTuple

from leitstand.core.acts import Entitlement
from leitstand.core.sharing.entitlements import WHOLE_MILLI, Contracts, capacity, effective, node_of, upwards
from leitstand.core.sharing.shares import Held, Tree
from leitstand.core.tenancy import WORKING

if TYPE_CHECKING:
    from leitstand.core.jobs import Job
    from leitstand.core.state import State


class Share(NamedTuple):
    """Of one node, charges in thousandths. `used`: by what runs; `waiting`: asked by what waits; `deserved`: by what is
    asked now; `contended`: if every project asked for more than there is."""

    entitlement: Entitlement
    used: int
    waiting: int
    deserved: int
    contended: int


def outlook(state: "State", pool: str, contracts: Contracts, at: int) -> dict[str, Share]:
    """By node, what follows from `contracts` at `at` (µs): every node that is entitled to something, uses something or
    is a project of a working tenant, with all above it."""
    size = capacity(state, pool)
    entitled = effective(contracts, state.rules.sharing, at)
    asked = usage(state, pool)
    projects = {
        node_of(tenant, project): None
        for tenant in state.tenants.values()
        if tenant.stage in WORKING
        for project, is_open in tenant.projects.items()
        if is_open
    }
    now = _tree(entitled, size, {**dict.fromkeys(projects, (0, 0)), **asked})
    most = _tree(entitled, size, dict.fromkeys([*projects, *asked], (0, size + 1)))
    waiting: dict[str, int] = {}
    for leaf, (_, charge) in asked.items():
        for node in upwards(leaf):
            waiting[node] = waiting.get(node, 0) + charge
    return {
        name: Share(
            entitled.get(name) or Entitlement(name),
            now.nodes[name].running,
            waiting.get(name, 0),
            now.nodes[name].deserved,
            most.nodes[name].deserved,
        )
        for name in sorted(now.nodes)
    }


def usage(state: "State", pool: str) -> dict[str, tuple[int, int]]:
    """By project that has jobs in the pool: the charge of those that run, and of those that wait for capacity."""
    standing = state.pools[pool].standing
    if standing is not None:
        return {
            name: (node.running, node.pending)
            for name, node in standing.tree.nodes.items()
            if not node.children and (node.running or node.pending)
        }
    found: dict[str, tuple[int, int]] = {}
    for job in state.jobs.values():
        tenant = state.tenants[job.tenant]
        if job.pool != pool or (not job.run and tenant.suspended):
            continue
        leaf, charge = node_of(tenant, job.project), _charge(job)
        used, waiting = found.get(leaf, (0, 0))
        found[leaf] = (used + charge, waiting) if job.run else (used, waiting + charge)
    return found


def _charge(job: "Job") -> int:
    """What the job counts for, also under rules that do not charge."""
    asked = job.resources
    return job.charge_milli or asked.gpus * WHOLE_MILLI or asked.gpu_milli * asked.nodes or asked.cpus_milli


def _tree(entitled: dict[str, Entitlement], size: int, asked: dict[str, tuple[int, int]]) -> Tree:
    tree = Tree()
    tree.resize(size)
    for entitlement in entitled.values():
        tree.entitle(entitlement)
    for name, (used, waiting) in sorted(asked.items()):
        leaf = tree.node(name)
        if used:
            tree.start(Held(name, leaf, used, 0, (0, 0)))
        tree.wait(leaf, waiting)
    tree.settle()
    return tree
