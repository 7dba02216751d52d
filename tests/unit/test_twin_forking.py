# SPDX-License-Identifier: Apache-2.0
"""Each change of a scenario is seen in what comes of its course; chance is shared; equal inputs give equal reports."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import TENANT_CLASSES, Rules
from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US
from leitstand.engines.simulated import SimulatedEngine
from leitstand.journal import snapshots
from leitstand.journal.sqlite import SqliteJournal, SqliteReader
from leitstand.runtime.clock import VirtualClock
from leitstand.runtime.loop import Loop
from leitstand.runtime.ports import Source
from leitstand.twin.forking import changes as c
from leitstand.twin.forking.arriving import arrivals_of
from leitstand.twin.forking.course import Course, Played, play_course
from leitstand.twin.forking.figures import answer
from leitstand.twin.forking.ground import Described, Ground, ground_of_cluster, ground_of_journal
from leitstand.twin.forking.lengths import Lengths
from leitstand.twin.forking.past import Arrival
from leitstand.twin.forking.report import write_report
from leitstand.twin.forking.times import When, when
from leitstand.twin.forking.words import sentences, troubles
from leitstand.twin.reading.table import TraceError

START = 1_798_761_600_000_000  # 2027-01-01, a Friday
HOUR = When(HOUR_US, since_fork=True)
TICKS = (f.SharesTicked, f.ProjectsCalled)


def opening(discipline: str) -> list[f.Observation]:
    """Two racks of two nodes with 8 GPUs, a tenant in research and one in industry, which has 16 GPUs guaranteed."""
    nodes = [
        f.NodeAdded(f"n{n}", "a", 8, 64_000, 512, "H100", "shared", domains=(f"r{n // 2}",)) for n in range(4)
    ]
    return [
        f.RulesSet(Rules(discipline=discipline, budgets="off"), ""),
        a.TenantAdded("uni", "research"),
        a.TenantAdded("werk", "industry"),
        f.SiteAdded("a", "simulated", logical=True, levels=("rack",)),
        *nodes,
        a.EntitlementsChanged("shared", (a.Entitlement("industry/werk", 16_000),)),
    ]


def opened(discipline: str = "fair") -> Core:
    core = Core()
    core.cycle(START, opening(discipline))
    assert not any(answer.refused for answer in core.answers)
    return core


def job(tenant: str = "uni", gpus: int = 8, hours: float = 1, **more: int) -> f.SubmitJob:
    return f.SubmitJob(
        tenant,
        "default",
        f.Resources(gpus, 0),
        max_duration_us=5 * DAY_US,
        expected_us=int(hours * HOUR_US),
        **more,
    )


def ground(*jobs: tuple[float, f.SubmitJob], hours: int = 24, discipline: str = "fair") -> Ground:
    """A fork of it to which these jobs come, so many hours after it."""
    arrivals = tuple(Arrival(START + int(at * HOUR_US), asked) for at, asked in jobs)
    return Ground(
        source="test",
        projection=snapshots.stored(opened(discipline).state),
        from_us=START,
        until_us=START + hours * HOUR_US,
        kind="recorded",
        arrivals=arrivals,
    )


def played(
    where: Ground, *what: c.What, at: When = HOUR, seed: int = 1, watch: list[f.Fact] | None = None
) -> Played:
    """A course in which all of this happens at a time."""
    scenario = c.Scenario("s", changes=tuple(c.Change(at, one, place="a.yaml:1") for one in what))
    seen: list[f.Fact] = [] if watch is None else watch
    return play_course(
        Course(scenario, (), seed),
        where,
        watch=lambda _, facts: seen.extend(one for one in facts if type(one) not in TICKS),
    )


def capacities(course: Played) -> list[float]:
    return [hour.capacity for hour in course.hours]


def of(kind: type[f.Fact], facts: Sequence[f.Fact]) -> list[f.Fact]:
    return [fact for fact in facts if isinstance(fact, kind)]


# ── capacity ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_nodes_that_come_are_like_those_that_are_there_and_stand_in_new_racks() -> None:
    seen: list[f.Fact] = []
    course = played(ground(hours=3), c.Add(3, "b", racks=2), watch=seen)
    assert capacities(course) == [32.0, 56.0, 56.0]
    site, *nodes = seen
    assert site == f.SiteAdded("b", "simulated", logical=True, levels=("rack",))
    assert nodes == [
        f.NodeAdded(f"b-{n + 1:05d}", "b", 8, 64_000, 512, "H100", "shared", domains=(rack,))
        for n, rack in enumerate(("b-rack-1", "b-rack-1", "b-rack-2"))
    ]


def test_nodes_that_come_to_a_known_site_take_no_name_or_rack_of_others() -> None:
    seen: list[f.Fact] = []
    played(ground(hours=3), c.Add(1), c.Add(1, gpus=4), watch=seen)
    nodes = [fact for fact in seen if isinstance(fact, f.NodeAdded)]
    assert [(n.node, n.gpus, n.domains) for n in nodes] == [
        ("a-00001", 8, ("a-rack-3",)),
        ("a-00002", 4, ("a-rack-4",)),
    ]


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        (c.Remove(site="a"), ["n0", "n1", "n2", "n3"]),
        (c.Remove(rack="r1"), ["n2", "n3"]),
        (c.Remove(nodes=1), ["n3"]),
        (c.Remove(names=("n1",)), ["n1"]),
    ],
)
def test_nodes_go_and_what_runs_on_them_goes_on(what: c.Remove, gone: list[str]) -> None:
    seen: list[f.Fact] = []
    course = played(ground((0, job(gpus=32, hours=2)), hours=4), what, watch=seen)
    assert [fact.node for fact in seen if isinstance(fact, f.NodeRemoved)] == gone
    assert capacities(course)[1:] == [32.0 - 8 * len(gone)] * 3
    assert (course.rows[0].state, course.rows[0].ended_us) == ("succeeded", START + 2 * HOUR_US)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (c.Remove(site="b"), "there is no site 'b' at that time; known: a"),
        (c.Remove(names=("n9",)), "there is no node 'n9' at that time; known: n0, n1"),
        (c.Remove(nodes=5), "4 such nodes are in service"),
        (c.Entitle("research/werx", c.Amount(8_000)), "there is no tenant 'werx'"),
        (c.Commit("research", 8_000, When(START - 1)), "to_us is"),
        (c.EndCommitment("c9"), "c9"),
        (c.Demand("werx", 2.0), "there is neither a class nor a tenant 'werx'; known: industry, research"),
    ],
)
def test_a_change_of_what_is_not_there_is_refused_with_its_line(what: c.What, told: str) -> None:
    with pytest.raises(TraceError, match=r"a\.yaml:1: ") as refused:
        played(ground(hours=3), what)
    assert told in str(refused.value)


# ── contracts and rules ───────────────────────────────────────────────────────────────────────────────────────────
def test_a_guarantee_is_raised_by_so_much_and_the_rest_of_the_entitlement_stays() -> None:
    seen: list[f.Fact] = []
    more = c.Entitle("industry/werk", c.Amount(8_000, relative=True), borrow=c.Amount(4_000))
    course = played(ground(hours=3), more, c.Entitle("research", weight=3), watch=seen)
    assert seen == [
        a.EntitlementsChanged("shared", (a.Entitlement("industry/werk", 24_000, borrow_milli=4_000),)),
        a.EntitlementsChanged("shared", (a.Entitlement("research", -1, weight=3),)),
    ]
    assert [hour.guaranteed for hour in course.hours] == [
        {"industry": 16.0},
        {"industry": 24.0},
        {"industry": 24.0},
    ]


def test_a_guarantee_over_the_capacity_is_refused_in_words_and_holds_once_there_is_enough() -> None:
    late = c.Change(When(2 * DAY_US, since_fork=True), c.Add(4), "late")
    asked = c.Change(HOUR, c.Entitle("research", c.Amount(32_000, relative=True)))
    course = play_course(Course(c.Scenario("s", changes=(asked,)), (late,), 1), ground(hours=96))
    entitle, add = course.told
    assert "the root: 48 would be guaranteed, more than the 32" in entitle.refused
    assert (entitle.asked_us, entitle.granted_us) == (START + HOUR_US, START + 2 * DAY_US + HOUR_US)
    assert (add.refused, add.granted_us) == ("", START + 2 * DAY_US)
    assert course.hours[0].guaranteed == {"industry": 16.0}
    assert course.hours[-1].guaranteed == {"industry": 16.0, "research": 32.0}


@pytest.mark.parametrize("discipline", ["fifo-greedy", "fair"])
def test_a_contract_that_decides_nothing_under_the_discipline_is_said_so(discipline: str) -> None:
    """Else one reads that a guarantee changes nothing, and believes it."""
    more, price = c.Entitle("research", c.Amount(8_000, relative=True)), c.SetRules({"requests_max": 7})
    where = ground((2, job()), hours=4, discipline=discipline)
    course = played(where, more, c.Commit("research", 8_000, When(3 * HOUR_US, since_fork=True)), price)
    assert [told.unheeded for told in course.told] == (
        [""] * 3 if discipline == "fair" else ["fifo-greedy"] * 2 + [""]
    )
    (said,) = answer([course], 1, where, c.WhatIf("More?")).scenarios
    assert len(troubles(said)) == (0 if discipline == "fair" else 2)
    assert all("Under fifo-greedy" in one and "discipline: fair" in one for one in troubles(said))


def test_a_commitment_is_guaranteed_and_paid_used_or_not_and_ends() -> None:
    seen: list[f.Fact] = []
    commit = c.Commit("research", 8_000, When(5 * HOUR_US, since_fork=True), 2_000_000)
    price = c.SetRules({"price_micro_eur_per_gpu_h": {"research": 1_000_000}})
    where = ground((2, job(gpus=16, hours=1)), hours=6)
    course = played(where, price, commit, watch=seen)
    (made,) = of(a.CommitmentMade, seen)
    assert isinstance(made, a.CommitmentMade)
    assert (made.milli, made.from_us, made.to_us) == (8_000, START + HOUR_US, START + 5 * HOUR_US)
    # 8 GPUs at 2 EUR for four hours; in one of them 16 are used, of which 8 are paid by the commitment
    assert [hour.eur.get("research", 0.0) for hour in course.hours] == pytest.approx(
        [0, 16, 16 + 8, 16, 16, 0]
    )
    assert [hour.guaranteed.get("research") for hour in course.hours] == [None, 8.0, 8.0, 8.0, 8.0, None]


def test_an_hour_knows_what_was_in_force_in_it_however_quiet_it_was() -> None:
    until = When(9 * HOUR_US, since_fork=True)
    first = c.Change(HOUR, c.Commit("research", 8_000, until))
    second = c.Change(When(5 * HOUR_US, since_fork=True), c.Entitle("research/uni", c.Amount(4_000)))
    course = play_course(Course(c.Scenario("s", changes=(first, second)), (), 1), ground(hours=10))
    guaranteed = [hour.guaranteed.get("research", 0.0) for hour in course.hours]
    assert guaranteed == [0.0, *[8.0] * 4, *[12.0] * 4, 4.0]


def test_rules_change_fields_alone() -> None:
    seen: list[f.Fact] = []
    played(ground(hours=2), c.SetRules({"discipline": "sjf", "sharing": {"ahead_us": 7}}), watch=seen)
    (rules,) = of(f.RulesSet, seen)
    assert isinstance(rules, f.RulesSet)
    assert (rules.rules.discipline, rules.rules.sharing.ahead_us, rules.rules.budgets) == ("sjf", 7, "off")


# ── demand ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_demand_is_scaled_and_shifted_for_those_it_is_of() -> None:
    jobs = [(n, job(tenant, 1, 0.5)) for n in range(20) for tenant in ("uni", "werk")]
    where = ground(*jobs, hours=30)
    base = {row.submitted_us for row in played(where).rows if row.tenant == "uni"}
    until = When(10 * HOUR_US, since_fork=True)
    now = When(0, since_fork=True)
    none = played(where, c.Demand("research", 0.0, until=until), at=now)
    assert sum(row.tenant == "uni" for row in none.rows) == 10
    assert sum(row.tenant == "werk" for row in none.rows) == 20
    double = played(where, c.Demand("uni", 2.0), at=now)
    assert sum(row.tenant == "uni" for row in double.rows) == 40
    later = played(where, c.Demand(shift_us=3 * HOUR_US), at=now)
    assert {row.submitted_us - 3 * HOUR_US for row in later.rows if row.tenant == "uni"} == base


def test_more_demand_has_all_jobs_of_less() -> None:
    where = ground(*[(n / 4, job("uni", 1, 0.1)) for n in range(60)], hours=24)
    now = When(0, since_fork=True)
    fewer, more = (
        {row.submitted_us for row in played(where, c.Demand("research", scale), at=now, seed=3).rows}
        for scale in (0.4, 0.7)
    )
    assert fewer < more
    assert 10 < len(fewer) < 36


def test_a_cancellation_finds_its_job_where_others_came_before_it() -> None:
    where = ground(
        (0, job("uni", 1, 5)),
        (1, job("uni", 1, 5)),
        (2, f.CancelJob("uni-2")),
        hours=10,
    )
    arrivals = [one._replace(origin=f"uni-{n}") if n < 3 else one for n, one in enumerate(where.arrivals, 1)]
    where = replace(where, arrivals=tuple(arrivals))
    course = played(where, c.Demand("uni", 2.0, until=HOUR), at=When(0, since_fork=True))
    cancelled = [row for row in course.rows if row.state == "cancelled"]
    assert [row.submitted_us for row in cancelled] == [START + HOUR_US]
    now = When(0, since_fork=True)
    fewer = played(where, c.Demand("uni", 0.0, until=HOUR), at=now)
    assert [row.state for row in fewer.rows] == ["cancelled"], "it is called uni-1 here"
    fewest = played(where, c.Demand("uni", 0.0, until=When(2 * HOUR_US, since_fork=True)), at=now)
    assert fewest.rows == []


def test_a_cancellation_of_a_job_that_does_not_come_hits_no_other() -> None:
    where = ground((0, job("uni", 1, 5)), (1, job("uni", 1, 5)), (2, f.CancelJob("uni-1")), hours=10)
    arrivals = [one._replace(origin=f"uni-{n}") if n < 3 else one for n, one in enumerate(where.arrivals, 1)]
    where = replace(where, arrivals=tuple(arrivals))
    course = played(where, c.Demand("uni", 0.0, until=HOUR), at=When(0, since_fork=True))
    assert [row.state for row in course.rows] == ["succeeded"]


def test_submissions_that_the_core_does_not_take_are_counted() -> None:
    course = played(ground((0, job("nobody", 1, 1)), (1, job("uni", 1, 1)), hours=3))
    assert (course.refused, len(course.rows)) == (1, 1)


# ── failures ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_nodes_fail_at_the_stated_rate_and_come_back() -> None:
    seen: list[tuple[int, f.Fact]] = []
    fails = c.Change(When(0, since_fork=True), c.Failures(2 * DAY_US, 6 * HOUR_US))
    course = play_course(
        Course(c.Scenario("s", changes=(fails,)), (), 1),
        ground(hours=60 * 24),
        watch=lambda at, facts: seen.extend((at, fact) for fact in facts),
    )
    gone = [(at, fact.node) for at, fact in seen if isinstance(fact, f.NodeRemoved) and fact.failed]
    back = [(at, fact.node) for at, fact in seen if isinstance(fact, f.NodeAdded)]
    assert course.failed == len(gone)
    assert 75 < len(gone) < 140, "4 nodes, 60 days, 2 days and 6 hours: 107"
    for node in ("n0", "n3"):
        mine = sorted(
            [(at, "gone") for at, n in gone if n == node] + [(at, "back") for at, n in back if n == node]
        )
        assert all(one != other for (_, one), (_, other) in pairwise(mine))
        assert {b - g for (g, one), (b, _) in pairwise(mine) if one == "gone"} == {6 * HOUR_US}
    used = sum(capacities(course)) / len(course.hours) / 32
    assert used == pytest.approx(48 / 54, abs=0.03)


def test_a_node_that_is_down_when_its_site_goes_does_not_come_back() -> None:
    seen: list[f.Fact] = []
    fails = c.Change(When(0, since_fork=True), c.Failures(HOUR_US, 2 * DAY_US))
    goes = c.Change(When(2 * DAY_US, since_fork=True), c.Remove(site="a"))
    course = play_course(
        Course(c.Scenario("s", changes=(fails, goes)), (), 1),
        ground(hours=200),
        watch=lambda _, facts: seen.extend(facts),
    )
    assert course.failed == 4, "all of them, soon"
    assert of(f.NodeAdded, seen) == []


def test_what_a_failure_takes_is_lost_and_done_again() -> None:
    fails = c.Failures(3 * DAY_US, HOUR_US, until=When(3 * DAY_US, since_fork=True))
    jobs = [(0, job(gpus=32, hours=60, checkpoint_every_us=HOUR_US))]
    course = played(ground(*jobs, hours=200), fails, at=When(0, since_fork=True))
    (row,) = course.rows
    assert row.failures > 0
    assert row.state == "succeeded"
    lost_h = row.lost / 1000 / HOUR_US
    assert 0 < lost_h <= row.failures * 32, "less than an hour of 32 GPUs each time"
    restarts_h = row.failures * 32 * 2 / 60
    assert 0 <= row.used / 1000 / HOUR_US - (60 * 32 + lost_h) <= restarts_h + 0.01


def test_without_fair_a_failure_ends_what_runs_on_the_node() -> None:
    fails = c.Failures(3 * DAY_US, HOUR_US)
    jobs = [(0, job(gpus=32, hours=60)), (0, job("werk", 8, 1))]
    course = played(ground(*jobs, hours=200, discipline="fifo-greedy"), fails, at=When(0, since_fork=True))
    assert course.rows[0].state == "failed"
    assert 0 < course.rows[0].lost == course.rows[0].used
    assert course.rows[1].state == "succeeded"


def test_in_steps_everything_is_seen_at_the_end_of_one_and_nothing_is_lost() -> None:
    jobs = [(number * 0.61, job(hours=0.5 + number % 3)) for number in range(30)]
    exact, stepped = (playing(ground(*jobs, hours=40), step_us=step_us) for step_us in (0, 5 * MINUTE_US))
    assert len(stepped.rows) == len(exact.rows) == 30
    for row, true in zip(stepped.rows, exact.rows, strict=True):
        assert row.placed_us % (5 * MINUTE_US) == 0
        assert row.placed_us >= true.submitted_us
        assert row.used == true.used
    waits = [sum(row.placed_us - row.submitted_us for row in one.rows) / 30 for one in (stepped, exact)]
    assert waits[1] <= waits[0] <= waits[1] + 2 * 5 * MINUTE_US


def playing(where: Ground, *, step_us: int) -> Played:
    return play_course(Course(c.Scenario("s"), (), 1), replace(where, step_us=step_us))


def test_the_same_nodes_fail_at_the_same_times_in_every_scenario() -> None:
    def fallen(*what: c.What) -> list[tuple[int, str]]:
        seen: list[tuple[int, str]] = []
        changes = tuple(c.Change(When(0, since_fork=True), one) for one in what)
        play_course(
            Course(c.Scenario("s", changes=changes), (), 1),
            ground(hours=20 * 24),
            watch=lambda at, facts: seen.extend(
                (at, fact.node) for fact in facts if isinstance(fact, f.NodeRemoved)
            ),
        )
        return seen

    fails = c.Failures(4 * DAY_US, HOUR_US)
    one, other = fallen(fails), fallen(c.Add(2, "b"), fails)
    assert one == [(at, node) for at, node in other if not node.startswith("b-")]
    assert len(other) > len(one) > 5
    third = fallen(c.Add(1, "c"), c.Add(2, "b"), fails)
    assert other == [(at, node) for at, node in third if not node.startswith("c-")]


# ── what comes ────────────────────────────────────────────────────────────────────────────────────────────────────
class Script(Source):
    """What is told, at its times."""

    def __init__(self, told: list[tuple[int, f.Observation]]) -> None:
        self._told = told

    def next_time(self) -> int | None:
        return self._told[0][0] if self._told else None

    def take(self, now: int) -> list[f.Observation]:
        due = [asked for at, asked in self._told if at <= now]
        self._told = self._told[len(due) :]
        return due


def history(folder: Path, days: int) -> Path:
    """A journal in which every day at 6 h a job of `uni` comes that takes an hour more than that of the day before, and
    one of `werk` for a day that its user cancels after two hours."""
    path, core = folder / "journal.db", Core()
    told: list[tuple[int, f.Observation]] = [(START, one) for one in opening("fifo-greedy")]
    for day in range(days):
        at = START + day * DAY_US + 6 * HOUR_US
        told += [(at, job("uni", 8, day + 1)), (at, job("werk", 8, 24))]
        told.append((at + 2 * HOUR_US, f.CancelJob(f"werk-{day + 1}")))
    journal = SqliteJournal(path, commit_every=10_000)
    Loop(core, journal, VirtualClock(), SimulatedEngine(), [Script(told)]).run()
    journal.close()
    return path


def test_past_weeks_come_again_at_their_hours_each_job_as_long_as_it_took(tmp_path: Path) -> None:
    path = history(tmp_path, 15)
    at = When(START + 14 * DAY_US)
    where = ground_of_journal(path, at, when("14d"), c.WhatIf(arrivals=c.Arrivals("past-weeks", 2)))
    course = play_course(Course(c.Scenario("as planned"), (), 1), where)
    came = [row for row in course.rows if not row.ran]
    assert len(came) == 28
    assert {row.submitted_us % DAY_US for row in came} == {START % DAY_US + 6 * HOUR_US}
    lasted = {
        who: [(r.ended_us - r.placed_us) // HOUR_US for r in came if r.tenant == who]
        for who in ("uni", "werk")
    }
    ended = [hours for hours in lasted["uni"] if hours >= 0]
    weeks = {tuple(lasted["uni"][:5]), tuple(lasted["uni"][7:12])}
    assert weeks == {(1, 2, 3, 4, 5), (8, 9, 10, 11, 12)}, "in an order that is drawn"
    assert max(ended) <= 14
    assert set(lasted["werk"]) == {2}
    assert {row.state for row in came if row.tenant == "werk"} == {"cancelled"}


def test_jobs_that_run_at_the_fork_take_longer_than_they_have_run(tmp_path: Path) -> None:
    path = history(tmp_path, 20)
    at = When(START + 19 * DAY_US + 12 * HOUR_US)  # one runs since 6 h ago
    where = ground_of_journal(path, at, when("5d"), c.WhatIf(arrivals=c.Arrivals("none")))
    drawn = set()
    for seed in range(12):
        course = play_course(Course(c.Scenario("as planned"), (), seed), where)
        (row,) = [row for row in course.rows if row.tenant == "uni"]
        drawn.add((row.ended_us - row.placed_us) // HOUR_US)
        found = answer([course], 1, where, c.WhatIf()).scenarios[0].figures["research"]
        assert (found["jobs"].mean, "wait_s" in found) == (0, False), "it does not wait any more"
    assert drawn <= set(range(7, 20))
    assert len(drawn) > 4


def test_a_fork_in_the_past_takes_what_truly_came_and_says_where_that_ends(tmp_path: Path) -> None:
    path = history(tmp_path, 10)
    at = When(START + 5 * DAY_US)
    assert ground_of_journal(path, at, when("3d"), c.WhatIf()).kind == "recorded"
    with pytest.raises(TraceError, match="what comes is recorded until 2027-01-10"):
        ground_of_journal(path, at, when("30d"), c.WhatIf(arrivals=c.Arrivals("recorded")))
    for kind, told in (("past-weeks", "less than 3 weeks before the fork; say `arrivals: {past-weeks: 1}`"),):
        with pytest.raises(TraceError, match=re.escape(told)):
            ground_of_journal(path, None, when("3d"), c.WhatIf(arrivals=c.Arrivals(kind, 3)))
    with pytest.raises(TraceError, match="has no entry 9999"):
        ground_of_journal(path, 9999, when("3d"), c.WhatIf())
    with pytest.raises(TraceError, match="leave `start` out"):
        ground_of_journal(path, None, when("3d"), c.WhatIf(start=when("2027-01-01")))


def test_a_young_journal_repeats_the_weeks_that_it_has(tmp_path: Path) -> None:
    where = ground_of_journal(history(tmp_path, 17), None, when("3d"), c.WhatIf())
    assert (where.kind, where.weeks, where.since_us) == ("past-weeks", 2, where.from_us - 14 * DAY_US)
    assert min(one.at for one in where.arrivals) >= where.since_us
    (tmp_path / "young").mkdir()
    with pytest.raises(TraceError, match="less than a week before the fork; say `arrivals"):
        ground_of_journal(history(tmp_path / "young", 3), None, when("3d"), c.WhatIf())


def test_a_snapshot_old_enough_gives_the_same_fork(tmp_path: Path) -> None:
    path = history(tmp_path, 60)
    none = c.WhatIf(arrivals=c.Arrivals("none"))
    at = When(START + 50 * DAY_US)
    whole = ground_of_journal(path, at, when("3d"), none)
    with SqliteReader(path) as reader:
        state, days = Core().state, [40, 20]  # the later one leaves too little to learn from
        for entry in reader.read(0):
            if days and entry.at > START + days[-1] * DAY_US:
                head = reader.head_at(entry.seq - 1)
                assert head is not None
                snapshots.write(tmp_path / "snapshots", state, head)
                days.pop()
            state.apply(entry.at, entry.fact)
    after = ground_of_journal(path, at, when("3d"), none)
    assert after.projection == whole.projection
    assert 0 < len(after.lengths) < len(whole.lengths), "those of four weeks and more"


def test_lengths_are_drawn_from_those_that_took_longer() -> None:
    lengths = Lengths()
    for hours in range(1, 11):
        lengths.learn("uni", 8, hours * HOUR_US)
    for minutes in range(1, 11):
        lengths.learn("werk", 1, minutes * MINUTE_US)
    drawn = {lengths.draw("uni", 8, 4 * HOUR_US, (n + 0.5) / 6) for n in range(6)}
    assert drawn == {hours * HOUR_US for hours in range(5, 11)}
    assert lengths.draw("uni", 4, 4 * HOUR_US, 0.01) == 5 * HOUR_US, "of the tenant, whatever the size"
    assert lengths.draw("werk", 1, HOUR_US, 0.01) == 2 * HOUR_US, "of all, if the tenant never took so long"
    assert lengths.draw("werk", 1, 10 * HOUR_US, 0.5) is None


def test_synthetic_jobs_come_for_the_tenants_that_are_there_at_the_load_that_is_asked(tmp_path: Path) -> None:
    cluster = tmp_path / "c.json"
    cluster.write_text(
        '{"gpus_per_node": 8, "vc_nodes": {"x": 20, "y": 12}, "classes": {"x": "industry", "y": "research"}}'
    )
    what_if = c.WhatIf(start=when("2027-01-01"), arrivals=c.Arrivals("synthetic", load=0.5))
    where = ground_of_cluster(Described(cluster), when("28d"), what_if)
    state = snapshots.restored(where.projection)
    arrivals = arrivals_of(where, state, 1)
    asked = [one.asked for one in arrivals if isinstance(one.asked, f.SubmitJob)]
    assert {one.tenant for one in asked} == {"x", "y"}
    assert arrivals == sorted(arrivals, key=lambda one: one.at)
    assert all(where.from_us <= one.at <= where.until_us for one in arrivals)
    assert arrivals == arrivals_of(where, state, 1) != arrivals_of(where, state, 2)
    assert set(TENANT_CLASSES) > {state.tenants[one.tenant].tenant_class for one in asked}


# ── the answer ────────────────────────────────────────────────────────────────────────────────────────────────────
def both(where: Ground, *seeds: int) -> list[Played]:
    """As planned, and with a site that comes late; `research` wants more than there is."""
    base = (c.Change(HOUR, c.Add(4, "b"), "B"),)
    scenarios = (c.Scenario("as planned"), c.Scenario("late", (c.Delay("B", by_us=10 * HOUR_US),)))
    return [play_course(Course(one, base, seed), where) for seed in seeds for one in scenarios]


def crowded() -> Ground:
    return ground(*[(n / 2, job("uni", 16, 3)) for n in range(16)], (3, job("werk", 8, 1)), hours=48)


def test_the_answer_says_who_waits_how_much_longer() -> None:
    where = crowded()
    found = answer(both(where, 1), 2, where, c.WhatIf("Late?"))
    planned, late = found.scenarios
    waits = [one.figures["research"]["wait_s"].mean for one in (planned, late)]
    assert waits[0] < waits[1]
    assert late.more["research/uni"]["wait_s"].mean == pytest.approx(waits[1] - waits[0])
    assert planned.more == {}
    assert any(said.startswith("Research waits ") and " longer: " in said for said in sentences(found, late))
    gpu_hours = 16 * 16 * 3 + 8
    assert planned.figures[""]["useful_gpu_hours"].mean == pytest.approx(gpu_hours, rel=0.01)
    capacity = 32 + 47 * 64
    assert planned.figures[""]["capacity_gpu_hours"].mean == capacity
    used = planned.figures[""]["gpu_hours"].mean
    assert planned.figures[""]["utilisation"].mean == pytest.approx(used / capacity)


def test_equal_courses_give_equal_reports(tmp_path: Path) -> None:
    where = crowded()
    for name in ("one", "other"):
        courses = both(where, 1, 2)
        write_report(tmp_path / name, answer(courses, 4, where, c.WhatIf("<Late> & so?")), courses)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["hours.parquet", "jobs.parquet", "report.html", "report.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name
    page = (tmp_path / "one" / "report.html").read_text()
    assert "&lt;Late&gt; &amp; so?" in page
    for part in ("The answer", "Mean wait from submission", "by tenant</summary>", "How to read this"):
        assert part in page, part
    assert page.count('<img src="data:image/svg+xml;base64,') == 3, (
        "of waits, and of the course of each scenario"
    )
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org/", "").replace("http://purl.org/", "").replace(
        "http://creativecommons.org/", ""
    )
