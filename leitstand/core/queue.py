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
    living."""

    __slots__ = ("_entries", "classes", "waiting")

    def __init__(self) -> None:
        self.classes: dict[Resources, list[Key]] = {}  # heaps
        self.waiting: set[str] = set()  # membership only
        self._entries = 0

    def add(self, shape: Resources, key: Key) -> None:
        heap = self.classes.get(shape)
        if heap is None:
            self.classes[shape] = [key]
        else:
            heappush(heap, key)
        self.waiting.add(key[2])
        self._entries += 1

    def leave(self, shape: Resources, job: str) -> None:
        """The job (placed, cancelled) waits no more."""
        waiting = self.waiting
        waiting.remove(job)
        heap = self.classes[shape]
        while heap and heap[0][2] not in waiting:
            heappop(heap)
            self._entries -= 1
        if not heap:
            del self.classes[shape]
        if self._entries > 2 * len(waiting) + 1024:
            self.compact()

    def compact(self) -> None:
        """Drop every entry of a job that left; needed before one of them comes back."""
        for shape, heap in list(self.classes.items()):
            heap[:] = [key for key in heap if key[2] in self.waiting]
            heapify(heap)
            if not heap:
                del self.classes[shape]
        self._entries = len(self.waiting)

    def heads(self, asleep: Container[Resources]) -> list[tuple[Key, Resources]]:
        """A heap of the first job of every class that is not in `asleep`."""
        heads = [(heap[0], shape) for shape, heap in self.classes.items() if shape not in asleep]
        if len(heads) > 1:
            heapify(heads)
        return heads
