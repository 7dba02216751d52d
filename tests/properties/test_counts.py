# SPDX-License-Identifier: Apache-2.0
"""Usage over time against its definition: when limits, and the capacity with what is not lent, leave room. By brute
force: what is used is added up anew for every moment, and occupied as the model of the rules says.
LEITSTAND_HUNT=1000 looks for new counter-examples."""

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core.acts import Entitlement
from leitstand.core.places.steps import INFINITY
from leitstand.core.sharing.counts import Counts, Running
from leitstand.core.sharing.shares import TOLD_MAX, Held, Tree
from tests.properties import sharing_model as model

HUNT = int(os.environ.get("LEITSTAND_HUNT", "0"))
many = settings(max_examples=HUNT or 150, derandomize=not HUNT, database=None, deadline=None)

LEAVES = ("a/x/p", "a/x/q", "a/y", "b/z", "c")
NODES = ("a", "b", "a/x", *LEAVES)
NOW, LATEST = 10, 40

nodes = st.sampled_from(NODES)
leaves = st.sampled_from(LEAVES)
charges = st.integers(1, 4)
lengths = st.one_of(st.integers(1, 12), st.just(INFINITY))
contracts = st.lists(st.tuples(nodes, st.integers(0, 5), st.integers(-1, 4), st.integers(-1, 3)), max_size=5)
runs = st.lists(st.tuples(leaves, charges, st.one_of(st.integers(8, 30), st.just(INFINITY))), max_size=5)
changes = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "start", "drop", "end"]),
        st.integers(0, 6),
        leaves,
        charges,
        st.integers(NOW, 25),
        lengths,
    ),
    max_size=6,
)


class Plain:
    """The same by definition: who uses how much from when until when."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.spans: dict[str, tuple[str, int, int, int]] = {}
        self.nodes = {"": model.Node("")}
        for name, node in tree.nodes.items():
            if name:
                guarantee = ((0, node.guarantee),)
                borrow = None if node.borrow < 0 else node.borrow
                lend = node.guarantee - node.floor
                self.nodes[name] = model.Node(name, name.rpartition("/")[0], guarantee, 1, borrow, lend=lend)

    def used(self, at: int) -> dict[str, int]:
        used: dict[str, int] = {}
        for leaf, charge, from_us, until_us in self.spans.values():
            if from_us <= at < until_us:
                used[leaf] = used.get(leaf, 0) + charge
        return used

    def fits(self, leaf: str, charge: int, at: int) -> bool:
        used = self.used(at)
        more = {**used, leaf: used.get(leaf, 0) + charge}
        sums = model.total(self.nodes, more)
        if any(sums[name] > model.ceiling(self.nodes[name], 0) for name in model.path(self.nodes, leaf)):
            return False
        before, after = (model.occupied(self.nodes, one, 0)[""] for one in (used, more))
        return after <= max(self.tree.capacity, before) if after == before else after <= self.tree.capacity

    def allows(self, leaf: str, charge: int, start: int, length: int) -> bool:
        return all(self.fits(leaf, charge, at) for at in range(start, min(start + length, LATEST)))


@many
@given(contracts, st.integers(0, 16), runs, changes, leaves, charges, lengths)
def test_limits_and_lending_leave_room_over_time_as_the_definition_says(
    contracts: Any, capacity: int, runs: Any, changes: Any, leaf: str, charge: int, length: int
) -> None:
    tree = Tree()
    for name in LEAVES:
        tree.node(name)
    for node, guarantee, borrow, lend in contracts:
        tree.entitle(Entitlement(node, guarantee, 1, borrow, lend))
    tree.resize(capacity)
    plain = Plain(tree)
    for number, (where, size, until_us) in enumerate(runs):
        held = Held(f"j{number}", tree.node(where), size, 0, (number, number))
        held.until_us = until_us
        tree.start(held)
        plain.spans[held.id] = where, size, NOW, max(until_us, NOW + 1)
    running = Running(tree)
    running.refresh(NOW)
    counts = Counts(tree, running)
    asked = "j0"
    for what, which, where, size, start, long in changes:
        compare(counts, plain, leaf, charge, length, asked)
        job = f"j{which}"
        known = plain.spans.get(job)
        if what in ("put", "start") and (known is None or known[0] == where):
            start = NOW if what == "start" else start
            until_us = min(start + long, INFINITY)
            counts.put(job, tree.node(where), size, (start, until_us))
            plain.spans[job] = where, size, start, until_us
        elif what == "end" and known is not None:
            counts.end(job, tree.node(known[0]))
            del plain.spans[job]
        elif what == "drop" and known is not None and job not in tree.held:
            counts.drop(job)
            del plain.spans[job]
    compare(counts, plain, leaf, charge, length, asked)


def compare(counts: Counts, plain: Plain, leaf: str, charge: int, length: int, own: str) -> None:
    node = plain.tree.node(leaf)
    assert counts.allows(node, charge, length, "") == plain.allows(leaf, charge, NOW, length)
    starts = (start for start in range(NOW, LATEST) if plain.allows(leaf, charge, start, length))
    assert counts.earliest(node, charge, length) == next(starts, None)


moves = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "end", "until", "later", "read", "read"]),
        st.integers(0, 2),
        leaves,
        charges,
        st.one_of(st.integers(8, 24), st.just(INFINITY)),
    ),
    min_size=8,
    max_size=30,
)


@many
@given(moves, st.booleans())
def test_what_runs_is_the_same_whether_it_was_followed_or_is_read_anew(moves: Any, rarely: bool) -> None:
    tree, now = Tree(), NOW
    for name in LEAVES:
        tree.node(name)
    followed = Running(tree)
    for what, which, where, size, at in moves:
        name = f"j{which}"
        if what == "start" and name not in tree.held:
            held = Held(name, tree.node(where), size, 0, (now, which))
            held.until_us = at
            tree.start(held)
        elif what == "end" and name in tree.held:
            tree.end(name)
        elif what == "until" and name in tree.held:
            tree.until(name, at)
        elif what == "later":
            now += size
        elif what == "read":
            if rarely and "j0" in tree.held:  # more happened than the tree keeps
                for _ in range(TOLD_MAX + 20):
                    tree.until("j0", tree.held["j0"].until_us)
            followed.refresh(now)
            anew = Running(tree)
            anew.refresh(now)
            assert dict(followed.all()) == dict(anew.all())
            for node in tree.nodes.values():
                for at_us in range(now, 30):
                    assert (
                        followed.line(node).at(at_us)
                        == anew.line(node).at(at_us)
                        == used(tree, node.id, at_us, now)
                    )


def used(tree: Tree, node: str, at_us: int, now: int) -> int:
    """By definition: who should have ended may still run for a moment."""
    return sum(
        held.charge
        for held in tree.held.values()
        if f"{held.leaf.id}/".startswith(f"{node}/" if node else "") and max(held.until_us, now + 1) > at_us
    )
