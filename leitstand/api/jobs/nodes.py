# SPDX-License-Identifier: Apache-2.0
"""The nodes as they are now."""

from typing import Any

import msgspec
from litestar import Request, get

from leitstand.api.context import Faces, faces_of
from leitstand.api.permission import PLATFORM, inside, permit
from leitstand.core.fleet import Node
from leitstand.core.state import State
from leitstand.engines.sitefile import SLURM


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
