# SPDX-License-Identifier: Apache-2.0
"""What `make simulate` found in the product, each as the shortest story that shows it."""

import msgspec
import pytest
from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules
from leitstand.core.sharing.keeping import lags_of
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from leitstand.journal.memory import MemoryJournal
from leitstand.twin.retelling import retell
from tests.unit.fair_story import AT_ONCE, SHARING, Cloud, cloud, day, owed
from tests.unit.story import ask, at, cluster, placed

OPEN = f.SiteAdded("s", "simulated", colocate=True)
STRICT = f.SiteAdded("t", "simulated", colocate=False)


def restored(core: Core) -> Core:
    """The core that a restart makes of the same journal."""
    stored = msgspec.msgpack.encode(core.state.project())
    return Core(State.restore(msgspec.msgpack.decode(stored, type=Projection)))


def told_again(made: Cloud, opening: list[f.Fact]) -> None:
    """One core that is told the history again decides every fact of it."""
    journal = MemoryJournal()
    for now, fact in [*((0, fact) for fact in opening), *made.facts]:
        journal.append(journal.head, now, [fact])
    assert retell(journal.read(0)).difference is None


def test_a_pool_of_two_sites_puts_two_tasks_on_one_node_only_if_both_allow_it() -> None:
    # the site of the node that was described last decided for both
    core = cluster(rules=AT_ONCE)
    at(core, 0, OPEN, STRICT)
    for node, site in (("t0", "t"), ("s0", "s")):
        at(core, 0, f.NodeAdded(node, site, 8, 0, 0, pool="shared"))
    gang = ask(8, 2, max_duration_us=HOUR_US, expected_us=HOUR_US)
    assert placed(at(core, 1, gang)) == {}
    assert placed(restored(core).cycle(2, [gang])) == {}
    at(core, 3, f.SiteAdded("t", "simulated", colocate=True))
    assert len(placed(at(core, 4, gang))) == 1


def test_a_promise_is_broken_by_name_when_its_job_can_stay_in_its_pool_no_more() -> None:
    # it went to another pool, where it starts later, and nobody was told
    core = cluster(4, 4, 4, rules=AT_ONCE, tenants=("a", "b"), pools=("x", "x", "y"))
    at(core, 0, a.EntitlementsChanged("x", (owed("b", 4, lend=0),)))
    made = Cloud(core)
    made.at(1, ask(4, 1, "a", max_duration_us=HOUR_US, expected_us=HOUR_US))
    made.at(2, ask(4, 1, "a", max_duration_us=3 * HOUR_US, expected_us=3 * HOUR_US))
    made.at(3, ask(4, 1, "a", max_duration_us=HOUR_US, expected_us=HOUR_US)).until(100)
    assert [job.pool for job in core.state.jobs.values()] == ["x", "y", "x"]
    assert made.reserved("a-3") == ("promise", 3601)
    made.at(101, f.NodeRemoved("n1")).until(102)  # what is left of x is not lent
    assert core.state.jobs["a-3"].pool == "y"
    assert [fact.job for fact in made.all(f.PromiseBroken)] == ["a-3"]


def test_who_is_stopped_for_others_and_suspended_meanwhile_is_no_demand() -> None:
    # it counted as demand for as long as it was suspended, and a restart did not know
    made = cloud(4, entitled=(owed("b", 4),), rules=AT_ONCE)
    made.at(1, ask(4, 1, "a", max_duration_us=HOUR_US, expected_us=HOUR_US)).until(400)
    made.at(401, ask(4, 1, "b", max_duration_us=HOUR_US, expected_us=HOUR_US)).until(402)
    assert made.evicted == ["a-1"]
    made.at(403, a.TenantSuspended("a", "unpaid")).until(500)
    assert made.running == ["b-1"]
    for core in (made.core, restored(made.core)):
        standing = core.state.pools["shared"].standing
        assert standing is not None
        assert standing.tree.node("industry/a/default").pending == 0


def test_a_run_is_paid_also_if_all_nodes_were_gone_when_its_job_came_to_wait() -> None:
    # a pool without any node in service counted as one without GPUs, and what runs there as free
    core = cluster(4, rules=AT_ONCE)
    at(core, 0, a.BudgetGranted("", "acme", 10 * HOUR_US, 100 * HOUR_US))
    at(core, 1, ask(4, max_duration_us=HOUR_US, expected_us=HOUR_US, checkpoint_every_us=MINUTE_US))
    at(core, 2, f.RunStarted("acme-1.1", 2_000_000))
    at(core, 3500, f.NodeRemoved("n0", failed=True))
    at(core, 4000, f.RunEnded("acme-1.1", 4_000_000_000, "lost"))
    assert core.state.jobs["acme-1"].reserved == (("b1", 4 * HOUR_US),)


