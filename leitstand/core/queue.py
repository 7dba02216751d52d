# SPDX-License-Identifier: Apache-2.0
"""Whose turn: the queue disciplines, as keys over pending jobs. Called by the plan and by explanations.

This is the seam for guarantees and fair share: they will say whose head comes next; here there is one queue a pool.
Jobs of equal shape form a *class*: if one does not fit, none of them does, so a class is tested once.
"""

from collections.abc import Container
from heapq import heapify, heappop, heappush

from leitstand.core.facts import Resources

Key = tuple[int, int, str]  # rank under the discipline, arrival number, job id; unique by the number

STRICT = frozenset({"fifo-strict", "sjf", "priority"})  # the first that does not fit blocks the rest


def rank(discipline: str, priority: int, expected_us: int, max_duration_us: int) -> int:
    """The lower the earlier; arrival breaks ties. `sjf` takes the expected length, or the limit if none is known."""
    if discipline == "sjf":
        return expected_us or max_duration_us
    if discipline == "priority":
        return -priority
    return 0


class Queue:
    """Pending jobs of one pool. Entries of jobs that left are dropped when they come up, or when they outnumber the
    living; a job that comes back before has its entry still, for its key stays the same."""

    __slots__ = ("_gone", "classes", "waiting")

    def __init__(self) -> None:
        self.classes: dict[Resources, list[Key]] = {}  # heaps
        self.waiting: set[str] = set()  # membership only
        self._gone: set[str] = set()  # membership only

    def add(self, shape: Resources, key: Key) -> None:
        self.waiting.add(key[2])
        if key[2] in self._gone:
            self._gone.remove(key[2])
            return
        heap = self.classes.get(shape)
        if heap is None:
            self.classes[shape] = [key]
        else:
            heappush(heap, key)

    def leave(self, shape: Resources, job: str) -> None:
        """The job (placed, cancelled) waits no more."""
        waiting = self.waiting
        waiting.remove(job)
        self._gone.add(job)
        heap = self.classes[shape]
        while heap and heap[0][2] not in waiting:
            self._gone.remove(heappop(heap)[2])
        if not heap:
            del self.classes[shape]
        if len(self._gone) > len(waiting) + 1024:
            self._compact()

    def _compact(self) -> None:
        """Drop every entry of a job that left."""
        for shape, heap in list(self.classes.items()):
            heap[:] = [key for key in heap if key[2] in self.waiting]
            heapify(heap)
            if not heap:
                del self.classes[shape]
        self._gone.clear()

    def heads(self, asleep: Container[Resources]) -> list[tuple[Key, Resources]]:
        """A heap of the first job of every class that is not in `asleep`."""
        heads = [(heap[0], shape) for shape, heap in self.classes.items() if shape not in asleep]
        if len(heads) > 1:
            heapify(heads)
        return heads
