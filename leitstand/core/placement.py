# SPDX-License-Identifier: Apache-2.0
"""Which nodes: a pure search for the places of a gang, all or none. Called by the plan, admission and explanations.

This is the seam for topology, fractions and elastic jobs: whatever comes, `place` stays one pure function from what
is free and what is asked to tasks or None.
"""

from leitstand.core.facts import Resources, Task
from leitstand.core.fit import Availability

Place = tuple[int, int, int, int]  # position, GPUs, cpus_milli, memory_mib


def place(free: Availability, asked: Resources, colocate: bool = False) -> list[Place] | None:
    """Places of every task of the gang, in rank order, or None if it does not fit.

    Best fit: the node with the fewest free GPUs that holds a task, lowest position on ties. `colocate`: if the tasks
    do not find nodes of their own, they may share.
    """
    if asked.nodes == 1:
        return _one(free, asked)
    if asked.nodes == 0:
        return _one(free, asked) if asked.gpus <= free.size else _fewest_nodes(free, asked)
    places = _equal_tasks(free, asked, share=False)
    if places is None and colocate:
        places = _equal_tasks(free, asked, share=True)
    return places


def _one(free: Availability, asked: Resources) -> list[Place] | None:
    position = free.tightest(asked.gpus, asked.cpus_milli, asked.memory_mib)
    return None if position < 0 else [(position, asked.gpus, asked.cpus_milli, asked.memory_mib)]


def _fewest_nodes(free: Availability, asked: Resources) -> list[Place] | None:
    """More GPUs than a node has: whole free nodes of the largest size, then the tightest node for the rest."""
    size = free.size
    if size == 0:
        return None
    whole, rest = divmod(asked.gpus, size)
    places: list[Place] = []
    chosen = 0
    for position in free.ascending(size):
        if len(places) == whole:
            break
        share = _part(asked, size)
        if free.cpus_milli[position] >= share[1] and free.memory_mib[position] >= share[2]:
            places.append((position, *share))
            chosen |= 1 << position
    if len(places) < whole:
        return None
    if rest:
        share = _part(asked, rest)
        position = free.tightest(rest, share[1], share[2], excluded=chosen)
        if position < 0:
            return None
        places.append((position, *share))
    return places


def _part(asked: Resources, gpus: int) -> tuple[int, int, int]:
    """What goes with `gpus` of the gang's GPUs, rounded up."""
    return gpus, -(-asked.cpus_milli * gpus // asked.gpus), -(-asked.memory_mib * gpus // asked.gpus)


def _equal_tasks(free: Availability, asked: Resources, share: bool) -> list[Place] | None:
    """`nodes` equal tasks, each on a node of its own or (`share`) as many on a node as it holds."""
    count = asked.nodes
    gpus, cpus_milli, memory_mib = asked.gpus // count, asked.cpus_milli // count, asked.memory_mib // count
    places: list[Place] = []
    for position in free.ascending(gpus):
        room = min(
            free.gpus[position].bit_count() // gpus if gpus else count,
            free.cpus_milli[position] // cpus_milli if cpus_milli else count,
            free.memory_mib[position] // memory_mib if memory_mib else count,
            count - len(places),
            count if share else 1,
        )
        places.extend([(position, gpus, cpus_milli, memory_mib)] * room)
        if len(places) == count:
            return places
    return None


def tasks_of(places: list[Place], free: Availability, names: list[str]) -> tuple[Task, ...]:
    """Places with names and GPU indices (the lowest free ones of each node). `names`: node ids by position."""
    left: dict[int, int] = {}
    tasks = []
    for position, count, cpus_milli, memory_mib in places:
        mask = left.get(position, free.gpus[position])
        indices = []
        for _ in range(count):
            low = mask & -mask
            indices.append(low.bit_length() - 1)
            mask ^= low
        left[position] = mask
        tasks.append(Task(names[position], tuple(indices), cpus_milli, memory_mib))
    return tuple(tasks)
