# SPDX-License-Identifier: Apache-2.0
"""Nodes that are not well (docs/scheduling.md): what a report leads to, where the runs go, how a node comes back."""

from collections.abc import Callable

import msgspec
import pytest

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.health import table
from leitstand.core.health.deciding import AGAIN_US, REPORTS_MAX
from leitstand.core.rules import Rules
from leitstand.core.state import Projection, State
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from leitstand.runtime.loop import orders_of
from leitstand.runtime.ports import StartRun, StopRun
from tests.unit.fair_story import RULES
from tests.unit.story import ask, at, cluster, ended, names, placed, refused, started
from tests.unit.test_repair import FAILS, STOP, gang, held, racks, where

LOST = f.NodeReported("n0", "xid", 79, 3)  # GPU 3 fell off the bus
REPAIRED = f.NodeRepaired("n0", "burn-in", "acme", HOUR_US, "u1")
DISCIPLINES = pytest.mark.parametrize("rules", [Rules(), RULES], ids=["fifo-greedy", "fair"])


def in_service(core: Core, node: str = "n0") -> bool:
    """As the state says, and as the pool acts."""
    found = core.state.nodes[node]
    pool = core.state.pools[found.pool]
    assert (found.position in list(pool.whole.ascending(0))) == found.in_service
    return found.in_service


def restored(core: Core) -> State:
    """What a snapshot of the state gives."""
    stored = msgspec.msgpack.encode(core.state.project())
    return State.restore(msgspec.msgpack.decode(stored, type=Projection))


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("kind", "code", "verdict"),
    [
        ("xid", 79, table.DRAIN),  # fell off the bus
        ("xid", 48, table.DRAIN),  # double-bit error
        ("xid", 95, table.DRAIN),  # not contained
        ("xid", 119, table.DRAIN),  # GSP
        ("xid", 74, table.DRAIN),  # NVLink
        ("xid", 64, table.DRAIN),  # retirement failed
        ("xid", 63, table.ALERT),  # retirement worked
        ("xid", 94, table.ALERT),  # contained
        ("xid", 13, table.NOTE),  # a tenant's program
        ("xid", 31, table.NOTE),
        ("xid", 43, table.NOTE),
        ("xid", 9_000, table.ALERT),  # nobody knows it
        ("ecc_uncorrected", 0, table.DRAIN),
        ("retired_pages", 0, table.ALERT),
        ("gpu_lost", 0, table.DRAIN),
        ("health_check", 0, table.DRAIN),
        ("operator", 0, table.DRAIN),
    ],
)
def test_the_table_says_what_drains(kind: str, code: int, verdict: str) -> None:
    assert table.verdict(kind, code) == verdict
    core = cluster(8)
    facts = at(core, 1, f.NodeReported("n0", kind, code, 3))
    drains = [f.NodeDrained("n0", kind, code, 3)] if verdict == table.DRAIN else []
    assert facts == [f.NodeReported("n0", kind, code, 3, SECOND_US), *drains]
    assert in_service(core) == (not drains)


def test_every_number_and_kind_says_what_it_is() -> None:
    assert all(
        xid.says and xid.verdict in (table.DRAIN, table.ALERT, table.NOTE) for xid in table.XIDS.values()
    )
    assert all(0 < number <= table.XID_MAX for number in table.XIDS)
    assert set(table.KINDS.values()) <= {table.DRAIN, table.ALERT}


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (f.NodeReported("n9", "xid", 79), "unknown_node"),
        (f.NodeReported("n0", "xid", 0), "invalid"),
        (f.NodeReported("n0", "xid", 10_000), "invalid"),
        (f.NodeReported("n0", "nvlink", 74), "invalid"),
        (f.NodeReported("n0", "fire"), "invalid"),
        (f.NodeReported("n0", "xid", 79, 8, by="u1"), "invalid"),
        (f.NodeReported("n0", "xid", 79, -2, by="u1"), "invalid"),
        (f.NodeReported("n0", "xid", 79, by="u" * 129), "invalid"),
    ],
)
def test_a_report_that_cannot_be_is_refused(told: f.NodeReported, why: str) -> None:
    assert refused(cluster(8), 1, told)[0] == why