def test_guarantees_that_were_shrunk_are_told_again_as_they_became() -> None:
    # seed 303: `scaled` says that they were shrunk; told again they fit
    core = Core()
    told = cluster(8, rules=AT_ONCE)
    opening = [f.RulesSet(AT_ONCE, told.state.rules_digest), f.TenantAdded("acme")]
    opening += [f.SiteAdded("s", "simulated"), f.NodeAdded("n0", "s", 8, 0, 0)]
    said = core.cycle(0, opening)
    made = Cloud(core)
    made.at(1, a.EntitlementsChanged("shared", (owed("acme", 16),), scaled=True)).until(2)
    (change,) = made.all(a.EntitlementsChanged)
    assert isinstance(change, a.EntitlementsChanged)
    assert change.scaled
    told_again(made, said)


def test_a_booking_that_displaces_a_plan_is_told_again() -> None:
    # what makes room for it is said before it
    core = Core()
    rules = AT_ONCE
    opening = [f.RulesSet(rules, cluster(8, rules=rules).state.rules_digest), f.TenantAdded("a")]
    opening += [f.TenantAdded("b"), f.SiteAdded("s", "simulated"), f.NodeAdded("n0", "s", 4, 0, 0)]
    said = core.cycle(0, [*opening, a.EntitlementsChanged("shared", (owed("b", 4),))])
    made = Cloud(core)
    made.at(1, ask(4, 1, "a", max_duration_us=HOUR_US, expected_us=HOUR_US))
    made.at(2, ask(4, 1, "a", max_duration_us=HOUR_US, expected_us=HOUR_US)).until(10)
    assert made.reserved("a-2") == ("plan", 3601)
    begin_us = 50 * MINUTE_US
    booking = f.BookingMade("", "b", "default", f.Resources(4), begin_us, begin_us + 2 * HOUR_US)
    made.at(11, booking).until(12)
    kinds = [type(fact) for now, fact in made.facts if now == 11_000_000]
    assert kinds[:2] == [f.ReservationDropped, f.BookingMade]
    told_again(made, said)


@pytest.mark.parametrize("stop_us", [10**15, 615 * SECOND_US])
def test_what_a_run_uses_that_does_not_end_is_the_same_whenever_a_plan_looks(stop_us: int) -> None:
    # seed 6274: it was used from when a plan looked, and a fold looks at the next tick, or never
    made = cloud(1, entitled=[owed("a", 1)], stop_us=stop_us)
    other = restored(made.core).state
    made.at(1, ask(1, 1, "b", max_duration_us=100 * HOUR_US, expected_us=100 * HOUR_US))
    made.at(400, ask(1, 1, "a", max_duration_us=HOUR_US, expected_us=HOUR_US))
    made.at(990, ask(1, 1, "a", max_duration_us=HOUR_US, expected_us=HOUR_US))  # ticks: the next is at 1020
    made.at(1010, ask(1, 1, "a", max_duration_us=HOUR_US, expected_us=HOUR_US)).until(1100)
    assert made.evicted == ["b-1"]
    for now, fact in made.facts:
        other.apply(now, fact)
    assert lags_of(other) == lags_of(made.core.state)


# ── engines that are late: nobody has to end for it ───────────────────────────────────────────────────────────────────
def test_two_jobs_that_need_all_their_time_do_not_end_one_another_for_ever_if_runs_start_late() -> None:
    # as seed 1671: the first was told to end for the promise of the second, which began when it should have been over
    made = cloud(4)
    made.start_us = 5 * SECOND_US
    made.at(1, day(4, hours=1), day(4, hours=1)).until(10)
    assert made.reserved("a-2") == ("promise", 3601)
    made.to_the_end(20)
    assert (made.evicted, made.all(f.PromiseBroken)) == ([], [])
    assert (made.started("a-1"), made.started("a-2")) == ([1], [3606])


def test_what_is_promised_behind_a_promise_that_waits_for_a_late_run_waits_too() -> None:
    made = cloud(4)
    made.start_us = 5 * SECOND_US
    made.at(1, *[day(4, hours=1) for _ in range(4)]).until(10)
    assert [made.reserved(f"a-{n}") for n in (2, 3, 4)] == [("promise", 3600 * n + 1) for n in (1, 2, 3)]
    made.to_the_end(20)
    assert (made.evicted, made.all(f.PromiseBroken)) == ([], [])
    assert [made.started(f"a-{n}") for n in (2, 3, 4)] == [[3605 * n + 1] for n in (1, 2, 3)]


