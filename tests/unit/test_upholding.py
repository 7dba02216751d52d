# SPDX-License-Identifier: Apache-2.0
"""Contracts that change, and what was promised before them: all of it stays safe, or the change is refused with number,
time and the date from which on it is; who has to yield under a contract is told in the cycle that admits it."""

import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.state import State
from leitstand.core.units import HOUR_US, SECOND_US
from tests.unit.fair_story import SHARING, Cloud, cloud, day, owed
from tests.unit.story import act, refused

LATER = 600  # s: everything that ran from the start can be taken by then
START = 3 * 3600 + 1  # s: what is promised to y-3
SAFE = START + SHARING.until_freed_us // SECOND_US  # its run can be taken by then
FREED = (SHARING.grace_us + SHARING.stop_us) // SECOND_US


def change(*entitled: a.Entitlement, start: int = 0) -> a.EntitlementsChanged:
    return a.EntitlementsChanged("shared", entitled, from_us=start * SECOND_US)


def commitment(node: str, gpus: int, start: int, end: int) -> a.CommitmentMade:
    return a.CommitmentMade("", "shared", node, gpus * 1000, start * SECOND_US, end * SECOND_US)


def pool() -> Cloud:
    """16 GPUs: 8 guaranteed to x, 4 to z; y was promised 4 at START, and so everything is spoken for then."""
    entitled = [owed("x", 8), owed("y"), owed("z", 4, weight=0)]
    story = cloud(*[1] * 16, entitled=entitled, tenants=("x", "y", "z"))
    story.at(1, day(8, 8, "x", hours=4), day(4, 4, "y", hours=3), day(4, 4, "y", hours=10))
    story.at(LATER, day(4, 4, "y", hours=5)).until(LATER + 60)
    assert story.reserved("y-3") == ("promise", START)
    return story


TOLD = (
    f"the start promised to y-3 could not be kept: the root would lack 4 from {START}000000 µs on, if all guarantees "
    f"are called; nothing that was promised is in danger from {SAFE}000000 µs on"
)


@pytest.mark.parametrize("asked", [change(owed("x", 12)), commitment("industry/x", 4, 2 * 3600, 9 * 3600)])
def test_what_leaves_a_promise_unsafe_is_refused_with_number_time_and_date(asked: f.Observation) -> None:
    story = pool()
    assert refused(story.core, LATER + 60, asked) == ("conflict", TOLD)


@pytest.mark.parametrize(
    "asked", [change(owed("x", 12), start=SAFE), commitment("industry/x", 4, SAFE, 40_000)]
)
def test_dated_as_the_refusal_says_it_is_granted_and_the_promise_is_kept(asked: f.Observation) -> None:
    story = pool()
    act(story.core, LATER + 60, asked)
    assert story.until(START).started("y-3") == [START]


def test_what_is_over_before_a_promise_starts_endangers_nothing() -> None:
    story = pool()
    act(story.core, LATER + 60, commitment("industry/x", 4, 3600, START))
    assert story.until(START).started("y-3") == [START]


def test_a_run_whose_start_was_promised_is_safe_as_long_as_it_is_pinned() -> None:
    story = pool().until(START + 1)
    assert refused(story.core, START + 1, change(owed("x", 12)))[0] == "conflict"
    pinned = START + SHARING.protected_us // SECOND_US
    story.until(pinned + 60)
    act(story.core, pinned + 60, change(owed("x", 12)))


def test_no_start_is_promised_on_what_is_committed_from_a_later_time_on() -> None:
    entitled = [owed("x", 8), owed("y"), owed("z", 4, weight=0)]
    story = cloud(*[1] * 16, entitled=entitled, tenants=("x", "y", "z"))
    act(story.core, 0, commitment("industry/x", 4, 2 * 3600, 10 * 3600))
    story.at(1, day(8, 8, "x", hours=4), day(4, 4, "y", hours=3), day(4, 4, "y", hours=10))
    story.at(LATER, day(4, 4, "y", hours=5)).until(LATER + 60)
    assert story.reserved("y-3") == ("plan", START)


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────
HOUR = 3601  # s: a promised start


def bound() -> Cloud:
    """16 GPUs: a (G 5) runs 4 and was promised 4 at HOUR, b (G 11) runs 12 of which 8 end then."""
    story = cloud(16, entitled=[owed("a", 5), owed("b", 11)])
    story.at(1, day(4), day(8, tenant="b", hours=1), day(4, tenant="b")).at(LATER, day(4))
    assert story.until(LATER + 60).reserved("a-2") == ("promise", HOUR)
    return story


