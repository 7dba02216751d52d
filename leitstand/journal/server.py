# SPDX-License-Identifier: Apache-2.0
"""The tables of a journal in a PostgreSQL database: connecting, creating and recognising them. Called by
`leitstand.journal.postgres` alone.

One schema, `leitstand`, holds the journal and nothing else: `facts` (the entries), `head` (one row: the end of the
chain) and `meta` (format, journal id, when it was created).
"""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from errno import ENOSPC
from pathlib import Path
from typing import Final

import psycopg
from psycopg import errors

from leitstand.core.units import INT64_MAX
from leitstand.journal import chain, database
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.pages import FORMAT, check_head, checked_id
from leitstand.runtime import postgres
from leitstand.runtime.disk import is_full
from leitstand.runtime.ports import Head, JournalAway
from leitstand.runtime.postgres import Connection, first_line

LOCK_S: Final = 5  # how long to wait for the head's row if another session holds it
SCHEMA: Final = """
CREATE SCHEMA IF NOT EXISTS leitstand;
CREATE TABLE leitstand.facts (seq bigint PRIMARY KEY, at bigint NOT NULL, body bytea NOT NULL, hash bytea NOT NULL);
CREATE TABLE leitstand.head (one integer PRIMARY KEY CHECK (one = 1), seq bigint NOT NULL, at bigint NOT NULL,
                             hash bytea NOT NULL);
CREATE TABLE leitstand.meta (key text PRIMARY KEY, value text NOT NULL);
ALTER TABLE leitstand.facts ALTER COLUMN body SET STORAGE EXTERNAL
"""
_COLUMNS: Final = {
    "facts": "seq at body hash", "head": "one seq at hash", "meta": "key value",
}  # fmt: skip
_MAKING: Final = 0x4C535444  # the advisory lock under which a journal is made


def shown(url: str) -> str:
    """The URL for people: without its password. JournalUnusable if it is none."""
    try:
        return postgres.shown(url)
    except postgres.NoUrl as error:
        raise JournalUnusable(str(error)) from error


def connect(url: str, *, writes: bool = False, synced: bool = True) -> Connection:
    """A connection in which every statement is a transaction of its own; what it `writes` is durable on return if it is
    `synced`.

    JournalAway if no server answers, JournalUnusable if it lets us not in."""
    durable = f"-c synchronous_commit={'on' if synced else 'off'} -c lock_timeout={LOCK_S}s"
    settings = durable if writes else "-c default_transaction_read_only=on"
    try:
        return postgres.connect(url, "writer" if writes else "reader", settings)
    except postgres.NoUrl as error:
        raise JournalUnusable(str(error)) from error
    except postgres.ServerRefuses as error:
        raise JournalUnusable(f"cannot open the journal {error}") from error
    except postgres.ServerAway as error:
        raise JournalAway(str(error)) from error


def create_if_empty(db: Connection, name: str, journal_id: str | None) -> None:
    """Makes an empty database a journal, in one transaction; `journal_id` None: a random one."""
    journal_id = journal_id or secrets.token_hex(16)
    head = chain.genesis(journal_id)
    with naming(name), db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
        if db.execute("SELECT to_regclass('leitstand.head')").fetchone() != (None,):
            return
        db.execute(SCHEMA)
        db.execute("INSERT INTO leitstand.head VALUES (1, %s, %s, %s)", (head.seq, head.at, head.hash))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        for key, value in (("format", str(FORMAT)), ("journal", journal_id), ("created", created)):
            db.execute("INSERT INTO leitstand.meta VALUES (%s, %s)", (key, value))


def identify(db: Connection, name: str) -> str:
    """The journal's id; JournalUnusable for what is no journal or has another format."""
    with naming(name):
        if db.execute("SELECT to_regclass('leitstand.meta')").fetchone() == (None,):
            raise JournalUnusable(f"there is no journal at {name}; name the database of a control plane")
        meta = dict(db.execute("SELECT key, value FROM leitstand.meta").fetchall())
    return checked_id(meta, name)


def foreign_parts(db: Connection) -> str:
    """Which tables, columns, triggers and views of the schema are not those of a journal; '' if none."""
    query = """
    SELECT c.relname, c.relkind::text,
           (SELECT string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
           EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
           OR EXISTS (SELECT 1 FROM pg_rewrite r WHERE r.ev_class = c.oid)
      FROM pg_class c WHERE c.relnamespace = 'leitstand'::regnamespace AND c.relkind <> 'i'
    """
    found = {name: (kind, columns, changed) for name, kind, columns, changed in db.execute(query).fetchall()}
    ours = {name: ("r", columns, False) for name, columns in _COLUMNS.items()}
    wrong = sorted(name for name in {*found, *ours} if found.get(name) != ours.get(name))
    return f"these parts of the database are not those of a journal: {', '.join(wrong)}" if wrong else ""


def checked_head(db: Connection, name: str, journal_id: str) -> Head:
    """The head; JournalUnusable if it is not the last entry."""
    with naming(name):
        head = stored_head(db, name)
        row = db.execute("SELECT seq, at, hash FROM leitstand.facts ORDER BY seq DESC LIMIT 1").fetchone()
    check_head(head, Head(*row) if row else chain.genesis(journal_id), name)
    return head


def stored_head(db: Connection, name: str) -> Head:
    """What the head row says; JournalUnusable if that is no head."""
    row = db.execute("SELECT seq, at, hash FROM leitstand.head").fetchone()
    if row is None or not -INT64_MAX <= row[0] <= INT64_MAX:
        raise JournalUnusable(f"{name} has no head row; run `leitstand journal verify`")
    return Head(*row)


def write_file(target: Path, journal_id: str, rows: Iterable[tuple[int, int, bytes, bytes]]) -> None:
    """Writes stored rows into the empty file `target` as a SQLite journal of that id, one file without a log; OSError
    if there is no room."""
    with closing(database.connect(target, "rw")) as db:
        try:
            database.create_if_empty(db, target, journal_id)
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO facts (seq, at, body, hash) VALUES (?, ?, ?, ?)", rows)
            db.execute(
                "UPDATE head SET (seq, at, hash) = (SELECT seq, at, hash FROM facts ORDER BY seq DESC LIMIT 1)"
                " WHERE EXISTS (SELECT 1 FROM facts)"
            )
            db.execute("COMMIT")
        except Exception as error:
            if is_full(error):
                raise OSError(ENOSPC, "no room for the copy", str(target)) from error
            raise


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Turns errors of the server into JournalUnusable with the name; those that pass are JournalAway, and those
    that a writer tells apart stay as they are."""
    try:
        yield
    except (errors.LockNotAvailable, errors.InsufficientResources):
        raise
    except errors.ReadOnlySqlTransaction as error:  # a copy that may become the server
        raise JournalAway(f"the server of {name} takes no writes now") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise JournalAway(f"the server of {name} does not answer: {first_line(error)}") from error
    except psycopg.Error as error:
        raise JournalUnusable(f"cannot read the journal {name}: {first_line(error)}") from error
