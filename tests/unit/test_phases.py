# SPDX-License-Identifier: Apache-2.0
"""Where many projects wait, a tick's work is spread over the tick: each project is looked at once, at its own time."""

import random
from itertools import pairwise

from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.sharing import phases
from leitstand.core.sharing.fair import Fair
from leitstand.core.units import MINUTE_US, SECOND_US
from leitstand.core.yielding.consolidation import MOVES_MAX, Consolidation
from tests.unit.fair_story import RULES, SHARING, Cloud, day
from tests.unit.story import cluster

MANY = [f"p{number}" for number in range(100)]


def crowd(projects: int, nodes: int = 2, guaranteed: int = -1) -> Core:
    """A tenant with so many projects, beside one that deserves all but one GPU: that which project number
    `guaranteed` is guaranteed."""
    core = cluster(*[8] * nodes, rules=RULES, tenants=("a", "b"))
    seen: list[f.Observation] = [a.ProjectAdded("a", f"p{number}") for number in range(projects)]
    entitled = [a.Entitlement("industry/b", 0, 10**6)]
    if guaranteed >= 0:
        entitled.append(a.Entitlement(f"industry/a/p{guaranteed}", 1000))
    seen.append(a.EntitlementsChanged("shared", tuple(entitled)))
    core.cycle(0, seen)
    assert [one for one in core.answers if one.refused] == []
    return core


def full(projects: int, guaranteed: int = -1) -> Cloud:
    """Of all projects one job waits from second 101 on, behind runs that fill the pool, all of `b` but for one of the
    project with a guarantee: of that a job of higher priority, of the others larger ones than `a` deserves."""
    cloud = Cloud(crowd(projects, guaranteed=guaranteed))
    own = [replace(day(), project=f"p{guaranteed}")] if guaranteed >= 0 else []
    cloud.at(100, *own, *(day(tenant="b") for _ in range(16 - len(own))))
    for number in range(projects):
        asked = day(priority=1) if number == guaranteed else day(3)
        cloud.at(101, replace(asked, project=f"p{number}"))
    return cloud


# ── when ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_however_many_phases_there_are_everybody_is_called_once_in_every_tick() -> None:
    chance, last = random.Random(5), dict.fromkeys(MANY, 0)
    counts, called_us, now, ticks = dict.fromkeys(MANY, 0), 0, 0, 50
    while now < ticks * MINUTE_US:
        waiting = chance.choice((33, 100, 500, 1_000, 10_000))
        until_us = phases.last_end(now, waiting, MINUTE_US)
        assert now - phases.length_us(waiting, MINUTE_US) < until_us <= now
        if until_us > called_us:
            for id in phases.called(MANY, (called_us, until_us), MINUTE_US):
                assert now - last[id] <= MINUTE_US + phases.length_us(33, MINUTE_US)
                last[id] = now
                counts[id] += 1
            called_us = until_us
        after = phases.next_end(now, waiting, MINUTE_US)
        assert now < after <= now + phases.length_us(waiting, MINUTE_US)
        now = after
    assert set(counts.values()) <= {ticks - 1, ticks}


def test_a_span_of_a_whole_tick_calls_everybody() -> None:
    assert list(phases.called(MANY, (7, 7 + MINUTE_US), MINUTE_US)) == MANY
    assert phases.called(MANY, (7, 7), MINUTE_US) == {}


def test_few_projects_have_one_phase_and_no_pool_has_more_than_the_most() -> None:
    assert phases.length_us(phases.AT_ONCE_MAX, MINUTE_US) == MINUTE_US
    assert MINUTE_US // phases.length_us(phases.AT_ONCE_MAX + 1, MINUTE_US) == 3
    assert MINUTE_US // phases.length_us(10**6, MINUTE_US) == phases.PHASES_MAX


def test_every_fourth_phase_searches_for_moves_and_over_some_ticks_every_phase_of_a_tick_does() -> None:
    for projects in (33, 64, 500, 1_000, 5_000):
        length_us = phases.length_us(projects, MINUTE_US)
        count = MINUTE_US // length_us
        searching = {
            number
            for tick in range(1, 5)
            for number in range(count)
            if phases.searches(tick * MINUTE_US + number * length_us, projects, MINUTE_US)
        }
        assert searching == set(range(count))
        in_one = [phases.searches(MINUTE_US + n * length_us, projects, MINUTE_US) for n in range(count)]
        assert count // 4 <= sum(in_one) <= count // 4 + 1


