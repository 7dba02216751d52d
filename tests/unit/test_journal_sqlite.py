# SPDX-License-Identifier: Apache-2.0
"""The SQLite journal's own promises: clear refusals at opening, known outcomes of failed appends, readers beside it."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from leitstand.core.facts import NodeRemoved
from leitstand.journal import database
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.database import naming
from leitstand.journal.sqlite import SqliteJournal, SqliteReader
from leitstand.runtime.ports import JournalFull
from tests.unit.faults import no_more_files, sqlite_error

FACT = NodeRemoved("n-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def made(path: Path, entries: int = 3) -> None:
    journal = SqliteJournal(path)
    journal.append(journal.head, 1, [FACT] * entries)
    journal.close()


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


# ── opening ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_new_journal_is_private_and_has_an_id_of_its_own(path: Path, tmp_path: Path) -> None:
    one, two = SqliteJournal(path), SqliteJournal(tmp_path / "other.db")
    assert path.stat().st_mode & 0o777 == 0o600
    assert one.journal_id != two.journal_id
    assert one.head.hash != two.head.hash
    one.close()
    two.close()


def test_commits_are_synchronous_to_the_disk(path: Path) -> None:
    journal = SqliteJournal(path)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    journal.close()


def test_an_empty_file_left_by_a_crash_becomes_a_journal(path: Path) -> None:
    path.touch()
    made(path)
    assert SqliteReader(path).head.seq == 3


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalUnusable, match=r"cannot write the journal .*none/journal\.db: No such file"):
        SqliteJournal(tmp_path / "none" / "journal.db")
    (tmp_path / "folder").mkdir()
    with pytest.raises(JournalUnusable, match=r"cannot write the journal .*: Is a directory"):
        SqliteJournal(tmp_path / "folder")


@pytest.mark.parametrize("content", [b"hello", b"x" * 10_000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for opener in (SqliteJournal, SqliteReader):
        with pytest.raises(JournalUnusable, match="cannot read the journal"):
            opener(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    change(path, "CREATE TABLE theirs (x)")
    for opener in (SqliteJournal, SqliteReader):
        with pytest.raises(JournalUnusable, match="not a journal of Leitstand"):
            opener(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


def test_a_newer_format_is_refused(path: Path) -> None:
    made(path)
    change(path, "UPDATE meta SET value = '2' WHERE key = 'format'")
    for opener in (SqliteJournal, SqliteReader):
        with pytest.raises(JournalUnusable, match="format '2', this code knows 1: use a newer leitstand"):
            opener(path)


def test_another_journal_than_the_one_asked_for_is_refused(path: Path) -> None:
    SqliteJournal(path, journal_id="one").close()
    with pytest.raises(JournalUnusable, match="is the journal 'one', not 'two'"):
        SqliteJournal(path, journal_id="two")


@pytest.mark.parametrize("journal_id", ["", "a b", "x" * 65, "ü", "a\n"])
def test_an_id_that_is_none_is_refused(path: Path, journal_id: str) -> None:
    from leitstand.journal.memory import MemoryJournal

    with pytest.raises(ValueError, match="journal id"):
        MemoryJournal(journal_id)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM facts WHERE seq = 3",
        "UPDATE head SET seq = 2",
        "UPDATE head SET hash = zeroblob(32)",
        "DELETE FROM head",
        "DELETE FROM facts",
        "INSERT INTO facts VALUES (4, 1, x'', x'')",
    ],
)
def test_a_writer_refuses_a_journal_whose_head_is_not_its_last_entry(path: Path, damage: str) -> None:
    made(path)
    change(path, damage)
    with pytest.raises(JournalUnusable, match="journal verify"):
        SqliteJournal(path)


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_reader_sees_each_commit_and_nothing_before_it(path: Path) -> None:
    journal = SqliteJournal(path)
    reader = SqliteJournal.follow(path)
    for number in range(1, 5):
        head = journal.append(journal.head, number, [FACT])
        assert reader.head == head == reader.head_at(number)
        assert [entry.seq for entry in reader.read(number - 1)] == [number]
    reader.close()
    journal.close()


def test_large_commits_are_seen_only_when_committed(path: Path) -> None:
    journal = SqliteJournal(path, commit_every=4)
    reader = SqliteReader(path)
    for seen in (0, 0, 0, 4, 4):
        journal.append(journal.head, 1, [FACT])
        assert reader.head.seq == seen
    assert journal.head.seq == 5
    assert len(list(journal.read(0))) == 5  # reading commits
    assert reader.head.seq == 5
    reader.close()
    journal.close()


def test_a_reader_goes_on_when_the_writer_has_left(path: Path) -> None:
    journal = SqliteJournal(path)
    reader = SqliteReader(path)
    journal.append(journal.head, 1, [FACT])
    journal.close()
    assert reader.head.seq == 1
    again = SqliteJournal(path)
    again.append(again.head, 2, [FACT])
    assert [entry.seq for entry in reader.read(0)] == [1, 2]
    again.close()
    reader.close()


def test_a_reader_cannot_write(path: Path) -> None:
    made(path)
    with SqliteReader(path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._db.execute("DELETE FROM facts")


def test_a_slow_reader_does_not_hold_up_the_log(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.append(journal.head, 1, [FACT] * 5000)
    reader = SqliteReader(path)
    entries = reader.read(0)
    next(entries)
    assert journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    assert sum(1 for _ in entries) == 4999
    reader.close()
    journal.close()


def test_a_missing_entry_is_named_and_never_skipped(path: Path) -> None:
    made(path, 10)
    change(path, "DELETE FROM facts WHERE seq = 6")
    with SqliteReader(path) as reader, pytest.raises(JournalUnusable, match="entry 6 is missing"):
        list(reader.read(2))


# ── appends that fail ─────────────────────────────────────────────────────────────────────────────────────────────
def test_a_full_disk_appends_nothing_and_the_journal_goes_on_when_there_is_room(path: Path) -> None:
    journal = SqliteJournal(path)
    head = journal.append(journal.head, 1, [FACT])
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(
        f"PRAGMA max_page_count = {pages}"
    )  # SQLite then reports SQLITE_FULL, as for a full disk
    with pytest.raises(JournalFull, match=r"no room for .*journal\.db"):
        journal.append(head, 2, [NodeRemoved("x" * 10_000)] * 3)
    assert journal.head == head
    assert len(list(journal.read(0))) == 1
    journal._db.execute("PRAGMA max_page_count = 1000000")
    assert journal.append(head, 3, [FACT]).seq == 2
    journal.close()


def test_with_large_commits_a_full_disk_puts_the_head_back_to_what_is_durable(path: Path) -> None:
    journal = SqliteJournal(path, commit_every=3)
    durable = journal.append(journal.head, 1, [FACT] * 3)
    journal._db.execute(f"PRAGMA max_page_count = {journal._db.execute('PRAGMA page_count').fetchone()[0]}")
    head = journal.append(durable, 2, [NodeRemoved("x" * 60_000)])
    with pytest.raises(JournalFull):
        journal.append(head, 2, [FACT] * 2)
    assert journal.head == durable
    journal.close()
    assert SqliteReader(path).head == durable


def test_another_process_that_holds_the_lock_is_a_known_outcome(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.01)
    journal = SqliteJournal(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TimeoutError, match="locked by another process"):
            journal.append(journal.head, 1, [FACT])
        other.execute("ROLLBACK")
    assert journal.append(journal.head, 1, [FACT]).seq == 1
    journal.close()


class BrokenAtCommit:
    """A connection on which COMMIT fails as on a dying disk: nobody knows whether it happened."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
        if sql == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return self._db.execute(sql, *arguments)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)


