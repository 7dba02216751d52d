# SPDX-License-Identifier: Apache-2.0
"""A second opinion: the queue and the placement written down once more, as plainly as possible, sharing no code with
the project. Tests compare start times with it; it is slow on purpose (it looks at every node and every job).

The description it follows: nodes of equal size; a job of at most one node's GPUs goes to the fullest node that still
holds it (lowest number on ties); a larger one takes as many empty nodes as it fills (lowest numbers first) and puts
the remainder on the fullest other node that holds it. What ends at t is released before what arrives at t queues.
Then the queue is ordered and placed from its head: up to the first job that does not fit (strict), or passing over
what does not fit (greedy).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """A job: times in any unit, as integers."""

    tenant: str
    submit: int
    duration: int
    gpus: int
    priority: int = 0


Places = list[tuple[int, int]]  # node, GPUs

# queue order and whether the first that does not fit blocks the rest
ORDERS: dict[str, tuple[Callable[[Asked], int], bool]] = {
    "fifo-strict": (lambda job: 0, True),
    "fifo-greedy": (lambda job: 0, False),
    "sjf": (lambda job: job.duration, True),
    "priority": (lambda job: -job.priority, True),
}


def starts(
    jobs: Sequence[Asked], nodes_of: dict[str, int], node_gpus: int, rules: str, static: bool
) -> list[int | None]:
    """Start time of every job, in the order given; None for a job that can never run.

    `nodes_of`: tenant → number of nodes. Jobs of other tenants never run.
    """
    result: list[int | None] = [None] * len(jobs)
    if static:
        pools = [({tenant}, nodes) for tenant, nodes in nodes_of.items()]
    else:
        pools = [(set(nodes_of), sum(nodes_of.values()))]
    for tenants, nodes in pools:
        members = [number for number, job in enumerate(jobs) if job.tenant in tenants]
        _run_pool(jobs, members, [node_gpus] * nodes, node_gpus, rules, result)
    return result


def _run_pool(
    jobs: Sequence[Asked],
    members: list[int],
    free: list[int],
    node_gpus: int,
    rules: str,
    result: list[int | None],
) -> None:
    order, strict = ORDERS[rules]
    arriving = [number for number in members if _place(list(free), node_gpus, jobs[number].gpus) is not None]
    waiting: list[int] = []
    running: list[tuple[int, Places]] = []  # (end, places)
    while arriving or running:
        now = min([jobs[number].submit for number in arriving] + [end for end, _ in running])
        for _, left in [run for run in running if run[0] == now]:
            for node, gpus in left:
                free[node] += gpus
        running = [run for run in running if run[0] != now]
        waiting += [number for number in arriving if jobs[number].submit == now]
        arriving = [number for number in arriving if jobs[number].submit != now]
        for number in sorted(waiting, key=lambda number: (order(jobs[number]), jobs[number].submit, number)):
            places = _place(free, node_gpus, jobs[number].gpus)
            if places is not None:
                result[number] = now
                waiting.remove(number)
                running.append((now + jobs[number].duration, places))
            elif strict:
                break


def _place(free: list[int], node_gpus: int, gpus: int) -> Places | None:
    """Takes the GPUs from `free` and says where: [(node, GPUs)]; None, taking nothing, if they do not fit."""
    empty = [node for node in range(len(free)) if free[node] == node_gpus]
    whole, rest = (0, gpus) if gpus <= node_gpus else divmod(gpus, node_gpus)
    if len(empty) < whole:
        return None
    places = [(node, node_gpus) for node in empty[:whole]]
    if rest:
        taken = {node for node, _ in places}
        holds = [(free[node], node) for node in range(len(free)) if free[node] >= rest and node not in taken]
        if not holds:
            return None
        places.append((min(holds)[1], rest))
    for node, amount in places:
        free[node] -= amount
    return places