def test_an_engine_is_heard_although_the_node_has_fewer_gpus_by_now() -> None:
    assert f.NodeDrained("n0", "xid", 79) in at(cluster(8), 1, f.NodeReported("n0", "xid", 79, 8))


def test_a_report_carries_the_nodes_time_and_never_one_to_come() -> None:
    core = cluster(8, 8)
    past = at(core, 100, msgspec.structs.replace(LOST, at_us=40 * SECOND_US))
    assert isinstance(past[0], f.NodeReported)
    assert (past[0].at_us, past[0].skew_us) == (40 * SECOND_US, 0)
    ahead = at(core, 100, f.NodeReported("n1", "xid", 79, 3, 130 * SECOND_US))
    assert isinstance(ahead[0], f.NodeReported)
    assert (ahead[0].at_us, ahead[0].skew_us) == (100 * SECOND_US, 30 * SECOND_US)


def test_what_was_said_before_is_not_recorded_again() -> None:
    core = cluster(8)
    warned = f.NodeReported("n0", "xid", 94, 3, 10 * SECOND_US)
    assert names(at(core, 10, warned)) == ["NodeReported"]
    assert at(core, 1000, warned) == [], "an engine that was started anew reads it again"
    again = msgspec.structs.replace(warned, at_us=10 * SECOND_US + AGAIN_US - 1)
    assert at(core, 1000, again) == [], "a program that fails a thousand times a second"
    other = msgspec.structs.replace(warned, gpu=4)
    assert names(at(core, 1000, other)) == ["NodeReported"]
    later = msgspec.structs.replace(warned, at_us=10 * SECOND_US + AGAIN_US)
    assert names(at(core, 1000, later)) == ["NodeReported"]
    for number in range(REPORTS_MAX + 5):
        at(core, 2000, f.NodeReported("n0", "xid", 1000 + number))
    health = core.state.nodes["n0"].health
    assert health is not msgspec.UNSET
    assert len(health.reports) == REPORTS_MAX


# ── what runs there ───────────────────────────────────────────────────────────────────────────────────────────────────
@DISCIPLINES
def test_what_runs_on_a_bad_node_is_told_to_end_and_goes_on_elsewhere_without_costing_a_retry(
    rules: Rules,
) -> None:
    core = cluster(8, 8, rules=rules)
    facts = at(core, 1, ask(8, max_duration_us=10 * HOUR_US, checkpoint_every_us=MINUTE_US))
    node = placed(facts)["acme-1.1"][0][0]
    other = "n1" if node == "n0" else "n0"
    at(core, 2, started("acme-1.1", 2))
    facts = at(core, 1000, f.NodeReported(node, "xid", 79, 3))
    assert f.NodeDrained(node, "xid", 79, 3) in facts
    assert orders_of(core.state, facts) == [StopRun("acme-1.1", "node_failed")]
    report = f.RunEnded("acme-1.1", 1010 * SECOND_US, "stopped", 0)
    facts = at(core, 1010, report)
    requeued = next(fact for fact in facts if isinstance(fact, f.JobRequeued))
    assert (requeued.reason, requeued.kept_us) == ("node_failed", 16 * MINUTE_US)
    assert placed(facts)["acme-1.2"][0][0] == other
    assert core.state.jobs["acme-1"].retried == 0


@DISCIPLINES
def test_a_run_whose_gpu_is_dead_fails_for_the_operator_not_for_its_tenant(rules: Rules) -> None:
    core = cluster(8, 8, rules=rules)
    at(core, 1, ask(8, max_duration_us=10 * HOUR_US))
    at(core, 2, started("acme-1.1", 2))
    node = core.state.runs["acme-1.1"].tasks[0].node
    facts = at(core, 1000, f.NodeReported(node, "xid", 79, 3), ended("acme-1.1", 999, 1))
    requeued = next(fact for fact in facts if isinstance(fact, f.JobRequeued))
    assert requeued.reason == "node_failed", "its engine says first that the GPU is gone"
    assert "acme-1.2" in placed(facts)


