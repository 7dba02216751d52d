# SPDX-License-Identifier: Apache-2.0
"""Which starts can be promised is what the definition says, moment by moment."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core.acts import Entitlement
from leitstand.core.places.closures import Lack
from leitstand.core.rules import Sharing
from leitstand.core.sharing.ahead import Ahead
from leitstand.core.sharing.entitlements import Contracts
from leitstand.core.sharing.promises import Bound, Room, safe
from leitstand.core.sharing.shares import Node, Tree

LEAVES = ("a/x/1", "a/x/2", "a/y", "b")
NODES = ("a", "a/x", *LEAVES)
LATEST = 6
CAPACITY = 12

amounts = st.integers(0, 2)
contracts = st.fixed_dictionaries({node: st.tuples(amounts, st.integers(-1, 6)) for node in NODES})
spans = st.tuples(st.sampled_from(LEAVES), st.integers(1, 4), st.integers(0, LATEST), st.integers(1, 5))


def need(node: Node, held: dict[str, int], over: list[str]) -> int:
    """W of a node, as the definition has it; `over`: nodes with something promised that need more than they may."""
    below = sum(need(child, held, over) for child in node.children.values())
    need_of = max(node.guarantee, below if node.children else held.get(node.id, 0))
    touched = any(charge and (leaf + "/").startswith(node.id + "/") for leaf, charge in held.items())
    if node.parent is not None and touched and 0 <= node.borrow < need_of - node.guarantee:
        over.append(node.id)
    return need_of


@settings(max_examples=500)
@given(
    contracts,
    st.lists(spans, min_size=3, max_size=8),
    spans,
    st.lists(st.tuples(amounts, amounts, amounts), max_size=1),
)
def test_a_start_is_safe_if_all_guarantees_can_be_called_at_every_moment(
    given_: Any, others: Any, asked: Any, lost: Any
) -> None:
    tree = Tree()
    guarantees = {node: guarantee for node, (guarantee, _) in given_.items()}
    guarantees["a/x"] = max(guarantees["a/x"], guarantees["a/x/1"] + guarantees["a/x/2"])
    guarantees["a"] = max(guarantees["a"], guarantees["a/x"] + guarantees["a/y"])
    for node, (_, borrow) in given_.items():
        tree.entitle(Entitlement(node, guarantees[node], 1, borrow))
    lacks = [Lack(charge, from_us, from_us + long + 1) for charge, from_us, long in lost]
    bounds = [
        Bound(tree.node(leaf), charge, start, start + long) for leaf, charge, start, long in (asked, *others)
    ]
    stands = True
    for moment in range(bounds[0].from_us, bounds[0].until_us):
        held = dict.fromkeys(LEAVES, 0)
        for one in bounds:
            if one.from_us <= moment < one.until_us:
                held[one.leaf.id] += one.charge
        over: list[str] = []
        room = CAPACITY - sum(lack.charge for lack in lacks if lack.from_us <= moment < lack.until_us)
        stands = stands and need(tree.root, held, over) <= room and not over
    ahead = Ahead(Contracts(), Sharing(), tree)
    assert safe(ahead, bounds[0], bounds[1:], Room(CAPACITY, 0), lacks) == stands
