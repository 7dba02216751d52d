# SPDX-License-Identifier: Apache-2.0
"""What the views show to whom: listings, changes, usage, acts within scopes; and what a further run does to a job."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.facts import Fact, Resources, Task
from leitstand.core.rules import Rules
from leitstand.views import reading as module
from leitstand.views.acts import ACTS
from leitstand.views.database import FORM, Database
from leitstand.views.reading import ActPage, Page, Reading
from leitstand.views.rows import JobRow
from tests.unit.test_views import S, _many, entries, life

DIGEST = "d" * 64


@pytest.fixture
def views(tmp_path: Path) -> Database:
    return Database(tmp_path / "views.db", "journal-a", 10**9)


@pytest.fixture
def reading(views: Database) -> Reading:
    return Reading(views)


def job(reading: Reading, job_id: str) -> JobRow:
    found = reading.job(job_id)
    assert found is not None
    return found.job


def inside(scopes: Any, tenant: str, project: str) -> bool:
    return scopes is None or (tenant, "") in scopes or (tenant, project) in scopes


SCOPES = st.one_of(
    st.none(),
    st.lists(
        st.tuples(st.sampled_from(["t0", "t1", "nobody"]), st.sampled_from(["", "p0", "p1"])), max_size=4
    ).map(tuple),
)


# ── scopes ────────────────────────────────────────────────────────────────────────────────────────────────────────
@given(
    scopes=SCOPES,
    tenant=st.sampled_from(["", "t0", "t2"]),
    project=st.sampled_from(["", "p0"]),
    states=st.sampled_from([(), ("running",), ("pending", "succeeded")]),
    limit=st.integers(1, 70),
)
@example(scopes=(("t0", "p1"), ("t0", "p0")), tenant="", project="p0", states=(), limit=10)
@settings(max_examples=100, deadline=None)
def test_pages_hold_what_is_in_scope_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
    scopes: Any,
    tenant: str,
    project: str,
    states: tuple[str, ...],
    limit: int,
) -> None:
    views = Database(tmp_path_factory.mktemp("views") / "views.db", "j", 10**9)
    wanted = [
        number
        for number, of, within, state in _many(views)
        if inside(scopes, of, within)
        and tenant in ("", of)
        and project in ("", within)
        and (not states or state in states)
    ]
    reading = Reading(views)
    seen: list[int] = []
    before = 2**63 - 1
    while page := asyncio.run(reading.page(Page(tenant, project, states, before, limit, scopes))):
        assert len(page) <= limit
        seen += [found.job.number for found in page]
        before = seen[-1]
    assert seen == wanted
    reading.close()
    views.close()


@pytest.mark.parametrize(
    ("page", "index"),
    [
        (Page(scopes=(("t0", ""),)), "jobs_by_tenant (tenant=? AND state=? AND number>? AND number<?)"),
        (
            Page(scopes=(("t0", "p0"),)),
            "jobs_by_project (tenant=? AND project=? AND state=? AND number>? AND number<?)",
        ),
        (Page(states=("running",)), "jobs_by_state (state=? AND number>? AND number<?)"),
        (Page(), "PRIMARY KEY (rowid>? AND rowid<?)"),
    ],
)
def test_every_walk_of_a_page_goes_down_one_index(
    views: Database, reading: Reading, page: Page, index: str
) -> None:
    """However much lies beside it: without sorting, and with nothing to leave out."""
    _many(views)
    views.commit()
    asked: list[str] = []
    reading._pages.set_trace_callback(asked.append)
    asyncio.run(reading.page(page))
    walks = [text for text in asked if text.startswith("SELECT number FROM jobs")]
    assert walks
    with sqlite3.connect(views.path) as other:
        for walk in walks:
            plan = [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {walk}")]
            assert len(plan) == 1, plan
            assert plan[0].endswith(index), plan


def test_what_changed_out_of_scope_is_passed_by_in_bounded_steps(
    views: Database, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is skipped, nothing comes twice, and every call gets on."""
    monkeypatch.setattr(module, "LOOKED_MAX", 7)
    facts: list[Fact] = []
    for i in range(1, 40):
        facts += life(f"acme-{i}", "acme") if i in (3, 4, 20, 39) else life(f"beta-{i}", "beta")
    views.apply(entries(*facts))
    seen, after, more, calls = [], 0, True, 0
    while more:
        calls += 1
        changes = reading.changed(after, 2, (("acme", "default"),))
        assert len(changes.jobs) <= 2
        assert changes.seen > after or not changes.more
        seen += [found.job.job for found in changes.jobs]
        after, more = changes.seen, changes.more
    assert seen == ["acme-3", "acme-4", "acme-20", "acme-39"]
    assert calls <= 39 // 7 + 4
    assert after == views.seq
    assert reading.changed(after, 2, (("acme", "default"),)) == ([], after, False)
    assert reading.changed(0, 2, ()).jobs == []