@DISCIPLINES
def test_what_has_done_its_work_when_it_is_told_to_end_is_not_run_again(rules: Rules) -> None:
    core = cluster(8, 8, rules=rules)
    at(core, 1, ask(8, max_duration_us=10 * HOUR_US))
    at(core, 2, started("acme-1.1", 2))
    at(core, 1000, f.NodeReported(core.state.runs["acme-1.1"].tasks[0].node, "xid", 79, 3))
    facts = at(core, 1001, ended("acme-1.1", 1001))
    assert [fact.state for fact in facts if isinstance(fact, f.JobEnded)] == ["succeeded"]


def test_a_gang_keeps_its_other_nodes_and_one_of_its_rack_takes_the_place_of_the_bad_one() -> None:
    cloud = racks(4, 4)
    cloud.at(1, gang(3)).at(FAILS, f.NodeReported("n1", "xid", 79, 2)).until(FAILS)
    assert held(cloud, "a-1") == ["n0", "n2", "n3"]
    cloud.until(FAILS + STOP)
    assert cloud.started("a-1") == [1, FAILS + STOP]
    assert where(cloud, "a-1") == ["n0", "n2", "n3"]


def test_an_elastic_gang_goes_on_without_the_bad_node() -> None:
    cloud = racks(4)
    cloud.at(1, gang(2, nodes_max=4)).until(2)
    if not cloud.core.state.sites["s"].resizes:
        cloud.at(3, f.SiteAdded("s", "simulated", logical=True, levels=("rack",), resizes=True))
    first = cloud.core.state.runs["a-1.1"].tasks[0].node
    other = next(node for node in ("n1", "n0") if node != first)
    cloud.at(FAILS, f.NodeReported(other, "ecc_uncorrected")).until(FAILS + STOP)
    assert not in_service(cloud.core, other)
    assert other not in where(cloud, "a-1")


def test_a_promise_on_a_bad_node_is_broken_by_name() -> None:
    cloud = racks(2)
    cloud.at(1, gang(2, hours=1)).at(2, gang(2, hours=1)).until(3)
    assert [made.kind for made in cloud.core.state.reservations.values()] == ["promise"]
    cloud.at(10, f.NodeReported("n1", "xid", 79)).until(10)
    assert [(fact.job, fact.cause) for fact in cloud.all(f.PromiseBroken)] == [("a-2", "node_failed")]  # type: ignore[attr-defined]


# ── a drain outlasts what engines say ─────────────────────────────────────────────────────────────────────────────────
@DISCIPLINES
@pytest.mark.parametrize(
    ("said", "is_back"),
    [
        ((), True),
        ((f.NodeAdded("n0", "s", 8, 64_000, 512_000),), True),  # a control plane that was started anew
        ((f.NodeAdded("n0", "s", 4, 64_000, 512_000),), True),
        ((f.NodeRemoved("n0"),), False),
        ((f.NodeRemoved("n0", failed=True),), False),
        ((f.NodeRemoved("n0"), f.NodeAdded("n0", "s", 8, 64_000, 512_000)), True),
    ],
    ids=["nothing", "added", "smaller", "removed", "failed", "back"],
)
def test_what_an_engine_says_of_a_drained_node_counts_when_it_is_returned(
    rules: Rules, said: tuple[f.Observation, ...], is_back: bool
) -> None:
    core = cluster(8, 8, rules=rules)
    at(core, 1, LOST)
    for seconds, one in enumerate(said, start=2):
        at(core, seconds, one)
        assert not in_service(core)
    assert restored(core).digest() == core.state.digest()
    facts = at(core, 10, f.NodeRepaired("n0", by="u1"))
    assert facts == [f.NodeRepaired("n0", by="u1"), f.NodeReturned("n0")]
    assert in_service(core) == is_back
    gpus = core.state.nodes["n0"].gpus
    assert ("acme-1.1" in placed(at(core, 11, ask(8 + gpus, 0)))) == is_back


