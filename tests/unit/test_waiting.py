# SPDX-License-Identifier: Apache-2.0
"""What keeps a job from waiting for capacity: holds, begin times, deadlines, dependencies, arrays, alternatives."""

from typing import Any

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import DUE_MAX, Core
from leitstand.core.explaining.explain import plan, waits_for
from leitstand.core.rules import DISCIPLINES, Rules
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US, SECOND_US
from leitstand.core.waiting import OUTCOMES_KEPT
from tests.unit.story import ask, at, cluster, ended, names, placed, refused

OLD = tuple(one for one in DISCIPLINES if one != "fair")


def after(*jobs: str, on: str = "ok", **more: Any) -> f.SubmitJob:
    return ask(1, after=tuple(f.Dependency(job, on) for job in jobs), **more)


def ends_of(facts: list[f.Fact]) -> dict[str, tuple[str, str]]:
    return {fact.job: (fact.state, fact.reason) for fact in facts if isinstance(fact, f.JobEnded)}


def rejection(facts: list[f.Fact]) -> tuple[str, int, int, str]:
    (fact,) = [fact for fact in facts if isinstance(fact, f.JobRejected)]
    return fact.reason, fact.asked, fact.limit, fact.resource


def restored(core: Core) -> Core:
    stored = msgspec.msgpack.encode(core.state.project())
    return Core(State.restore(msgspec.msgpack.decode(stored, type=Projection)))


class TestHold:
    @pytest.mark.parametrize("discipline", OLD)
    def test_a_held_job_waits_beside_the_queue_until_it_is_released(self, discipline: str) -> None:
        core = cluster(4, rules=Rules(discipline=discipline))
        facts = at(core, 0, ask(4, held=True), ask(4))
        assert placed(facts) == {"acme-2.1": [("n0", (0, 1, 2, 3))]}
        assert waits_for(core.state, "acme-1") == "held"
        at(core, 1, ended("acme-2.1", 1, started=1))
        assert at(core, 2) == []
        facts = at(core, 3, f.ReleaseJob("acme-1", "u1"))
        assert facts[0] == f.JobReleased("acme-1", "user", "u1")
        assert set(placed(facts)) == {"acme-1.1"}

    def test_a_waiting_job_can_be_held_and_keeps_its_turn(self) -> None:
        core = cluster(1, rules=Rules(discipline="fifo-strict"))
        at(core, 0, ask(), ask(), ask())
        assert at(core, 1, f.HoldJob("acme-2", "u1")) == [f.JobHeld("acme-2", "u1")]
        assert at(core, 1, f.HoldJob("acme-2", "u1")) == []
        assert core.answers[0].made == "acme-2"
        assert set(placed(at(core, 2, ended("acme-1.1", 2)))) == {"acme-3.1"}
        at(core, 3, f.ReleaseJob("acme-2"), ask())
        assert set(placed(at(core, 4, ended("acme-3.1", 4)))) == {"acme-2.1"}

    def test_what_a_strict_queue_waited_for_gives_way_when_it_is_held(self) -> None:
        core = cluster(4, rules=Rules(discipline="fifo-strict"))
        at(core, 0, ask(1), ask(4), ask(1))
        assert set(placed(at(core, 1, f.HoldJob("acme-2")))) == {"acme-3.1"}

    def test_only_what_waits_can_be_held(self) -> None:
        core = cluster(1)
        at(core, 0, ask())
        assert refused(core, 1, f.HoldJob("acme-1"))[0] == "conflict"
        assert refused(core, 1, f.HoldJob("acme-9"))[0] == "unknown_job"
        assert refused(core, 1, f.ReleaseJob("acme-9"))[0] == "unknown_job"
        assert at(core, 1, f.ReleaseJob("acme-1")) == []

    def test_a_held_job_of_a_suspended_tenant_comes_back_held(self) -> None:
        core = cluster(1)
        at(core, 0, ask(held=True))
        at(core, 1, a.TenantSuspended("acme", "unpaid"))
        at(core, 2, a.TenantResumed("acme"))
        assert waits_for(core.state, "acme-1") == "held"
        assert core.state.pools["shared"].queue.waiting == set()
        assert ends_of(at(core, 3, f.CancelJob("acme-1"))) == {"acme-1": ("cancelled", "cancelled")}

    def test_a_job_that_is_held_and_released_again_and_again_has_one_entry(self) -> None:
        core = cluster(1)
        at(core, 0, ask(), ask(), ask())
        for second in range(1, 50):
            at(core, second, f.HoldJob("acme-3"), f.ReleaseJob("acme-3"))
        (heap,) = core.state.pools["shared"].queue.classes.values()
        assert len(heap) == 2


