# SPDX-License-Identifier: Apache-2.0
"""What the core decides, as stories: given a cluster, when something is observed, then these facts."""

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.explaining.explain import plan, waits_for
from leitstand.core.rules import Rules
from leitstand.core.units import DAY_US, SECOND_US
from tests.unit.story import ask, at, cluster, ended, placed, started

RACK = "muc1-b12-r03-"  # node ids as long as those of a large site


def names(facts: list[f.Fact]) -> list[str]:
    return [type(fact).__name__ for fact in facts]


def test_a_job_goes_from_submission_to_its_end_in_the_facts_of_the_design() -> None:
    core = cluster(8)
    facts = at(core, 1, ask(2))
    assert names(facts) == ["JobSubmitted", "JobAdmitted", "RunPlaced"]
    assert placed(facts) == {"acme-1.1": [("n0", (0, 1))]}
    assert core.answers[0].made == "acme-1"
    assert at(core, 2, started("acme-1.1", 2)) == [f.RunStarted("acme-1.1", 2 * SECOND_US)]
    assert core.state.jobs["acme-1"].state == "running"
    facts = at(core, 12, ended("acme-1.1", 12))
    assert names(facts) == ["RunEnded", "UsageMetered", "JobEnded"]
    assert facts[1] == f.UsageMetered("acme-1.1", "acme", "default", 10 * SECOND_US, 20 * SECOND_US)
    assert facts[2] == f.JobEnded("acme-1", "succeeded", "", 0)
    assert not core.state.jobs
    assert not core.state.runs


def test_freed_capacity_serves_what_arrives_in_the_same_cycle() -> None:
    core = cluster(8)
    at(core, 1, ask(8))
    facts = at(core, 5, ended("acme-1.1", 5, started=1), ask(8))
    assert placed(facts) == {"acme-2.1": [("n0", tuple(range(8)))]}


@pytest.mark.parametrize(
    ("report", "end"),
    [
        (f.RunEnded("acme-1.1", 9, "exited", 3), f.JobEnded("acme-1", "failed", "exit_code", 3)),
        (f.RunEnded("acme-1.1", 9, "exited", None, 11), f.JobEnded("acme-1", "failed", "signal")),
        (f.RunEnded("acme-1.1", 9, "time_limit"), f.JobEnded("acme-1", "failed", "max_duration_exceeded")),
        (f.RunEnded("acme-1.1", 9, "start_failed"), f.JobEnded("acme-1", "failed", "start_failed")),
        (f.RunEnded("acme-1.1", 9, "lost"), f.JobEnded("acme-1", "failed", "lost")),
        (f.RunEnded("acme-1.1", 9, "stopped"), f.JobEnded("acme-1", "cancelled", "cancelled")),
    ],
)
def test_the_end_of_the_run_decides_the_end_of_the_job(report: f.RunEnded, end: f.JobEnded) -> None:
    core = cluster(8)
    at(core, 0, ask())
    at(core, 1, started("acme-1.1", 1))
    assert at(core, 2, report)[-1] == end


def test_engine_times_are_clipped_between_placement_and_now_and_the_skew_is_kept() -> None:
    core = cluster(8)
    at(core, 10, ask())
    early = at(core, 20, started("acme-1.1", 4))[0]
    assert early == f.RunStarted("acme-1.1", 10 * SECOND_US, -6 * SECOND_US)
    late = at(core, 30, ended("acme-1.1", 99))
    assert isinstance(late[0], f.RunEnded)
    assert (late[0].at_us, late[0].skew_us) == (30 * SECOND_US, 69 * SECOND_US)
    assert isinstance(late[1], f.UsageMetered)
    assert late[1].wall_us == 20 * SECOND_US


