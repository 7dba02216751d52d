# SPDX-License-Identifier: Apache-2.0
"""The account of own partitions: alone is what a second, independent calculation says, it follows guarantees as they
change, counts every job once, and names who was worse off."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from leitstand.cli.root import cli
from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.fleet import Node
from leitstand.core.rules import Rules
from leitstand.core.sharing.entitlements import in_force
from leitstand.core.state import State
from leitstand.core.units import DAY_US, HOUR_US, SECOND_US
from leitstand.engines.simulated import SimulatedEngine
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime.clock import VirtualClock
from leitstand.runtime.loop import Loop
from leitstand.twin import own
from leitstand.twin.outcome import TenantOutcome
from leitstand.twin.own import partition
from leitstand.twin.partition import Account, accounts
from leitstand.twin.replay import Setting, replay
from tests.simulation.oracle import Asked, starts
from tests.simulation.test_forks import Script, lived

DATA = Path(__file__).parents[2] / "examples" / "traces"
CLUSTER = DATA / "week.cluster.json"
GPUS = 4
Told = list[tuple[int, f.Observation]]


def opening(rules: str, nodes: int, **guarantees: int) -> Told:
    """A pool of nodes of 4 GPUs, and what tenants are guaranteed of it, in GPUs."""
    said: list[f.Observation] = [f.RulesSet(Rules(discipline=rules), ""), f.SiteAdded("s", "simulated")]
    said += [a.TenantAdded(tenant) for tenant in guarantees]
    said += [f.NodeAdded(f"n{number}", "s", GPUS, 0, 0, pool="shared") for number in range(nodes)]
    return [(0, one) for one in [*said, owed(**guarantees)]]


def owed(from_us: int = 0, **guarantees: int) -> f.Observation:
    each = tuple(a.Entitlement(f"industry/{tenant}", gpus * 1000) for tenant, gpus in guarantees.items())
    return a.EntitlementsChanged("shared", (a.Entitlement("industry", -1), *each), from_us)


def job(tenant: str, hours: float, gpus: int) -> f.SubmitJob:
    length_us = int(hours * HOUR_US)
    return f.SubmitJob(
        tenant, "default", f.Resources(gpus, 0), max_duration_us=2 * length_us, expected_us=length_us
    )


class Until(VirtualClock):
    """Virtual time that ends."""

    def __init__(self, until_us: int | None) -> None:
        super().__init__()
        self._until_us = until_us

    def wait(self, due: int | None) -> int | None:
        late = due is not None and self._until_us is not None and due > self._until_us
        return super().wait(None if late else due)


def lived_through(told: Told, until_us: int | None = None) -> MemoryJournal:
    """The journal of what was told, played to its end, or until then."""
    journal = MemoryJournal()
    Loop(Core(), journal, Until(until_us), SimulatedEngine(), [Script(told)]).run()
    return journal


def account(journal: MemoryJournal, month: str = "") -> dict[str, Account]:
    (found,) = accounts(lambda: journal.read(0), month)
    return {one.tenant: one for one in found.tenants}


def asked_of(rows: Sequence[tuple[str, int, float, int]]) -> Told:
    """Jobs as (tenant, submit in h, duration in h, GPUs)."""
    return [(1 + at * HOUR_US, job(tenant, hours, gpus)) for tenant, at, hours, gpus in rows]


ROWS = [
    ("ab"[number % 2], number // 5, 1 + number * 7 % 11, (1, 2, 4, 6)[number % 4]) for number in range(60)
]


@pytest.mark.parametrize("rules", ["fifo-strict", "fifo-greedy", "sjf"])
def test_alone_is_what_the_oracle_says_of_nodes_of_ones_own(rules: str) -> None:
    rows = [("ab"[number % 2], at, hours, gpus) for number, (_, at, hours, gpus) in enumerate(ROWS)]
    journal = lived_through(opening(rules, 6, a=8, b=12) + asked_of(rows))
    jobs = [Asked(tenant, at, int(hours), gpus) for tenant, at, hours, gpus in rows]
    expected = starts(jobs, {"a": 2, "b": 3}, GPUS, rules, static=True)
    for tenant, found in account(journal).items():
        mine = [number for number, one in enumerate(jobs) if one.tenant == tenant]
        waits = [(expected[number] or 0) - jobs[number].submit for number in mine]
        assert found.jobs == len(mine)
        assert found.alone_wait_s == pytest.approx(sum(waits) / len(waits) * 3600)
        ends = [wait + jobs[number].duration for wait, number in zip(waits, mine, strict=True)]
        assert found.alone_jct_s == pytest.approx(sum(ends) / len(ends) * 3600)
        hours = sum(jobs[number].gpus * jobs[number].duration for number in mine)
        assert (found.gpu_hours, found.alone_gpu_hours) == (pytest.approx(hours), pytest.approx(hours))
    assert {found.guarantee_gpus for found in account(journal).values()} == {8, 12}


def test_under_fair_it_is_the_static_replay_of_the_same_trace(tmp_path: Path) -> None:
    trace = tmp_path / "days.csv"
    trace.write_text("".join((DATA / "week.csv").read_text().splitlines(keepends=True)[:81]))
    path = tmp_path / "journal.db"
    shared = replay(Setting(trace, CLUSTER, "fair", journal=path)).per_tenant
    alone = replay(Setting(trace, CLUSTER, "fair", static=True)).per_tenant
    answer = CliRunner().invoke(
        cli, ["twin", "partition", str(path), "--json", "--out", str(tmp_path / "out")]
    )
    assert answer.exit_code == 0, answer.output
    (month,) = json.loads(answer.output)
    assert month["month"] == "1970-01"
    for found in month["tenants"]:
        sides: list[tuple[str, TenantOutcome]] = [
            ("", shared[found["tenant"]]),
            ("alone_", alone[found["tenant"]]),
        ]
        for side, outcome in sides:
            assert found["jobs"] == outcome.jobs
            assert found[f"{side}jct_s"] == pytest.approx(outcome.jct_s.mean)
            assert found[f"{side}wait_s"] == pytest.approx(outcome.queue_s.mean)
    assert json.loads((tmp_path / "out" / "partition.json").read_text()) == json.loads(answer.output)
    page = (tmp_path / "out" / "partition.html").read_text()
    assert "werk-nord" in page
    assert "<script" not in page


def test_the_partition_follows_the_guarantee() -> None:
    # a has one node; a second one is promised from hour 10 on, and gone again at 20 but for two GPUs
    told = opening("fifo-greedy", 8, a=4, b=0)
    told += [(HOUR_US, owed(10 * HOUR_US, a=8)), (2 * HOUR_US, owed(20 * HOUR_US, a=6))]
    told += asked_of([("a", 3, 12, 4), ("a", 4, 8, 4), ("a", 19, 3, 8), ("a", 21, 1, 4), ("a", 22, 1, 2)])
    found = account(lived_through(told))["a"]
    # alone: 3 → 3; 4 → 10, on the second node; 19 → 19 on both, until 22; 21 → 22 on the first; 22 → 22 on the two
    assert found.alone_wait_s == pytest.approx((0 + 6 + 0 + 1 + 0) / 5 * 3600, abs=1)
    assert found.wait_s == 0
    # 4 GPUs for 10 hours, 8 for 10, 6 for the rest of 23
    assert found.guarantee_gpus == pytest.approx((40 + 80 + 18) / 23, abs=0.01)


def test_who_owns_what_is_looked_at_when_it_may_have_changed_and_not_with_every_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On thousands of nodes that was most of the work."""
    looks = 0

    def counted(state: State, pool: str, at: int) -> dict[str, a.Entitlement]:
        nonlocal looks
        looks += 1
        return in_force(state, pool, at)

    monkeypatch.setattr(own, "in_force", counted)
    told = [*opening("fifo-greedy", 8, a=4, b=4), (HOUR_US, owed(10 * HOUR_US, a=8)), *asked_of(ROWS)]
    found = account(lived_through(told))
    assert sum(one.jobs + one.apart for one in found.values()) == len(ROWS)
    assert looks < 10 < len(ROWS)


