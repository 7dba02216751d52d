# SPDX-License-Identifier: Apache-2.0
"""What the views promise: every job with its runs, exact usage, stable paging, and a file that may be dropped."""

import asyncio
import sqlite3
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.core import facts as f
from leitstand.core.facts import Fact, Resources, Task
from leitstand.runtime.disk import is_full
from leitstand.runtime.ports import Entry
from leitstand.views import database
from leitstand.views.database import FORM, Database
from leitstand.views.reading import JobView, Page, Reading
from leitstand.views.rows import decode_tasks
from tests.unit.faults import files_that_cannot_grow

S = 1_000_000


def entries(*facts: Fact, after: int = 0) -> list[Entry]:
    return [Entry(seq, seq * S, fact) for seq, fact in zip(count(after + 1), facts)]


def life(job: str, tenant: str = "acme", project: str = "default", gpu_us: int = 5 * S) -> list[Fact]:
    run = f"{job}.1"
    return [
        f.JobSubmitted(job, tenant, project, Resources(1, 1, 2000, 512), priority=3, spec="ref-" + job),
        f.JobAdmitted(job, "shared", 60 * S),
        f.RunPlaced(run, job, (Task.of("node-1", (0, 1)),)),
        f.RunStarted(run, 33 * S),
        f.RunEnded(run, 44 * S, "exited", exit_code=0),
        f.UsageMetered(run, tenant, project, 11 * S, gpu_us, 22 * S, 7),
        f.JobEnded(job, "succeeded", "", 0),
    ]


@pytest.fixture
def views(tmp_path: Path) -> Database:
    return Database(tmp_path / "views.db", "journal-a", 10**9)


@pytest.fixture
def reading(views: Database) -> Reading:
    return Reading(views)


def test_a_job_shows_each_state_of_its_life(views: Database, reading: Reading) -> None:
    states = []
    found: JobView | None = None
    for entry in entries(*life("acme-1")):
        views.apply([entry])
        found = reading.job("acme-1")
        assert found is not None
        states.append((found.job.state, [run.state for run in found.runs], found.job.changed))
    assert states == [
        ("pending", [], 1),
        ("pending", [], 2),
        ("starting", ["starting"], 3),
        ("running", ["running"], 4),
        ("running", ["ended"], 5),
        ("running", ["ended"], 6),
        ("succeeded", ["ended"], 7),
    ]
    assert found is not None
    job, runs = found
    assert (job.submitted_us, job.started_us, job.ended_us) == (1 * S, 33 * S, 44 * S)
    assert (job.gpus, job.cpus_milli, job.memory_mib, job.priority, job.spec) == (
        1,
        2000,
        512,
        3,
        "ref-acme-1",
    )
    assert (job.max_duration_us, job.exit_code, job.reason) == (60 * S, 0, "")
    assert runs[0].usage == f"{11 * S} {5 * S} {22 * S} 7"
    assert runs[0].tasks == b'[["node-1","3"]]'


def test_the_run_of_an_elastic_job_shows_the_nodes_that_it_has_now(views: Database, reading: Reading) -> None:
    first, second = Task.of("node-1", (0, 1)), Task.of("node-2", (0, 1))
    facts: list[Fact] = [
        f.JobSubmitted("acme-1", "acme", "default", Resources(2, 1, nodes_max=4), elastic=True),
        f.RunPlaced("acme-1.1", "acme-1", (first,)),
        f.RunStarted("acme-1.1", 2 * S),
        f.RunResizeOrdered("acme-1.1", 1, (first, second), "growth"),
        f.RunResized("acme-1.1", 1, 4 * S),
    ]
    views.apply(entries(*facts[:3]))
    views.apply(entries(*facts[3:], after=3))  # the row was written before
    found = reading.job("acme-1")
    assert found is not None
    assert (found.job.nodes, found.job.nodes_max, found.job.elastic) == (1, 4, 1)
    assert decode_tasks(found.runs[0].tasks) == (first, second)
    assert found.job.state == "running"


