# SPDX-License-Identifier: Apache-2.0
"""Lag takes up what was really used between two ticks, not what runs when they come."""

from leitstand.core.rules import Sharing
from leitstand.core.sharing.shares import Clock, Held, Tree
from leitstand.core.units import HOUR_US

SHARING = Sharing(tick_us=HOUR_US)
S = 3600


def world() -> tuple[Clock, Tree]:
    clock = Clock()
    tree = Tree(clock)
    tree.resize(8000)
    for name in ("a", "b"):
        tree.wait(tree.node(f"public/t/{name}"), 8000)
    clock.us = HOUR_US
    tree.tick(0, SHARING)
    return clock, tree


def test_who_is_stopped_right_before_a_tick_used_what_it_used() -> None:
    clock, tree = world()
    leaf = tree.node("public/t/a")
    tree.start(Held("run", leaf, 8000, 0, (clock.us, 1)))
    clock.us += 3 * HOUR_US // 4
    tree.end("run")
    clock.us = 2 * HOUR_US
    tree.tick(1, SHARING)
    assert leaf.lag == (4000 - 6000) * S, "three quarters of an hour, though nothing runs at the tick"
    assert tree.root.lag == (8000 - 6000) * S
    assert tree.node("public/t/b").lag == 4000 * S


def test_who_starts_right_before_a_tick_did_not_use_all_of_it() -> None:
    clock, tree = world()
    leaf = tree.node("public/t/a")
    clock.us += 3 * HOUR_US // 4
    tree.start(Held("run", leaf, 8000, 0, (clock.us, 1)))
    clock.us = 2 * HOUR_US
    tree.tick(1, SHARING)
    assert leaf.lag == (4000 - 2000) * S
    clock.us = 3 * HOUR_US
    before = leaf.lag
    tree.tick(1, SHARING)
    assert before - 4000 * S - 20_000 < leaf.lag <= before - 4000 * S, "from then on all of it"


def test_what_was_missed_counts_in_the_first_of_several_intervals_alone() -> None:
    clock, tree = world()
    leaf = tree.node("public/t/a")
    clock.us += HOUR_US // 2
    tree.start(Held("run", leaf, 8000, 0, (clock.us, 1)))
    clock.us = 4 * HOUR_US
    tree.tick(3, SHARING)
    assert -2 * 4000 * S <= leaf.lag < -2 * 4000 * S + 40_000, "half an hour of three; forgotten a little"
    assert tree.ticked_us == 4 * HOUR_US
