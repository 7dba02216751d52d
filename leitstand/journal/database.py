# SPDX-License-Identifier: Apache-2.0
"""The SQLite file of a journal: opening, creating and recognising it. Called by `leitstand.journal.sqlite` alone.

One file holds the journal and nothing else: `facts` (the entries), `head` (one row: the end of the chain) and `meta`
(format, journal id, when it was created). The header's application id tells a journal from any other database.
"""

import errno
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from leitstand.journal import chain
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.pages import FORMAT, check_head, checked_id
from leitstand.runtime.disk import make_private
from leitstand.runtime.ports import Head

APPLICATION_ID: Final = 0x4C535444  # "LSTD" in the file's header
BUSY_S: Final = 5.0  # how long to wait for a lock that another process holds
WAL_BYTES_MAX: Final = 64 * 1024 * 1024  # the write-ahead log is cut back to this after a checkpoint

# What passes: locks of another process, too many open files, no memory, a disk that is full or fails just now.
_PASSING: Final = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_INTERRUPT,
)  # fmt: skip

SCHEMA: Final = """
CREATE TABLE facts (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, at INTEGER NOT NULL,
                   hash BLOB NOT NULL) STRICT;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


def open_writable(path: Path, *, synced: bool = True) -> sqlite3.Connection:
    """A connection that writes durably, to a new file if there is none; JournalUnusable if that cannot be."""
    try:
        # private from the first moment; SQLite gives its -wal and -shm the same mode
        make_private(path)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except OSError as error:
        raise JournalUnusable(
            f"cannot write the journal {path}: {error.strerror}; name a data folder that exists and is writable"
        ) from error
    db = connect(path, "rw")
    try:
        with naming(path):
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise JournalUnusable(
                    f"the file system of {path} has no shared memory for SQLite's WAL (mode {mode!r}): use a local disk"
                )
            db.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
    except BaseException:
        db.close()
        raise
    return db


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, also beside a writer or where one may only read; errors as `naming`."""
    if not path.is_file():
        raise JournalUnusable(f"there is no journal at {path}; name the data folder of a control plane")
    db = connect(path, "ro")
    try:
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError as error:
        db.close()
        writable = os.access(path.parent, os.W_OK)
        if passes(error) and writable:
            raise
        log = path.with_name(path.name + "-wal")
        unopened = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if unopened and not writable and not (log.exists() and log.stat().st_size):
            # A folder that we may not write, and no log: all there is stands in the file, and no writer is alive.
            return connect(path, "ro&immutable=1")
        raise JournalUnusable(
            f"cannot read the journal {path}: {error}; reading beside its log needs write access to the folder"
        ) from error
    except (sqlite3.Error, UnicodeDecodeError):
        pass  # damage is named by the first query
    return db


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A bare connection; `mode` as in SQLite's URIs, may carry more parameters. Errors as `naming`."""
    try:
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=BUSY_S,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        if passes(error) and os.access(path, os.R_OK | (os.W_OK if mode == "rw" else 0)):
            raise
        raise JournalUnusable(f"cannot open the journal {path}: {error}; check its permissions") from error
    # a damaged or foreign file must not be able to do more than be refused
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    return db


def create_if_empty(db: sqlite3.Connection, path: Path, journal_id: str | None) -> None:
    """Makes an empty database a journal, in one transaction; `journal_id` None: a random one."""
    with naming(path):
        if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return
        journal_id = journal_id or secrets.token_hex(16)
        head = chain.genesis(journal_id)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        db.execute("BEGIN IMMEDIATE")
        if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[
            0
        ]:  # else: made by another just now
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("INSERT INTO head VALUES (1, ?, ?, ?)", (head.seq, head.at, head.hash))
            meta = {"format": str(FORMAT), "journal": journal_id, "created": created}
            db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        db.execute("COMMIT")


def identify(db: sqlite3.Connection, path: Path) -> str:
    """The journal's id; JournalUnusable for what is no journal or has another format."""
    with naming(path):
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise JournalUnusable(
                f"{path} is a SQLite database, but not a journal of Leitstand; name another folder"
            )
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
    return checked_id(meta, path)


def foreign_parts(db: sqlite3.Connection) -> str:
    """Which parts of the database are not those of SCHEMA, by what SQLite keeps of their definitions; '' if none."""
    query = "SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema"
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(SCHEMA)
        ours = set(fresh.execute(query))
    found = set(db.execute(query))
    wrong = sorted({name for name, _ in found ^ ours})
    return f"these parts of the database are not those of a journal: {', '.join(wrong)}" if wrong else ""


def checked_head(db: sqlite3.Connection, path: Path, journal_id: str) -> Head:
    """The head; JournalUnusable if it is not the last entry."""
    with naming(path):
        head = stored_head(db, path)
        row = db.execute("SELECT seq, at, hash FROM facts ORDER BY seq DESC LIMIT 1").fetchone()
    check_head(head, Head(*row) if row else chain.genesis(journal_id), path)
    return head


def stored_head(db: sqlite3.Connection, path: Path) -> Head:
    """What the head row says; JournalUnusable if that is no head."""
    row = db.execute("SELECT seq, at, hash FROM head").fetchone()
    if row is None or [type(value) for value in row] != [int, int, bytes]:
        raise JournalUnusable(f"{path} has no head row that can be read; run `leitstand journal verify`")
    return Head(*row)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into JournalUnusable with the path; those that pass stay as they are."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # damage can stand in SQLite's own messages
        if passes(error):
            raise
        raise JournalUnusable(f"cannot read the journal {path}: {error}") from error


def passes(error: Exception) -> bool:
    """Whether another try, later, may well succeed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING
