# SPDX-License-Identifier: Apache-2.0
"""Usage of the entitlement tree over time, as charges: when do limits and the capacity leave room? Called by the fair
plan when it starts or reserves. Nodes have a timeline of their own (`timeline`); this is the same question without
places.

Against the capacity counts what is used, and beside it what guarantees keep for their owners (`kept`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from typing import Final, NamedTuple

from leitstand.core.places.closures import Lack
from leitstand.core.places.placement import Place
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing.ahead import UNBOUND
from leitstand.core.sharing.kept import Kept
from leitstand.core.sharing.lines import Line, Steps, Window, steps_of
from leitstand.core.sharing.shares import Node, Tree

ROUNDS_MAX: Final = 8  # in which a start is looked for by count and by place in turn
_EVER: Final = -INFINITY
Found = tuple[int, list[Place]]  # start, places


class Run(NamedTuple):
    """What counts as running."""

    leaf: Node
    charge: int
    until_us: int


class Counts:
    """Usage from now on: what runs, and what is reserved. `running`: what the tree holds now; `lacks`: how the
    capacity will differ from that of the tree, which counts as usage of the root; `ceilings`: what nodes may use from
    when on, where contracts change that."""

    def __init__(
        self,
        tree: Tree,
        running: "Running",
        lacks: Iterable[Lack] = (),
        ceilings: Mapping[str, list[tuple[int, int]]] | None = None,
    ) -> None:
        self._lacks = list(lacks)
        self._ceilings = ceilings or {}
        self._tree = tree
        self._now = running.now
        self._running = running
        self._ended: dict[str, tuple[Node, int, Window]] = {}  # what runs, but counts no more
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
        known = None if job in self._ended else self._running.get(job)
        if known is not None:
            leaf, charge, until_us = known
            self._ended[job] = leaf, -charge, (self._now, until_us)
            self._change(*self._ended[job])

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
        self,
        leaf: Node,
        charge: int,
        limit_us: int,
        places: Callable[[int], Found | None],
        after_us: int = 0,
    ) -> Found | None:
        """The first start, not before `after_us`, at which the same holds and `places`, asked for the first one from a
        moment on, has some."""
        after_us = max(self._now, after_us)
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
        for job, (leaf, charge, until_us) in self._running.all():
            if job not in self._ended:
                yield leaf, charge, (self._now, until_us)
        yield from self._spans.values()

    def _line(self, node: Node) -> Line:
        """The usage of a node by time."""
        line = self._lines.get(node)
        if line is None:
            steps: Steps = []
            for told in (self._ended, self._spans):
                for leaf, charge, window in told.values():
                    if _is_below(leaf, node):
                        steps += steps_of(charge, window)
            if node is self._tree.root:
                for lack in self._lacks:
                    steps += steps_of(lack.charge, (lack.from_us, lack.until_us))
            line = self._running.line(node)
            line = self._lines[node] = line.plus(Line(steps)) if steps else line.copy()
        return line


class Running:
    """What a tree holds, and its usage over time, as of the last `refresh`. Several counts begin with it; kept from
    plan to plan, since few of thousands of runs change between two."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.now = 0
        self._read = (-1, 0)  # how far of what the tree tells: era, index
        self._forget()

    def _forget(self) -> None:
        self._runs: dict[str, Run] = {}
        self._ends: list[tuple[int, str]] = []  # heap of (end, name), of some that run no more, too
        self._late: dict[str, None] = {}  # who should have ended
        self._whole: dict[Node, Line] = {}  # usage of a node, from ever until what runs has ended
        self._lines: dict[Node, Line] = {}  # the same from now on

    def refresh(self, now: int) -> None:
        """Take up what changed."""
        era, read = self._read
        if era == self.tree.era:
            changed: Iterable[str] = dict.fromkeys(self.tree.told[read:])
        else:
            self._forget()
            changed = self.tree.held
        self._read = self.tree.era, len(self.tree.told)
        for name in changed:
            self._change(name)
        self.now = now
        self._lines.clear()
        while self._ends and self._ends[0][0] <= now:
            until_us, name = heappop(self._ends)
            if name in self._runs and self._runs[name].until_us == until_us:
                self._late[name] = None

    def _change(self, name: str) -> None:
        """What the tree holds by that name is another, or nothing."""
        before, held = self._runs.pop(name, None), self.tree.held.get(name)
        self._late.pop(name, None)
        if before is not None:
            self._count(before, -before.charge)
        if held is not None:
            run = self._runs[name] = Run(held.leaf, held.charge, held.until_us)
            heappush(self._ends, (run.until_us, name))
            self._count(run, run.charge)

    def _count(self, run: Run, charge: int) -> None:
        for node in run.leaf.path():
            line = self._whole.get(node)
            if line is not None:
                line.add(charge, (_EVER, run.until_us))

    def get(self, name: str) -> Run | None:
        """What runs by that name; who is late ends at once."""
        run = self._runs.get(name)
        return None if run is None else run._replace(until_us=max(run.until_us, self.now + 1))

    def all(self) -> Iterator[tuple[str, Run]]:
        """All that runs, by name."""
        soonest = self.now + 1
        for name, run in self._runs.items():
            yield name, run if run.until_us >= soonest else run._replace(until_us=soonest)

    def line(self, node: Node) -> Line:
        """The usage of a node by time; not to be changed."""
        line = self._lines.get(node)
        if line is None:
            line = self._lines[node] = self._known(node).since(self.now)
            for name in self._late:
                run = self._runs[name]
                if _is_below(run.leaf, node):
                    line.add(run.charge, (self.now, self.now + 1))
        return line

    def _known(self, node: Node) -> Line:
        line = self._whole.get(node)
        if line is None:
            runs = [run for run in self._runs.values() if _is_below(run.leaf, node)]
            steps: Steps = [(_EVER, sum(run.charge for run in runs))]
            steps += [(run.until_us, -run.charge) for run in runs if run.until_us < INFINITY]
            line = self._whole[node] = Line(steps)
        return line


def _is_below(leaf: Node, node: Node) -> bool:
    while leaf.depth > node.depth:
        assert leaf.parent is not None, "it is not the root"
        leaf = leaf.parent
    return leaf is node