def test_who_has_to_yield_for_a_promise_under_a_new_limit_is_told_in_the_cycle_that_admits_it() -> None:
    """W(a) is 5 of 7, but 4 run and 4 are promised: the run goes, in the last cycle in which it can be gone in time."""
    story = bound().until(HOUR - FREED - 1)
    facts = story.core.cycle((HOUR - FREED) * SECOND_US, [change(owed("a", 5, borrow=2))])
    assert [fact for fact in facts if isinstance(fact, f.RunStopOrdered)] == [
        f.RunStopOrdered("a-1.1", "recall", "a-2")
    ]


def test_a_limit_for_which_nobody_can_be_gone_in_time_is_refused_with_the_date() -> None:
    story = bound().until(HOUR - FREED + 1)
    asked = change(owed("a", 5, borrow=2))
    why, told = refused(story.core, HOUR - FREED + 1, asked)
    assert why == "conflict"
    assert told == (
        f"the start promised to a-2 could not be kept: industry/a would lack 1 from {HOUR}000000 µs on, and who is "
        f"in its way cannot be gone by then; nothing that was promised is in danger from {HOUR}000001 µs on"
    )
    later = a.EntitlementsChanged("shared", asked.entitlements, HOUR * SECOND_US + 1)
    act(story.core, HOUR - FREED + 1, later)
    assert story.until(HOUR + 60).started("a-2") == [HOUR]
    assert "a-1" in story.running


def test_a_limit_that_was_dated_before_a_promise_starts_is_known_when_way_is_made() -> None:
    story = bound()
    act(story.core, LATER + 60, change(owed("a", 5, borrow=2), start=HOUR - 5))
    story.until(HOUR)
    assert (story.evicted, story.started("a-2")) == (["a-1"], [HOUR])
    assert story.all(f.PromiseBroken) == []


def test_nobody_starts_into_a_limit_that_leaves_a_promise_no_room() -> None:
    """A borrows 4 beside its promise of 4 and its run of 4 until the limit falls to 8: whoever comes short before that
    could not be told to end in time."""
    story = cloud(16, entitled=[owed("a", 4), owed("b", 8)])
    story.at(1, day(8, tenant="b"), day(8, hours=1)).at(LATER, day(8, hours=2))
    assert story.until(LATER + 60).reserved("a-2") == ("promise", HOUR)
    act(story.core, LATER + 60, change(owed("a", 4, borrow=4), start=HOUR - 10))
    story.at(HOUR - 60, f.CancelJob("b-1"), day(4)).until(HOUR + 60)
    assert story.started("a-2") == [HOUR]
    assert "a-3" in story.waiting


def test_a_commitment_ends_when_no_promise_needs_its_limit_any_more() -> None:
    story = cloud(16, entitled=[owed("a", 0, borrow=4), owed("b", 8)])
    made = act(story.core, 0, commitment("industry/a", 4, 1, 48 * 3600))
    story.at(1, day(8, hours=1), day(8, tenant="b")).at(LATER, day(8, hours=2))
    assert story.until(LATER + 60).reserved("a-2") == ("promise", HOUR)
    why, told = refused(story.core, LATER + 60, a.CommitmentEnded(made, 1800 * SECOND_US))
    assert (why, "industry/a would lack 4" in told) == ("conflict", True)
    act(story.core, LATER + 60, a.CommitmentEnded(made, 2 * HOUR_US))


# ── who was promised a start and gets it sooner ───────────────────────────────────────────────────────────────────
def test_a_promised_start_that_comes_sooner_by_an_act_is_pinned_like_one_at_its_time() -> None:
    """A-2, promised for tomorrow, takes the place of a run of lower priority as soon as that may go."""
    story = cloud(8, entitled=[owed("a", 4), owed("b", 2)])
    story.at(1, day(4), day(4, tenant="b")).at(100, day(4, priority=1)).until(130)
    assert story.reserved("a-2") == ("promise", 24 * 3600 + 1)
    story.until(LATER)
    (start,) = story.started("a-2")
    run = story.core.state.runs["a-2.1"]
    assert run.pinned_us == start * SECOND_US + SHARING.protected_us
    again = State.restore(story.core.state.project())
    assert again.digest() == story.core.state.digest()
