# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is: from the root of the entitlement tree down, the child with the best claim. Called by the fair plan.

A child's claim: whether its head stays inside its guarantee; then its lag in proportion to its share, as it will be at
the next tick if nothing changes, the most neglected first; then its id.
Inside a leaf the order is the leaf's own.
"""

from collections.abc import Callable, Iterator, Mapping
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from leitstand.core.sharing.heads import Head
from leitstand.core.sharing.shares import Node, Tree


class Turn(NamedTuple):
    """The job whose turn it is."""

    leaf: Node
    head: Head


class _Branch:
    """A node with jobs to look at below it. `heap`: its children by claim; a leaf has `heads` instead. `first`: whose
    head is its head, None for a leaf; that of a leaf is None until somebody asks."""

    __slots__ = ("first", "head", "heads", "heap", "node")

    def __init__(self, node: Node, heads: Iterator[Head] | None) -> None:
        self.node = node
        self.heads = heads
        self.heap: list[tuple[int, int, str, _Branch]] = []
        self.first: _Branch | None = None
        self.head: Head | None = None

    def advance(self) -> bool:
        """The next head of a leaf comes up; whether there is one."""
        assert self.heads is not None, "only leaves have heads"
        self.head = next(self.heads, None)
        return self.head is not None

    def take_first(self) -> None:
        """The head of an inner node is that of its best child."""
        best = self.heap[0][-1]
        self.first = best.first or best


class Turns:
    """Turns over the leaves of `lines`, each with the heads that are to be looked at, in order. A head is not asked for
    before its leaf may come first; `counts`: whether one that was is still to be looked at."""

    def __init__(
        self, tree: Tree, lines: Mapping[str, Iterator[Head]], tick_s: int, counts: Callable[[Head], bool]
    ) -> None:
        self._tree = tree
        self._tick_s = tick_s
        self._counts = counts
        self._inner: dict[Node, _Branch] = {}
        levels: list[dict[str, tuple[Node, list[_Branch]]]] = []
        for path, heads in lines.items():
            self._hang(levels, _Branch(tree.node(path), heads))
        for level in range(len(levels) - 1, -1, -1):
            for node, below in list(levels[level].values()):
                branch = self._inner[node] = _Branch(node, None)
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
        while self._root.heap:
            path = [self._root]
            while path[-1].heap:
                path.append(path[-1].heap[0][-1])
            leaf = path[-1]
            if leaf.head is not None and self._counts(leaf.head):
                self._path = path
                return Turn(leaf.node, leaf.head)
            self._pass(path, leaf.advance())
        return None

    def done(self) -> None:
        """The job had its turn."""
        self._pass(self._path, self._path[-1].advance())

    def again(self, leaf: Node) -> None:
        """Less is used in `leaf` than before, though it was not its turn: it and the nodes above it lag more now."""
        for node in leaf.path():
            branch = None if node.parent is None else self._inner.get(node.parent)
            for index, (*_, child) in enumerate(branch.heap if branch is not None else ()):
                if child.node is node:
                    assert branch is not None, "it has a heap"
                    branch.heap[index] = (*self._claim(child), node.id, child)
                    heapify(branch.heap)
                    branch.take_first()
                    break

    def _pass(self, path: list[_Branch], left: bool) -> None:
        """The leaf at the end of the path has another head now, or none is `left`."""
        for branch in reversed(path[:-1]):
            child = branch.heap[0][-1]
            if left:
                heapreplace(branch.heap, (*self._claim(child), child.node.id, child))
            else:
                heappop(branch.heap)
            left = bool(branch.heap)
            if left:
                branch.take_first()

    def _claim(self, child: _Branch) -> tuple[int, int]:
        """The lower the earlier. A head that nobody asked for yet counts as the smallest there could be."""
        node = child.node
        standing = 1
        if node.guarantee:
            leaf = child.first or child
            charge = leaf.head.charge if leaf.head is not None else 1
            standing = int(self._tree.occupied_with(node, leaf.node, charge) > node.guarantee)
        lag = node.lag + (node.deserved - node.running) * self._tick_s
        return standing, -(lag << 20) // max(1, node.deserved)
