# SPDX-License-Identifier: Apache-2.0
"""How long jobs took that were such as this one, and a draw of how long it will take. Called by `past` and `forks`.

Jobs are grouped ever wider: the same user, size and time limit; user and size; project and size; project; size; all.
A draw begins in the closest group and takes one of its lengths with probability n / (n + WIDER), where n of them are
possible for the job, else goes to the next wider one: few observations count little, many decide. (The predictive
distribution of a hierarchical Dirichlet process: Teh et al. 2006.) Possible is what is longer than the job has worked
already, and no longer than its time limit.
"""

from bisect import bisect_right, insort
from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from leitstand.core.jobs import Job
    from leitstand.core.state import State

WIDER: Final = 2.0  # a group counts as much as what is wider when it has so many lengths
NEWEST: Final = 200  # lengths of a group; older ones are forgotten
GROUPS_MAX: Final = 20_000  # the one that nothing was learned about for longest goes

Group = tuple[object, ...]


class Lengths:
    """What is known of the lengths of jobs (µs of work with their least size)."""

    def __init__(self) -> None:
        self._groups: dict[Group, _Newest] = {}

    def learn(self, state: "State", job: "Job", work_us: int) -> None:
        """A job of this kind took so long."""
        for name in _groups(state, job):
            known = self._groups.pop(name, None) or _Newest()
            known.add(work_us)
            self._groups[name] = known
        while len(self._groups) > GROUPS_MAX:
            del self._groups[next(iter(self._groups))]

    def draw(self, state: "State", job: "Job", worked_us: int, chance: np.random.Generator) -> int:
        """How long the job may take, more than it has worked. Where nothing possible is known, anything up to its
        limit, all equally likely."""
        most_us = max(job.max_duration_us * max(job.nodes_most, 1), worked_us + 1)
        for name in _groups(state, job):
            known = self._groups.get(name)
            if known is None:
                continue
            first, last = known.between(worked_us, most_us)
            number = last - first
            if number and chance.random() * (number + WIDER) < number:
                return known.ordered[first + int(chance.random() * number)]
        return worked_us + 1 + int(chance.random() * (most_us - worked_us - 1))


class _Newest:
    """The newest lengths of a group, also in order."""

    __slots__ = ("_arrived", "ordered")

    def __init__(self) -> None:
        self._arrived: deque[int] = deque()
        self.ordered: list[int] = []

    def add(self, length_us: int) -> None:
        self._arrived.append(length_us)
        insort(self.ordered, length_us)
        if len(self._arrived) > NEWEST:
            oldest = self._arrived.popleft()
            del self.ordered[bisect_right(self.ordered, oldest) - 1]

    def between(self, more_than: int, most: int) -> tuple[int, int]:
        """The positions of lengths in (more_than, most]."""
        return bisect_right(self.ordered, more_than), bisect_right(self.ordered, most)


def _groups(state: "State", job: "Job") -> tuple[Group, ...]:
    asked, limit = job.resources, job.max_duration_us
    size = 1000 * asked.gpus + asked.gpu_milli * asked.nodes
    user = (state.leaf(job), job.user)
    return (
        *(((*user, job.spec),) if job.spec else ()),
        (*user, limit, size),
        (*user, limit),
        (user[0], limit),
        (limit, size),
        (limit,),
        (*user, "", size),
        ("", size),
        (),
    )