# ── who ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def calls(cloud: Cloud) -> list[int]:
    return [fact.until_us for fact in cloud.all(f.ProjectsCalled) if isinstance(fact, f.ProjectsCalled)]


def test_up_to_so_many_projects_are_looked_at_in_the_tick_alone() -> None:
    assert calls(full(phases.AT_ONCE_MAX).until(1_000)) == []
    assert len(calls(full(phases.AT_ONCE_MAX + 8).until(1_000))) > 20


def test_who_may_take_from_a_run_once_it_is_old_enough_does_at_the_own_time_of_its_project_in_the_tick() -> (
    None
):
    """Runs are protected until second 400. Nothing else happens: the next look at the project, within a tick, serves
    its higher priority."""
    protected_us = 100 * SECOND_US + SHARING.protected_us
    seen = {}
    for number in range(0, 80, 10):
        cloud = full(80, guaranteed=number)
        cloud.until(600)
        stops = [(at, fact) for at, fact in cloud.facts if isinstance(fact, f.RunStopOrdered)]
        assert [fact.cause for _, fact in stops] == ["priority"]
        at = stops[0][0]
        assert protected_us <= at <= protected_us + SHARING.tick_us + phases.length_us(80, SHARING.tick_us)
        seen[at] = number
    assert len(seen) > 1, "not all at the same time"
    assert any(at % SHARING.tick_us for at in seen), "and not at the tick"


def test_what_was_called_last_outlives_a_snapshot() -> None:
    cloud = full(80).until(500)
    standing = cloud.core.state.pools["shared"].standing
    assert standing is not None
    assert standing.called_us > standing.ticked_us
    (lags,) = cloud.core.state.project().lags.values()
    assert lags.called_us == standing.called_us


def test_all_phases_of_a_tick_together_move_no_more_runs_than_the_rules_allow() -> None:
    """What was moved since the tick is kept with what shares remember, so that each phase knows it."""
    cloud = full(40).until(130)
    state = cloud.core.state
    run = next(iter(state.runs))
    standing = state.pools["shared"].standing
    assert standing is not None
    state.apply(cloud.now, f.RunStopOrdered(run, f.MOVE, "a-1"))
    assert (standing.moved, next(iter(state.project().lags.values())).moved) == (1, 1)
    plan = Fair(state, "shared", lambda fact: None)
    plan.now = cloud.now
    assert Consolidation(state, "shared", plan._make_scene()).left == MOVES_MAX - 1
    state.apply(cloud.now, f.SharesTicked("shared"))
    assert (standing.moved, standing.called_us) == (0, standing.ticked_us)


def test_who_is_called_is_looked_at_though_all_of_its_shapes_sleep() -> None:
    state = full(40).until(130).core.state
    standing, plan = state.pools["shared"].standing, Fair(state, "shared", lambda fact: None)
    assert standing is not None
    for cls in standing.classes:
        plan.heads.bar(cls)
        plan.heads.shut_out(cls)
    standing.looked()
    assert plan.heads.leaves(standing) == {}
    plan.heads.call({"industry/a/p7": None, "industry/a/gone": None})
    assert plan.heads.leaves(standing) == {"industry/a/p7": None}
    plan.heads.ask(standing)
    assert [head.ahead for head in plan._line("industry/a/p7", False)] == [True]
    assert plan.heads.serve(standing.lines["industry/a/p7"].order[0][0][-1], "industry/a/p7")
    assert list(plan._line("industry/a/p7", False)) == []
    plan.heads.call({"industry/a/p7": None})
    assert [head.ahead for head in plan._line("industry/a/p7", False)] == [True], (
        "called again it is served again"
    )


def test_moves_are_looked_for_in_the_first_four_ticks_and_then_in_every_eighth() -> None:
    for number in range(10):
        asks = [
            tick
            for tick in range(100)
            if phases.is_eager(number, tick * MINUTE_US + 30 * SECOND_US, MINUTE_US)
        ]
        assert asks[:4] == [0, 1, 2, 3]
        later = [tick for tick in asks if tick >= 4]
        assert {second - first for first, second in pairwise(later)} == {8}
        assert later[0] < 4 + 8


def test_jobs_that_wait_for_long_look_for_moves_in_ticks_of_their_own() -> None:
    asks = [
        sum(phases.is_eager(number, tick * MINUTE_US, MINUTE_US) for number in range(80))
        for tick in range(8, 24)
    ]
    assert set(asks) == {10}