def test_entries_that_change_no_job_are_seen_too(views: Database, reading: Reading) -> None:
    """Else a stream that waits for the view to move would look at them again and again."""
    views.apply(entries(*life("acme-1"), f.NodeRemoved("n"), f.NodeRemoved("n")))
    assert reading.changed(0, 10)[1:] == (9, False)
    assert reading.changed(12, 10) == ([], 12, False)


@given(scopes=SCOPES)
@settings(max_examples=60, deadline=None)
def test_usage_is_of_what_is_in_scope_once(tmp_path_factory: pytest.TempPathFactory, scopes: Any) -> None:
    views = Database(tmp_path_factory.mktemp("views") / "views.db", "j", 10**9)
    _many(views)
    reading = Reading(views)
    every = reading.usage()
    assert len(every) == 3
    assert reading.usage(scopes) == [row for row in every if inside(scopes, row.tenant, row.project)]
    reading.close()
    views.close()


# ── further runs ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_job_that_is_queued_again_is_pending_without_an_end_and_keeps_its_runs(
    views: Database, reading: Reading
) -> None:
    views.apply(
        entries(
            *life("acme-1")[:4],
            f.RunEnded("acme-1.1", 44 * S, "exited", exit_code=3, signal=9),
            f.UsageMetered("acme-1.1", "acme", "default", 11 * S, 5 * S),
            f.JobRequeued("acme-1", "exit_code", 3),
        )
    )
    row = job(reading, "acme-1")
    assert (row.state, row.reason, row.exit_code, row.signal, row.ended_us) == (
        "pending",
        "",
        None,
        None,
        None,
    )
    assert (row.started_us, row.changed) == (33 * S, 7)
    found = reading.job("acme-1")
    assert found is not None
    assert [(run.run, run.state, run.exit_code) for run in found.runs] == [("acme-1.1", "ended", 3)]
    assert len(asyncio.run(reading.page(Page(states=("pending",))))) == 1
    views.apply(
        entries(
            f.RunPlaced("acme-1.2", "acme-1", (Task("node-1"),)),
            f.RunStarted("acme-1.2", 50 * S),
            f.RunEnded("acme-1.2", 60 * S, "exited", exit_code=0),
            f.UsageMetered("acme-1.2", "acme", "default", 10 * S, 5 * S),
            f.JobEnded("acme-1", "succeeded", "", 0),
            after=7,
        )
    )
    row = job(reading, "acme-1")
    assert (row.state, row.exit_code, row.started_us, row.ended_us) == ("succeeded", 0, 33 * S, 60 * S)
    assert [(used.jobs, used.wall_us) for used in reading.usage()] == [(1, 21 * S)]


def test_a_job_cancelled_while_it_waits_again_ends_then(views: Database, reading: Reading) -> None:
    views.apply(
        entries(
            *life("acme-1")[:4],
            f.RunEnded("acme-1.1", 5 * S, "lost"),
            f.JobRequeued("acme-1", "lost"),
            f.JobEnded("acme-1", "cancelled", "cancelled"),
        )
    )
    assert job(reading, "acme-1").ended_us == 7 * S


def test_a_job_whose_first_run_never_started_counts_once_in_the_usage(
    views: Database, reading: Reading
) -> None:
    facts: list[Fact] = [*life("acme-1")[:3], f.RunEnded("acme-1.1", 4 * S, "start_failed")]
    for run in ("acme-1.2", "acme-1.3"):
        facts += [
            f.JobRequeued("acme-1", "start_failed"),
            f.RunPlaced(run, "acme-1", (Task("node-1"),)),
            f.RunStarted(run, 9 * S),
            f.RunEnded(run, 19 * S, "lost"),
            f.UsageMetered(run, "acme", "default", 10 * S, 0),
        ]
    views.apply(entries(*facts))
    assert [(used.jobs, used.wall_us) for used in reading.usage()] == [(1, 20 * S)]


# ── acts ──────────────────────────────────────────────────────────────────────────────────────────────────────────
HISTORY: list[Fact] = [
    f.WriterStarted("0"),
    f.RulesSet(Rules(), "r" * 64),
    f.NodeAdded("n0", "s", 4, 1, 1, by="u1"),
    a.TenantAdded("acme", by="admin"),
    a.TenantAdded("beta", by="admin"),
    a.ProjectAdded("beta", "i1", "u9"),  # named like the invitation that comes
    a.UserAdded("u1", "admin"),
    a.InvitationIssued("i1", "acme", "member", DIGEST, 99, by="u1"),
    f.JobSubmitted("acme-1", "acme", "default", Resources()),
    a.InvitationAccepted("i1", "u2"),
    a.TokenIssued("k1", "u2", DIGEST, 99, tenant="acme", by="u2"),
    a.TokenRevoked("k1", "u1"),
    a.ApplicationFiled("a1", "acme", "industry", DIGEST, "2026-11"),
    a.SecretSet("acme", "default", "key", 2, "u2"),
    a.TenantExitAdvanced("beta", "closed"),
]