def test_a_job_ends_rejected_cancelled_or_killed(views: Database, reading: Reading) -> None:
    submitted = [f.JobSubmitted(f"acme-{i}", "acme", "default", Resources()) for i in (1, 2, 3)]
    placed = f.RunPlaced("acme-3.1", "acme-3", (Task("node-1"),))
    views.apply(
        entries(
            *submitted,
            f.JobRejected("acme-1", "no_such_capacity", 8, 4),
            f.JobEnded("acme-2", "cancelled", "cancelled"),
            placed,
            f.RunStopOrdered("acme-3.1", "cancel"),
            f.RunStarted("acme-3.1", 6 * S),  # crossed with the stop: it stays in stopping
        )
    )
    rejected, cancelled, stopping = (reading.job(f"acme-{i}") for i in (1, 2, 3))
    assert rejected is not None
    assert cancelled is not None
    assert stopping is not None
    assert (rejected.job.state, rejected.job.reason, rejected.job.asked, rejected.job.limit) == (
        "rejected",
        "no_such_capacity",
        8,
        4,
    )
    assert (cancelled.job.state, cancelled.job.ended_us, cancelled.job.started_us) == (
        "cancelled",
        5 * S,
        None,
    )
    assert (stopping.job.state, stopping.runs[0].state, stopping.job.started_us) == (
        "stopping",
        "stopping",
        6 * S,
    )
    views.apply(
        entries(
            f.RunEnded("acme-3.1", 9 * S, "stopped", signal=15),
            f.JobEnded("acme-3", "cancelled", "cancelled"),
            after=8,
        )
    )
    ended = reading.job("acme-3")
    assert ended is not None
    assert (ended.job.state, ended.job.signal, ended.job.exit_code) == ("cancelled", 15, None)


def test_a_run_that_is_stopped_for_another_job_loses_what_no_checkpoint_keeps(
    views: Database, reading: Reading
) -> None:
    asked = Resources(gpus=2)
    facts: list[Fact] = []
    for job, every in (("acme-1", 0), ("acme-2", 4 * S), ("acme-3", 0)):
        facts += [
            f.JobSubmitted(job, "acme", "default", asked, checkpoint_every_us=every),
            f.RunPlaced(f"{job}.1", job, (Task("node-1", "3"),)),
            f.RunStarted(f"{job}.1", 10 * S),
        ]
    facts += [f.RunStopOrdered(f"acme-{i}.1", "recall", "uni-1") for i in (1, 2)]
    facts += [f.RunEnded(f"acme-{i}.1", 21 * S, "stopped") for i in (1, 2)]
    facts += [f.RunStopOrdered("acme-3.1", "recall", "uni-1"), f.RunEnded("acme-3.1", 21 * S, "exited", 0)]
    views.apply(entries(*facts))
    runs = [found.runs[0] for i in (1, 2, 3) if (found := reading.job(f"acme-{i}")) is not None]
    assert [run.lost_us for run in runs] == [11 * S, 3 * S, 0]  # the third was done before it was stopped
    assert [(run.cause, run.stopped_for, run.stopped_us) for run in runs[:2]] == [
        ("recall", "uni-1", 10 * S),
        ("recall", "uni-1", 11 * S),
    ]
    assert [reading.stopped_together("uni-1", at * S) for at in (10, 11, 12)] == [1, 1, 0]


def test_what_was_applied_is_skipped_and_usage_is_counted_once(views: Database, reading: Reading) -> None:
    facts = entries(*life("acme-1"))
    views.apply(facts)
    views.apply(facts)
    views.apply(facts[3:])
    assert views.seq == 7
    assert [(u.jobs, u.gpu_us) for u in reading.usage()] == [(1, 5 * S)]


def test_usage_is_exact_beyond_64_bits(views: Database, reading: Reading) -> None:
    huge = 2**62 + 1
    views.apply(entries(*(fact for i in range(1, 8) for fact in life(f"acme-{i}", gpu_us=huge))))
    views.apply(entries(*life("acme-8", project="other", gpu_us=huge), after=49))
    assert [(u.tenant, u.project, u.jobs, u.gpu_us) for u in reading.usage()] == [
        ("acme", "default", 7, 7 * huge),
        ("acme", "other", 1, huge),
    ]