def test_reports_that_come_twice_or_of_unknown_runs_change_nothing() -> None:
    core = cluster(8)
    at(core, 0, ask(), started("acme-1.1", 0))
    at(core, 1, started("acme-1.1", 1))
    assert at(core, 2, started("acme-1.1", 2), started("beta-9.1", 2), ended("beta-9.1", 2)) == []
    at(core, 3, ended("acme-1.1", 3))
    assert at(core, 4, ended("acme-1.1", 4), started("acme-1.1", 4)) == []


def test_a_lost_start_report_is_made_up_by_the_end_report() -> None:
    core = cluster(8)
    at(core, 1, ask())
    facts = at(core, 9, ended("acme-1.1", 8, started=3))
    assert names(facts) == ["RunStarted", "RunEnded", "UsageMetered", "JobEnded"]
    assert isinstance(facts[2], f.UsageMetered)
    assert facts[2].wall_us == 5 * SECOND_US


def test_a_run_that_never_started_is_not_metered() -> None:
    core = cluster(8)
    at(core, 1, ask())
    facts = at(core, 9, f.RunEnded("acme-1.1", 5 * SECOND_US, "start_failed", detail="record_missing"))
    assert names(facts) == ["RunEnded", "JobEnded"]


class TestRequests:
    def test_a_retry_gives_the_same_job_and_no_fact(self) -> None:
        core = cluster(8)
        at(core, 1, ask(request="r", request_digest="d"))
        assert at(core, 2, ask(request="r", request_digest="d")) == []
        assert core.answers[0].made == "acme-1"

    def test_a_retry_within_one_cycle_gives_the_same_job(self) -> None:
        core = cluster(8)
        at(core, 1, ask(request="r", request_digest="d"), ask(request="r", request_digest="d"))
        assert [answer.made for answer in core.answers] == ["acme-1", "acme-1"]
        assert core.state.submitted == 1

    def test_a_key_reused_with_another_body_is_refused(self) -> None:
        core = cluster(8)
        at(core, 1, ask(request="r", request_digest="d"))
        assert at(core, 2, ask(2, request="r", request_digest="e")) == []
        assert core.answers[0] == ("", "request_reused", "acme-1")

    def test_a_key_is_forgotten_after_a_day_and_the_memory_with_it(self) -> None:
        core = cluster(8)
        day = DAY_US // SECOND_US
        at(core, 0, ask(request="r", request_digest="d"), ask(request="s", request_digest="d"))
        at(core, day - 1, ask(request="r", request_digest="d"))
        assert core.answers[0].made == "acme-1"
        at(core, day, ask(request="r", request_digest="d"))
        assert core.answers[0].made == "acme-3"
        assert list(core.state.requests) == ["r"]

    def test_a_tenant_with_too_many_pending_jobs_is_told_to_wait(self) -> None:
        core = cluster(1, rules=Rules(pending_jobs_max=2))
        at(core, 0, ask())
        at(core, 1, ask(), ask(), ask(), ask(tenant="beta"))
        assert [answer.refused for answer in core.answers] == ["", "", "busy", ""]

    def test_unknown_tenants_and_jobs_are_refused_without_a_fact(self) -> None:
        core = cluster(1)
        assert at(core, 0, ask(tenant="nobody"), f.CancelJob("acme-7")) == []
        assert [answer.refused for answer in core.answers] == ["unknown_tenant", "unknown_job"]

    def test_keys_at_their_limit_are_taken_again_when_the_oldest_has_expired(self) -> None:
        core = cluster(8, rules=Rules(requests_max=2, request_ttl_us=10 * SECOND_US))
        at(
            core,
            0,
            ask(request="a"),
            ask(request="b"),
            ask(request="c"),
            ask(),
            ask(tenant="beta", request="d"),
        )
        assert [answer.refused for answer in core.answers] == ["", "", "busy", "", ""]
        at(core, 9, ask(request="c"))
        assert core.answers[0].refused == "busy"
        at(core, 10, ask(request="c"))
        assert core.answers[0].refused == ""
        assert list(core.state.requests) == ["c"]

    def test_expired_keys_are_dropped_by_submissions_without_one(self) -> None:
        core = cluster(8, rules=Rules(request_ttl_us=10 * SECOND_US))
        at(core, 0, ask(request="a"))
        at(core, 10, ask())
        assert core.state.requests == {}
        assert core.state.tenants["acme"].requests == 0