class TestBegin:
    def test_a_job_starts_at_its_begin_time_and_not_before(self) -> None:
        core = cluster(1)
        assert placed(at(core, 0, ask(begin_us=10 * SECOND_US))) == {}
        assert waits_for(core.state, "acme-1") == "begin_time"
        assert core.next_wake() == 10 * SECOND_US
        assert at(core, 9) == []
        facts = at(core, 10)
        assert facts[0] == f.JobReleased("acme-1", "begin_time")
        assert set(placed(facts)) == {"acme-1.1"}
        assert core.next_wake() is None

    def test_a_begin_time_in_the_past_is_none(self) -> None:
        core = cluster(1)
        assert set(placed(at(core, 10, ask(begin_us=10 * SECOND_US)))) == {"acme-1.1"}

    def test_a_hold_outlasts_the_begin_time_and_the_other_way_round(self) -> None:
        core = cluster(2)
        at(core, 0, ask(begin_us=5 * SECOND_US, held=True), ask(begin_us=50 * SECOND_US, held=True))
        assert names(at(core, 5)) == ["JobReleased"]
        assert waits_for(core.state, "acme-1") == "held"
        assert placed(at(core, 6, f.ReleaseJob("acme-2"))) == {}
        assert waits_for(core.state, "acme-2") == "begin_time"
        assert set(placed(at(core, 50, f.ReleaseJob("acme-1")))) == {"acme-1.1", "acme-2.1"}

    def test_a_cancelled_job_wakes_nobody(self) -> None:
        core = cluster(1)
        at(core, 0, ask(begin_us=10 * SECOND_US, deadline_us=48 * HOUR_US), f.CancelJob("acme-1"))
        assert core.next_wake() is None
        assert at(core, 10) == []

    def test_more_than_a_cycle_says_is_said_in_the_next_and_nothing_is_placed_between(self) -> None:
        core = cluster(1)
        for _ in range(2):
            at(core, 0, ask(array=DUE_MAX, begin_us=SECOND_US))
        facts = at(core, 1)
        assert names(facts) == ["JobReleased"] * DUE_MAX
        assert core.next_wake() is not None
        facts = at(core, 1)
        assert names(facts) == ["JobReleased"] * DUE_MAX + ["RunPlaced"]