def test_commitments_are_part_of_it() -> None:
    told = opening("fifo-greedy", 8, a=4)
    made = a.CommitmentMade("", "shared", "industry/a", 4000, 5 * HOUR_US, 30 * HOUR_US)
    told += [(1, made), *asked_of([("a", 0, 10, 4), ("a", 0, 10, 4)])]
    found = account(lived_through(told))["a"]
    assert found.alone_wait_s == pytest.approx(5 * 3600 / 2, abs=1)


def test_who_is_worse_off_is_named_and_nobody_else() -> None:
    # b floods the queue; a's own node would have run each of its jobs at once
    rows = [("b", 0, 300.0, 4)] * 2 + [("a", at, 0.5, 4) for at in range(120)]
    journal = lived_through(
        opening("fifo-strict", 2, a=4, b=4) + asked_of(sorted(rows, key=lambda row: row[1]))
    )
    found = account(journal)
    assert (found["a"].judged, found["a"].worse_off) == (True, True)
    assert (found["b"].judged, found["b"].worse_off) == (False, False)
    assert found["a"].alone_wait_s == 0
    # b alone waits for its one node: it is better off
    assert found["b"].jct_s == 300 * 3600
    assert found["b"].alone_jct_s == (300 + 600) / 2 * 3600
    # with a fleet that holds both, nobody is
    enough = lived_through(
        opening("fifo-strict", 3, a=4, b=4) + asked_of(sorted(rows, key=lambda row: row[1]))
    )
    assert not any(one.worse_off for one in account(enough).values())


