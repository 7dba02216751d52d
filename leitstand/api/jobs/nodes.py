# SPDX-License-Identifier: Apache-2.0
"""The fleet: nodes and sites as they are now."""

from typing import Any

import msgspec
from litestar import Request, get

from leitstand.api.context import faces_of
from leitstand.api.permission import PLATFORM, inside, permit
from leitstand.core.fleet import Node
from leitstand.core.state import State


class NodeAnswer(msgspec.Struct, frozen=True):
    """A node. `logical`: its GPUs are counted, not real; `gpus_free`: those of which nobody uses anything; `runs`: what
    is placed on it; `mig`: how many more instances of each MIG profile fit, alone."""

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


class Nodes(msgspec.Struct, frozen=True):
    items: list[NodeAnswer]


class SiteAnswer(msgspec.Struct, frozen=True):
    """A site. `colocate`: tasks of one job may share a node."""

    id: str
    engine: str
    jurisdiction: str
    logical: bool
    colocate: bool
    nodes: int
    gpus: int
    gpus_free: int


class Sites(msgspec.Struct, frozen=True):
    items: list[SiteAnswer]


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
    return Nodes(
        [
            msgspec.structs.replace(node, runs=[run for run in node.runs if run in visible])
            for node in nodes_of(state)
        ]
    )


@get("/sites", opt={"action": "site:list"}, summary="List sites")
async def list_sites(request: Request[Any, Any, Any]) -> Sites:
    """All sites with their capacity in service."""
    permit(request, PLATFORM)
    state = faces_of(request).follower.state
    nodes = [node for node in nodes_of(state) if node.in_service]
    items = []
    for site in state.sites.values():
        own = [node for node in nodes if node.site == site.id]
        gpus, free = sum(node.gpus for node in own), sum(node.gpus_free for node in own)
        items.append(
            SiteAnswer(
                site.id, site.engine, site.jurisdiction, site.logical, site.colocate, len(own), gpus, free
            )
        )
    return Sites(items)


def nodes_of(state: State) -> list[NodeAnswer]:
    """All nodes of a state."""
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
        )
        for node in state.nodes.values()
    ]


def _instances(state: State, node: Node) -> dict[str, int]:
    free = state.pools[node.pool].free
    if free.slots is None:
        return {}
    whole = free.gpus[node.position].bit_count()
    rooms = {
        name: free.slots.room(node.position, name, whole) for name in free.slots.profiles(1 << node.position)
    }
    return {name: room for name, room in rooms.items() if room}
