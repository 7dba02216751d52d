# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is. Called by the fair plan.

First those who are *owed*: their start stays inside a guarantee on their path. Then everybody else. In each of the two
rounds from the root of the entitlement tree down the child that lags most in proportion to its share, as it will be at
the next tick if nothing changes; then by id. Inside a leaf the order is the leaf's own.

No claim depends on whose head it is. So whether somebody for whom nothing can be done is asked or left out, which a
plan may know or not (`heads`), changes the order of nobody else.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from leitstand.core.sharing.heads import Head
from leitstand.core.sharing.shares import Node, Tree


class Turn(NamedTuple):
    """The job whose turn it is, and whether it is `owed` a start."""

    leaf: Node
    head: Head
    owed: bool


class Asked(NamedTuple):
    """Whom a plan asks. `line`: the heads of a leaf that are to be looked at, in order, as they are when it is called;
    `counts`: whether one that came up is still to be looked at; both of those who are owed a start, or of others.
    `tick_s`: seconds between ticks."""

    leaves: Iterable[str]
    line: Callable[[str, bool], Iterator[Head]]
    counts: Callable[[Head, bool], bool]
    tick_s: int


class Turns:
    """Turns over those who are asked, each of them once."""

    def __init__(self, tree: Tree, asked: Asked) -> None:
        had: dict[str, None] = {}
        counts = asked.counts

        # not methods: those would tie turns and rounds to each other for the collector
        def is_owed(head: Head, owed: bool) -> bool:
            return tree.guaranteed(tree.node(head.leaf), head.charge) is not None and counts(head, owed)

        def is_left(head: Head, owed: bool) -> bool:
            return head.job not in had and counts(head, owed)

        leaves = [*asked.leaves]
        self._tree = tree
        self._had = had  # jobs that had their turn
        self._others: Asked | None = asked._replace(leaves=leaves, counts=is_left)
        owed = [id for id in leaves if tree.guaranteed(tree.node(id), 1) is not None]
        self._round = Round(tree, asked._replace(leaves=owed, counts=is_owed), owed=True)

    def next(self) -> Turn | None:
        """Whose turn it is; None if everybody had theirs."""
        turn = self._round.next()
        if turn is None and self._others is not None:
            self._round, self._others = Round(self._tree, self._others), None
            turn = self._round.next()
        if turn is not None:
            self._had[turn.head.job] = None
        return turn

    def done(self) -> None:
        """The job had its turn."""
        self._round.done()

    def again(self, leaf: Node) -> None:
        """Less is used in `leaf` than before, though it was not its turn: it and the nodes above it lag more now."""
        self._round.again(leaf)


class _Branch:
    """A node with jobs to look at below it. `heap`: its children by claim; a leaf has `heads` instead, and the `head`
    that came up last."""

    __slots__ = ("head", "heads", "heap", "node")

    def __init__(self, node: Node, heads: Iterator[Head] | None) -> None:
        self.node = node
        self.heads = heads
        self.heap: list[tuple[int, str, _Branch]] = []
        self.head: Head | None = None

    def advance(self) -> bool:
        """The next head of a leaf comes up; whether there is one."""
        assert self.heads is not None, "only leaves have heads"
        self.head = next(self.heads, None)
        return self.head is not None


class Round:
    """One round over those who are asked. A head is not asked for before its leaf comes first."""

    def __init__(self, tree: Tree, asked: Asked, *, owed: bool = False) -> None:
        self._tick_s = asked.tick_s
        self._owed = owed
        self._counts = asked.counts
        self._inner: dict[Node, _Branch] = {}
        levels: list[dict[str, tuple[Node, list[_Branch]]]] = []
        for path in asked.leaves:
            self._hang(levels, _Branch(tree.node(path), asked.line(path, owed)))
        self._root = _Branch(tree.root, None)
        for level in range(len(levels) - 1, -1, -1):
            for node, below in list(levels[level].values()):
                branch = self._inner[node] = _Branch(node, None)
                branch.heap = [(self._claim(child.node), child.node.id, child) for child in below]
                heapify(branch.heap)
                if level:
                    self._hang(levels, branch)
                else:
                    self._root = branch
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
            if leaf.head is not None and self._counts(leaf.head, self._owed):
                self._path = path
                return Turn(leaf.node, leaf.head, self._owed)
            self._pass(path, leaf.advance())
        return None

    def done(self) -> None:
        """The job had its turn."""
        self._pass(self._path, self._path[-1].advance())

    def again(self, leaf: Node) -> None:
        """See `Turns`."""
        for node in leaf.path():
            branch = None if node.parent is None else self._inner.get(node.parent)
            for index, (*_, child) in enumerate(branch.heap if branch is not None else ()):
                if child.node is node:
                    assert branch is not None, "it has a heap"
                    branch.heap[index] = (self._claim(node), node.id, child)
                    heapify(branch.heap)
                    break

    def _pass(self, path: list[_Branch], left: bool) -> None:
        """The leaf at the end of the path has another head now, or none is `left`."""
        for branch in reversed(path[:-1]):
            node, child = branch.heap[0][-1].node, branch.heap[0][-1]
            if left:
                heapreplace(branch.heap, (self._claim(node), node.id, child))
            else:
                heappop(branch.heap)
            left = bool(branch.heap)

    def _claim(self, node: Node) -> int:
        """The lower the earlier."""
        lag = node.lag + (node.deserved - node.running) * self._tick_s
        return -(lag << 20) // max(1, node.deserved)