def test_a_node_that_was_out_of_service_already_is_drained_too() -> None:
    core = cluster(8)
    at(core, 1, f.NodeRemoved("n0"))
    assert names(at(core, 2, LOST)) == ["NodeReported", "NodeDrained"]
    assert at(core, 3, f.NodeRemoved("n0")) == []
    assert names(at(core, 4, f.NodeAdded("n0", "s", 8, 64_000, 512_000))) == ["NodeAdded"]
    assert not in_service(core)


# ── burn-in ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@DISCIPLINES
def test_a_repaired_node_serves_only_after_a_real_job_ran_on_all_of_it(rules: Rules) -> None:
    core = cluster(8, 8, rules=rules)
    at(core, 1, LOST)
    facts = at(core, 10, REPAIRED)
    assert names(facts) == ["NodeRepaired", "JobSubmitted", "JobAdmitted", "RunPlaced"]
    assert core.answers[-1].made == "acme-1"
    assert placed(facts) == {"acme-1.1": [("n0", tuple(range(8)))]}
    (order,) = orders_of(core.state, facts)
    assert isinstance(order, StartRun)
    assert (order.spec, order.max_duration_us) == ("burn-in", HOUR_US)
    assert restored(core).digest() == core.state.digest()
    at(core, 11, started("acme-1.1", 11), ask(8), ask(8))
    assert not in_service(core)
    assert refused(core, 12, REPAIRED) == ("conflict", "its burn-in is acme-1, which runs")
    facts = at(core, 600, ended("acme-1.1", 600))
    assert f.NodeReturned("n0", "acme-1") in facts
    assert in_service(core)
    assert {task.node for run in core.state.runs.values() for task in run.tasks} == {"n0", "n1"}


@DISCIPLINES
@pytest.mark.parametrize(
    ("end", "reason", "code"),
    [
        (ended("acme-1.1", 600, 3), "exit_code", 3),
        (f.RunEnded("acme-1.1", 600 * SECOND_US, "lost"), "lost", None),
        (f.RunEnded("acme-1.1", 600 * SECOND_US, "start_failed"), "start_failed", None),
        (f.RunEnded("acme-1.1", 600 * SECOND_US, "time_limit"), "max_duration_exceeded", None),
    ],
    ids=["exit code", "lost", "never started", "too long"],
)
def test_a_node_whose_burn_in_fails_stays_drained(
    rules: Rules, end: f.RunEnded, reason: str, code: int | None
) -> None:
    core = cluster(8, rules=rules)
    at(core, 1, LOST)
    at(core, 10, REPAIRED)
    facts = at(core, 600, end)
    assert f.BurnInFailed("n0", "acme-1", reason, code) in facts
    assert not any(isinstance(fact, f.JobRequeued) for fact in facts)
    assert not in_service(core)
    assert placed(at(core, 700, REPAIRED)) == {"acme-2.1": [("n0", tuple(range(8)))]}, "once more"


@DISCIPLINES
def test_a_bad_gpu_under_a_burn_in_ends_it(rules: Rules) -> None:
    core = cluster(8, rules=rules)
    at(core, 1, LOST)
    at(core, 10, REPAIRED)
    at(core, 11, started("acme-1.1", 11))
    at(core, 12, f.CancelJob("acme-1"))
    facts = at(core, 13, f.RunEnded("acme-1.1", 13 * SECOND_US, "stopped"))
    assert f.BurnInFailed("n0", "acme-1", "cancelled") in facts