def test_an_unknown_outcome_is_not_called_a_full_disk(path: Path) -> None:
    journal = SqliteJournal(path)
    journal._db = BrokenAtCommit(journal._db)  # type: ignore[assignment]
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        journal.append(journal.head, 1, [FACT])
    journal.close()


FILL = """
import resource, sys
from pathlib import Path
from leitstand.core.facts import NodeRemoved
from leitstand.journal.sqlite import SqliteJournal
from leitstand.runtime.ports import JournalFull
journal = SqliteJournal(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
at = 0
try:
    while True:
        at += 1
        journal.append(journal.head, at, [NodeRemoved("x" * 20_000)] * 3)
except JournalFull as error:
    print(journal.head.seq, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(journal.append(journal.head, at, [NodeRemoved("n")]).seq)
"""


@pytest.mark.system
def test_where_the_system_writes_no_more_the_outcome_is_known_and_room_heals_it(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    full, healed = done.stdout.splitlines()
    seq = int(full.split()[0])
    assert seq > 0
    assert seq % 3 == 0
    assert "no room for" in full
    assert int(healed) == seq + 1
    journal = SqliteJournal(path)
    assert journal.head.seq == seq + 1
    journal.close()


# ── what passes and what stays ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("code", "passing"),
    [
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_BUSY_RECOVERY, True),
        (sqlite3.SQLITE_IOERR_READ, True),
        (sqlite3.SQLITE_CANTOPEN, True),
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_NOMEM, True),
        (sqlite3.SQLITE_CORRUPT, False),
        (sqlite3.SQLITE_NOTADB, False),
        (sqlite3.SQLITE_READONLY, False),
    ],
)
def test_only_what_will_not_pass_makes_a_journal_unusable(tmp_path: Path, code: int, passing: bool) -> None:
    with (
        pytest.raises(sqlite3.OperationalError if passing else JournalUnusable, match="as SQLite says it"),
        naming(tmp_path),
    ):
        raise sqlite_error(code)


def test_a_journal_that_cannot_be_opened_just_now_is_not_unusable(path: Path) -> None:
    SqliteJournal(path).close()
    with no_more_files(), pytest.raises(sqlite3.OperationalError, match="unable to open"):
        SqliteReader(path)
    SqliteReader(path).close()
