# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is: from the root of the entitlement tree down, the child with the best claim. Called by the fair plan.

A child's claim: whether its head stays inside its guarantee; then its lag in proportion to its share, as it will be at
the next tick if nothing changes, the most neglected first; then its id.
Inside a leaf the order is the leaf's own.
"""

from collections.abc import Iterable, Iterator, Mapping
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from leitstand.core.sharing.shares import Node, Tree
from leitstand.core.sharing.standing import Class

Head = tuple[str, Class, int]  # job, class, charge


class Turn(NamedTuple):
    """The job whose turn it is."""

    leaf: Node
    job: str
    cls: Class


class _Branch:
    """A node with jobs to consider below it. `heap`: its children by claim; a leaf has `heads` instead."""

    __slots__ = ("charge", "heads", "heap", "job", "leaf", "node")

    def __init__(self, node: Node, heads: Iterator[Head] | None) -> None:
        self.node = node
        self.heads = heads
        self.heap: list[tuple[int, int, str, _Branch]] = []
        self.leaf = node
        self.job: tuple[str, Class] | None = None
        self.charge = 0

    def advance(self) -> bool:
        """The next head of a leaf comes up; whether there is one."""
        assert self.heads is not None, "only leaves have heads"
        head = next(self.heads, None)
        if head is None:
            return False
        self.job, self.charge = head[:2], head[2]
        return True

    def take_first(self) -> None:
        """The head of an inner node is that of its best child."""
        best = self.heap[0][-1]
        self.leaf, self.job, self.charge = best.leaf, best.job, best.charge


class Turns:
    """Turns over the leaves of `lines`, each with the heads that are to be considered, in order."""

    def __init__(self, tree: Tree, lines: Mapping[str, Iterable[Head]], tick_s: int) -> None:
        self._tree = tree
        self._tick_s = tick_s
        levels: list[dict[str, tuple[Node, list[_Branch]]]] = []
        for path, line in lines.items():
            node = tree.node(path)
            branch = _Branch(node, iter(line))
            if branch.advance():
                self._hang(levels, branch)
        for level in range(len(levels) - 1, -1, -1):
            for node, below in list(levels[level].values()):
                branch = _Branch(node, None)
                branch.heap = [(*self._claim(child), child.node.id, child) for child in below]
                heapify(branch.heap)
                branch.take_first()
                if level:
                    self._hang(levels, branch)
                else:
                    self._root = branch
        if not levels:
            self._root = _Branch(tree.root, None)
        self._path: list[_Branch] = []

    def _hang(self, levels: list[dict[str, tuple[Node, list[_Branch]]]], branch: _Branch) -> None:
        parent = branch.node.parent
        assert parent is not None, "leaves lie below the root"
        while len(levels) <= parent.depth:
            levels.append({})
        levels[parent.depth].setdefault(parent.id, (parent, []))[1].append(branch)

    def next(self) -> Turn | None:
        """Whose turn it is; None if everybody had theirs."""
        if not self._root.heap:
            return None
        path = [self._root]
        while path[-1].heap:
            path.append(path[-1].heap[0][-1])
        self._path = path
        leaf = path[-1]
        assert leaf.job is not None, "a leaf without a head has left the heap"
        return Turn(leaf.node, *leaf.job)

    def done(self, line: Iterable[Head] | None = None) -> None:
        """The job had its turn. `line`: the heads of its leaf from now on, if usage changed; None: the rest goes on."""
        leaf = self._path[-1]
        if line is not None:
            leaf.heads = iter(line)
        left = leaf.advance()
        for branch in reversed(self._path[:-1]):
            child = branch.heap[0][-1]
            if left:
                heapreplace(branch.heap, (*self._claim(child), child.node.id, child))
            else:
                heappop(branch.heap)
            left = bool(branch.heap)
            if left:
                branch.take_first()

    def _claim(self, child: _Branch) -> tuple[int, int]:
        node = child.node
        occupied = self._tree.occupied_with(node, child.leaf, child.charge)
        standing = 0 if node.guarantee and occupied <= node.guarantee else 1
        lag = node.lag + (node.deserved - node.running) * self._tick_s
        return standing, -(lag << 20) // max(1, node.deserved)
