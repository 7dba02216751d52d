# SPDX-License-Identifier: Apache-2.0
"""The journal in a real PostgreSQL: what the conformance suite cannot ask of every journal. Servers and writers are
killed, readers go on, and what is not a journal is refused by name."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from leitstand.core.facts import NodeRemoved
from leitstand.journal import place
from leitstand.journal.backup import backup
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.postgres import PostgresJournal, PostgresReader
from leitstand.journal.sqlite import SqliteReader
from leitstand.journal.verify import verify
from tests.conformance.engine_cases import eventually
from tests.plane import Plane
from tests.postgres import Server

pytestmark = pytest.mark.system

GONE = NodeRemoved(node="n-1")
WRITE_AND_SAY = """
import sys
from leitstand.core.facts import NodeRemoved
from leitstand.journal.postgres import PostgresJournal
journal = PostgresJournal(sys.argv[1])
for number in range(1, 1_000_000):
    head = journal.append(journal.head, number, [NodeRemoved(node="a"), NodeRemoved(node="b"), NodeRemoved(node="c")])
    print(head.seq, head.hash.hex(), flush=True)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture
def server(running: Server) -> Server:
    """It runs, without a journal."""
    if running.process is None:
        running.start()
    running.empty()
    return running


def writing(server: Server, acknowledged: int) -> tuple["subprocess.Popen[str]", list[list[str]]]:
    """A process that appends and says so, after so many appends."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_SAY, server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert writer.stdout is not None
    return writer, [writer.stdout.readline().split() for _ in range(acknowledged)]


def rest(writer: "subprocess.Popen[str]") -> list[list[str]]:
    """What it still said before it ended."""
    assert writer.stdout is not None
    said = [line.split() for line in writer.stdout.read().splitlines() if line.count(" ") == 1]
    writer.wait()
    return said


def holds(server: Server, said: list[list[str]]) -> None:
    """Every append that was acknowledged is there and whole, and it goes on from there."""
    with PostgresJournal(server.url) as journal:
        rows = {seq: hash_.hex() for seq, _, _, hash_ in journal.rows(0)}
        assert all(rows[int(seq)] == hash_ for seq, hash_ in said if len(hash_) == 64)
        assert journal.head.seq == len(rows)
        assert len(rows) % 3 == 0
        assert journal.append(journal.head, 10**9, [GONE]).seq == len(rows) + 1


# ── what is killed ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("acknowledged", [1, 40])
def test_after_kill_9_of_the_writer_every_acknowledged_append_is_there_and_whole(
    server: Server, acknowledged: int
) -> None:
    writer, said = writing(server, acknowledged)
    os.kill(writer.pid, signal.SIGKILL)
    holds(server, said + rest(writer))


@pytest.mark.parametrize("acknowledged", [1, 40])
def test_after_kill_9_of_the_server_every_acknowledged_append_is_there_and_the_writer_has_ended(
    server: Server, acknowledged: int
) -> None:
    writer, said = writing(server, acknowledged)
    server.kill()
    said += rest(writer)
    assert writer.returncode != 0
    server.start()
    holds(server, said)


def test_a_reader_says_that_the_server_is_away_and_goes_on_when_it_is_back(server: Server) -> None:
    with PostgresJournal(server.url) as journal:
        head = journal.append(journal.head, 1, [GONE])
    with PostgresReader(server.url) as reader:
        assert reader.head == head
        server.kill()
        with pytest.raises(ConnectionError, match=r"does not answer|no PostgreSQL server answers"):
            list(reader.read(0))
        with pytest.raises(ConnectionError, match="no PostgreSQL server answers"):
            list(reader.read(0))
        server.start()
        assert [entry.fact for entry in reader.read(0)] == [GONE]


def test_an_append_waits_for_the_heads_row_for_five_seconds_and_then_nothing_is_written(
    server: Server,
) -> None:
    with PostgresJournal(server.url) as journal, psycopg.connect(server.url) as other:
        other.execute("SELECT * FROM leitstand.head FOR UPDATE")
        with pytest.raises(TimeoutError, match="locked by another session for 5 s"):
            journal.append(journal.head, 1, [GONE])
        other.rollback()
        assert journal.append(journal.head, 2, [GONE]).seq == 1


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_no_journal_is_refused_by_name_and_without_its_password(server: Server) -> None:
    with pytest.raises(JournalUnusable, match="there is no journal at postgresql://leitstand@127"):
        PostgresReader(server.url)
    secret = server.url.replace("leitstand@", "leitstand:hidden@")
    with pytest.raises(JournalUnusable, match="nowhere") as refused:
        PostgresJournal(secret.replace("/postgres", "/nowhere"))
    assert "hidden" not in str(refused.value)
    with pytest.raises(JournalUnusable, match="no PostgreSQL URL"):
        PostgresReader("postgresql://127.0.0.1/postgres?colour=red")
    with pytest.raises(ConnectionError, match="no PostgreSQL server answers"):
        PostgresReader("postgresql://leitstand@127.0.0.1:1/postgres")


def test_a_journal_of_another_format_or_of_another_id_is_refused(server: Server) -> None:
    PostgresJournal(server.url, journal_id="one").close()
    with pytest.raises(JournalUnusable, match="is the journal 'one', not 'two'"):
        PostgresJournal(server.url, journal_id="two")
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute("UPDATE leitstand.meta SET value = '2' WHERE key = 'format'")
    with pytest.raises(JournalUnusable, match="format '2', this code knows 1"):
        PostgresReader(server.url)


def test_a_reader_cannot_write(server: Server) -> None:
    PostgresJournal(server.url).close()
    with PostgresReader(server.url) as reader, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        reader._db.execute("DELETE FROM leitstand.head")


# ── verified and copied like every journal ────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def folder(server: Server, tmp_path: Path) -> Path:
    """A data folder whose journal is in the database, with ten entries."""
    path = tmp_path / "journal.db"
    place.settle(path, server.url)
    with place.open_writer(path) as journal:
        for number in range(10):
            journal.append(journal.head, number, [GONE])
    return path


def test_a_folder_names_its_database_to_its_owner_alone_and_has_one_journal(
    folder: Path, server: Server
) -> None:
    assert (folder.parent / "journal.url").stat().st_mode & 0o777 == 0o600
    place.settle(folder, server.url)
    with pytest.raises(JournalUnusable, match="name another --data"):
        place.settle(folder, "postgresql://leitstand@127.0.0.1:1/other")
    folder.touch()
    with pytest.raises(JournalUnusable, match="two journals"):
        place.open_reader(folder)


def test_a_backup_is_a_journal_in_one_file_with_the_same_chain(folder: Path, tmp_path: Path) -> None:
    report = backup(folder, tmp_path / "copy.db")
    assert report.ok
    assert report.seq == 10
    with SqliteReader(tmp_path / "copy.db") as copy, place.open_reader(folder) as original:
        assert list(copy.rows(0)) == list(original.rows(0))
        assert copy.head == original.head


@pytest.mark.parametrize(
    ("done", "found"),
    [
        ("DELETE FROM leitstand.facts WHERE seq = 4", (4, "dropped")),
        ("UPDATE leitstand.facts SET at = at + 1 WHERE seq = 4", (4, "hash mismatch")),
        ("UPDATE leitstand.facts SET body = '{}' WHERE seq = 4", (4, "hash mismatch")),
        ("DELETE FROM leitstand.facts WHERE seq = 10", (10, "dropped")),
        ("UPDATE leitstand.head SET seq = 9", (10, "head row")),
        ("ALTER TABLE leitstand.facts ADD COLUMN note text", (10, "schema")),
        ("CREATE VIEW leitstand.other AS SELECT * FROM leitstand.facts", (10, "schema")),
        (
            "CREATE RULE quiet AS ON INSERT TO leitstand.facts DO INSTEAD NOTHING",
            (10, "schema"),
        ),
    ],
)
def test_verify_names_what_somebody_did_to_the_tables(
    folder: Path, server: Server, done: str, found: tuple[int, str]
) -> None:
    assert verify(folder).ok
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute(done.encode())
    report = verify(folder)
    assert report.bad is not None
    assert (report.bad.seq, report.bad.what) == found


# ── a control plane on it ─────────────────────────────────────────────────────────────────────────────────────────────
def test_a_control_plane_loses_nothing_while_its_server_is_killed(server: Server, tmp_path: Path) -> None:
    plane = Plane(tmp_path / "data")
    plane.command += ("--journal", server.url)
    with plane:
        assert plane.cli("run", "--", "echo before").returncode == 0
        (ran,) = plane.json("jobs")
        assert plane.cli("submit", "--gpus", "1", "--", "sleep 5").returncode == 0
        server.kill()
        eventually(lambda: not plane.healthy(), "the writer has noticed")
        assert [job["state"] for job in plane.json("jobs") if job["id"] == ran["id"]] == ["succeeded"]
        refused, _ = plane.http("POST", "/v1/jobs", {"name": "refused", "run": ["true"]})
        assert refused == 503
        server.start()
        eventually(plane.healthy, "the writer is back")
        assert plane.cli("run", "--", "echo after").returncode == 0
        eventually(
            lambda: {job["state"] for job in plane.json("jobs")} == {"succeeded"}, "all three have succeeded"
        )
        assert len(plane.json("jobs")) == 3
    assert not (plane.data / "journal.db").exists()
    verified = plane.cli("journal", "verify", "--data", str(plane.data), "--json")
    assert verified.returncode == 0, verified.stderr


def test_a_second_control_plane_on_the_same_journal_fences_the_first(server: Server, tmp_path: Path) -> None:
    first, second = Plane(tmp_path / "first"), Plane(tmp_path / "second")
    for plane in (first, second):
        plane.command += ("--journal", server.url)
    with first:
        assert first.cli("run", "--", "true").returncode == 0
        with second:
            assert second.cli("run", "--", "true").returncode == 0
            first.cli("submit", "--", "true")
            assert first.process is not None
            assert first.process.wait(60) != 0
            assert "another writer took over" in first.output.read_text()
            assert second.cli("run", "--", "true").returncode == 0
            assert second.cli("journal", "verify", "--data", str(second.data)).returncode == 0
