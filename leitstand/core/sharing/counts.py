# SPDX-License-Identifier: Apache-2.0
"""Usage of the entitlement tree over time, as charges: when do limits and the capacity leave room? Called by the fair
plan when it starts or reserves. Nodes have a timeline of their own (`timeline`); this is the same question without
places.

Against the capacity counts what is used, and beside it what guarantees keep for their owners (`kept`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from leitstand.core.places.closures import Lack
from leitstand.core.places.placement import Place
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing.ahead import UNBOUND
from leitstand.core.sharing.kept import Kept
from leitstand.core.sharing.lines import Line, Steps, Window
from leitstand.core.sharing.shares import Held, Node, Tree

ROUNDS_MAX: Final = 8  # in which a start is looked for by count and by place in turn
Found = tuple[int, list[Place]]  # start, places


class Counts:
    """Usage from `now` on: what runs, and what is reserved. `running`: what the tree holds now; `lacks`: how the
    capacity will differ from that of the tree, which counts as usage of the root; `ceilings`: what nodes may use from
    when on, where contracts change that."""

    def __init__(
        self,
        tree: Tree,
        now: int,
        running: Iterable[Held] = (),
        lacks: Iterable[Lack] = (),
        ceilings: Mapping[str, list[tuple[int, int]]] | None = None,
    ) -> None:
        self._lacks = list(lacks)
        self._ceilings = ceilings or {}
        self._tree = tree
        self._now = now
        self._running: dict[Node, dict[str, tuple[int, int]]] = {}  # by leaf and job: charge and end
        for held in running:
            self._running.setdefault(held.leaf, {})[held.id] = held.charge, held.until_us
        self._spans: dict[str, tuple[Node, int, Window]] = {}
        self._lines: dict[Node, Line] = {}  # of nodes somebody asked for
        self._keeps = tree.floors > 0
        self._kept: Kept | None = None  # once somebody asked, where anything is kept
        self._whole: Line | None = None  # used and kept in the whole pool

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
        if self._kept is not None:
            self._kept.change(leaf, charge, window)
            self._whole = None

    def used(self, node: Node, at_us: int) -> int:
        """The usage of a node as of then."""
        return self._line(node).at(at_us)

    def allows(self, leaf: Node, charge: int, limit_us: int, own: str) -> bool:
        """Whether `charge` more in `leaf` from now on stays within all limits for `limit_us`, what is reserved for
        `own` aside."""
        mine = self._spans.get(own)
        self.drop(own)
        until_us = self._now + limit_us
        fits = all(line.most(until_us) <= most for line, most in self._bounds(leaf, charge))
        if mine is not None:
            self._spans[own] = mine
            self._change(*mine)
        return fits

    def earliest(self, leaf: Node, charge: int, limit_us: int, after_us: int = 0) -> int | None:
        """The first moment, not before `after_us`, from which `charge` more in `leaf` stays within all limits for
        `limit_us`; None: never."""
        bounds = self._bounds(leaf, charge)
        start, moved = max(self._now, after_us), True
        while moved:
            moved = False
            for line, most in bounds:
                free_us = line.earliest(most, start, limit_us)
                if free_us is None:
                    return None
                if free_us > start:
                    start, moved = free_us, True
        return start

    def earliest_with(
        self, leaf: Node, charge: int, limit_us: int, places: Callable[[int], Found | None]
    ) -> Found | None:
        """The first start at which the same holds and `places`, asked for the first one from a moment on, has some."""
        after_us = self._now
        for _ in range(ROUNDS_MAX):
            open_us = self.earliest(leaf, charge, limit_us, after_us)
            found = None if open_us is None else places(open_us)
            if found is None or found[0] == open_us:
                return found
            after_us = found[0]
            if self.earliest(leaf, charge, limit_us, after_us) == after_us:
                return found
        return None

    def _bounds(self, leaf: Node, charge: int) -> list[tuple[Line, int]]:
        """What is used on the path of a leaf, and how much of it may be beside `charge`."""
        bounds = []
        for node in leaf.path():
            if node.id in self._ceilings:
                bounds.append((self._line(node).plus(self._closed(node)), UNBOUND - charge))
            elif node.borrow >= 0:
                bounds.append((self._line(node), node.guarantee + node.borrow - charge))
        return [*bounds, self._bound(leaf, charge)]

    def _closed(self, node: Node) -> Line:
        """What a node may not use of UNBOUND, over time."""
        steps: Steps = [(self._now, 0)]
        before = UNBOUND
        for at_us, most in self._ceilings[node.id]:
            steps.append((max(at_us, self._now), before - most))
            before = most
        return Line(steps)

    def _bound(self, leaf: Node, charge: int) -> tuple[Line, int]:
        """The same of the whole pool, where what is kept counts, too."""
        tree = self._tree
        used = self._line(tree.root)
        if not self._keeps:
            return used, tree.capacity - charge
        if self._kept is None:
            self._kept = Kept(tree, self._now, self._all())
        if self._whole is None:
            self._whole = used.plus(self._kept.line)
        more = self._kept.more(leaf, charge)
        if more is None:
            return self._whole, tree.capacity - charge
        return self._whole.rising(more), tree.capacity

    def _all(self) -> Iterator[tuple[Node, int, Window]]:
        """All that runs and is reserved."""
        for leaf, runs in self._running.items():
            for charge, until_us in runs.values():
                yield leaf, charge, (self._now, max(until_us, self._now + 1))
        yield from self._spans.values()

    def _line(self, node: Node) -> Line:
        """The usage of a node by time."""
        line = self._lines.get(node)
        if line is None:
            soonest = self._now + 1
            steps: Steps = [(self._now, 0)]
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
            if node is self._tree.root:
                for lack in self._lacks:
                    steps.append((lack.from_us, lack.charge))
                    if lack.until_us < INFINITY:
                        steps.append((lack.until_us, -lack.charge))
            line = self._lines[node] = Line(steps)
        return line


def _is_below(leaf: Node, node: Node) -> bool:
    while leaf.depth > node.depth:
        assert leaf.parent is not None, "it is not the root"
        leaf = leaf.parent
    return leaf is node
