# SPDX-License-Identifier: Apache-2.0
"""The lease in a real PostgreSQL: one holds it, whoever was overtaken appends nothing, and clocks that are wrong lead
nobody. What two whole control planes make of it: `test_standby.py`."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from leitstand.app import leading
from leitstand.app.settings import Settings
from leitstand.core.facts import WriterStarted
from leitstand.journal import place
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.lease import LEASE_S, Lease
from leitstand.journal.postgres import PostgresJournal
from leitstand.journal.verify import verify
from leitstand.runtime.ports import JournalAway, StaleHead
from tests.postgres import Server

BEGUN = WriterStarted("test")


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def server(running: Server) -> Server:
    """It runs, with an empty journal and a free lease."""
    if running.process is None:
        running.start()
    running.empty()
    PostgresJournal(running.url).close()
    Lease(running.url, "nobody", "").make()
    return running


def expire(server: Server) -> None:
    """As if the holder had not renewed it for long enough."""
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute("UPDATE leitstand_lease.lease SET expires = clock_timestamp()")


def test_one_holds_it_until_it_expires_or_is_given_back(server: Server) -> None:
    one, two = Lease(server.url, "one", "http://one"), Lease(server.url, "two", "http://two")
    assert one.look().is_free
    assert one.take() == 1
    assert two.take() is None
    held = two.look()
    assert (held.holder, held.address, held.epoch, held.seq) == ("one", "http://one", 1, 0)
    assert 0 < held.left_us <= LEASE_S * 1_000_000
    assert one.renew(1)
    expire(server)
    assert two.look().is_free
    assert two.take() == 2
    assert not one.renew(1)
    one.release(1)  # it is not ours to give
    assert two.look().holder == "two"
    two.release(2)
    assert one.take() == 3


def test_a_holder_that_did_not_hear_may_take_its_own_again_at_once_in_a_new_epoch(server: Server) -> None:
    one = Lease(server.url, "one", "")
    assert (one.take(), one.take()) == (1, 2)
    assert not one.renew(1)
    assert one.renew(2)


def test_who_was_overtaken_appends_nothing_though_nobody_else_has_appended_yet(server: Server) -> None:
    lease = Lease(server.url, "one", "")
    epoch = lease.take()
    with PostgresJournal(server.url, epoch=epoch) as journal:
        assert journal.append(journal.head, 1, [BEGUN]).seq == 1
        Lease(server.url, "one", "").take()
        with pytest.raises(StaleHead, match="another writer took over"):
            journal.append(journal.head, 2, [BEGUN])
    with PostgresJournal(server.url, epoch=2) as journal:
        assert journal.head.seq == 1


def test_where_control_planes_take_turns_nobody_writes_without_doing_so(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(JournalUnusable, match=r"take turns on .*: start this one with --standby"):
        PostgresJournal(server.url)
    place.settle(tmp_path / "journal.db", server.url)
    assert verify(tmp_path / "journal.db").ok  # the lease is no part of the journal


def test_members_are_known_by_their_last_sign_of_life(server: Server) -> None:
    one = Lease(server.url, "one", "http://one")
    Lease(server.url, "one as it was before its restart", "http://one").tell(3, "")
    one.tell(7, "")
    one.tell(8, "its clock is wrong")
    (member,) = one.members()
    assert (member.member, member.address, member.folded, member.note) == (
        "one",
        "http://one",
        8,
        "its clock is wrong",
    )
    assert 0 <= member.silent_us < 60_000_000


def test_a_lease_is_looked_at_again_once_its_server_is_back(server: Server) -> None:
    lease = Lease(server.url, "one", "")
    lease.take()
    server.kill()
    for _ in range(2):
        with pytest.raises(JournalAway):
            lease.look()
    server.start()
    assert lease.look().holder == "one"


# ── who would lead ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def candidate(server: Server, tmp_path: Path) -> leading.Candidate:
    settings = Settings(data=tmp_path, standby=True, member="me", address="http://me")
    place.settle(settings.journal, server.url)
    return leading.Candidate(settings)


def test_a_candidate_folds_on_while_another_leads_and_takes_what_is_free(
    candidate: leading.Candidate, server: Server
) -> None:
    other = Lease(server.url, "other", "")
    epoch = other.take()
    assert not candidate.step()
    with PostgresJournal(server.url, epoch=epoch) as journal:
        journal.append(journal.head, 1, [BEGUN])
    assert not candidate.step()
    assert candidate._folded == 1
    expire(server)
    assert candidate.step()


def test_who_could_not_renew_because_the_server_was_away_is_given_time(
    candidate: leading.Candidate, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Lease(server.url, "other", "")
    other.take()
    assert not candidate.step()
    server.kill()
    assert not candidate.step()
    server.start()
    expire(server)
    assert not candidate.step()  # it has expired, and might yet be renewed
    assert Lease(server.url, "other", "").renew(1)
    expire(server)
    now = time.monotonic
    monkeypatch.setattr(leading.time, "monotonic", lambda: now() + 3 * LEASE_S)
    assert candidate.step()


@pytest.mark.parametrize(
    ("wrong_s", "why"),
    [(-3600, r"clock is 3\d\d\d s behind the journal's last entry"), (3600, r"are 3\d\d\d s apart")],
)
def test_a_machine_whose_clock_is_wrong_does_not_take_over(
    candidate: leading.Candidate,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wrong_s: int,
    why: str,
) -> None:
    other = Lease(server.url, "other", "")
    with PostgresJournal(server.url, epoch=other.take()) as journal:
        journal.append(journal.head, time.time_ns() // 1000, [BEGUN])
    other.release(1)
    now_ns = time.time_ns()
    monkeypatch.setattr(leading.time, "time_ns", lambda: now_ns + wrong_s * 10**9)
    assert not candidate.step()
    assert caplog.records[-1].levelname == "CRITICAL"
    candidate.step()
    (member,) = other.members()
    assert re.search(why, member.note), member.note
    monkeypatch.undo()
    assert candidate.step()


# ── a deadline that the kernel keeps ──────────────────────────────────────────────────────────────────────────────────
WORK = """
import sys, time
from leitstand.runtime.deadline import Deadline, now_s
deadline = Deadline()
deadline.put(now_s() + float(sys.argv[1]))
print("set", flush=True)
if sys.argv[2] == "cleared":
    deadline.clear()
for _ in range(int(sys.argv[3])):
    time.sleep(0.02)
    print("did something", flush=True)
"""


def work(lives_s: float, cleared: str = "", turns: int = 3000) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-c", WORK, str(lives_s), cleared, str(turns)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=0)
    assert said(process).startswith(b"set")
    return process


def said(process: "subprocess.Popen[bytes]") -> bytes:
    """What it printed since this was asked last."""
    assert process.stdout is not None
    return os.read(process.stdout.fileno(), 1 << 16)


def test_a_process_ends_at_its_deadline_unless_that_was_cleared() -> None:
    assert work(0.3).wait(30) == -signal.SIGALRM
    assert work(0.3, "cleared", 25).wait(30) == 0


def test_a_process_that_was_stopped_past_its_deadline_does_nothing_more() -> None:
    process = work(0.5)
    assert said(process)  # it works
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.7)
    assert process.poll() is None
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    before = process.stdout.read()  # until it was stopped
    process.send_signal(signal.SIGCONT)
    assert process.wait(30) == -signal.SIGALRM
    assert process.stdout.read() == b"", before
