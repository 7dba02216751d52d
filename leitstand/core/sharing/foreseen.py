# SPDX-License-Identifier: Apache-2.0
"""A pool as it will be when a promise is due: what is entitled then, who may still run, who is inside a guarantee.
Called where way is made for promises, and where contracts change.

Everything works on a tree of its own; nothing of the state is touched.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from leitstand.core.sharing.shares import Held, Node, Tree
from leitstand.core.yielding.cover import Cover


class Start(NamedTuple):
    """A promise that will have started: its job, and its charge in the project `leaf`."""

    job: str
    leaf: str
    charge: int


class Foreseen:
    """The guarantees of a pool at `at_us` (µs). `then`: who is entitled to what; `running`: what may still run;
    `starts`: promises that have started by then. Promised and pinned charge uses its owner's guarantee first."""

    def __init__(self, then: Tree, running: Iterable[Held], starts: Iterable[Start], at_us: int) -> None:
        tree, sure = Tree(), dict[str, int]()
        for node in then.nodes.values():
            tree.entitle(node.entitlement())
        for number, start in enumerate(starts):
            held = Held(start.job, tree.node(start.leaf), start.charge, 0, (-1, number))
            held.pinned_us = at_us + 1
            tree.start(held)
            sure[start.leaf] = sure.get(start.leaf, 0) + start.charge
        for one in running:
            leaf = one.leaf.id
            held = Held(one.id, tree.node(leaf), one.charge, one.priority, one.order)
            if one.pinned_us > at_us:
                held.pinned_us = one.pinned_us
                sure[leaf] = sure.get(leaf, 0) + one.charge
            tree.start(held)
        _call(tree.root, sure)
        self._tree, self._cover = tree, Cover(tree)

    def owed(self, node: str) -> dict[str, None]:
        """The jobs that must not go for the limit of `node`: inside a guarantee of it or below it; for the root, below
        it."""
        found: dict[str, None] = {}
        stack = [self._tree.node(node)]
        while stack:
            one = stack.pop()
            stack += one.children.values()
            if one.depth and one.deserved and one.running:
                found.update(dict.fromkeys(self._cover.runs(one)))
        return found


def _call(node: Node, sure: Mapping[str, int]) -> int:
    """W: what a node needs if every guarantee is called. It becomes the share that the cover goes by."""
    below = sum(_call(child, sure) for child in node.children.values())
    node.deserved = max(node.guarantee, below, sure.get(node.id, 0))
    return node.deserved


def occupied(node: Node, used: Mapping[str, int]) -> int:
    """What `node` would occupy with this usage of the projects."""
    if not node.children:
        return max(used.get(node.id, 0), node.floor)
    return max(sum(occupied(child, used) for child in node.children.values()), node.floor)
