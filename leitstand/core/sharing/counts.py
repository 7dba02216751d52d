# SPDX-License-Identifier: Apache-2.0
"""Usage of the entitlement tree over time, as charges: when do limits and the capacity leave room? Called by the fair
plan when it starts or reserves. Nodes have a timeline of their own (`timeline`); this is the same question without
places.

What may not be lent is taken as it is now; whether a start is allowed is decided again when it comes.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing.shares import Held, Node, Tree

Window = tuple[int, int]  # from, until

_Ints = npt.NDArray[np.int64]


class Counts:
    """Usage from `now` on: what runs, and what is reserved. `running`: what the tree holds now."""

    def __init__(self, tree: Tree, now: int, running: Iterable[Held] = ()) -> None:
        self._tree = tree
        self._now = now
        self._running: dict[Node, dict[str, tuple[int, int]]] = {}  # by leaf and job: charge and end
        for held in running:
            self._running.setdefault(held.leaf, {})[held.id] = held.charge, held.until_us
        self._spans: dict[str, tuple[Node, int, Window]] = {}
        self._lines: dict[Node, _Line] = {}  # of nodes somebody asked for

    def put(self, job: str, leaf: Node, charge: int, window: Window) -> None:
        """The job runs, or will, in that window, in place of what was said of it."""
        self.end(job, leaf)
        self._spans[job] = leaf, charge, (window[0], max(window[1], self._now + 1))
        self._change(*self._spans[job])

    def start(self, job: str, leaf: Node, charge: int, until_us: int) -> None:
        """It starts now."""
        self.put(job, leaf, charge, (self._now, until_us))

    def drop(self, job: str) -> None:
        """It does not, after all."""
        known = self._spans.pop(job, None)
        if known is not None:
            leaf, charge, window = known
            self._change(leaf, -charge, window)

    def end(self, job: str, leaf: Node) -> None:
        """What is said of it, and what ran of it in `leaf`, counts no more."""
        self.drop(job)
        known = self._running.get(leaf, {}).pop(job, None)
        if known is not None:
            charge, until_us = known
            self._change(leaf, -charge, (self._now, max(until_us, self._now + 1)))

    def _change(self, leaf: Node, charge: int, window: Window) -> None:
        for node in leaf.path():
            line = self._lines.get(node)
            if line is not None:
                line.add(charge, window)

    def allows(self, leaf: Node, charge: int, limit_us: int, own: str) -> bool:
        """Whether `charge` more in `leaf` from now on stays within all limits for `limit_us`, what is reserved for
        `own` aside."""
        mine = self._spans.get(own)
        self.drop(own)
        until_us = self._now + limit_us
        fits = all(self._line(node).most(until_us) <= most for node, most in self._bounds(leaf, charge))
        if mine is not None:
            self._spans[own] = mine
            self._change(*mine)
        return fits

    def earliest(self, leaf: Node, charge: int, limit_us: int) -> int | None:
        """The first moment from which `charge` more in `leaf` stays within all limits for `limit_us`; None: never."""
        bounds = self._bounds(leaf, charge)
        start, moved = self._now, True
        while moved:
            moved = False
            for node, most in bounds:
                free_us = self._line(node).earliest(most, start, limit_us)
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

    def _line(self, node: Node) -> "_Line":
        """The usage of a node by time."""
        line = self._lines.get(node)
        if line is None:
            soonest = self._now + 1
            steps: list[tuple[int, int]] = []
            for leaf, runs in self._running.items():
                if _is_below(leaf, node):
                    steps += [
                        (max(until_us, soonest), -charge)
                        for charge, until_us in runs.values()
                        if until_us < INFINITY
                    ]
                    steps.append((self._now, sum(charge for charge, _ in runs.values())))
            for leaf, charge, (from_us, until_us) in self._spans.values():
                if _is_below(leaf, node):
                    steps.append((from_us, charge))
                    if until_us < INFINITY:
                        steps.append((until_us, -charge))
            line = self._lines[node] = _Line(steps)
        return line


class _Line:
    """Usage as steps: `used[i]` from `times[i]` to `times[i + 1]`, the last for ever, nothing before the first."""

    __slots__ = ("times", "used")

    def __init__(self, changes: list[tuple[int, int]]) -> None:
        table = np.array(changes, np.int64).reshape(-1, 2)
        self.times, at = np.unique(table[:, 0], return_inverse=True)
        steps = np.zeros(len(self.times), np.int64)
        np.add.at(steps, at, table[:, 1])
        self.used: _Ints = np.cumsum(steps)

    def add(self, charge: int, window: Window) -> None:
        """So much more (less, if negative) in the window."""
        first = self._cut(window[0])
        last = self._cut(window[1]) if window[1] < INFINITY else len(self.times)
        self.used[first:last] += charge

    def _cut(self, at_us: int) -> int:
        """The index of the step that begins then, made if there is none."""
        index = int(self.times.searchsorted(at_us))
        if index == len(self.times) or self.times[index] != at_us:
            self.times = np.insert(self.times, index, at_us)
            self.used = np.insert(self.used, index, self.used[index - 1] if index else 0)
        return index

    def most(self, until_us: int) -> int:
        """The greatest use before then."""
        return int(self.used[: self.times.searchsorted(until_us)].max(initial=-INFINITY))

    def earliest(self, most: int, start: int, limit_us: int) -> int | None:
        """The first moment from `start` on from which at most `most` is used for `limit_us`; None: never."""
        over = self.used > most
        turns = np.flatnonzero(np.diff(over, prepend=False))  # over and not over take turns
        froms = np.maximum(np.concatenate(([start], self.times[turns[1::2]])), start)
        untils = self.times[turns[::2]]
        found = np.flatnonzero(untils - froms[: len(untils)] >= limit_us)
        if len(found):
            return int(froms[found[0]])
        return int(froms[-1]) if len(froms) > len(untils) else None


def _is_below(leaf: Node, node: Node) -> bool:
    while leaf.depth > node.depth:
        assert leaf.parent is not None, "it is not the root"
        leaf = leaf.parent
    return leaf is node