def test_a_job_with_two_runs_counts_once_and_shows_both_in_order(views: Database, reading: Reading) -> None:
    facts = life("acme-1")[:-1]
    for number in range(2, 12):
        facts += [
            f.RunPlaced(f"acme-1.{number}", "acme-1", (Task("node-1"),)),
            f.RunStarted(f"acme-1.{number}", 50 * S),
            f.RunEnded(f"acme-1.{number}", 60 * S, "exited", exit_code=0),
            f.UsageMetered(f"acme-1.{number}", "acme", "default", 1 * S, 2 * S),
        ]
    views.apply(entries(*facts))
    assert [(u.jobs, u.wall_us) for u in reading.usage()] == [(1, 21 * S)]
    found = reading.job("acme-1")
    assert found is not None
    assert [run.run for run in found.runs] == [f"acme-1.{number}" for number in range(1, 12)]
    assert (found.job.started_us, found.job.ended_us) == (33 * S, 60 * S)


def test_a_batch_that_fails_leaves_nothing(views: Database, reading: Reading) -> None:
    with pytest.raises(KeyError):
        views.apply(entries(*life("acme-1"), f.JobEnded("nobody-1", "failed")))
    assert views.seq == 0
    assert asyncio.run(reading.page(Page())) == []
    views.apply(entries(*life("acme-1")))
    assert views.seq == 7