class TestDeadline:
    def test_a_job_that_cannot_end_by_its_deadline_is_refused(self) -> None:
        core = cluster(1)
        late = ask(max_duration_us=20 * SECOND_US, deadline_us=29 * SECOND_US)
        assert rejection(at(core, 10, late)) == (
            "deadline",
            20 * SECOND_US,
            19 * SECOND_US,
            "max_duration_us",
        )
        late = ask(max_duration_us=SECOND_US, begin_us=30 * SECOND_US, deadline_us=30 * SECOND_US)
        assert rejection(at(core, 10, late)) == ("deadline", SECOND_US, 0, "max_duration_us")
        assert plan(core.state, late, 10 * SECOND_US).reason == "deadline"

    def test_it_starts_at_the_last_instant_that_serves(self) -> None:
        core = cluster(1)
        at(core, 0, ask(), ask(max_duration_us=20 * SECOND_US, deadline_us=30 * SECOND_US))
        assert set(placed(at(core, 10, ended("acme-1.1", 10)))) == {"acme-2.1"}
        assert core.next_wake() is None

    def test_it_fails_once_it_waits_too_long(self) -> None:
        core = cluster(1)
        at(core, 0, ask(), ask(max_duration_us=20 * SECOND_US, deadline_us=30 * SECOND_US), ask())
        wake = core.next_wake()
        assert wake == 10 * SECOND_US + 1
        facts = core.cycle(wake, [ended("acme-1.1", 10)])
        assert ends_of(facts) == {"acme-1": ("succeeded", ""), "acme-2": ("failed", "deadline_missed")}
        assert set(placed(facts)) == {"acme-3.1"}
        assert core.next_wake() is None

    @pytest.mark.parametrize("why", [{"held": True}, {"begin_us": 5 * SECOND_US}])
    def test_what_keeps_it_waiting_does_not_matter(self, why: dict[str, Any]) -> None:
        core = cluster(1)
        at(core, 0, ask(), ask(max_duration_us=20 * SECOND_US, deadline_us=30 * SECOND_US, **why))
        assert ends_of(at(core, 11)) == {"acme-2": ("failed", "deadline_missed")}

    def test_a_job_that_failed_is_not_tried_again_too_late(self) -> None:
        core = cluster(1)
        at(core, 0, ask(max_duration_us=20 * SECOND_US, deadline_us=30 * SECOND_US, retries=3))
        facts = at(core, 15, ended("acme-1.1", 15, exit_code=1))
        assert ends_of(facts) == {"acme-1": ("failed", "deadline_missed")}


