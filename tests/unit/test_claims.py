# SPDX-License-Identifier: Apache-2.0
"""Several claims on one node: each starts when what was freed for it is there, the earlier first."""

from tests.unit.fair_story import cloud, day, owed

LATER = 600  # s: everything that ran from the start can be taken by then


def test_a_claim_does_not_wait_for_the_victims_of_a_later_one_on_its_node() -> None:
    story = cloud(3, entitled=[owed("a", 2)])
    story.at(1, *[day(tenant="b") for _ in range(3)]).at(LATER, day()).at(LATER + 10, day()).until(LATER + 60)
    assert len(story.evicted) == 2
    assert (story.started("a-1"), story.started("a-2")) == ([LATER + 30], [LATER + 40])


def test_a_gang_starts_on_the_nodes_of_its_claim_beside_a_later_claim_on_one_of_them() -> None:
    story = cloud(2, 2, entitled=[owed("a", 3)])
    story.at(1, *[day(tenant="b") for _ in range(4)])
    story.at(LATER, day(2, 2)).at(LATER + 10, day()).until(LATER + 60)
    assert len(story.evicted) == 3
    assert (story.started("a-1"), story.started("a-2")) == ([LATER + 30], [LATER + 40])
