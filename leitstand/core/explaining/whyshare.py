# SPDX-License-Identifier: Apache-2.0
"""Why a share is what it is, and what a guarantee costs others: readings of the entitlement tree. Called by the API.

Amounts are charges in thousandths of a GPU (of a core in a pool without). A *base* is what comes before all weights: of
the demand what is guaranteed or pinned. The rest of what the node above deserves goes by weight, up to demand.
"""

from typing import Final

import msgspec
from msgspec.structs import replace

from leitstand.core.explaining.trial import copied
from leitstand.core.sharing import keeping
from leitstand.core.sharing.shares import Node, Tree
from leitstand.core.state import State

NONE: Final = "none"
WORDS: Final = {
    "demand": "it gets all it asks for",
    "weight": "it gets its guarantee and, by weight, its part of what is left",
    "guarantee": "it gets its guarantee: nothing is left beyond guarantees",
    "shrunk": "guarantees are more than there is; all shrink in proportion",
    "nothing": "it asks for nothing",
    NONE: "it has no share: it never had a job here, or the discipline has none",
}


class Part(msgspec.Struct, frozen=True):
    """A node and what it gets. `lag`: charge times seconds that it got too little (less than 0: too much), forgotten by
    half in the half-life."""

    node: str
    guarantee: int
    weight: int
    demand: int
    base: int
    deserved: int
    used: int
    lag: int


class Cost(msgspec.Struct, frozen=True):
    """What a node deserves as it is, and would without the guarantee in question."""

    node: str
    deserved: int
    without: int


class ShareReason(msgspec.Struct, frozen=True):
    """`because`: one of WORDS; `above`: what the node above deserves; `siblings`: all who share that,
    this one too; `costs`: other nodes whose share its guarantee changes now, most changed first;
    `taken`: what those beside it deserve less by it, together."""

    own: Part
    because: str
    above: int
    siblings: tuple[Part, ...]
    costs: tuple[Cost, ...]
    taken: int = 0


def why_share(state: State, pool: str, name: str, now: int) -> ShareReason:
    """Of the node `name` at `now` (µs). KeyError: no such pool or node, or no shares under this discipline."""
    standing = state.pools[pool].standing
    if standing is None:
        raise KeyError(pool)
    keeping.refresh(state, pool, now)
    tree = standing.tree
    tree.settle()
    node = tree.nodes[name]
    above = node.parent
    siblings = [node] if above is None else list(above.children.values())
    costs = _costs(tree, node)
    beside = {one.id for up in node.path() if up.parent for one in up.parent.children.values()}
    taken = sum(one.without - one.deserved for one in costs if one.node in beside)
    return ShareReason(
        _part(node),
        _because(node),
        tree.capacity if above is None else above.deserved,
        tuple(_part(one) for one in sorted(siblings, key=lambda one: one.id)),
        costs,
        taken,
    )


def _because(node: Node) -> str:
    if not node.demand:
        return "nothing"
    if node.deserved >= node.demand:
        return "demand"
    base = node.owed
    if node.deserved < base:
        return "shrunk"
    return "weight" if node.deserved > base else "guarantee"


def _costs(tree: Tree, node: Node) -> tuple[Cost, ...]:
    """What all others would deserve without it; nodes above lose it with it, nodes below have none."""
    if not node.guarantee or node.parent is None:
        return ()
    other = copied(tree)
    below = [one for one in tree.nodes.values() if one.id.startswith(node.id + "/")]
    for one in (*below, *node.path()):
        said = tree.nodes[one.id].entitlement()
        less = 0 if one in below else max(0, said.guarantee_milli - node.guarantee)
        lend = min(said.lend_milli, less) if said.lend_milli >= 0 else -1
        other.entitle(replace(said, guarantee_milli=less, lend_milli=lend))
    other.settle()
    path = dict.fromkeys(one.id for one in (*below, *node.path()))
    found = [
        Cost(one.id, one.deserved, other.nodes[one.id].deserved)
        for one in tree.nodes.values()
        if one.id not in path and one.deserved != other.nodes[one.id].deserved
    ]
    return tuple(sorted(found, key=lambda cost: (-abs(cost.without - cost.deserved), cost.node)))


def _part(node: Node) -> Part:
    return Part(
        node.id, node.guarantee, node.weight, node.demand, node.owed, node.deserved, node.running, node.lag
    )
