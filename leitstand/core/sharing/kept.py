# SPDX-License-Identifier: Apache-2.0
"""What guarantees keep for their owners over time: that part of them which is not lent, as far as it is idle. Called by
the counts of usage.

At a node with a floor, what its children occupy counts as the floor at least; its idle part comes and goes with their
use. Who uses some of what is kept for him takes that much less of the capacity.
"""

from collections.abc import Iterable

from leitstand.core.sharing.lines import Line, Steps, Window, steps_of, total
from leitstand.core.sharing.shares import Node, Tree


class Kept:
    """Of one tree from `now` on. `used`: (leaf, charge, window) of all that runs or is reserved. `line`: how much more
    than its use the pool counts as occupied."""

    def __init__(self, tree: Tree, now: int, used: Iterable[tuple[Node, int, Window]]) -> None:
        self._now = now
        self._inside: dict[
            Node, Line
        ] = {}  # what the children of a node with a floor occupy, where that is anything
        steps: dict[Node, Steps] = {}
        all_steps: Steps = [(now, 0)]
        for leaf, charge, window in used:
            node = _nearest(leaf)
            if node is not None:
                steps.setdefault(node, []).extend(steps_of(charge, window))
                all_steps += steps_of(charge, window)
        occupied: dict[Node | None, list[Line]] = {}  # below a node that keeps something, or the root
        constant = 0
        for node in sorted(filter(_keeps, tree.nodes.values()), key=lambda node: -node.depth):
            above = _nearest(node.parent)
            if node in steps or node in occupied:
                own = Line([(now, 0), *steps.get(node, ())])
                inside = self._inside[node] = total([own, *occupied.get(node, ())])
                occupied.setdefault(above, []).append(inside.at_least(node.floor))
            elif above is not None:
                steps.setdefault(above, []).append((now, node.floor))
            else:
                constant += node.floor
        below = [Line([(now, constant)]), *occupied.get(None, ())]
        self.line = total(below).plus(Line(all_steps), -1)

    def change(self, leaf: Node, charge: int, window: Window) -> None:
        """So much more (less, if negative) is used in `leaf` in the window."""
        used = Line([(self._now, 0), *steps_of(charge, window)])
        more = used
        for node in leaf.path():
            if _keeps(node):
                before = self._of(node)
                after = self._inside[node] = before.plus(more)
                more = after.at_least(node.floor).plus(before.at_least(node.floor), -1)
        if more is not used:
            self.line = total([self.line, more, used], [1, 1, -1])

    def more(self, leaf: Node, charge: int) -> Line | None:
        """How much more the pool would occupy with `charge` more in `leaf`; None: all of that, at any time."""
        more = None
        for node in leaf.path():
            if _keeps(node):
                before = self._of(node)
                after = before.plus(more or Line([(self._now, charge)]))
                more = after.at_least(node.floor).plus(before.at_least(node.floor), -1)
        return more

    def _of(self, node: Node) -> Line:
        known = self._inside.get(node)
        return Line([(self._now, 0)]) if known is None else known


def _keeps(node: Node) -> bool:
    return node.floor > 0 and node.parent is not None


def _nearest(node: Node | None) -> Node | None:
    """The node itself, or the next one above it, that keeps something; None: there is none."""
    while node is not None and not _keeps(node):
        node = node.parent
    return node
