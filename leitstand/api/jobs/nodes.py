# SPDX-License-Identifier: Apache-2.0
"""The nodes as they are now."""

from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import Request, get

from leitstand.api.amounts import moment
from leitstand.api.context import Faces, faces_of
from leitstand.api.permission import PLATFORM, inside, permit
from leitstand.core.fleet import Node, Report
from leitstand.core.health.table import XID, XIDS, verdict
from leitstand.core.state import State
from leitstand.engines.sitefile import SLURM


class Trouble(msgspec.Struct, frozen=True):
    """What was reported of a node. `kind`: xid with its `code`, or another word; `gpu`: its index on the node, null:
    none in particular; `says`: what an Xid is; `verdict`: drain, alert (people are told) or note."""

    kind: str
    code: int
    gpu: int | None
    at: datetime
    says: str
    verdict: str


class NodeHealth(msgspec.Struct, frozen=True):
    """`state` well, drained (it takes nothing, because of `cause`, since `since_at`) or burn_in (the job `burn_in`
    shows whether it is well again). `troubles`: the last one of each kind, the latest first."""

    state: str
    cause: Trouble | None
    since_at: datetime | None
    burn_in: str
    troubles: list[Trouble]


WELL: Final = NodeHealth("well", None, None, "", [])


class NodeAnswer(msgspec.Struct, frozen=True):
    """A node. `logical`: its GPUs are counted, not real; `gpus_free`: those of which nobody uses anything; `runs`: what
    is placed on it; `mig`: how many more instances of each MIG profile fit, alone; `health`: what was reported of it.
    """

    id: str
    site: str
    pool: str
    gpu_type: str
    logical: bool
    in_service: bool
    gpus: int
    gpus_free: int
    cpus: float
    memory_gb: float
    runs: list[str]
    mig: dict[str, int]
    health: NodeHealth


class Nodes(msgspec.Struct, frozen=True):
    items: list[NodeAnswer]


@get("/nodes", opt={"action": "node:list"}, summary="List nodes")
async def list_nodes(request: Request[Any, Any, Any]) -> Nodes:
    """All nodes with what is free on them; of the runs on them those that the asker may see."""
    who = permit(request, PLATFORM)
    faces = faces_of(request)
    state = faces.follower.state
    where = faces.authorizer.scopes_of(faces.tokens.asker(who), "job:list")
    visible = {
        run.id
        for run in state.runs.values()
        if inside(where, state.jobs[run.job].tenant, state.jobs[run.job].project)
    }
    gone = removed_sites(faces)
    return Nodes(
        [
            msgspec.structs.replace(node, runs=[run for run in node.runs if run in visible])
            for node in nodes_of(state)
            if node.site not in gone
        ]
    )


def removed_sites(faces: Faces) -> set[str]:
    """Sites of the journal that were added once and are in no use any more: nobody wants to see them."""
    state = faces.follower.state
    added = [site.id for site in state.sites.values() if site.engine == SLURM]
    if not added or not faces.sites.writable:
        return set()
    kept = {name for name, *_ in faces.sites.mark()}
    kept |= {node.site for node in state.nodes.values() if node.in_service}
    kept |= {state.nodes[run.tasks[0].node].site for run in state.runs.values()}
    return {site for site in added if site not in kept}


def nodes_of(state: State, only: str = "") -> list[NodeAnswer]:
    """All nodes of a state, or one."""
    runs: dict[str, dict[str, None]] = {node: {} for node in state.nodes}
    taken = dict.fromkeys(state.nodes, 0)
    for run in state.runs.values():
        for task in (*run.tasks, *run.leaving):
            runs[task.node][run.id] = None
            taken[task.node] |= task.bits
    return [
        NodeAnswer(
            node.id,
            node.site,
            node.pool,
            node.gpu_type,
            node.site in state.sites and state.sites[node.site].logical,
            node.in_service,
            node.gpus,
            max(node.gpus - taken[node.id].bit_count(), 0) if node.in_service else 0,
            node.cpus_milli / 1000,
            node.memory_mib / 1024,
            list(runs[node.id]),
            _instances(state, node) if node.in_service else {},
            _health(node),
        )
        for node in state.nodes.values()
        if only in ("", node.id)
    ]


def _health(node: Node) -> NodeHealth:
    health = node.health
    if health is msgspec.UNSET:
        return WELL
    state = "well" if health.cause is None else "burn_in" if health.burn_in else "drained"
    return NodeHealth(
        state,
        _trouble(health.cause) if health.cause is not None else None,
        moment(health.since_us) if health.since_us else None,
        health.burn_in,
        [_trouble(one) for one in reversed(health.reports)],
    )


def _trouble(of: Report) -> Trouble:
    says = XIDS[of.code].says if of.kind == XID and of.code in XIDS else ""
    gpu = of.gpu if of.gpu >= 0 else None
    return Trouble(of.kind, of.code, gpu, moment(of.at_us), says, verdict(of.kind, of.code))


def _instances(state: State, node: Node) -> dict[str, int]:
    free = state.pools[node.pool].free
    if free.slots is None:
        return {}
    whole = free.gpus[node.position].bit_count()
    rooms = {
        name: free.slots.room(node.position, name, whole) for name in free.slots.profiles(1 << node.position)
    }
    return {name: room for name, room in rooms.items() if room}
