# SPDX-License-Identifier: Apache-2.0
"""Which nodes take the place of those that a gang lost: in the lowest domain around the others that has them, a slice
in its own. Pure. Called by repair.
"""

from typing import Protocol

from msgspec.structs import replace

from leitstand.core.facts import Resources
from leitstand.core.places.fit import Free
from leitstand.core.places.placement import Place
from leitstand.core.places.topology import NODE, Topology
from leitstand.core.places.window import View


class Pool(Protocol):
    """What is asked of a pool."""

    topology: Topology

    def place(self, asked: Resources, free: Free) -> list[Place] | None: ...


def replaced(pool: Pool, asked: Resources, kept: list[Place], view: Free) -> list[Place]:
    """Free places for the tasks that `kept` lacks, in the lowest domain around it that has them; if none has all, as
    many as there are where they are required to be."""
    taken = 0
    for position, _ in kept:
        taken |= 1 << position
    more: list[Place] = []
    if asked.slice_nodes > 1:
        for domain, count in _slices(pool, asked, kept):
            lacks = -count % asked.slice_nodes
            found = pool.place(_part(asked, lacks), only(view, domain & ~taken)) if lacks else []
            if found is None:
                return more
            more += found
            for position, _ in found:
                taken |= 1 << position
    rest = _rest(asked, [*kept, *more])
    if rest is None:
        return more
    masks = around(pool, asked, kept)
    for mask in masks:
        found = pool.place(rest, only(view, mask & ~taken))
        if found is not None:
            return [*more, *found]
    if rest.nodes > 1 and not rest.slice_nodes:
        some = replace(_part(asked, 1), nodes_max=rest.nodes)
        return [*more, *(pool.place(some, only(view, masks[-1] & ~taken)) or ())]
    return more


def in_order(pool: Pool, asked: Resources, places: list[Place]) -> list[Place]:
    """Places in rank order: those of a slice together."""
    if asked.slice_nodes <= 1:
        return places
    return [
        place for mask, _ in _slices(pool, asked, places) for place in sorted(places) if mask >> place[0] & 1
    ]


def is_enough(asked: Resources, places: list[Place]) -> bool:
    """Whether the gang can start on these places, as far as their number goes."""
    return bool(places) and _rest(asked, places) is None


def fitting(places: list[Place], asked: Resources, view: Free) -> list[Place]:
    """Those of `places` that have room in what is free, together."""
    left: dict[int, tuple[int, int, int]] = {}
    fitting = []
    for position, gpus in places:
        have = left.get(position)
        if have is None:
            have = view.gpus[position].bit_count(), view.cpus_milli[position], view.memory_mib[position]
        cpus_milli, memory_mib = asked.part(gpus)
        after = have[0] - gpus, have[1] - cpus_milli, have[2] - memory_mib
        if after[0] >= 0 and (after[1] >= 0 or not cpus_milli) and (after[2] >= 0 or not memory_mib):
            left[position] = after
            fitting.append((position, gpus))
    return fitting


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def around(pool: Pool, asked: Resources, kept: list[Place]) -> list[int]:
    """Nodes of the domains around all of `kept`, the lowest first, up to the level that is required, or its site."""
    if asked.level == NODE:
        return [1 << kept[0][0]]
    every = 0
    for position, _ in kept:
        every |= 1 << position
    masks = []
    for domain in reversed(pool.topology.around(kept[0][0])):
        if not every & ~domain.mask:
            masks.append(domain.mask)
        if asked.level and domain.level == asked.level:
            return masks
    return [*masks, *(domain.mask for domain in pool.topology.tops() if not every & ~domain.mask)]


def _slices(pool: Pool, asked: Resources, kept: list[Place]) -> list[tuple[int, int]]:
    """(nodes, tasks of `kept`) of each domain that slices of it are in."""
    if asked.slice_level == NODE:
        masks = [1 << position for position in dict.fromkeys(position for position, _ in kept)]
    else:
        masks = [domain.mask for domain in pool.topology.of_level(asked.slice_level)]
    counts = [(mask, sum(mask >> position & 1 for position, _ in kept)) for mask in masks]
    return [(mask, count) for mask, count in counts if count]


def _rest(asked: Resources, places: list[Place]) -> Resources | None:
    """What the gang lacks beside these places, wherever that may be; None: nothing."""
    if asked.nodes:
        lacks = asked.nodes - len(places)
        if lacks <= 0:
            return None
        grouped = asked.slice_nodes > 1
        part = _part(asked, lacks)
        if not grouped:
            return part
        return replace(part, slice_nodes=asked.slice_nodes, slice_level=asked.slice_level)
    gpus = asked.gpus - sum(count for _, count in places)
    if gpus <= 0:
        return None
    cpus_milli, memory_mib = asked.part(gpus)
    return replace(asked, gpus=gpus, cpus_milli=cpus_milli, memory_mib=memory_mib, level="", prefer="")


def _part(asked: Resources, tasks: int) -> Resources:
    """So many of the gang's equal tasks."""
    gpus = asked.gpus // asked.nodes
    cpus_milli, memory_mib = asked.part(gpus)
    amounts = {"gpus": gpus * tasks, "cpus_milli": cpus_milli * tasks, "memory_mib": memory_mib * tasks}
    alone = replace(asked, level="", prefer="", slice_nodes=0, slice_level="")
    return replace(alone, nodes=tasks, nodes_max=0, **amounts)


def only(view: Free, mask: int) -> View:
    """What is free on these nodes."""
    made = View(
        view.size, [nodes & mask for nodes in view.levels], (view.gpus, view.cpus_milli, view.memory_mib)
    )
    made.shared = view.shared
    return made