class TestAdmission:
    @pytest.mark.parametrize(
        ("job", "rejection"),
        [
            (ask(13), ("no_such_capacity", 13, 12, "gpus")),
            (ask(9), ("no_such_capacity", 9, 8, "gpus_per_node")),
            (ask(16, nodes=0), ("no_such_capacity", 16, 12, "gpus")),
            (ask(8, nodes=4), ("no_such_capacity", 4, 2, "nodes")),
            (ask(0, cpus_milli=64_001), ("no_such_capacity", 64_001, 64_000, "cpus_milli_per_node")),
            (ask(0, memory_mib=512_001), ("no_such_capacity", 512_001, 512_000, "memory_mib_per_node")),
            (ask(3, nodes=2), ("shape", 3, 2, "gpus")),
            (ask(2, nodes=2, memory_mib=3), ("shape", 3, 2, "memory_mib")),
            (ask(-1), ("limit", -1, 100_000, "gpus")),
            (ask(10**30), ("limit", 10**30, 100_000, "gpus")),
            (ask(1, max_duration_us=31 * DAY_US), ("limit", 31 * DAY_US, 30 * DAY_US, "max_duration_us")),
        ],
    )
    def test_what_could_never_run_is_rejected_with_its_number(
        self, job: f.SubmitJob, rejection: tuple[str, int, int, str]
    ) -> None:
        core = cluster(8, 4)
        facts = at(core, 0, job)
        assert names(facts) == ["JobSubmitted", "JobRejected"]
        assert facts[1] == f.JobRejected("acme-1", *rejection)
        assert not core.state.jobs

    @pytest.mark.parametrize("asked", [f.Resources(0, 4000), f.Resources(4000, 4000), f.Resources(16_000, 0)])
    def test_a_gang_whose_placement_no_fact_could_hold_is_rejected(self, asked: f.Resources) -> None:
        core = cluster(*[4] * 4000, colocate=True, prefix=RACK)
        facts = at(core, 0, f.SubmitJob("acme", "default", asked))
        assert names(facts)[1] == "JobRejected"
        most = core.state.pools["shared"].tasks_max
        assert facts[1] == f.JobRejected("acme-1", "gang_too_wide", 4000, most, "nodes")

    def test_the_widest_gang_is_recorded_in_one_fact_of_64_kib(self) -> None:
        core = cluster(*[4] * 4000, prefix=RACK)
        most = core.state.pools["shared"].tasks_max
        assert most >= 2500, "10,000 GPUs on nodes with 4"
        at(core, 0, a.ProjectAdded("acme", "p" * 63))
        facts = at(core, 0, f.SubmitJob("acme", "p" * 63, f.Resources(4 * most, most)))
        assert names(facts)[2] == "RunPlaced"
        assert max(len(msgspec.json.encode(fact)) for fact in facts) <= 64 * 1024

    def test_a_gang_that_became_too_wide_for_a_fact_waits(self) -> None:
        """Admitted while node ids were short, it meets longer ones."""
        core = cluster(*[4] * 2000)
        at(core, 0, *[ask(4)] * 2000)
        at(core, 1, ask(8000, nodes=2000))
        at(core, 2, f.NodeAdded("n" * 63, "s", 4, 64_000, 512_000))
        runs = list(core.state.runs)
        assert placed(at(core, 3, *(ended(run, 3) for run in runs))) == {}
        assert waits_for(core.state, "acme-2001") == "no_such_capacity"

    def test_text_that_is_no_id_is_refused_before_it_is_recorded(self) -> None:
        core = cluster(8)
        long = "x" * 70_000
        requests: list[f.Observation] = [
            f.SubmitJob("acme", long, f.Resources(1)),
            f.SubmitJob("acme", "default", f.Resources(1), spec=long),
            f.SubmitJob(long, "default", f.Resources(1)),
            f.TenantAdded(long),
            f.NodeAdded(long, "s", 1, 0, 0),
            f.NodeAdded('n"', "s", 1, 0, 0),
            f.RulesSet(Rules(name=long), ""),
        ]
        assert at(core, 0, *requests) == []
        assert {answer.refused for answer in core.answers} == {
            "invalid",
            "unknown_tenant",
            "unknown_project",
        }
        assert max(len(answer.detail) for answer in core.answers) < 200

    def test_amounts_that_no_single_node_has_together_blame_none_of_them(self) -> None:
        core = cluster(8, cpus_milli=1000)
        at(core, 0, f.NodeAdded("cpu", "s", 0, 64_000, 512_000))
        facts = at(core, 1, ask(1, cpus_milli=2000))
        assert facts[1] == f.JobRejected("acme-1", "no_such_capacity", 0, 0, "")

    def test_a_job_that_names_no_duration_gets_the_default_of_its_class(self) -> None:
        core = cluster(8)
        facts = at(core, 0, ask())
        assert facts[1] == f.JobAdmitted("acme-1", "shared", DAY_US)


