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
    """By job of the pool, what nobody can take: promises, and runs whose start was promised."""
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
    return found


def safe(ahead: Ahead, asked: Bound, others: Iterable[Bound], room: Room, lacks: Sequence[Lack] = ()) -> bool:
    """Whether `asked` can be promised beside `others`. `room`: what all guarantees share now; `lacks`: how that will
    differ."""
    near = [one for one in others if one.from_us < asked.until_us and one.until_us > asked.from_us]
    moments = {asked.from_us, *(one.from_us for one in near if one.from_us > asked.from_us)}
    moments.update(edge for lack in lacks for edge in lack[1:] if asked.from_us < edge < asked.until_us)
    moments.update(ahead.between(asked.from_us, asked.until_us))
    return not any(
        excess(ahead.tree(room.now, moment), [asked, *near], moment, room.charge - lacking(lacks, moment))
        for moment in sorted(moments)
    )


def stands(tree: Tree, bound: list[Bound], at: int, capacity: int) -> bool:
    """Whether all guarantees can be called at once: W(root, at) within the capacity, and W within every limit."""
    return not excess(tree, bound, at, capacity)


def excess(tree: Tree, bound: Iterable[Bound], at: int, capacity: int) -> dict[str, int]:
    """By node, how much more W(node, at) is than the node may use, the root than the capacity; {} if all stands. Looks
    at the root and at nodes that need more than their guarantee."""
    more: dict[Node, int] = {}
    for one in bound:
        if one.from_us <= at < one.until_us:
            leaf = tree.node(one.leaf.id)
            more[leaf] = more.get(leaf, 0) + one.charge
    found: dict[str, int] = {}
    # beyond the guarantee, of the nodes of one level after another
    over = {leaf: charge - leaf.guarantee for leaf, charge in more.items() if charge > leaf.guarantee}
    for depth in range(max((leaf.depth for leaf in over), default=0), 0, -1):
        for node in [node for node in over if node.depth == depth]:
            parent = node.parent
            assert parent is not None, "only the root has no parent"
            beyond = over.pop(node)
            if 0 <= node.borrow < beyond:
                found[node.id] = beyond - node.borrow
            over[parent] = over.get(parent, parent.children_guarantee - parent.guarantee) + beyond
        over = {node: beyond for node, beyond in over.items() if node.depth != depth - 1 or beyond > 0}
    root = tree.root
    beyond = max(over.get(root, root.children_guarantee - root.guarantee), 0)
    lacks = root.guarantee + beyond - capacity
    if root.borrow >= 0:
        lacks = max(lacks, beyond - root.borrow)
    if lacks > 0:
        found[root.id] = lacks
    return found