def test_a_burn_in_waits_for_what_still_leaves_the_node_and_for_the_engine() -> None:
    core = cluster(8)
    at(core, 1, ask(1))
    at(core, 2, LOST)
    assert refused(core, 3, REPAIRED) == ("conflict", "run acme-1.1 has not left n0 yet")
    at(core, 4, f.RunEnded("acme-1.1", 4 * SECOND_US, "stopped"))
    at(core, 5, f.NodeRemoved("n0"))
    assert refused(core, 6, REPAIRED) == ("conflict", "the engine of site s says that n0 is out of service")
    at(core, 7, f.NodeAdded("n0", "s", 8, 64_000, 512_000))
    assert "acme-2.1" in placed(at(core, 8, REPAIRED))


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (msgspec.structs.replace(REPAIRED, node="n9"), "unknown_node"),
        (msgspec.structs.replace(REPAIRED, node="n1"), "conflict"),
        (msgspec.structs.replace(REPAIRED, tenant="nobody"), "unknown_tenant"),
        (msgspec.structs.replace(REPAIRED, max_duration_us=0), "invalid"),
        (msgspec.structs.replace(REPAIRED, max_duration_us=25 * HOUR_US), "invalid"),
    ],
)
def test_a_repair_that_cannot_be_is_refused(asked: f.NodeRepaired, why: str) -> None:
    core = cluster(8, 8)
    at(core, 1, LOST)
    assert refused(core, 2, asked)[0] == why


def test_a_suspended_tenant_has_no_burn_in() -> None:
    core = cluster(8)
    at(core, 1, LOST, a.TenantSuspended("acme", "unpaid"))
    assert refused(core, 2, REPAIRED) == ("conflict", "tenant acme is suspended: no run of it starts")


def test_nobody_takes_the_place_of_a_burn_in() -> None:
    core = cluster(8, 8, rules=RULES)
    guarantee = a.Entitlement("industry/beta/default", guarantee_milli=16_000)
    entitled = (a.Entitlement("industry/beta", guarantee_milli=16_000), guarantee)
    at(
        core,
        1,
        a.EntitlementsChanged("shared", (a.Entitlement("industry", guarantee_milli=16_000), *entitled)),
    )
    at(core, 2, LOST)
    at(core, 3, REPAIRED)
    at(core, 4, started("acme-1.1", 4))
    facts = at(
        core, 5, ask(8, 2, "beta", max_duration_us=HOUR_US), ask(8, 1, "beta", max_duration_us=HOUR_US)
    )
    facts += at(core, 3000, ask(8, 1, "beta", max_duration_us=HOUR_US))
    assert not any(isinstance(fact, f.RunStopOrdered) for fact in facts)


# ── another core decides the same ─────────────────────────────────────────────────────────────────────────────────────
@DISCIPLINES
def test_a_core_that_is_told_the_same_decides_the_same(rules: Rules) -> None:
    def play(core: Core, tell: Callable[[int, f.Observation], None]) -> None:
        tell(1, ask(8, max_duration_us=HOUR_US))
        tell(2, ask(8, max_duration_us=HOUR_US))
        tell(3, LOST)
        tell(4, f.RunEnded(_on(core, "n0"), 4 * SECOND_US, "stopped"))
        tell(5, REPAIRED)
        tell(6, ended(_on(core, "n0"), 6))

    one = cluster(8, 8, rules=rules)
    facts: list[tuple[int, f.Fact]] = []
    play(
        one,
        lambda seconds, told: facts.extend((seconds * SECOND_US, fact) for fact in at(one, seconds, told)),
    )
    other = cluster(8, 8, rules=rules)
    other.fold(facts)
    assert other.state.digest() == one.state.digest()
    third = cluster(8, 8, rules=rules)
    play(third, lambda seconds, told: (at(third, seconds, told), None)[1])
    assert third.state.digest() == one.state.digest()


def _on(core: Core, node: str) -> str:
    return next(run.id for run in core.state.runs.values() if any(task.node == node for task in run.tasks))


# ── what people say ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_person_who_drains_a_node_again_just_after_its_return_is_heard() -> None:
    core = cluster(8)
    drain = f.NodeReported("n0", "operator", by="u1")
    at(core, 1, drain)
    assert names(at(core, 2, drain)) == ["NodeReported"], "it is drained already"
    at(core, 3, f.NodeRepaired("n0", by="u1"))
    assert names(at(core, 4, drain)) == ["NodeReported", "NodeDrained"]
    assert not in_service(core)