class TestQueue:
    def test_fifo_strict_lets_nobody_pass(self) -> None:
        core = cluster(4, rules=Rules(discipline="fifo-strict"))
        facts = at(core, 0, ask(3), ask(4), ask(1))
        assert list(placed(facts)) == ["acme-1.1"]
        assert list(placed(at(core, 1, ended("acme-1.1", 1)))) == ["acme-2.1"]
        assert list(placed(at(core, 2, ended("acme-2.1", 2)))) == ["acme-3.1"]

    def test_fifo_greedy_passes_over_what_does_not_fit(self) -> None:
        core = cluster(4, rules=Rules(discipline="fifo-greedy"))
        assert list(placed(at(core, 0, ask(3), ask(4), ask(1)))) == ["acme-1.1", "acme-3.1"]

    def test_sjf_takes_the_shortest_and_knows_no_passing(self) -> None:
        core = cluster(4, rules=Rules(discipline="sjf"))
        at(core, 0, ask(4))
        facts = at(core, 1, ask(4, expected_us=9), ask(4, expected_us=5), ask(1, expected_us=7))
        assert placed(facts) == {}
        assert list(placed(at(core, 2, ended("acme-1.1", 2)))) == ["acme-3.1"]

    def test_priority_goes_before_age(self) -> None:
        core = cluster(4, rules=Rules(discipline="priority"))
        at(core, 0, ask(4))
        at(core, 1, ask(4), ask(4, priority=7), ask(4, priority=7, tenant="beta"))
        assert list(placed(at(core, 2, ended("acme-1.1", 2)))) == ["acme-3.1"]

    def test_a_head_that_the_fleet_became_too_small_for_blocks_nobody(self) -> None:
        core = cluster(8, rules=Rules(discipline="fifo-strict"))
        at(core, 0, ask(8))
        at(core, 1, ask(8), ask(4))
        at(core, 2, f.NodeAdded("n0", "s", 4, 64_000, 512_000))
        assert list(placed(at(core, 3, ended("acme-1.1", 3)))) == ["acme-3.1"]
        assert waits_for(core.state, "acme-2") == "no_such_capacity"

    def test_pools_are_planned_in_the_order_of_the_fleet_whatever_was_touched_first(self) -> None:
        core = cluster(4, 4, pools=("acme", "beta"), rules=Rules(static=True))
        facts = at(core, 0, ask(tenant="beta"), ask(tenant="acme"))
        assert list(placed(facts)) == ["acme-1.1", "beta-1.1"]

    def test_a_cancelled_head_unblocks_a_strict_queue(self) -> None:
        core = cluster(4, rules=Rules(discipline="fifo-strict"))
        at(core, 0, ask(3), ask(4), ask(1))
        facts = at(core, 1, f.CancelJob("acme-2"))
        assert names(facts) == ["CancelRequested", "JobEnded", "RunPlaced"]
        assert list(placed(facts)) == ["acme-3.1"]

    def test_static_partitions_do_not_share(self) -> None:
        core = cluster(4, 4, pools=("acme", "beta"), rules=Rules(static=True))
        facts = at(core, 0, ask(4), ask(4), ask(2, tenant="beta"))
        assert placed(facts) == {
            "acme-1.1": [("n0", (0, 1, 2, 3))],
            "beta-1.1": [("n1", (0, 1))],
        }

    def test_new_rules_reorder_what_waits(self) -> None:
        core = cluster(4, rules=Rules(discipline="fifo-strict"))
        at(core, 0, ask(4))
        at(core, 1, ask(4, expected_us=9), ask(4, expected_us=5))
        at(core, 2, f.RulesSet(Rules(discipline="sjf"), ""))
        assert list(placed(at(core, 3, ended("acme-1.1", 3)))) == ["acme-3.1"]

    def test_what_operators_change_is_recorded_with_its_author(self) -> None:
        core = cluster(4)
        asked: list[f.Observation] = [
            f.RulesSet(Rules(discipline="sjf"), "", by="u1"),
            f.SiteAdded("west", "slurm", by="u1"),
            f.NodeAdded("n9", "west", 4, 0, 0, by="u1"),
            f.NodeRemoved("n9", by="u1"),
        ]
        facts = at(core, 1, *asked)
        assert [type(fact) for fact in facts] == [type(one) for one in asked]
        assert {fact.by for fact in facts if hasattr(fact, "by")} == {"u1"}

    def test_an_author_that_no_fact_could_hold_is_refused(self) -> None:
        core, long = cluster(4), "x" * 70_000
        asked: list[f.Observation] = [
            f.RulesSet(Rules(discipline="sjf"), "", long),
            f.SiteAdded("west", "slurm", by=long),
            f.NodeAdded("n9", "s", 4, 0, 0, by=long),
            f.NodeRemoved("n0", long),
        ]
        assert at(core, 1, *asked) == []
        assert {answer.refused for answer in core.answers} == {"invalid"}

    def test_rules_outside_the_closed_list_are_refused(self) -> None:
        core = cluster(4)
        assert at(core, 1, f.RulesSet(Rules(discipline="lottery"), "")) == []
        assert "lottery" in core.answers[0].detail


