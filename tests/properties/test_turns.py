# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is: those who are owed first, then by lag from the root down; and nobody's turn hangs on who else is
asked, so that what a plan knows of jobs for which nothing can be done changes no order."""

import os
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core.acts import Entitlement
from leitstand.core.facts import Resources
from leitstand.core.sharing.heads import Head
from leitstand.core.sharing.shares import Held, Tree
from leitstand.core.sharing.standing import Class
from leitstand.core.sharing.turns import Asked, Turns

HUNT = int(os.environ.get("LEITSTAND_HUNT", "0"))
many = settings(max_examples=HUNT or 200, derandomize=not HUNT, database=None, deadline=None)

LEAVES = ("a/x/p", "a/x/q", "a/y/r", "b/z/s", "b/z/t", "c")
CLASS = Class(Resources(gpus=1), 1)

guarantees = st.fixed_dictionaries({leaf: st.integers(0, 6) for leaf in LEAVES})
wanted = st.lists(
    st.tuples(st.sampled_from(LEAVES), st.integers(1, 6), st.booleans(), st.integers(-1, 1)), max_size=14
)
lags = st.fixed_dictionaries({leaf: st.integers(-9, 9) for leaf in LEAVES})
Job = tuple[str, int, bool, int]  # leaf, charge, whether it starts in its turn, or whom it stops (-1: nobody)


def entitled(guaranteed: dict[str, int], lag: dict[str, int]) -> Tree:
    """A tree of 40 GPUs in which something runs; above a project the guarantees add up."""
    tree = Tree()
    for leaf in LEAVES:
        tree.node(leaf)
    sums: dict[str, int] = {}
    for leaf, guarantee in guaranteed.items():
        parts = leaf.split("/")
        for depth in range(1, len(parts) + 1):
            node = "/".join(parts[:depth])
            sums[node] = sums.get(node, 0) + guarantee
    for node in sorted(sums):
        tree.entitle(Entitlement(node, sums[node], 1, -1, sums[node]))
    tree.resize(40)
    for number, leaf in enumerate(LEAVES):
        tree.node(leaf).lag = lag[leaf] * 1_000
        tree.start(Held(f"r{number}", tree.node(leaf), number % 3 + 1, 0, (0, number)))
    tree.settle()
    return tree


def played(tree: Tree, jobs: list[tuple[int, Job]]) -> list[str]:
    """In what order those are asked for whom something can be done; each that starts counts from then on, and each that
    stops somebody makes room in that project."""
    lines: dict[str, list[Head]] = {leaf: [] for leaf in LEAVES}
    for number, (leaf, charge, *_) in jobs:
        lines[leaf].append(Head(leaf, f"{leaf}-{number}", CLASS, charge, True))
    doing = {f"{job[0]}-{number}": (job[2], job[3]) for number, job in jobs}

    def line(leaf: str, owed: bool) -> Iterator[Head]:
        return iter(lines[leaf])

    turns, order = Turns(tree, Asked(LEAVES, line, lambda head, owed: True, 60)), []
    while (turn := turns.next()) is not None:
        starts, stops = doing[turn.head.job]
        if starts:
            order.append(turn.head.job)
            tree.start(Held(turn.head.job, turn.leaf, turn.head.charge, 0, (1, len(order))))
        turns.done()
        victim = f"r{stops + len(order)}"
        if starts and stops >= 0 and victim in tree.held:
            fallen = tree.held[victim].leaf
            tree.end(victim)
            turns.again(fallen)
    return order


@many
@given(guarantees, lags, wanted)
def test_who_cannot_be_helped_changes_nobodys_turn(
    guaranteed: dict[str, int], lag: dict[str, int], jobs: list[Job]
) -> None:
    numbered = list(enumerate(jobs))
    everybody = played(entitled(guaranteed, lag), numbered)
    helped = played(entitled(guaranteed, lag), [one for one in numbered if one[1][2]])
    assert everybody == helped


@many
@given(guarantees, lags, wanted)
def test_who_is_owed_comes_before_who_is_not_and_everybody_has_one_turn(
    guaranteed: dict[str, int], lag: dict[str, int], jobs: list[Job]
) -> None:
    tree = entitled(guaranteed, lag)
    order = played(
        tree, [(number, (leaf, charge, True, -1)) for number, (leaf, charge, *_) in enumerate(jobs)]
    )
    assert sorted(order) == sorted(f"{job[0]}-{number}" for number, job in enumerate(jobs))
    again = entitled(guaranteed, lag)
    owed = []
    for job in order:
        leaf, number = job.rsplit("-", 1)
        charge = jobs[int(number)][1]
        owed.append(again.guaranteed(again.node(leaf), charge) is not None)
        again.start(Held(job, again.node(leaf), charge, 0, (1, len(owed))))
    assert owed == sorted(owed, reverse=True)
