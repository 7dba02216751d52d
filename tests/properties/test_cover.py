# SPDX-License-Identifier: Apache-2.0
"""Cover equals its definition on any tree: which runs, how much, with runs gone or come, and after any history."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core.acts import Entitlement
from leitstand.core.sharing.shares import Held, Node, Tree
from leitstand.core.sharing.units import PRIORITY
from leitstand.core.yielding.cover import LAST, Change, Cover

LEAVES = ("a/x/p", "a/x/q", "a/y", "b/z/r", "b/w", "c")

entitlements = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "a/x", "b/z", *LEAVES]),
        st.integers(0, 8),
        st.integers(0, 3),
        st.integers(-1, 6),
        st.integers(-1, 4),
    ),
    max_size=8,
)
charges = st.one_of(st.just(2), st.integers(1, 6))
runs = st.lists(
    st.tuples(st.sampled_from(LEAVES), charges, st.integers(0, 2), st.booleans(), st.integers(0, 5)),
    max_size=14,
)


def build(
    shape: list[tuple[str, int, int, int, int]], capacity: int, running: list[tuple[str, int, int, bool, int]]
) -> Tree:
    tree = Tree()
    for leaf in LEAVES:
        tree.node(leaf)
    for node, guarantee, weight, borrow, lend in shape:
        tree.entitle(Entitlement(node, guarantee, weight, borrow, lend))
    tree.resize(capacity)
    for number, (leaf, charge, priority, pinned, start) in enumerate(running):
        held = Held(f"j{number}", tree.node(leaf), charge, priority, (start, number))
        held.pinned_us = 1 if pinned and number % 4 == 0 else 0
        tree.start(held)
        for unit in range(number % 3 if start % 2 else 0):  # it is elastic
            order = (2**62 + start, number * 10 + unit)
            tree.start(Held(f"j{number}+{unit}", tree.node(leaf), 1 + charge // 2, PRIORITY, order))
    tree.settle()
    return tree


def share_of(node: Node, guaranteed: bool) -> int:
    return node.guarantee if guaranteed else node.deserved


def occupied(node: Node, chosen: Iterable[Held], guaranteed: bool = False) -> int:
    """occ(node, chosen), by definition: where capacity was lost, what is not lent counts up to the share."""
    chosen = list(chosen)
    if node.children:
        used = sum(occupied(child, chosen, guaranteed) for child in node.children.values())
    else:
        used = sum(held.charge for held in chosen if held.leaf is node)
    return max(used, min(node.floor, share_of(node, guaranteed)))


def cover(node: Node, running: list[Held], guaranteed: bool = False) -> list[Held]:
    """The cover of `running` at `node`, by definition."""
    share = share_of(node, guaranteed)
    chosen: list[Held] = []
    if not node.children:
        own = [held for held in running if held.leaf is node]
        for held in sorted(own, key=lambda held: (not held.pinned_us, -held.priority, held.order)):
            if stands(held, chosen) and sum(one.charge for one in chosen) + held.charge <= share:
                chosen.append(held)
        return chosen
    for child in node.children.values():
        chosen += cover(child, running, guaranteed)
    below = [held for held in running if node in held.leaf.path() and held not in chosen]
    for held in sorted(below, key=lambda held: held.order):
        if stands(held, chosen) and occupied(node, [*chosen, held], guaranteed) <= share:
            chosen.append(held)
    return chosen


def stands(held: Held, chosen: list[Held]) -> bool:
    """A unit stands only with its run."""
    return held.priority != PRIORITY or held.id.split("+")[0] in {one.id for one in chosen}


def number_of(held: Held) -> int:
    return int(held.id.split("+")[0][1:])


def amount(node: Node, chosen: list[Held]) -> dict[int, int]:
    total: dict[int, int] = {}
    for held in chosen:
        key = 0 if node.children else held.priority
        total[key] = total.get(key, 0) + held.charge
    return {key: charge for key, charge in total.items() if charge}


def valid(tree: Tree) -> None:
    """Raise guarantees to what is below, as entitlements demand."""
    for node in sorted(tree.nodes.values(), key=lambda node: -node.depth):
        below = sum(child.guarantee for child in node.children.values())
        if below > node.guarantee and node.parent is not None:
            tree.entitle(Entitlement(node.id, below, node.weight, node.borrow, below - node.floor))
    tree.settle()


@settings(max_examples=300, deadline=None)
@given(
    entitlements,
    st.integers(0, 40),
    runs,
    st.sets(st.integers(0, 13)),
    st.tuples(st.sampled_from(LEAVES), charges, st.integers(0, 2)),
)
def test_the_cover_is_what_the_definition_says(shape, capacity, running, gone, more) -> None:  # type: ignore[no-untyped-def]
    tree = build(shape, capacity, running)
    valid(tree)
    job = Held("new", tree.node(more[0]), more[1], more[2], LAST)
    all_runs = list(tree.held.values())
    left = [held for held in all_runs if number_of(held) not in gone]
    without = [held for held in all_runs if held not in left]
    for guaranteed in (False, True):
        asked = Cover(tree, guaranteed)
        for change, after in (
            (Change(), all_runs),
            (Change(without), left),
            (Change(without, job), [*left, job]),
        ):
            for node in list(tree.nodes.values())[1:]:
                expected = cover(node, after, guaranteed)
                found = asked.amount(node, change)
                assert {key: value for key, value in found.items() if value} == amount(node, expected)
                assert asked.runs(node, change) == {held.id: held for held in expected}
        expected_nodes = [
            node
            for node in job.leaf.path()
            if node.parent and job in cover(node, [*all_runs, job], guaranteed)
        ]
        assert asked.covered(job) == expected_nodes


@settings(max_examples=150, deadline=None)
@given(entitlements, st.integers(5, 30), runs, st.lists(st.integers(0, 13), max_size=8))
def test_what_is_kept_follows_what_changes(shape, capacity, running, ends) -> None:  # type: ignore[no-untyped-def]
    tree = build(shape, capacity, running)
    kept = Cover(tree)
    number = 100
    for index in ends:
        for node in tree.nodes.values():
            kept.amount(node)
            kept.runs(node)
        changes = []
        if f"j{index}" in tree.held:
            held = tree.end(f"j{index}")
            tree.wait(held.leaf, held.charge)
            changes.append((held, False))
        number += 1
        new = Held(f"j{number}", tree.node(LEAVES[index % 6]), 1 + index % 3, index % 2, (50, number))
        tree.start(new)
        changes.append((new, True))
        if index % 3:
            kept.note(changes)  # or nobody tells
        tree.settle()
        kept.refresh()
        fresh = Cover(tree)
        for node in tree.nodes.values():
            assert kept.amount(node) == fresh.amount(node)


def test_where_capacity_was_lost_what_is_not_lent_leaves_the_share_to_runs() -> None:
    """P is guaranteed 8 and lends nothing; 4 are left. Its projects deserve 2 each, a runs 3 and b 1: covered are 3."""
    tree = build(
        [("a", 8, 1, -1, 0), ("a/y", 0, 1, -1, 0)], 4, [("a/y", 3, 0, False, 0), ("a/x/p", 1, 0, False, 2)]
    )
    tree.wait(tree.node("a/x/p"), 3)
    tree.settle()
    node = tree.node("a")
    assert (node.deserved, tree.node("a/y").deserved, node.floor) == (4, 2, 8)
    assert sorted(Cover(tree).runs(node)) == ["j0", "j1"]