class TestCancel:
    def test_a_running_job_is_ordered_to_stop_once(self) -> None:
        core = cluster(4)
        at(core, 0, ask())
        facts = at(core, 1, f.CancelJob("acme-1", "u7"))
        assert facts == [f.CancelRequested("acme-1", "u7"), f.RunStopOrdered("acme-1.1", "cancel")]
        assert at(core, 2, f.CancelJob("acme-1")) == []
        assert core.answers[0].made == "acme-1"

    def test_a_job_that_ended_by_itself_before_the_stop_keeps_its_own_end(self) -> None:
        core = cluster(4)
        at(core, 0, ask())
        at(core, 1, f.CancelJob("acme-1"))
        assert at(core, 2, ended("acme-1.1", 2))[-1] == f.JobEnded("acme-1", "succeeded", "", 0)


class TestPlacement:
    def test_best_fit_takes_the_fullest_node_that_holds_the_job(self) -> None:
        core = cluster(8, 8, 4)
        at(core, 0, ask(5))
        facts = at(core, 1, ask(3), ask(4), ask(2))
        assert placed(facts) == {
            "acme-2.1": [("n0", (5, 6, 7))],
            "acme-3.1": [("n2", (0, 1, 2, 3))],
            "acme-4.1": [("n1", (0, 1))],
        }

    def test_fewest_nodes_take_whole_ones_and_the_tightest_rest(self) -> None:
        core = cluster(8, 8, 8, 8)
        at(core, 0, ask(5))
        facts = at(core, 1, ask(18, nodes=0))
        assert [node for node, _ in placed(facts)["acme-2.1"]] == ["n1", "n2", "n0"]
        assert [len(gpus) for _, gpus in placed(facts)["acme-2.1"]] == [8, 8, 2]

    def test_equal_tasks_have_nodes_of_their_own(self) -> None:
        core = cluster(4, 4)
        facts = at(core, 0, ask(4, nodes=2))
        assert placed(facts)["acme-1.1"] == [("n0", (0, 1)), ("n1", (0, 1))]

    def test_only_a_site_that_says_so_lets_tasks_share_a_node(self) -> None:
        assert names(at(cluster(4), 0, ask(4, nodes=2)))[1] == "JobRejected"
        facts = at(cluster(4, colocate=True), 0, ask(4, nodes=2))
        assert placed(facts)["acme-1.1"] == [("n0", (0, 1)), ("n0", (2, 3))]

    def test_a_gang_starts_whole_or_not_at_all(self) -> None:
        core = cluster(4, 4)
        at(core, 0, ask(3))
        assert placed(at(core, 1, ask(4, nodes=2))) == {}
        assert core.state.jobs["acme-2"].state == "pending"
        assert list(placed(at(core, 2, ended("acme-1.1", 2)))) == ["acme-2.1"]

    def test_cpu_and_memory_are_never_oversold(self) -> None:
        core = cluster(8, cpus_milli=4000, memory_mib=100)
        facts = at(core, 0, ask(1, cpus_milli=3000), ask(1, cpus_milli=2000), ask(1, memory_mib=100))
        assert list(placed(facts)) == ["acme-1.1", "acme-3.1"]

    def test_a_removed_node_takes_no_new_run_and_keeps_the_old(self) -> None:
        core = cluster(4, 4)
        at(core, 0, ask(2))
        at(core, 1, f.NodeRemoved("n0"))
        assert placed(at(core, 2, ask(2), ask(2), ask(2))) == {
            "acme-2.1": [("n1", (0, 1))],
            "acme-3.1": [("n1", (2, 3))],
        }
        assert placed(at(core, 3, ended("acme-1.1", 3))) == {}
        assert list(placed(at(core, 4, f.NodeAdded("n0", "s", 4, 64_000, 512_000)))) == ["acme-4.1"]

    def test_a_node_that_shrinks_under_its_runs_is_not_oversold_afterwards(self) -> None:
        core = cluster(4)
        at(core, 0, ask(4))
        at(core, 1, f.NodeAdded("n0", "s", 2, 64_000, 512_000))
        facts = at(core, 2, ended("acme-1.1", 2), ask(2), ask(1))
        assert placed(facts) == {"acme-2.1": [("n0", (0, 1))]}


class TestExplain:
    def test_a_pending_job_waits_for_capacity_or_for_its_turn(self) -> None:
        core = cluster(4, rules=Rules(discipline="fifo-strict"))
        at(core, 0, ask(3), ask(4), ask(1))
        assert waits_for(core.state, "acme-1") == ""
        assert waits_for(core.state, "acme-2") == "capacity"
        assert waits_for(core.state, "acme-3") == "order"

    def test_the_plan_says_what_submitting_would_do(self) -> None:
        core = cluster(4)
        before = core.state.digest()
        assert plan(core.state, ask(9), 0).reason == "no_such_capacity"
        now = plan(core.state, ask(2), 0)
        assert (now.starts_now, [task.gpus for task in now.tasks]) == (True, [(0, 1)])
        assert core.state.digest() == before
        at(core, 0, ask(3), ask(2))
        later = plan(core.state, ask(2), 0)
        assert (later.starts_now, later.waits_for, later.jobs_ahead) == (False, "capacity", 1)
        assert plan(core.state, ask(1), 0).starts_now
