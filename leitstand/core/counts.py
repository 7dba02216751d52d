# SPDX-License-Identifier: Apache-2.0
"""Usage of the entitlement tree over time, as charges: when do limits and the capacity leave room? Called by the fair
plan when it reserves. Nodes have a timeline of their own (`timeline`); this is the same question without places.

What may not be lent is taken as it is now; whether a start is allowed is decided again when it comes.
"""

from bisect import insort

from leitstand.core.shares import Node, Tree
from leitstand.core.steps import INFINITY

Window = tuple[int, int]  # from, until


class Counts:
    """Usage from `now` on: what runs, and what is reserved."""

    def __init__(self, tree: Tree, now: int) -> None:
        self._tree = tree
        self._now = now
        self._spans: dict[str, tuple[Node, int, Window]] = {}
        self._steps: dict[Node, list[tuple[int, int]]] = {}  # of a node somebody asked for: changes by time

    def put(self, job: str, leaf: Node, charge: int, window: Window) -> None:
        """The job runs, or will, in that window, in place of what was said of it."""
        self.drop(job)
        self._spans[job] = leaf, charge, (window[0], max(window[1], self._now + 1))
        self._change(job, 1)

    def start(self, job: str, leaf: Node, charge: int, until_us: int) -> None:
        """It starts now."""
        self.put(job, leaf, charge, (self._now, until_us))

    def drop(self, job: str) -> None:
        """It does not, after all."""
        if job in self._spans:
            self._change(job, -1)
            del self._spans[job]

    def _change(self, job: str, sign: int) -> None:
        leaf, charge, (from_us, until_us) = self._spans[job]
        for node in leaf.path():
            steps = self._steps.get(node)
            if steps is not None:
                insort(steps, (from_us, sign * charge))
                if until_us < INFINITY:
                    insort(steps, (until_us, -sign * charge))

    def allows(self, leaf: Node, charge: int, limit_us: int, own: str) -> bool:
        """Whether `charge` more in `leaf` from now on stays within all limits for `limit_us`, what is reserved for `own`
        aside."""
        mine = self._spans.get(own)
        self.drop(own)
        fits = all(
            self._free(node, most, self._now, limit_us) == self._now
            for node, most in self._bounds(leaf, charge)
        )
        if mine is not None:
            self._spans[own] = mine
            self._change(own, 1)
        return fits

    def earliest(self, leaf: Node, charge: int, limit_us: int) -> int | None:
        """The first moment from which `charge` more in `leaf` stays within all limits for `limit_us`; None: never."""
        bounds = self._bounds(leaf, charge)
        start, moved = self._now, True
        while moved:
            moved = False
            for node, most in bounds:
                free_us = self._free(node, most, start, limit_us)
                if free_us is None:
                    return None
                if free_us > start:
                    start, moved = free_us, True
        return start

    def _bounds(self, leaf: Node, charge: int) -> list[tuple[Node, int]]:
        """What nodes on the path may use beside `charge`."""
        root = self._tree.root
        kept = root.occupied - root.running  # of guarantees that nobody uses and nobody may
        bounds = [(node, node.guarantee + node.borrow - charge) for node in leaf.path() if node.borrow >= 0]
        return [*bounds, (root, self._tree.capacity - kept - charge)]

    def _free(self, node: Node, most: int, start: int, limit_us: int) -> int | None:
        """The first moment from `start` on from which the usage of `node` is at most `most` for `limit_us`."""
        found: int | None = start
        used = 0
        steps = self._usage(node)
        for index, (at_us, change) in enumerate(steps):
            if found is not None and at_us >= found + limit_us:
                break
            used += change
            if index + 1 < len(steps) and steps[index + 1][0] == at_us:
                continue  # what ends and what begins at one moment
            if used > most:
                found = None
            elif found is None:
                found = max(at_us, start)
        return found

    def _usage(self, node: Node) -> list[tuple[int, int]]:
        """Changes of the usage of a node by time."""
        steps = self._steps.get(node)
        if steps is None:
            steps = []
            for leaf, charge, (from_us, until_us) in self._spans.values():
                if _is_below(leaf, node):
                    steps.append((from_us, charge))
                    if until_us < INFINITY:
                        steps.append((until_us, -charge))
            steps.sort()
            self._steps[node] = steps
        return steps


def _is_below(leaf: Node, node: Node) -> bool:
    while leaf.depth > node.depth:
        assert leaf.parent is not None, "it is not the root"
        leaf = leaf.parent
    return leaf is node
