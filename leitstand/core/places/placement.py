# SPDX-License-Identifier: Apache-2.0
"""Which nodes: a pure search for the places of a gang, all or none. Called by the plan, admission and explanations.

`place` is one pure function from what is free and what is asked to places or None. In a pool without domains, plain
shapes go to the tightest nodes. Else the choice is, in this order (see `siting`, `packing`): the preferred level, the
lowest domain that fits, the least that is broken, fewest nodes, least left free, position.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from leitstand.core.facts import Resources, Task
from leitstand.core.places.fit import WHOLE_MILLI, Free
from leitstand.core.places.siting import Part, allowed, site_fewest, site_gang, site_one
from leitstand.core.places.slots import cut
from leitstand.core.places.topology import Topology

Place = tuple[int, int]  # position of the node in its pool, GPUs on it: 1 for a part of a GPU

RECORD_BYTES_MAX: Final = 64 * 1024 - 512  # of the tasks of one placement: a fact has 64 KiB
SHAPES_MAX: Final = 10_000  # of which it is remembered whether they are plain


def place(
    free: Free, asked: Resources, topology: Topology | None = None, colocate: bool = False
) -> list[Place] | None:
    """Places of every task of the gang, in rank order, or None if it does not fit.

    Best fit: the node with the fewest free GPUs that holds a task, lowest position on ties. `colocate`: if the tasks
    do not find nodes of their own, they may share. `topology`: where the nodes stand; without it no level and no GPU
    type is known.
    """
    if topology is None:
        topology = Topology()
    if not topology.flat or _is_special(asked):
        return _sited(free, asked, topology, colocate)
    if asked.nodes == 1 or (asked.nodes == 0 and asked.gpus <= free.size):
        position = free.tightest(asked.gpus, asked.cpus_milli, asked.memory_mib)
        return None if position < 0 else [(position, asked.gpus)]
    if asked.nodes == 0:
        return _fewest_nodes(free, asked)
    places = _equal_tasks(free, asked, share=False)
    if places is None and colocate:
        places = _equal_tasks(free, asked, share=True)
    return places


@lru_cache(SHAPES_MAX)
def _is_special(asked: Resources) -> bool:
    """Whether the shape asks for more than amounts."""
    return bool(
        asked.gpu_milli
        or asked.mig
        or asked.gpu_type
        or asked.level
        or asked.prefer
        or asked.slice_nodes
        or asked.nodes_max
        or asked.sites
        or asked.jurisdiction
    )


def _sited(free: Free, asked: Resources, topology: Topology, colocate: bool) -> list[Place] | None:
    """The same with regard to where the nodes stand."""
    size = topology.largest(free, allowed(asked, topology)) if asked.nodes == 0 else 0
    if (asked.nodes == 1 and asked.nodes_max <= 1) or (asked.nodes == 0 and asked.gpus <= size):
        part = Part(asked.gpus, asked.cpus_milli, asked.memory_mib, asked.gpu_milli, asked.mig)
        position = site_one(free, part, asked, topology)
        return None if position < 0 else [(position, 1 if asked.is_part else asked.gpus)]
    if asked.nodes == 0:
        found = site_fewest(free, asked, topology, size) if size else None
        if found is None:
            return None
        taken, last = found
        places = [(position, size) for position, _ in taken]
        return places if last < 0 else [*places, (last, asked.gpus % size)]
    gang = site_gang(free, asked, topology, colocate)
    if gang is None:
        return None
    gpus = 1 if asked.is_part else asked.gpus // asked.nodes
    return [(position, gpus) for position, tasks in gang for _ in range(tasks)]


def _fewest_nodes(free: Free, asked: Resources) -> list[Place] | None:
    """More GPUs than a node has: whole free nodes of the largest size, then the tightest node for the rest."""
    size = free.size
    if size == 0:
        return None
    whole, rest = divmod(asked.gpus, size)
    if sum([nodes.bit_count() for nodes in free.levels[size:]]) < whole:  # known sooner than which they are
        return None
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
        _gpu_room(free, position, asked),
        free.cpus_milli[position] // cpus_milli if cpus_milli else count,
        free.memory_mib[position] // memory_mib if memory_mib else count,
    )


def _gpu_room(free: Free, position: int, asked: Resources) -> int:
    whole, gpus, milli = free.gpus[position].bit_count(), asked.gpus // asked.nodes, asked.gpu_milli
    if asked.mig:
        return free.slots.room(position, asked.mig, whole) if free.slots is not None else 0
    if milli:
        parts = free.shared.get(position, {})
        return sum(left // milli for left in parts.values()) + whole * (WHOLE_MILLI // milli)
    return whole // gpus if gpus else asked.nodes


def tasks_of(
    places: list[Place], free: Free, names: list[str], gpu_milli: int = 0, mig: str = ""
) -> tuple[Task, ...]:
    """Places with names and GPU indices: the lowest free ones of each node, or for a part of a GPU the shared one with
    least left that holds it, for a MIG instance of the profile `mig` where it spoils least. `names`: node ids by
    position."""
    if mig:
        assert free.slots is not None, "there was room for an instance"
        return tuple(choice.task(names[at]) for at, choice in cut(free.slots, places, free.gpus, mig))
    left: dict[int, int] = {}
    shared: dict[int, dict[int, int]] = {}
    tasks = []
    for position, count in places:
        bits = left.get(position, free.gpus[position])
        if gpu_milli:
            parts = shared.get(position)
            if parts is None:
                parts = shared[position] = dict(free.shared.get(position, ()))
            index = _shared_gpu(parts, bits, gpu_milli)
            parts[index] = parts.get(index, WHOLE_MILLI) - gpu_milli
            left[position] = bits & ~(1 << index)
            tasks.append(Task(names[position], format(1 << index, "x")))
            continue
        rest = bits
        for _ in range(count):
            rest &= rest - 1  # without its lowest bit
        left[position] = rest
        tasks.append(Task(names[position], format(bits ^ rest, "x")))
    return tuple(tasks)


def counted(places: Iterable[Place], names: list[str]) -> tuple[Task, ...]:
    """Places as tasks of which only the number of GPUs counts."""
    return tuple(Task(names[position], format((1 << gpus) - 1, "x")) for position, gpus in places)


def holds(free: Free, asked: Resources, places: Iterable[Place]) -> bool:
    """Whether whole GPUs at these places, with their CPU and memory, are free."""
    wanted: dict[int, tuple[int, int, int]] = {}
    for position, gpus in places:
        before, part = wanted.get(position, (0, 0, 0)), asked.part(gpus)
        wanted[position] = before[0] + gpus, before[1] + part[0], before[2] + part[1]
    return all(
        gpus <= free.gpus[position].bit_count()
        and cpus_milli <= max(free.cpus_milli[position], 0)
        and memory_mib <= max(free.memory_mib[position], 0)
        for position, (gpus, cpus_milli, memory_mib) in wanted.items()
    )


def _shared_gpu(parts: dict[int, int], whole: int, gpu_milli: int) -> int:
    """The index of the GPU for a part of one: of shared ones that hold it that with least left, else a whole one."""
    fitting = [(left, index) for index, left in parts.items() if left >= gpu_milli]
    return min(fitting)[1] if fitting else (whole & -whole).bit_length() - 1


def tasks_max(size: int, name_bytes: int, slots: bool = False) -> int:
    """How many tasks one placement can record, with `size` GPUs on the largest node and node ids of `name_bytes`;
    `slots`: of MIG instances."""
    written = len('["",""],') + (len(":1fff/10") if slots else 0)
    return RECORD_BYTES_MAX // (name_bytes + -(-size // 4) + written)