def test_a_commit_that_finds_no_room_loses_nothing_silently(
    views: Database, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes back what was not committed; what follows it must not be taken as if nothing had happened."""
    monkeypatch.setattr(database, "COMMIT_S", 3600)
    views.apply(entries(*life("acme-1")))
    views.commit()
    views.apply(entries(*life("acme-2"), after=7))
    with files_that_cannot_grow(), pytest.raises(sqlite3.OperationalError) as refused:
        asyncio.run(reading.page(Page()))
    assert is_full(refused.value)
    assert views.seq == 7
    with pytest.raises(ValueError, match="entry 8 is missing: entry 15 came after entry 7"):
        views.apply(entries(*life("acme-3"), after=14))
    views.apply(entries(*life("acme-2"), *life("acme-3"), after=7))
    assert len(asyncio.run(reading.page(Page()))) == 3
    assert [used.jobs for used in reading.usage()] == [3]


def test_a_batch_with_a_gap_inside_leaves_nothing(views: Database) -> None:
    facts = entries(*life("acme-1"))
    with pytest.raises(ValueError, match="entry 3 is missing"):
        views.apply(facts[:2] + facts[3:])
    assert views.seq == 0


@pytest.mark.parametrize("table", ["jobs", "runs"])
def test_a_row_that_went_missing_is_an_error_and_not_a_change_of_nothing(views: Database, table: str) -> None:
    facts = entries(*life("acme-1"))
    views.apply(facts[:3])
    views.commit()
    with sqlite3.connect(views.path) as other:
        other.execute(f"DELETE FROM {table}")
    with pytest.raises(ValueError, match=f"1 rows of {table} were to change, 0 did"):
        views.apply(facts[3:])
    assert views.seq == 3


def test_a_page_over_several_states_is_of_one_moment(
    views: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that changes its state between two of the page's queries is on it once, neither twice nor never."""
    from leitstand.views import reading as module

    views.apply(entries(*life("acme-1")[:3]))  # starting
    views.commit()
    walk = module._walk

    def walk_while_it_changes(*args: Any) -> list[int]:
        found = walk(*args)
        with sqlite3.connect(views.path) as other:
            other.execute("UPDATE jobs SET state = iif(state = 'starting', 'running', 'starting')")
        other.close()
        return found

    monkeypatch.setattr(module, "_walk", walk_while_it_changes)
    for states in (("starting", "running"), ("running", "starting")):
        found = asyncio.run(Reading(views).page(Page(states=states)))
        assert [view.job.job for view in found] == ["acme-1"]


def test_reopened_views_go_on_where_they_were(views: Database) -> None:
    facts = entries(*life("acme-1"))
    views.apply(facts[:4])
    views.close()
    again = Database(views.path, "journal-a", 4)
    assert again.seq == 4
    again.apply(facts)
    found = Reading(again).job("acme-1")
    assert found is not None
    assert found.job.state == "succeeded"


@pytest.mark.parametrize("damage", ["form", "journal", "ahead", "bytes", "empty", "tables"])
def test_views_that_cannot_be_gone_on_with_are_dropped(views: Database, damage: str) -> None:
    views.apply(entries(*life("acme-1")))
    views.close()
    if damage in ("form", "tables"):
        with sqlite3.connect(views.path) as connection:
            connection.execute(
                f"PRAGMA user_version={FORM + 1}" if damage == "form" else "DROP TABLE progress"
            )
    if damage == "bytes":
        views.path.write_bytes(b"\xff" * 4096)
    if damage == "empty":
        views.path.write_bytes(b"")
    again = Database(
        views.path, "journal-b" if damage == "journal" else "journal-a", 6 if damage == "ahead" else 100
    )
    assert again.seq == 0
    again.apply(entries(*life("acme-1")))
    assert len(asyncio.run(Reading(again).page(Page()))) == 1


def _many(views: Database) -> list[tuple[int, str, str, str]]:
    """Jobs of three tenants in all sorts of states: (number, tenant, project, state) of each."""
    facts: list[Fact] = []
    expected = []
    for i in range(1, 61):
        tenant, project = f"t{i % 3}", f"p{i % 2}"
        number = len(facts) + 1
        whole = life(f"{tenant}-{i}", tenant, project)
        cut = (2, 3, 4, 7)[i % 4]
        facts += whole[:cut]
        expected.append(
            (number, tenant, project, {2: "pending", 3: "starting", 4: "running", 7: "succeeded"}[cut])
        )
    views.apply(entries(*facts))
    return expected[::-1]


@given(
    tenant=st.sampled_from(["", "t0", "t1", "nobody"]),
    project=st.sampled_from(["", "p0"]),
    states=st.sampled_from([(), ("running",), ("pending", "succeeded")]),
    limit=st.integers(1, 70),
)
@settings(max_examples=60, deadline=None)
def test_pages_are_newest_first_and_complete_under_every_filter(
    tmp_path_factory: pytest.TempPathFactory, tenant: str, project: str, states: tuple[str, ...], limit: int
) -> None:
    views = Database(tmp_path_factory.mktemp("views") / "views.db", "j", 10**9)
    wanted = [
        number
        for number, of, within, state in _many(views)
        if tenant in ("", of) and project in ("", within) and (not states or state in states)
    ]
    reading = Reading(views)
    seen: list[int] = []
    before = 2**63 - 1
    while page := asyncio.run(reading.page(Page(tenant, project, states, before, limit))):
        assert len(page) <= limit
        seen += [found.job.number for found in page]
        before = seen[-1]
    assert seen == wanted


def test_what_changed_comes_in_order_of_change_each_job_once_and_nothing_is_missed(
    views: Database, reading: Reading
) -> None:
    one, two = life("acme-1"), life("acme-2")
    mixed: Iterable[Fact] = [fact for pair in zip(one, two, strict=True) for fact in pair]
    views.apply(entries(*mixed))
    changed = reading.changed(0, 10).jobs
    assert [(found.job.job, found.job.changed) for found in changed] == [("acme-1", 13), ("acme-2", 14)]
    assert [found.job.job for found in reading.changed(0, 1).jobs] == ["acme-1"]
    assert [found.job.job for found in reading.changed(13, 10).jobs] == ["acme-2"]
    assert reading.changed(14, 10) == ([], 14, False)


def test_an_unknown_job_is_none(reading: Reading) -> None:
    assert reading.job("acme-2") is None
