# SPDX-License-Identifier: Apache-2.0
"""Who gets a reservation under `fair`, and of which kind: whose turn comes first does not lose it because others hold
the slots of his project, because a plan had no room for one more, or because a promise counted for nothing.
"""

import msgspec

from leitstand.core import facts as f
from leitstand.core.rules import Rules
from leitstand.core.sharing.reserving import PER_PLAN
from leitstand.core.units import HOUR_US
from tests.unit.fair_story import SHARING, Cloud, cloud, day, owed

MANY = PER_PLAN[0] + 4  # projects
PATIENT = Rules(  # nobody is taken for another
    discipline="fair",
    sharing=msgspec.structs.replace(SHARING, protected_us=20 * HOUR_US, recall_us=21 * HOUR_US),
)


def test_lower_priority_that_was_there_first_keeps_no_reservation_from_a_higher_one() -> None:
    story = cloud(8, entitled=[owed("a"), owed("b")], rules=PATIENT)
    story.at(1, day(4, hours=2), day(4, hours=4))
    story.at(10, *[day(8, hours=1) for _ in range(4)])
    story.at(20, day(8, hours=1, priority=1)).at(30, day(4, tenant="b", hours=24)).until(60)
    assert [story.reserved(f"a-{number}") is not None for number in (3, 4, 5, 6)] == [True] * 4
    assert story.reserved("a-7") is not None, "four slots are held by those behind it"
    story.at(70, *[day(8, hours=1, priority=2 + number) for number in range(8)]).until(3000)
    held = [made for made in story.core.state.reservations if made.startswith("a-")]
    assert len(held) == 8, "twice as many as slots, and no more"
    assert story.reserved("a-12") is None
    story.until(14_402)
    assert story.reserved("a-12") is not None, "as soon as one of them has started, not at the next tick"


def crowd() -> Cloud:
    """Many projects, each with a job that needs the whole of one node, where small ones end at different times."""
    names = [f"t{number:02d}" for number in range(MANY)]
    story = cloud(*[8] * MANY, entitled=[owed(name) for name in names], tenants=(*names, "z"), rules=PATIENT)
    story.at(1, *[day(7, tenant="z", hours=2) for _ in names])
    whole = [day(8, tenant=name, hours=1) for name in names]
    return story.at(60, *whole, *[day(1, tenant="z", hours=8) for _ in names])


def test_nobody_starts_in_front_of_a_job_whose_turn_it_was_for_want_of_a_reservation() -> None:
    story = crowd().until(60)
    wholes = [f"t{number:02d}-1" for number in range(MANY)]
    assert all(story.reserved(job) for job in wholes), "each has its reservation in the plan in which it came"
    story.until(3 * 3600)
    assert [story.started(job) for job in wholes] == [[7201.0]] * MANY, "as soon as the first runs end"


def test_where_runs_can_be_taken_at_once_a_promise_still_counts_against_guarantees_at_its_start() -> None:
    sharing = msgspec.structs.replace(SHARING, protected_us=0, grace_us=0, stop_us=0)
    entitled = [owed("a", 8), owed("b", weight=0)]
    story = cloud(8, entitled=entitled, rules=Rules(discipline="fair", sharing=sharing), stop_us=0)
    story.at(1, *[day(tenant="b", hours=24) for _ in range(8)])
    story.at(2, *[day(hours=30) for _ in range(4)]).until(3)
    kinds = {
        kind for job in ("b-1", "b-2", "b-3", "b-4") if (made := story.reserved(job)) for kind in made[:1]
    }
    assert kinds <= {"plan"}, "a owns all there is: nobody else can be promised any of it"
    story.at(3, *[day(hours=30) for _ in range(4)]).until(4)
    assert story.running == [f"a-{number}" for number in range(1, 9)]


def test_who_had_more_than_he_deserves_reserves_nothing_before_who_had_less() -> None:
    story = cloud(*[1] * 8, entitled=[owed("a"), owed("b")], rules=PATIENT)
    ends = [12 + number / 4 for number in range(8)]  # hours
    story.at(1, *[day(tenant="b", hours=hours) for hours in ends]).at(10, *[day(6, 6, hours=4)] * 2)
    story.at(10800, *[day(tenant="b", hours=6) for _ in range(8)]).until(11400)
    assert story.reserved("a-1") is not None
    assert [story.reserved(f"b-{number}") for number in range(9, 17)] == [None] * 8, (
        "it starts when its turn comes"
    )


def test_who_had_more_than_he_deserves_reserves_inside_his_guarantee_all_the_same() -> None:
    story = cloud(*[1] * 8, entitled=[owed("a"), owed("b", 4)], rules=PATIENT)
    story.at(1, *[day(tenant="b", hours=12 + number) for number in range(8)]).at(
        10, *[day(6, 6, hours=4)] * 2
    )
    story.at(20800, day(tenant="b", hours=6)).until(21400)
    assert story.reserved("b-9") is None, "it has more than that"
    story.at(21401, *[f.CancelJob(f"b-{number}") for number in (*range(1, 7), 9)]).until(21450)
    assert story.running == ["a-1", "b-7", "b-8"]
    assert story.at(21460, day(tenant="b", hours=6)).until(21470).reserved("b-10") is not None, "it has less"


def test_found_who_has_a_reservation_starts_sooner_also_from_behind_in_its_line() -> None:
    story = cloud(8, 8, 4, 4, entitled=[owed("a"), owed("b")], tenants=("a", "b", "z"), rules=PATIENT)
    story.at(1, day(8, hours=2)).at(2, day(8, tenant="z", hours=20)).at(10, day(8, hours=2))
    story.at(20, *[day(16, 2, hours=1, priority=1, tenant=tenant) for tenant in "aaaabbbb"])
    story.at(30, day(8, tenant="b", hours=2)).until(90)
    assert story.reserved("a-2") is not None
    assert story.reserved("b-5") is None, "like a-2, but it may not start in front of that"
    story.at(600, f.CancelJob("a-1")).until(700)
    assert story.running == ["a-2", "z-1"], "not only when its reserved time has come"


def test_who_has_a_reservation_and_was_kept_by_a_limit_starts_at_once_when_the_limit_has_room() -> None:
    """Others of its class find no place, and what ends is on another node and too small for the class."""
    story = cloud(2, 2, 2, entitled=[owed("b", borrow=2)], tenants=("a", "b", "c"))
    story.at(1, day(hours=10, tenant="b")).at(2, day(hours=30, tenant="c"), day(hours=30, tenant="c"))
    story.at(3, day(2, hours=5, tenant="b")).at(4, day(2, hours=5, tenant="c")).until(10)
    assert story.reserved("b-2") == ("promise", 10 * 3600 + 1)
    story.at(19801, day(2, hours=5, tenant="c")).at(25207, f.CancelJob("b-1")).until(26000)
    assert story.started("b-2") == [25207]