class TestDependencies:
    @pytest.mark.parametrize(
        ("on", "exit_code", "runs"),
        [("ok", 0, True), ("ok", 1, False), ("any", 0, True), ("any", 1, True), ("failed", 0, False),
         ("failed", 1, True)],
    )  # fmt: skip
    def test_the_end_of_the_other_decides(self, on: str, exit_code: int, runs: bool) -> None:
        core = cluster(2)
        at(core, 0, ask())
        assert placed(at(core, 1, after("acme-1", on=on))) == {}
        assert waits_for(core.state, "acme-2") == "dependency"
        facts = at(core, 2, ended("acme-1.1", 2, exit_code))
        if runs:
            assert set(placed(facts)) == {"acme-2.1"}
        else:
            assert ends_of(facts)["acme-2"] == ("failed", "dependency_failed")
        assert core.state.waiting.unmet == {}
        assert core.state.waiting.waiters == {}

    @pytest.mark.parametrize(
        ("on", "exit_code", "runs"), [("ok", 0, True), ("ok", 1, False), ("any", 1, True)]
    )
    def test_so_does_its_end_before_the_submission(self, on: str, exit_code: int, runs: bool) -> None:
        core = cluster(2)
        at(core, 0, ask())
        at(core, 1, ended("acme-1.1", 1, exit_code))
        core = restored(core)
        facts = at(core, 2, after("acme-1", on=on))
        if runs:
            assert set(placed(facts)) == {"acme-2.1"}
        else:
            assert rejection(facts) == ("dependency_failed", 1, 0, "after")

    def test_all_of_several_must_end(self) -> None:
        core = cluster(3)
        at(core, 0, ask(), ask(), after("acme-1", "acme-2"))
        assert placed(at(core, 1, ended("acme-2.1", 1))) == {}
        core = restored(core)
        assert set(placed(at(core, 2, ended("acme-1.1", 2)))) == {"acme-3.1"}

    def test_the_first_that_fails_ends_the_job_though_others_still_run(self) -> None:
        core = cluster(3)
        at(core, 0, ask(), ask(), after("acme-1", "acme-2"))
        assert ends_of(at(core, 1, ended("acme-2.1", 1, 1)))["acme-3"] == ("failed", "dependency_failed")
        assert core.state.waiting.waiters == {}
        at(core, 2, ended("acme-1.1", 2))

    def test_a_chain_falls_at_once_and_frees_who_waited_for_failure(self) -> None:
        core = cluster(1)
        at(core, 0, ask(), after("acme-1"), after("acme-2"), after("acme-3", on="failed"))
        facts = at(core, 1, ended("acme-1.1", 1, 1))
        assert list(ends_of(facts)) == ["acme-1", "acme-2", "acme-3"]
        assert set(placed(facts)) == {"acme-4.1"}

    def test_a_retry_is_no_end(self) -> None:
        core = cluster(1)
        at(core, 0, ask(retries=1), after("acme-1"))
        facts = at(core, 1, ended("acme-1.1", 1, 1))
        assert set(placed(facts)) == {"acme-1.2"}
        assert set(placed(at(core, 2, ended("acme-1.2", 2, 0)))) == {"acme-2.1"}

    @pytest.mark.parametrize(
        ("job", "number"),
        [("acme-1", 1), ("acme-2", 2), ("acme-3", 3), ("beta-1", 0), ("acme", 0), ("acme-", 0), ("acme-x", 0),
         ("acme-²", 0), ("acme-9999999999999999", 0), ("", 0)],
    )  # fmt: skip
    def test_nobody_waits_for_what_is_not_there_or_is_not_his(self, job: str, number: int) -> None:
        """Not even for itself, whose id is known beforehand."""
        core = cluster(1)
        at(core, 0, ask(tenant="beta"))
        for array in (0, 3):
            facts = at(core, 1, msgspec.structs.replace(after(job), array=array))
            taken = core.state.tenants["acme"].jobs
            if number == 0 or number >= taken:
                assert rejection(facts) == ("unknown_dependency", number, 0, "after")

    def test_what_ended_long_ago_is_refused_clearly(self) -> None:
        core = cluster(1)
        at(core, 0, ask())
        at(core, 1, ended("acme-1.1", 1))
        for _ in range(OUTCOMES_KEPT):
            at(core, 2, ask(9))  # refused
        assert names(at(core, 3, after("acme-1"))) == ["JobSubmitted", "JobAdmitted", "RunPlaced"]
        for _ in range(OUTCOMES_KEPT):
            at(core, 4, ask(9))
        assert rejection(at(core, 5, after("acme-1"))) == ("unknown_dependency", 1, 0, "after")
        assert max(map(len, core.state.waiting.outcomes.values())) < 2 * OUTCOMES_KEPT

    @pytest.mark.parametrize(
        "bad",
        [
            after("acme-1", on="soon"),
            after("a" * 200),
            after(*[f"acme-{i}" for i in range(101)]),
            after(*[f"acme-{i}" for i in range(100)], array=1001),
            ask(array=10_001),
            ask(array=-1),
            ask(alternatives=(f.Resources(),) * 9),
            ask(alternatives=(f.Resources(gpu_type="a" * 129),)),
        ],
    )
    def test_what_no_fact_could_hold_is_not_recorded(self, bad: f.SubmitJob) -> None:
        core = cluster(1)
        assert refused(core, 1, bad)[0] == "invalid"


