# SPDX-License-Identifier: Apache-2.0
"""Which reservations are promises: starts on capacity that nobody can call back. Called by the fair plan.

A reservation from s is *safe* if, at every moment at which its run could not be taken back yet, all guarantees can be
called at once and everything promised or pinned still runs: W(root, t) <= C - spare, where W(n, t) is the greater of
n's guarantee and what its children need, at a leaf the greater of its guarantee and what is promised or pinned there;
and W stays within the borrow limit of every node that it concerns.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from leitstand.core.places.closures import Lack, lacking
from leitstand.core.sharing.ahead import Ahead
from leitstand.core.sharing.entitlements import node_of
from leitstand.core.sharing.shares import Node, Tree
from leitstand.core.sharing.standing import limit_of

if TYPE_CHECKING:
    from leitstand.core.state import State


class Room(NamedTuple):
    """What all guarantees share at `now`, without the spare."""

    charge: int
    now: int


class Bound(NamedTuple):
    """Charge in `leaf` that nobody can take in [from_us, until_us): a promise, or a run that is pinned."""

    leaf: Node
    charge: int
    from_us: int
    until_us: int


def promised(leaf: Node, charge: int, start_us: int, spans: tuple[int, int]) -> Bound:
    """What nobody could take from a promise: until its limit or m (`spans`) is over, and where both are nothing at its
    start, when it has to stand all the same."""
    return Bound(leaf, charge, start_us, start_us + max(min(spans), 1))


def bounds(state: "State", name: str, now: int) -> dict[str, Bound]:
    """By job of the pool, what nobody can take: promises, and runs whose start was promised; and bookings."""
    standing = state.pools[name].standing
    assert standing is not None, "the discipline is fair"
    tree, until_us = standing.tree, state.rules.sharing.until_freed_us
    found: dict[str, Bound] = {}
    for made in state.reservations.values():
        job = state.jobs[made.job]
        if made.kind == "promise" and job.pool == name:
            leaf = tree.node(state.leaf(job))
            found[job.id] = promised(leaf, job.charge_milli, made.start_us, (limit_of(job), until_us))
    for pinned_us, id in standing.pins:
        held = tree.held.get(id)
        if held is not None and held.pinned_us == pinned_us > now:
            found[id] = Bound(held.leaf, held.charge, now, pinned_us)
    for booking in state.bookings.of.values():
        if booking.pool == name:
            leaf = tree.node(node_of(state.tenants[booking.tenant], booking.project))
            begin_us = max(booking.from_us, now)
            found[booking.id] = Bound(leaf, booking.charge_milli, begin_us, max(booking.until_us, now + 1))
    return found


def safe(ahead: Ahead, asked: Bound, others: Iterable[Bound], room: Room, lacks: Sequence[Lack] = ()) -> bool:
    """Whether `asked` can be promised beside `others`. `room`: what all guarantees share now; `lacks`: how that will
    differ."""
    near = [one for one in others if one.from_us < asked.until_us and one.until_us > asked.from_us]
    near.append(asked)
    moments = {max(one.from_us, asked.from_us) for one in near}
    moments.update(edge for lack in lacks for edge in lack[1:] if asked.from_us < edge < asked.until_us)
    moments.update(ahead.between(asked.from_us, asked.until_us))
    begins = sorted(near, key=lambda one: one.from_us, reverse=True)
    ends = sorted(near, key=lambda one: one.until_us, reverse=True)
    worst: Worst | None = None
    for moment in sorted(moments):
        tree = ahead.tree(room.now, moment)
        steps: list[tuple[Node, int]] = []  # since the moment before
        while begins and begins[-1].from_us <= moment:
            steps.append((begins[-1].leaf, begins.pop().charge))
        while ends and ends[-1].until_us <= moment:
            steps.append((ends[-1].leaf, -ends.pop().charge))
        if worst is None or worst.tree is not tree:
            worst = _worst(tree, near, moment)
        else:
            for leaf, charge in steps:
                worst.add(leaf, charge)
        if worst.excess(room.charge - lacking(lacks, moment)):
            return False
    return True


def stands(tree: Tree, bound: list[Bound], at: int, capacity: int) -> bool:
    """Whether all guarantees can be called at once: W(root, at) within the capacity, and W within every limit."""
    return not excess(tree, bound, at, capacity)


def excess(tree: Tree, bound: Iterable[Bound], at: int, capacity: int) -> dict[str, int]:
    """By node, how much more W(node, at) is than the node may use, the root than the capacity; {} if all stands. Looks
    at the root and at nodes that need more than their guarantee."""
    return _worst(tree, bound, at).excess(capacity)


def _worst(tree: Tree, bound: Iterable[Bound], at: int) -> "Worst":
    worst = Worst(tree)
    for one in bound:
        if one.from_us <= at < one.until_us:
            worst.add(one.leaf, one.charge)
    return worst


class Worst:
    """W of the nodes of a tree at one moment, where what is promised or pinned raises it."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._promised: dict[Node, int] = {}  # by leaf
        self._beyond: dict[Node, int] = {}  # W - G, or below 0 how much may be promised before W rises
        self._over: dict[Node, int] = {}  # how much more than they may have nodes need

    def add(self, leaf: Node, charge: int) -> None:
        """So much more (less, if negative) is promised or pinned in a leaf, of this tree or another."""
        leaf = self.tree.node(leaf.id)
        promised = self._promised[leaf] = self._promised.get(leaf, 0) + charge
        node, beyond = leaf, promised - leaf.guarantee
        while True:
            before = self._of(node)
            self._beyond[node] = beyond
            self._over.pop(node, None)
            if 0 <= node.borrow < beyond:
                self._over[node] = beyond - node.borrow
            more, above = max(beyond, 0) - max(before, 0), node.parent
            if above is None or not more:
                return
            node, beyond = above, self._of(above) + more

    def _of(self, node: Node) -> int:
        known = self._beyond.get(node)
        return node.children_guarantee - node.guarantee if known is None else known

    def excess(self, capacity: int) -> dict[str, int]:
        """By node, how much more W is than the node may use, the root than the capacity; {} if all stands."""
        found = {node.id: more for node, more in self._over.items()}
        root = self.tree.root
        beyond = max(self._of(root), 0)
        lacks = root.guarantee + beyond - capacity
        if root.borrow >= 0:
            lacks = max(lacks, beyond - root.borrow)
        if lacks > 0:
            found[root.id] = lacks
        return found
