# SPDX-License-Identifier: Apache-2.0
"""The fleet: sites, nodes, and the pools of nodes that share a queue. Part of the state: `APPLY` folds its facts."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from leitstand.core import facts as f
from leitstand.core.fact import Fact
from leitstand.core.places.fit import WHOLE_MILLI, Availability, Free
from leitstand.core.places.placement import Place, place, tasks_max
from leitstand.core.places.siting import allowed
from leitstand.core.places.steps import Where
from leitstand.core.places.topology import NODE, Topology
from leitstand.core.queue import Queue
from leitstand.core.sharing import keeping
from leitstand.core.sharing.standing import Standing

if TYPE_CHECKING:
    from leitstand.core.state import State

Holding = tuple[
    int, int, int, dict[int, int]
]  # of a node: GPUs (mask), CPU, memory; of GPUs that are shared the thousandths


class Site(msgspec.Struct, gc=False):
    id: str
    engine: str
    logical: bool
    colocate: bool
    jurisdiction: str
    levels: tuple[str, ...] = ()


class Node(msgspec.Struct, gc=False):
    """`position`: its index in its pool. Out of service, it takes no new run."""

    id: str
    site: str
    pool: str
    gpus: int
    cpus_milli: int
    memory_mib: int
    gpu_type: str
    in_service: bool
    position: int
    domains: tuple[str, ...] = ()


class Pool:
    """The nodes that share a queue. `free`: now; `whole`: as if nothing ran; `standing`: under `fair` alone."""

    __slots__ = (
        "_amounts",
        "colocate",
        "free",
        "name_bytes",
        "names",
        "queue",
        "standing",
        "tasks_max",
        "topology",
        "whole",
    )

    def __init__(self) -> None:
        self.free = Availability()
        self.whole = Availability()
        self.names: list[str] = []
        self.name_bytes = 0  # of the longest node id
        self.tasks_max = 0  # of one gang, so that a fact can hold its placement
        self.queue = Queue()
        self.topology = Topology()
        self.colocate = False
        self.standing: Standing | None = None
        self._amounts: tuple[int, int, int] | None = None  # derived

    def find(self, asked: f.Resources) -> list[Place] | None:
        """Places for a gang now, or None."""
        return self.place(asked, self.free)

    def place(self, asked: f.Resources, free: Free) -> list[Place] | None:
        """Places for a gang on what is free, or None."""
        return self._recordable(place(free, asked, self.topology, self.colocate))

    def where(self, asked: f.Resources) -> Where:
        """What is known of where a gang may go."""
        within = allowed(asked, self.topology)
        size = self.topology.largest(self.whole, within)
        domain = None
        if asked.level not in ("", NODE):
            domain = [-1] * len(self.names)
            for number, one in enumerate(self.topology.of_level(asked.level)):
                for position in _positions(one.mask):
                    domain[position] = number
        return Where(self.colocate, within, size, domain)

    def within(self, asked: f.Resources) -> list[int]:
        """Bit masks over positions: the gang has to lie within one of them."""
        nodes = self.topology.of_type(asked.gpu_type) if asked.gpu_type else -1
        if not asked.level or asked.level == NODE:
            return [nodes]
        return [domain.mask & nodes for domain in self.topology.of_level(asked.level)]

    def could_hold(self, asked: f.Resources) -> bool:
        """Whether the gang would find places if nothing ran."""
        return self._recordable(place(self.whole, asked, self.topology, self.colocate)) is not None

    def _recordable(self, places: list[Place] | None) -> list[Place] | None:
        return None if places is None or len(places) > self.tasks_max else places

    def withdraw(self, position: int) -> None:
        """Take the node at `position` out of service."""
        self.free.withdraw(position)
        self.whole.withdraw(position)
        self.resize()

    def amounts(self) -> tuple[int, int, int]:
        """(GPUs, cpus_milli, memory_mib) in service."""
        if self._amounts is None:
            whole = self.whole
            positions = list(whole.ascending(0))
            self._amounts = (
                sum(whole.gpus[position].bit_count() for position in positions),
                sum(whole.cpus_milli[position] for position in positions),
                sum(whole.memory_mib[position] for position in positions),
            )
        return self._amounts

    def resize(self) -> None:
        """Note the size of the largest node in service, and what follows from it."""
        self._amounts = None
        levels = self.whole.levels
        size = max((size for size, mask in enumerate(levels) if mask), default=0)
        self.free.size = self.whole.size = size
        self.tasks_max = tasks_max(size, self.name_bytes)


def _site_added(state: "State", at: int, fact: f.SiteAdded) -> None:
    state.sites[fact.site] = Site(
        fact.site, fact.engine, fact.logical, fact.colocate, fact.jurisdiction, fact.levels
    )
    for node in state.nodes.values():
        if node.site == fact.site:
            state.pools[node.pool].colocate = fact.colocate
    for pool in state.pools.values():
        pool.topology.name(fact.site, fact.levels)


def _node_added(state: "State", at: int, fact: f.NodeAdded) -> None:
    node = state.nodes.get(fact.node)
    pool = state.pools.get(fact.pool)
    if pool is None:
        pool = state.pools[fact.pool] = Pool()
        pool.standing = keeping.standing_of(state.rules, pool)
    position = len(pool.names) if node is None else node.position
    state.nodes[fact.node] = Node(
        fact.node,
        fact.site,
        fact.pool,
        fact.gpus,
        fact.cpus_milli,
        fact.memory_mib,
        fact.gpu_type,
        True,
        position,
        fact.domains,
    )
    serve(state, state.nodes[fact.node], held(state))


def _node_removed(state: "State", at: int, fact: f.NodeRemoved) -> None:
    node = state.nodes[fact.node]
    node.in_service = False
    state.pools[node.pool].withdraw(node.position)


def serve(state: "State", node: Node, held: dict[str, Holding]) -> None:
    """Bring a node into its pool with what its runs leave free."""
    pool = state.pools[node.pool]
    if node.position == len(pool.names):
        pool.names.append(node.id)
        pool.name_bytes = max(pool.name_bytes, len(node.id))
    site = state.sites.get(node.site)
    pool.colocate = site is not None and site.colocate
    pool.topology.name(node.site, site.levels if site is not None else ())
    pool.topology.add(node.position, node)
    every = (1 << node.gpus) - 1
    gpus, cpus_milli, memory_mib, parts = held.get(node.id, (0, 0, 0, {}))
    pool.whole.put(node.position, node.gpus, every, node.cpus_milli, node.memory_mib)
    pool.free.put(
        node.position,
        node.gpus,
        every & ~gpus,
        node.cpus_milli - cpus_milli,
        node.memory_mib - memory_mib,
        {index: WHOLE_MILLI - milli for index, milli in parts.items() if index < node.gpus},
    )
    pool.resize()
    if pool.standing is not None:
        pool.standing.timeline.touch(node.position)
    if not node.in_service:
        pool.withdraw(node.position)


def held(state: "State") -> dict[str, Holding]:
    """By node: the GPUs (mask), CPU and memory that runs hold, and of GPUs that they share the thousandths."""
    found: dict[str, Holding] = {}
    for run in state.runs.values():
        resources = state.jobs[run.job].resources
        for task in run.tasks:
            gpus, cpus_milli, memory_mib, parts = found.get(task.node, (0, 0, 0, {}))
            bits = task.bits
            part = resources.part(bits.bit_count())
            if resources.gpu_milli:
                index = bits.bit_length() - 1
                parts[index] = parts.get(index, 0) + resources.gpu_milli
            found[task.node] = gpus | bits, cpus_milli + part[0], memory_mib + part[1], parts
    return found


def _positions(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {
    f.SiteAdded: _site_added,
    f.NodeAdded: _node_added,
    f.NodeRemoved: _node_removed,
}