def test_every_job_is_counted_once_and_in_its_month() -> None:
    november = int(datetime(2026, 11, 30, 23, tzinfo=UTC).timestamp()) * SECOND_US
    told = [(november - DAY_US, one) for _, one in opening("fifo-greedy", 4, a=4, b=4)]
    rows = [(0, job("a", 1, 4)), (0, job("a", 1, 8)), (0, job("a", 1, 99)), (0, job("b", 1, 4))]
    rows += [(HOUR_US, job("a", 1, 2)), (2 * HOUR_US, job("b", 50, 1))]
    told += [(november + at, one) for at, one in rows]
    told.append((november + 90 * 60 * SECOND_US, f.CancelJob("a-4")))
    journal = lived_through(told, november + DAY_US)
    before, after = accounts(lambda: journal.read(0))
    assert (before.month, after.month) == ("2026-11", "2026-12")
    assert [(one.tenant, one.jobs, one.apart, one.left_out) for one in before.tenants] == [
        ("a", 1, 1, 0),  # 8 GPUs on 4; 99 were refused in truth, too
        ("b", 1, 0, 0),
    ]
    assert [(one.tenant, one.jobs, one.apart, one.left_out) for one in after.tenants] == [
        ("a", 0, 0, 1),  # cancelled
        ("b", 0, 0, 1),  # still runs
    ]
    assert accounts(lambda: journal.read(0), "2026-12") == (after,)
    assert accounts(lambda: journal.read(0), "2025-01") == ()


@pytest.mark.parametrize("seed", [1, 2])
def test_failures_arrays_elastic_jobs_and_cancellations_are_accounted_for(seed: int) -> None:
    entries = lived(seed)[0]
    (found,) = accounts(lambda: entries)
    submitted = [entry.fact for entry in entries if isinstance(entry.fact, f.JobSubmitted)]
    refused = {entry.fact.job for entry in entries if isinstance(entry.fact, f.JobRejected)}
    for one in found.tenants:
        mine = [fact for fact in submitted if fact.tenant == one.tenant and fact.job not in refused]
        assert one.jobs + one.apart + one.left_out == len(mine)
    assert sum(one.jobs for one in found.tenants) > 0
    assert next(one for one in found.tenants if one.tenant == "c").jobs == 0, "it is guaranteed nothing"


def test_what_is_no_journal_and_no_month_is_refused(tmp_path: Path) -> None:
    for words, said in (
        ([str(DATA / "week.csv")], "week.csv: is no journal; name one, or the data directory"),
        ([str(tmp_path)], "journal.db"),
        ([str(tmp_path), "--month", "2026-13"], "--month 2026-13 is no month; write it like 2026-11"),
    ):
        answer = CliRunner().invoke(cli, ["twin", "partition", *words])
        assert answer.exit_code != 0
        assert said in answer.stderr


def test_own_nodes_are_copies_the_largest_first_and_a_part_of_one() -> None:
    sizes = [(1, 8000), (8, 64_000), (4, 32_000), (8, 64_000), (0, 9000)]
    nodes = [
        Node(f"n{number}", "s", "shared", gpus, cpus, gpus * 100, "", True, number)
        for number, (gpus, cpus) in enumerate(sizes)
    ]

    def made(gpus: float) -> list[tuple[int, int]]:
        return [(node.gpus, node.cpus_milli) for node in partition(nodes, int(gpus * 1000))]

    assert made(16) == [(8, 64_000), (8, 64_000)]
    assert made(11.9) == [(8, 64_000), (3, 24_000)], "whole GPUs, with their part of the node"
    assert made(22) == [(8, 64_000), (8, 64_000), (4, 32_000), (1, 8000), (1, 8000)], (
        "over again, if there is less"
    )
    assert made(0.5) == []
    cpus = [replace(node, gpus=0) for node in nodes]
    assert [node.cpus_milli for node in partition(cpus, 70_000)] == [64_000, 6000], (
        "cores in a pool without GPUs"
    )
