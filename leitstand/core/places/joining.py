# SPDX-License-Identifier: Apache-2.0
"""Which nodes join those that an elastic gang has: in the lowest domain around them, under the level that it requires,
a slice in its own. Pure. Called when runs grow.
"""

from typing import Protocol

from msgspec.structs import replace

from leitstand.core.facts import Resources
from leitstand.core.places.fit import Free
from leitstand.core.places.placement import Place
from leitstand.core.places.replacing import around, in_order, only
from leitstand.core.places.topology import Topology


class Pool(Protocol):
    """What is asked of a pool."""

    topology: Topology
    colocate: bool

    def place(self, asked: Resources, free: Free) -> list[Place] | None: ...


def joined(pool: Pool, asked: Resources, kept: list[Place], units: int, view: Free) -> list[Place]:
    """Free places for `units` more (nodes, or slices) of a gang of the shape `asked` at `kept`, in the lowest domain
    that has so many; if none has, for as many as there are. Each node serves the gang once, unless its tasks share
    nodes."""
    size = max(1, asked.slice_nodes)
    gpus = asked.gpus // asked.nodes
    cpus_milli, memory_mib = asked.part(gpus)
    amounts = {"gpus": gpus * size, "cpus_milli": cpus_milli * size, "memory_mib": memory_mib * size}
    more = replace(asked, nodes=size, nodes_max=size * units, level="", prefer="", **amounts)
    taken = 0
    if not pool.colocate:
        for position, _ in kept:
            taken |= 1 << position
    best: list[Place] = []
    for mask in around(pool, asked, kept):
        found = pool.place(more, only(view, mask & ~taken))
        if found is not None and len(found) > len(best):
            best = found
        if len(best) == size * units:
            break
    return in_order(pool, asked, best)
