# SPDX-License-Identifier: Apache-2.0
"""Which runs the shares of a tree cover, and how much. Called by preemption: what is covered is not taken.

The *cover* of a set of runs at a leaf: pinned runs first, then by priority, start and number, each that fits in what is
left of the share; others are skipped. At an inner node: first all that its children cover, then the rest by start and
number, each with which the node still occupies no more than its share. The *amount* covered never falls by an act;
which runs make it up may change. A unit of an elastic run is covered only where its run is: it would protect it from
who is owed its place otherwise. `docs/scheduling.md` has the definitions.

Most answers need no walk over runs: a node within its share covers all of them, and runs of one charge cover as many as
fit. Otherwise the walk stops where not even the smallest run fits.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from leitstand.core.sharing.shares import Held, Node, Tree
from leitstand.core.sharing.units import PRIORITY, owner

Amount = Mapping[int, int]  # of a leaf: priority → charge covered; of an inner node: 0 → charge covered
_Band = tuple[bool, int]  # not pinned, -priority: what a leaf covers in this order
LAST: Final = (2**63, 0)  # the order of a job that would start now
_UNITS: Final = (True, -PRIORITY)
_NOBODY: Final[Mapping[str, None]] = {}
KEPT_MAX: Final = 1024  # answers of one node that are kept


class Change:
    """A set of runs that differs from what runs: without `gone`, with `more`. Usage of every node that it touches:
    `running` and `occupied` after it, `count` more runs (less, if negative)."""

    def __init__(self, gone: Iterable[Held] = (), more: Held | None = None) -> None:
        self.gone = {held.id: held for held in gone}
        self.more = more
        self.running: dict[Node, int] = {}
        self.occupied: dict[Node, int] = {}
        self.count: dict[Node, int] = {}
        self.leaves: dict[Node, list[Held]] = {}  # which runs are gone, by leaf,
        self.below: dict[Node, list[str]] = {}  # and by each node above it
        for held in self.gone.values():
            self.leaves.setdefault(held.leaf, []).append(held)
            for node in held.leaf.path():
                self.below.setdefault(node, []).append(held.id)
            self._count(held, -1)
        if more is not None:
            self.leaves.setdefault(more.leaf, [])
            self._count(more, 1)
        self._occupy()

    def _count(self, held: Held, sign: int) -> None:
        for node in held.leaf.path():
            self.running[node] = self.running.get(node, node.running) + sign * held.charge
            self.count[node] = self.count.get(node, 0) + sign

    def _occupy(self) -> None:
        below: dict[Node, int] = {}  # how much more its children occupy
        for node in sorted(self.running, key=lambda node: -node.depth):
            used = node.children_occupied + below.get(node, 0) if node.children else self.running[node]
            after = self.occupied[node] = max(used, node.floor)
            if node.parent is not None:
                below[node.parent] = below.get(node.parent, 0) + after - node.occupied


NONE: Final = Change()


class _Sums(NamedTuple):
    """How many runs of which charge run below a node, at a leaf also by band, as of a turnover."""

    turnover: int
    charges: dict[int, int]
    bands: dict[_Band, dict[int, int]]

    def add(self, held: Held, more: int, by_band: bool) -> None:
        _add(self.charges, held.charge, more)
        if by_band:
            band = band_of(held)
            _add(self.bands.setdefault(band, {}), held.charge, more)
            if not self.bands[band]:
                del self.bands[band]


class Cover:
    """The covers of one tree, settled, as long as its `edition` stays. `guaranteed`: of guarantees instead of
    deserved shares. What was worked out is kept until the node changes."""

    def __init__(self, tree: Tree, guaranteed: bool = False) -> None:
        self.tree = tree
        self.edition = tree.edition
        self.guaranteed = guaranteed
        self._sums: dict[Node, _Sums] = {}
        self._amounts: dict[Node, tuple[int, Amount]] = {}
        self._runs: dict[Node, tuple[int, dict[str, Held]]] = {}
        self._keeps: dict[Node, tuple[int, dict[tuple[str, ...], bool]]] = {}
        self._empty: dict[Node, int] = {}  # what nodes occupy if nothing runs; 0 is left out
        self._nodes: list[Node] = []  # where that may be anything, the deepest first
        if tree.floors:
            some = (node for one in tree.nodes.values() if one.floor for node in one.path())
            self._nodes = sorted(dict.fromkeys(some), key=lambda node: -node.depth)
        self.refresh()

    def refresh(self) -> None:
        """Shares may have changed: where capacity was lost, what is not lent counts no more than the share."""
        empty: dict[Node, int] = {}
        for node in self._nodes:
            below = sum(empty.get(child, 0) for child in node.children.values())
            if max(below, self.floor(node)):
                empty[node] = max(below, self.floor(node))
        if empty != self._empty:
            self._empty = empty
            self._amounts.clear()
            self._runs.clear()
            self._keeps.clear()

    def floor(self, node: Node) -> int:
        """What of the guarantee of the node is not lent, as far as it goes into its share."""
        return min(node.floor, self.share(node))

    def share(self, node: Node) -> int:
        """What the node may cover."""
        return node.guarantee if self.guaranteed else node.deserved

    def amount(self, node: Node, change: Change = NONE) -> Amount:
        """How much is covered at `node`, of what runs after `change`."""
        if node in change.running:
            return self._amount(node, change)
        known = self._amounts.get(node)
        if known is None or known[0] != node.version:
            known = self._amounts[node] = node.version, self._amount(node, NONE)
        return known[1]

    def keeps(self, node: Node, change: Change) -> bool:
        """Whether no less is covered at `node` after a change by which runs below it go and none comes. It is not where
        nobody goes who was covered: then the same runs are."""
        known = self._keeps.get(node)
        if known is None or known[0] != node.version or len(known[1]) >= KEPT_MAX:
            known = self._keeps[node] = node.version, {}
        gone = tuple(change.below[node])
        kept = known[1].get(gone)
        if kept is None:
            mixed = (
                bool(node.children) and len(self._below(node).charges) > 1
            )  # how much is then known by which
            kept = mixed and not any(id in self.runs(node) for id in gone)
            kept = kept or not falls(self.amount(node), self.amount(node, change))
            known[1][gone] = kept
        return kept

    def covered(self, job: Held) -> list[Node]:
        """The nodes from the leaf of `job` up to the child of the root at which it would be covered beside all that
        runs, had it started last."""
        path = [node for node in job.leaf.path() if node.parent is not None]
        for index, node in enumerate(path):
            if self._covers(node, job):
                return path[index:]  # what a child covers, its parent covers
        return []

    def runs(self, node: Node, change: Change = NONE) -> dict[str, Held]:
        """The runs that are covered at `node`, by id; not to be changed."""
        if change is not NONE:
            return self._runs_after(node, change)
        known = self._runs.get(node)
        if known is None or known[0] != node.version:
            known = self._runs[node] = node.version, self._runs_after(node, NONE)
        return known[1]

    def _runs_after(self, node: Node, change: Change) -> dict[str, Held]:
        if not node.children:
            return dict(self._fitting(node, change))
        if change.occupied.get(node, node.occupied) <= self.share(node):
            return {held.id: held for held in _below(node, change)}
        chosen: dict[str, Held] = {}
        for child in node.children.values():
            chosen.update(self.runs(child, change))
        rest = [held for held in _below(node, change) if held.id not in chosen]
        rest.sort(key=lambda held: held.order)
        if node in self._empty:
            self._add_beside(node, chosen, rest)
            return chosen
        total, share = sum(held.charge for held in chosen.values()), self.share(node)
        smallest = min((held.charge for held in rest), default=0)
        for held in rest:  # units come last
            if total + smallest > share:
                break
            if total + held.charge <= share and _may_stand(held, chosen):
                total += held.charge
                chosen[held.id] = held
        return chosen

    def _add_beside(self, node: Node, chosen: dict[str, Held], rest: list[Held]) -> None:
        """Of the rest those that fit beside the chosen and beside what is not lent below `node`."""
        occupancy, share = _Occupancy(node, self, self._empty), self.share(node)
        for held in chosen.values():
            occupancy.add(held)
        for held in rest:
            if _may_stand(held, chosen) and occupancy.add(held, share):
                chosen[held.id] = held

    def note(self, changes: Iterable[tuple[Held, bool]]) -> None:
        """These runs, and no others, have just been started (true) or ended in the tree: what is known follows."""
        changes = list(changes)
        moved: dict[Node, int] = {}
        for held, _ in changes:
            for node in held.leaf.path():
                moved[node] = moved.get(node, 0) + 1
        for node, times in moved.items():
            known = self._sums.pop(node, None)
            if known is not None and known.turnover + times == node.turnover:
                self._sums[node] = known._replace(turnover=node.turnover)
        for held, started in changes:
            for node in held.leaf.path():
                known = self._sums.get(node)
                if known is not None:
                    known.add(held, 1 if started else -1, not node.children)

    # ── how much ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _amount(self, node: Node, change: Change) -> Amount:
        if not node.children:
            return self._of_leaf(node, change)[0]
        share = self.share(node)
        if change.occupied.get(node, node.occupied) <= share:
            return {0: change.running.get(node, node.running)}
        if node in self._empty:
            return {0: sum(held.charge for held in self.runs(node, change).values())}
        charges = self._below(node).charges
        more = change.more if node in change.running else None
        if len(charges) == 1 and (more is None or more.leaf not in change.running or more.charge in charges):
            ((charge, count),) = charges.items()
            if charge:
                return {0: min(count + change.count.get(node, 0), share // charge) * charge}
        total = sum(sum(self.amount(child, change).values()) for child in node.children.values())
        smallest = min(charges, default=share)
        if more is not None:
            smallest = min(smallest, more.charge)
        if total + smallest > share:
            return {0: total}
        return {0: sum(held.charge for held in self.runs(node, change).values())}

    def _of_leaf(self, leaf: Node, change: Change, last: _Band | None = None) -> tuple[Amount, int]:
        """How much is covered by priority, and what is left of the share; `last`: up to and with this band."""
        left = self.share(leaf)
        fits = change.running.get(leaf, leaf.running) <= left  # then all of them do, in any order
        amount: dict[int, int] = {}
        bands = self._bands(leaf, change)
        for band in sorted(bands):
            if last is not None and band > last:
                break
            charges = bands[band]
            if fits:
                taken = _whole(charges)
            elif band == _UNITS:
                taken = sum(
                    held.charge for _, held in self._fitting(leaf, change) if held.priority == PRIORITY
                )
            elif len(charges) == 1 and 0 not in charges:
                ((charge, count),) = charges.items()
                taken = min(count, max(left, 0) // charge) * charge
            else:
                taken = _taken(_of_band(leaf, change, band), left, min(charges))
            left -= taken
            amount[-band[1]] = amount.get(-band[1], 0) + taken
        return amount, left

    def _bands(self, leaf: Node, change: Change) -> Mapping[_Band, Mapping[int, int]]:
        """The runs of a leaf after `change`, counted."""
        bands = self._below(leaf).bands
        if leaf not in change.leaves:
            return bands
        after = {band: dict(charges) for band, charges in bands.items()}
        for held in change.leaves[leaf]:
            _add(after[band_of(held)], held.charge, -1)
        if change.more is not None and change.more.leaf is leaf:
            _add(after.setdefault(band_of(change.more), {}), change.more.charge, 1)
        return {band: charges for band, charges in after.items() if charges}

    def _below(self, node: Node) -> _Sums:
        known = self._sums.get(node)
        if known is None or known.turnover != node.turnover:
            known = self._sums[node] = _Sums(node.turnover, {}, {})
            for child in node.children.values():
                for charge, count in self._below(child).charges.items():
                    _add(known.charges, charge, count)
            for _, held in node.runs:
                known.add(held, 1, True)
        return known

    # ── which ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _covers(self, node: Node, job: Held) -> bool:
        """Whether a job that no child of `node` covers would be covered there."""
        share = self.share(node)
        if not node.children:
            return (
                node.running + job.charge <= share or self._of_leaf(node, NONE, band_of(job))[1] >= job.charge
            )
        if self.tree.occupied_with(node, job.leaf, job.charge) <= share:
            return True
        if node not in self._empty:
            return self.amount(node)[0] + job.charge <= share
        occupancy = _Occupancy(node, self, self._empty)
        for held in self.runs(node).values():
            occupancy.add(held)
        return occupancy.add(job, share)

    def _fitting(self, leaf: Node, change: Change) -> Iterator[tuple[str, Held]]:
        left = self.share(leaf)
        covered: dict[str, None] = {}
        for band in sorted(self._bands(leaf, change)):
            for id, held in self._fitting_in(leaf, change, band, left, covered):
                left -= held.charge
                covered[id] = None
                yield id, held

    def _fitting_in(
        self, leaf: Node, change: Change, band: _Band, left: int, covered: Mapping[str, None] = _NOBODY
    ) -> Iterator[tuple[str, Held]]:
        """The runs of a band that fit into what is left, in their order; of units those whose runs are covered."""
        smallest = min(self._bands(leaf, change)[band])
        for held in _of_band(leaf, change, band):
            if band == _UNITS and owner(held.id) not in covered:
                continue
            if held.charge <= left:
                left -= held.charge
                yield held.id, held
            elif left < smallest:
                return


class _Occupancy:
    """What a set of runs occupies below `node`, run by run."""

    def __init__(self, node: Node, cover: Cover, empty: Mapping[Node, int]) -> None:
        self.node = node
        self.floor = cover.floor
        self.empty = empty
        self.used: dict[Node, int] = {}
        self.total = empty.get(node, 0)

    def add(self, held: Held, share: int | None = None) -> bool:
        """Add a run, unless `node` would then occupy more than `share`."""
        steps: list[tuple[Node, int]] = []
        at, more = held.leaf, held.charge
        while True:
            used = self._used(at) + more
            floor = self.floor(at)
            more = max(used, floor) - max(used - more, floor)
            steps.append((at, used))
            if at is self.node:
                break
            above = at.parent
            assert above is not None, "the run lies below the node"
            at = above
        if share is not None and self.total + more > share:
            return False
        self.used.update(steps)
        self.total += more
        return True

    def _used(self, node: Node) -> int:
        known = self.used.get(node)
        if known is None:
            known = sum(self.empty.get(child, 0) for child in node.children.values()) if self.empty else 0
        return known


def band_of(held: Held) -> _Band:
    """Which runs of its leaf are covered before it, whatever their start."""
    return not held.pinned_us, -held.priority


def falls(before: Amount, after: Amount) -> bool:
    """Whether less is covered after than before: at the highest priority at which that differs."""
    for priority in sorted({**before, **after}, reverse=True):
        change = after.get(priority, 0) - before.get(priority, 0)
        if change:
            return change < 0
    return False


def _may_stand(held: Held, chosen: Mapping[str, Held]) -> bool:
    """Whether it is a run, or a unit of one that is chosen."""
    return held.priority != PRIORITY or owner(held.id) in chosen


def _whole(charges: Mapping[int, int]) -> int:
    return sum(charge * count for charge, count in charges.items())


def _taken(runs: Iterable[Held], left: int, smallest: int) -> int:
    """How much charge of the runs, none of which is smaller than that, fits into what is left, in their order."""
    before = left
    for held in runs:
        if held.charge <= left:
            left -= held.charge
        elif left < smallest:
            break
    return before - left


def _below(node: Node, change: Change) -> list[Held]:
    """All that runs below `node` after `change`."""
    found: list[Held] = []
    if node.children:
        for child in node.children.values():
            if child.running or child.runs or change is not NONE:
                found += _below(child, change)
        return found
    gone = change.gone
    found = (
        [held for _, held in node.runs if held.id not in gone] if gone else [held for _, held in node.runs]
    )
    if change.more is not None and change.more.leaf is node:
        found.append(change.more)
    return found


def _of_band(leaf: Node, change: Change, band: _Band) -> Iterator[Held]:
    """The runs of one band after `change`, in their order; the new one is the last."""
    runs, gone = leaf.runs, change.gone
    unpinned, lower = band
    at = bisect_left(runs, ((*band, -1, -1),))  # no two keys are equal: never compares a run
    for _, held in islice(runs, at, None):
        if (not held.pinned_us) is not unpinned or -held.priority != lower:
            break
        if held.id not in gone:
            yield held
    more = change.more
    if more is not None and more.leaf is leaf and band_of(more) == band:
        yield more


def _add(counts: dict[int, int], key: int, more: int) -> None:
    after = counts.get(key, 0) + more
    assert after >= 0, "fewer than no runs"
    if after:
        counts[key] = after
    else:
        del counts[key]
