# SPDX-License-Identifier: Apache-2.0
"""Which nodes: a pure search for the places of a gang, all or none. Called by the plan, admission and explanations.

This is the seam for topology, fractions and elastic jobs: whatever comes, `place` stays one pure function from what
is free and what is asked to tasks or None.
"""

from typing import Final

from leitstand.core.facts import Resources, Task
from leitstand.core.fit import Availability, Free

Place = tuple[int, int]  # position of the node in its pool, GPUs on it

RECORD_BYTES_MAX: Final = 64 * 1024 - 512  # of the tasks of one placement: a fact has 64 KiB


def place(free: Free, asked: Resources, colocate: bool = False) -> list[Place] | None:
    """Places of every task of the gang, in rank order, or None if it does not fit.

    Best fit: the node with the fewest free GPUs that holds a task, lowest position on ties. `colocate`: if the tasks
    do not find nodes of their own, they may share.
    """
    if asked.nodes == 1 or (asked.nodes == 0 and asked.gpus <= free.size):
        position = free.tightest(asked.gpus, asked.cpus_milli, asked.memory_mib)
        return None if position < 0 else [(position, asked.gpus)]
    if asked.nodes == 0:
        return _fewest_nodes(free, asked)
    places = _equal_tasks(free, asked, share=False)
    if places is None and colocate:
        places = _equal_tasks(free, asked, share=True)
    return places


def _fewest_nodes(free: Free, asked: Resources) -> list[Place] | None:
    """More GPUs than a node has: whole free nodes of the largest size, then the tightest node for the rest."""
    size = free.size
    if size == 0:
        return None
    whole, rest = divmod(asked.gpus, size)
    cpus_milli, memory_mib = asked.part(size)
    places: list[Place] = []
    chosen = 0
    for position in free.ascending(size):
        if len(places) == whole:
            break
        if free.cpus_milli[position] >= cpus_milli and free.memory_mib[position] >= memory_mib:
            places.append((position, size))
            chosen |= 1 << position
    if len(places) < whole:
        return None
    if rest:
        position = free.tightest(rest, *asked.part(rest), excluded=chosen)
        if position < 0:
            return None
        places.append((position, rest))
    return places


def _equal_tasks(free: Free, asked: Resources, share: bool) -> list[Place] | None:
    """`nodes` equal tasks, each on a node of its own or (`share`) as many on a node as it holds."""
    count = asked.nodes
    gpus = asked.gpus // count
    places: list[Place] = []
    for position in free.ascending(gpus):
        room = tasks_held(free, position, asked) if share else min(1, tasks_held(free, position, asked))
        places.extend([(position, gpus)] * min(room, count - len(places)))
        if len(places) == count:
            return places
    return None


def tasks_held(free: Free, position: int, asked: Resources) -> int:
    """How many of the equal tasks of a gang the node at `position` holds at once."""
    count = asked.nodes
    gpus = asked.gpus // count
    cpus_milli, memory_mib = asked.part(gpus)
    return min(
        free.gpus[position].bit_count() // gpus if gpus else count,
        free.cpus_milli[position] // cpus_milli if cpus_milli else count,
        free.memory_mib[position] // memory_mib if memory_mib else count,
    )


def tasks_of(places: list[Place], free: Availability, names: list[str]) -> tuple[Task, ...]:
    """Places with names and GPU indices (the lowest free ones of each node). `names`: node ids by position."""
    left: dict[int, int] = {}
    tasks = []
    for position, count in places:
        bits = left.get(position, free.gpus[position])
        rest = bits
        for _ in range(count):
            rest &= rest - 1  # without its lowest bit
        left[position] = rest
        tasks.append(Task(names[position], format(bits ^ rest, "x")))
    return tuple(tasks)


def tasks_max(size: int, name_bytes: int) -> int:
    """How many tasks one placement can record, with `size` GPUs on the largest node and node ids of `name_bytes`."""
    return RECORD_BYTES_MAX // (name_bytes + -(-size // 4) + len('["",""],'))
