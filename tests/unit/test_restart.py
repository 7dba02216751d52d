# SPDX-License-Identifier: Apache-2.0
"""A restart changes no decision under `fair`: what random histories found (tests/properties/test_restart.py)."""

import msgspec

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.state import Projection, State
from leitstand.core.units import SECOND_US
from tests.unit.fair_story import cloud, day, owed


def test_a_job_whose_victims_have_grown_old_waits_for_the_tick_with_and_without_a_restart() -> None:
    """A job of a higher priority could take the place of two of its project from 307 s on, when they are old enough,
    and is looked at again at 360 s. Something else that happens at 310 s is no reason, nor is a restart before that."""
    story = cloud(4)
    story.at(7, day(hours=303 / 3600), day()).at(10, day(4, priority=1)).until(309)
    assert story.waiting == ["a-3"]
    stored = msgspec.msgpack.encode(story.core.state.project())
    other = Core(State.restore(msgspec.msgpack.decode(stored, type=Projection)))
    seen = [f.RunEnded("a-1.1", 310 * SECOND_US, "exited", 0)]
    assert other.cycle(310 * SECOND_US, seen) == story.core.cycle(310 * SECOND_US, seen)
    story.until(361)
    assert story.reserved("a-3") == ("claim", 360)


def test_who_waits_for_a_limit_starts_as_soon_as_a_run_is_told_to_end() -> None:
    story = cloud(4, entitled=[owed("a", 2, borrow=0)])
    story.at(1, day(2), day(2)).at(130, f.CancelJob("a-1")).until(131)
    assert story.started("a-2") == [130]


def test_who_waits_for_what_is_not_lent_starts_when_a_contract_lends_it() -> None:
    story = cloud(4, entitled=[owed("b", 4, lend=2)])
    later = a.EntitlementsChanged("shared", (owed("b", 4),), from_us=130 * SECOND_US)
    story.at(1, day(2), day(2), later).until(131)
    assert story.started("a-2") == [130]


def test_who_becomes_one_of_the_first_of_a_project_is_served_in_the_same_cycle() -> None:
    """Four of the five wait for GPUs that nobody can promise; one of them goes, and the fifth has its place."""
    story = cloud(4)
    story.at(1, day(4, hours=10)).at(2, *[day(4, hours=1) for _ in range(5)]).until(30)
    assert story.reserved("a-6") is None
    story.at(40, f.CancelJob("a-2")).until(41)
    assert story.reserved("a-6") is not None


def test_what_began_since_the_last_tick_counts_for_lag_as_without_a_restart() -> None:
    story = cloud(4)
    story.at(1, day(4)).at(2, day(4, tenant="b")).at(90, f.CancelJob("a-1")).until(100)
    stored = msgspec.msgpack.encode(story.core.state.project())
    other = Core(State.restore(msgspec.msgpack.decode(stored, type=Projection)))
    assert other.state.digest() == story.core.state.digest()
    for core in (other, story.core):
        core.cycle(120 * SECOND_US, [])
    mine = story.core.state.project().lags
    assert other.state.project().lags == mine
    assert dict(mine["shared"].nodes)["industry/a"] != 0


def test_rules_that_are_set_between_ticks_change_nothing_that_lag_takes_up() -> None:
    story = cloud(4)
    story.at(1, day(2)).at(2, day(4, tenant="b")).until(130)
    state = story.core.state
    before = state.project().lags
    state.apply(140 * SECOND_US, f.RulesSet(state.rules, state.rules_digest))
    assert state.project().lags == before
    assert dict(before["shared"].nodes)["industry/b"] != 0