def acts(reading: Reading, page: ActPage) -> list[tuple[int, str, str, str, str]]:
    return [(row.seq, row.name, row.by, row.tenant, row.subject) for row in reading.acts(page)]


def test_acts_say_who_did_what_where(views: Database, reading: Reading) -> None:
    views.apply(entries(*HISTORY))
    assert acts(reading, ActPage()) == [
        (15, "TenantExitAdvanced", "", "beta", "beta"),
        (14, "SecretSet", "u2", "acme", "key"),
        (13, "ApplicationFiled", "", "", "a1"),
        (12, "TokenRevoked", "u1", "acme", "k1"),
        (11, "TokenIssued", "u2", "acme", "k1"),
        (10, "InvitationAccepted", "u2", "acme", "i1"),
        (8, "InvitationIssued", "u1", "acme", "i1"),
        (7, "UserAdded", "admin", "", "u1"),
        (6, "ProjectAdded", "u9", "beta", "i1"),
        (5, "TenantAdded", "admin", "beta", "beta"),
        (4, "TenantAdded", "admin", "acme", "acme"),
        (3, "NodeAdded", "u1", "", "n0"),
        (2, "RulesSet", "", "", "r" * 64),
    ]
    secret_set = reading.acts(ActPage())[1]
    assert secret_set.at == 14 * S
    assert msgspec.json.decode(secret_set.body) == {
        "tenant": "acme",
        "project": "default",
        "name": "key",
        "version": 2,
        "by": "u2",
    }


def test_acts_find_the_tenant_of_an_invitation_in_whatever_batch_it_came(
    views: Database, reading: Reading
) -> None:
    for entry in entries(*HISTORY):
        views.apply([entry])
    found = {row[1]: row[3] for row in acts(reading, ActPage())}
    assert (found["InvitationAccepted"], found["TokenRevoked"]) == ("acme", "acme")


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(
    ("scopes", "tenant", "seqs"),
    [
        (None, "", [15, 14, 13, 12, 11, 10, 8, 7, 6, 5, 4, 3, 2]),
        (None, "beta", [15, 6, 5]),
        ((("beta", ""),), "", [15, 6, 5]),
        ((("beta", ""), ("acme", ""), ("beta", "")), "", [15, 14, 12, 11, 10, 8, 6, 5, 4]),
        ((("beta", ""), ("acme", "")), "acme", [14, 12, 11, 10, 8, 4]),
        ((("beta", ""),), "acme", []),
        ((("beta", "default"), ("", "")), "", []),
        ((), "", []),
    ],
)
def test_pages_of_acts_are_complete_and_within_scope(
    views: Database, reading: Reading, scopes: Any, tenant: str, seqs: list[int], limit: int
) -> None:
    views.apply(entries(*HISTORY))
    seen: list[int] = []
    before = 2**63 - 1
    while page := reading.acts(ActPage(tenant, before, limit, scopes)):
        assert len(page) <= limit
        seen += [row.seq for row in page]
        before = seen[-1]
    assert seen == seqs


def test_acts_show_no_digest_of_a_secret(views: Database, reading: Reading) -> None:
    views.apply(entries(*HISTORY))
    views.close()
    assert DIGEST.encode() not in views.path.read_bytes()


def test_every_administrative_fact_is_an_act_with_a_subject() -> None:
    booked = {f.BookingMade, f.BookingCancelled}
    nodes = {f.NodeAdded, f.NodeRemoved, f.NodeReported, f.NodeRepaired}
    assert {*a.ACTS, *booked, f.RulesSet, *nodes} == ACTS


def test_acts_of_an_older_form_are_rebuilt(views: Database) -> None:
    """Views of the form before had no acts: whoever opens them starts from the first entry."""
    views.apply(entries(*HISTORY))
    views.close()
    with sqlite3.connect(views.path) as connection:
        connection.execute("DROP TABLE acts")
        connection.execute(f"PRAGMA user_version={FORM - 1}")
    again = Database(views.path, "journal-a", 100)
    assert again.seq == 0
    again.apply(entries(*HISTORY))
    assert len(Reading(again).acts(ActPage())) == 13