def test_a_promise_is_broken_by_name_if_the_run_before_it_began_later_than_others_can_be_told_to_end() -> (
    None
):
    made = cloud(4)
    made.start_us = 100 * SECOND_US
    made.at(1, day(4, hours=1), day(4, hours=1)).to_the_end(20)
    broken = [(fact.job, fact.cause, fact.old_us // SECOND_US) for fact in made.all(f.PromiseBroken)]  # type: ignore[attr-defined]
    assert broken == [("a-2", "overdue", 3601)]
    assert (made.evicted, made.started("a-2")) == ([], [3701])


def test_a_priority_and_a_promise_do_not_take_turns_if_runs_start_late() -> None:
    # seed 1671: b took its place by priority, a was promised when b is over; b began late, had to go, and took it again
    made = cloud(4, tenants=("a",))
    made.start_us = 5 * SECOND_US
    made.at(1, day(4, hours=1)).at(600, day(4, hours=1, priority=1)).to_the_end(10)
    assert made.evicted == ["a-1"]
    assert (made.started("a-2"), made.started("a-1")) == ([630], [1, 4235])


def test_nobody_else_has_to_end_for_a_promise_if_a_run_started_late() -> None:
    # seed 6930: the cheapest run had to, though it was in nobody's way, and took the place of the one that was late
    made = cloud(8, entitled=[owed("a", 5, borrow=0)], tenants=("a", "b"))
    made.start_us = 5 * SECOND_US
    made.at(1, day(1, hours=3, priority=2), day(4, hours=1, priority=1), day(1, hours=1)).until(10)
    assert made.reserved("a-3") == ("promise", 3601)
    made.to_the_end(10)
    assert (made.evicted, made.started("a-3")) == ([], [3606])


def test_a_claim_starts_though_its_victim_was_late_and_what_was_promised_behind_it_waits() -> None:
    # seed 7799: the promise of the first that went kept it from its place until it was given up, and round it went
    made = cloud(4, tenants=("a",), stop_us=40 * SECOND_US)  # 10 s more than it may take
    made.at(1, day(2), day(2)).at(600, day(4, hours=1, priority=1))
    made.at(610, f.RunEnded("a-1.1", 610 * SECOND_US, "stopped")).until(620)
    assert made.evicted == ["a-1", "a-2"]
    assert made.reserved("a-1") == ("promise", 4230)
    made.until(5000)
    assert made.started("a-3") == [640]
    assert (made.evicted, made.started("a-1")[1:]) == (["a-1", "a-2"], [4240])
    assert [fact.cause for fact in made.all(f.ReservationDropped)] == []  # type: ignore[attr-defined]


def test_a_promise_starts_beside_a_claim_whose_victims_are_still_there() -> None:
    # seed 5994: the claim counted beside those who were ending for it, and the promise waited until they were gone
    made = cloud(4, entitled=[owed("a", 2)])
    made.at(1, day(2, tenant="b"), day(2, tenant="b", hours=1)).at(2, day(2, tenant="b")).until(10)
    assert made.reserved("b-3") == ("promise", 3601)
    made.at(3590, day(2)).until(3700)
    assert made.evicted == ["b-1"]
    assert (made.started("b-3"), made.started("a-1")) == ([3601], [3620])


def test_way_is_made_for_a_promise_in_time_though_no_tick_falls_into_that_time() -> None:
    # seed 8755: between m and g + e before the start nobody looked, and who was in the way was told at the start
    sharing = replace(SHARING, protected_us=MINUTE_US, tick_us=10 * MINUTE_US)
    made = cloud(8, entitled=[owed("b", 5)], rules=Rules(discipline="fair", sharing=sharing))
    made.at(1, day(4, tenant="b"), day(4, tenant="b", hours=1), day(4, tenant="b")).until(10)
    assert made.reserved("b-3") == ("promise", 3601)
    made.at(20, a.EntitlementsChanged("shared", (owed("b", 5, borrow=0),))).until(3700)
    assert made.started("b-3") == [3601]
    told = [(now // SECOND_US, fact.run) for now, fact in made.facts if isinstance(fact, f.RunStopOrdered)]
    assert told == [(3571, "b-1.1")]


def test_a_promise_that_starts_late_does_not_delay_one_on_its_nodes_that_was_made_before() -> None:
    # it fits between a run and an older promise; the run outlasts its limit by 20 s, and what is left is too short. And
    # in the moment of its start the run beside it had to go for the one that was late
    made = cloud(4, tenants=("a",)).at(1, day(2, hours=2)).until(1)
    made.late_us = 20 * SECOND_US
    made.at(1, day(2, hours=1)).until(1)
    made.late_us = 0
    made.at(2, day(4)).at(3, day(2, hours=1)).until(10)
    assert (made.reserved("a-3"), made.reserved("a-4")) == (("promise", 7201), ("promise", 3601))
    made.until(8000)
    assert (made.started("a-3"), made.evicted) == ([7201], [])
    assert [(fact.job, fact.cause) for fact in made.all(f.PromiseBroken)] == [("a-4", "overdue")]  # type: ignore[attr-defined]