class TestArrays:
    def test_an_array_is_so_many_jobs_with_ids_in_a_row_and_one_answer(self) -> None:
        core = cluster(2)
        facts = at(core, 0, ask(array=3, request="k", request_digest="d"), ask())
        assert [answer.made for answer in core.answers] == ["acme-1", "acme-4"]
        members = [fact for fact in facts if isinstance(fact, f.JobSubmitted)]
        assert [(one.job, one.array, one.index, one.size) for one in members] == [
            ("acme-1", "acme-1", 0, 3),
            ("acme-2", "acme-1", 1, 3),
            ("acme-3", "acme-1", 2, 3),
            ("acme-4", "", 0, 0),
        ]
        assert set(placed(facts)) == {"acme-1.1", "acme-2.1"}

    def test_the_idempotency_key_covers_all_of_it(self) -> None:
        core = cluster(2)
        asked = ask(array=3, request="k", request_digest="d")
        at(core, 0, asked)
        assert at(core, 1, asked) == []
        assert core.answers[0].made == "acme-1"
        assert core.state.tenants["acme"].requests == 1

    def test_an_array_that_is_refused_is_refused_once(self) -> None:
        core = cluster(1)
        assert names(at(core, 0, ask(9, array=1000))) == ["JobSubmitted", "JobRejected"]
        assert core.state.waiting.arrays == {}

    def test_an_array_fits_below_the_limit_of_pending_jobs_or_is_not_taken(self) -> None:
        core = cluster(1, rules=Rules(pending_jobs_max=3))
        assert refused(core, 0, ask(array=4)) == ("busy", "3")
        at(core, 0, ask(array=3))
        assert core.answers[0].made == "acme-1"

    @pytest.mark.parametrize(
        ("on", "codes", "runs"),
        [("ok", (0, 0), True), ("ok", (1, 0), False), ("any", (0, 1), True), ("failed", (1, 0), True),
         ("failed", (0, 0), False)],
    )  # fmt: skip
    def test_its_first_id_stands_for_all_of_it(self, on: str, codes: tuple[int, int], runs: bool) -> None:
        core = cluster(3)
        at(core, 0, ask(array=2), after("acme-1", on=on))
        assert names(at(core, 1, ended("acme-1.1", 1, codes[0])))[-1] == "JobEnded"
        assert waits_for(core.state, "acme-3") == "dependency"
        core = restored(core)
        assert dict(core.state.waiting.outcomes) == {}
        facts = at(core, 2, ended("acme-2.1", 2, codes[1]))
        if runs:
            assert set(placed(facts)) == {"acme-3.1"}
        else:
            assert ends_of(facts)["acme-3"] == ("failed", "dependency_failed")
        late = at(core, 3, after("acme-1", on=on))
        assert ("JobRejected" in names(late)) is not runs

    def test_one_of_it_can_be_waited_for_by_its_own_id(self) -> None:
        core = cluster(3)
        at(core, 0, ask(array=2), after("acme-2"))
        assert set(placed(at(core, 1, ended("acme-2.1", 1)))) == {"acme-3.1"}


class TestAlternatives:
    def test_the_first_shape_that_the_fleet_could_ever_hold_is_taken(self) -> None:
        core = cluster(4)
        facts = at(core, 0, ask(8, alternatives=(f.Resources(5), f.Resources(2), f.Resources(1))))
        (admitted,) = [fact for fact in facts if isinstance(fact, f.JobAdmitted)]
        assert admitted.alternative == 2
        assert placed(facts) == {"acme-1.1": [("n0", (0, 1))]}
        assert core.state.jobs["acme-1"].shapes[0] == f.Resources(8)

    def test_if_none_fits_the_first_says_why(self) -> None:
        core = cluster(4)
        facts = at(core, 0, ask(8, alternatives=(f.Resources(5),)))
        assert rejection(facts) == ("no_such_capacity", 8, 4, "gpus")

    def test_each_must_be_a_shape(self) -> None:
        core = cluster(4)
        assert rejection(at(core, 0, ask(1, alternatives=(f.Resources(3, 2),))))[0] == "shape"


def test_the_plan_of_a_job_says_what_would_keep_it_from_the_queue() -> None:
    core = cluster(2)
    at(core, 0, ask())
    assert plan(core.state, ask(held=True), 0).waits_for == "held"
    assert plan(core.state, ask(begin_us=9), 0).waits_for == "begin_time"
    assert plan(core.state, ask(begin_us=9), 9).starts_now
    assert plan(core.state, after("acme-1"), 0).waits_for == "dependency"
    assert plan(core.state, after("acme-2"), 0).reason == "unknown_dependency"
    assert plan(core.state, ask(3, alternatives=(f.Resources(1),)), 0).starts_now
