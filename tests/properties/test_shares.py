# SPDX-License-Identifier: Apache-2.0
"""The shares and covers of the core are those of the model on any tree, after any history. The core keeps them up with
every change; `sharing_model.py` works them out from scratch, written from the same rules without the core's code.
LEITSTAND_HUNT=1000 looks for new counter-examples."""

import os
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core.acts import Entitlement
from leitstand.core.sharing.shares import Held, Tree
from leitstand.core.yielding.cover import Cover
from tests.properties import sharing_model as model

HUNT = int(os.environ.get("LEITSTAND_HUNT", "0"))
many = settings(max_examples=HUNT or 200, derandomize=not HUNT, database=None, deadline=None)

SHAPES = (
    ("a", "b", "c"),
    ("a/x", "a/y", "b/z", "b/w"),
    ("a/x/p", "a/x/q", "a/y/r", "b/z/s", "b/z/t", "c"),
    ("a/x/p/u", "a/x/p/v", "a/x/q", "a/y", "b"),
)


class Twice:
    """One pool, told to the core's tree and written down for the model."""

    def __init__(self, leaves: tuple[str, ...]) -> None:
        self.tree = Tree()
        self.leaves = leaves
        self.said: dict[str, Entitlement] = {}
        self.runs: dict[str, model.Run] = {}
        self.pending = dict.fromkeys(leaves, 0)
        self.booked = dict.fromkeys(leaves, 0)
        self.number = 0
        for leaf in leaves:
            self.tree.node(leaf)

    # ── what happens ──────────────────────────────────────────────────────────────────────────────────────────────
    def entitle(self, where: int, guarantee: int, weight: int, borrow: int, lend: int) -> None:
        """No child is ever guaranteed more than its parent: that is refused before it reaches the tree."""
        nodes = [node for node in self.tree.nodes if node]
        node = nodes[where % len(nodes)]
        above = node.rpartition("/")[0]
        if above:
            brothers = (other for other in nodes if other.rpartition("/")[0] == above and other != node)
            whole = self.tree.nodes[above].guarantee
            guarantee = min(guarantee, whole - sum(self.tree.nodes[other].guarantee for other in brothers))
        guarantee = max(guarantee, sum(child.guarantee for child in self.tree.nodes[node].children.values()))
        if above and guarantee > self.tree.nodes[above].guarantee:
            return
        self.said[node] = Entitlement(node, guarantee, weight, borrow, min(lend, guarantee))
        self.tree.entitle(self.said[node])

    def start(self, where: int, charge: int, priority: int, start: int, pinned: bool) -> None:
        self.number += 1
        leaf = self.leaves[where % len(self.leaves)]
        held = Held(f"r{self.number}", self.tree.node(leaf), charge, priority, (start, self.number))
        held.pinned_us = int(pinned)
        self.tree.start(held)
        order, until = 1000 * start + self.number, 1 if pinned else -1
        self.runs[held.id] = model.Run(held.id, leaf, charge, order, priority, pinned=until)

    def end(self, which: int) -> None:
        if self.runs:
            id = sorted(self.runs)[which % len(self.runs)]
            self.tree.end(id)
            del self.runs[id]

    def pin(self, which: int) -> None:
        """The pin of a run is over."""
        pinned = sorted(id for id, run in self.runs.items() if run.pinned > 0)
        if pinned:
            run = self.runs[pinned[which % len(pinned)]]
            self.tree.pin(run.id, 0)
            self.runs[run.id] = replace(run, pinned=-1)

    def wait(self, where: int, charge: int) -> None:
        leaf = self.leaves[where % len(self.leaves)]
        charge = max(charge, self.booked[leaf] - self.pending[leaf])
        self.pending[leaf] += charge
        self.tree.wait(self.tree.node(leaf), charge)

    def book(self, where: int, charge: int) -> None:
        """So much of what waits is promised soon, or no more."""
        leaf = self.leaves[where % len(self.leaves)]
        charge = max(-self.booked[leaf], min(charge, self.pending[leaf] - self.booked[leaf]))
        self.booked[leaf] += charge
        self.tree.book(self.tree.node(leaf), charge)

    # ── what follows ──────────────────────────────────────────────────────────────────────────────────────────────
    def modelled(self) -> tuple[dict[str, model.Node], model.Load]:
        """The same as the model sees it."""
        nodes = {"": model.Node("")}
        for name in self.tree.nodes:
            if name:
                one = self.said.get(name) or Entitlement(name)
                nodes[name] = model.Node(
                    name,
                    name.rpartition("/")[0],
                    ((0, one.guarantee_milli),),
                    one.weight,
                    None if one.borrow_milli < 0 else one.borrow_milli,
                    None if one.lend_milli < 0 else one.lend_milli,
                )
        pinned = model.by_leaf(run for run in self.runs.values() if run.pinned > 0)
        pinned = {leaf: pinned.get(leaf, 0) + self.booked[leaf] for leaf in self.leaves}
        return nodes, model.Load(model.by_leaf(self.runs.values()), self.pending, pinned)

    def compare(self) -> None:
        self.tree.settle()
        nodes, load = self.modelled()
        demand, base = model.demand_and_base(nodes, load, 0)
        share = model.deserved(nodes, load, self.tree.capacity)
        occupied = model.occupied(nodes, load.running, 0)
        runs = list(self.runs.values())
        covered = model.cover(nodes, runs, share)
        kappa = model.kappa(nodes, runs, covered, levels=(2, 1, 0))
        core = Cover(self.tree)
        # Where capacity was lost, the core's cover still counts all of G - L, and not only up to D (rule 6).
        whole = all(node.floor <= node.deserved for node in self.tree.nodes.values())
        for name, node in self.tree.nodes.items():
            assert node.occupied == occupied[name], f"occupied by {name or 'the root'}"
            assert node.floor == model.floor(nodes[name], 0), f"floor of {name}"
            if not name:
                continue
            assert node.demand == demand[name], f"demand of {name}"
            assert node.owed == base[name], f"base of {name}"
            assert node.deserved == share[name], f"share of {name}"
            if not whole:
                continue
            assert sorted(core.runs(node)) == sorted(covered[name]), f"cover of {name}"
            amount = core.amount(node)
            levels = (0,) if node.children else (2, 1, 0)
            assert tuple(amount.get(level, 0) for level in levels) == kappa[name], f"covered amount of {name}"


small = st.integers(0, 12)
steps = st.one_of(
    st.tuples(st.just("entitle"), small, small, st.integers(0, 3), st.integers(-1, 6), st.integers(-1, 6)),
    st.tuples(
        st.just("start"), small, st.integers(1, 6), st.integers(0, 2), st.integers(0, 9), st.booleans()
    ),
    st.tuples(st.just("start"), small, st.just(2), st.integers(0, 1), st.integers(0, 9), st.just(False)),
    st.tuples(st.just("wait"), small, st.integers(-3, 9)),
    st.tuples(st.just("end"), small),
    st.tuples(st.just("pin"), small),
    st.tuples(st.just("book"), small, st.integers(-4, 6)),
    st.tuples(st.just("resize"), st.integers(0, 40)),
    st.tuples(st.just("settle")),
)


def told(leaves: tuple[str, ...], history: list[tuple[Any, ...]]) -> Twice:
    """The history as both have it; compared wherever it says so, since shares are kept from one look to the next."""
    twice = Twice(leaves)
    twice.tree.resize(20)
    for what, *more in history:
        if what == "resize":
            twice.tree.resize(more[0])
        elif what == "settle":
            twice.compare()
        else:
            getattr(twice, what)(*more)
    return twice


@many
@given(st.sampled_from(SHAPES), st.lists(steps, max_size=30))
def test_shares_and_covers_are_those_of_the_model(leaves: tuple[str, ...], history: list[Any]) -> None:
    told(leaves, history).compare()
