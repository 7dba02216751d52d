# SPDX-License-Identifier: Apache-2.0
"""The journal in a PostgreSQL database: `PostgresJournal` is the one writer, `PostgresReader` reads beside it.

Called where a control plane is started with `--journal postgresql://…`, by its followers and by the command line. The
entries, their bytes and their hashes are those of the SQLite journal; PostgreSQL is a journal here and nothing else.

A stale writer is fenced by the database: an append is one statement, which moves the one row of `head` on from the head
that the writer knows and inserts the entries only if it did. It is one transaction and one round trip, durable on
return (`synchronous_commit` is on in every connection of a writer).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from psycopg import errors

from leitstand.core.facts import Fact
from leitstand.journal import chain
from leitstand.journal.codec import DEFAULT, Codec, JournalUnusable
from leitstand.journal.lease import is_made
from leitstand.journal.pages import paged
from leitstand.journal.pending import Pending
from leitstand.journal.server import (
    LOCK_S,
    checked_head,
    connect,
    create_if_empty,
    foreign_parts,
    identify,
    naming,
    shown,
    stored_head,
    write_file,
)
from leitstand.runtime.ports import Entry, Head, JournalFull, StaleHead
from leitstand.runtime.postgres import Connection, first_line

_APPEND: Final = """
WITH fence AS (UPDATE leitstand.head SET seq = %s, at = %s, hash = %s WHERE seq = %s AND hash = %s RETURNING one)
INSERT INTO leitstand.facts (seq, at, body, hash)
SELECT row.* FROM fence, unnest(%s::bigint[], %s::bigint[], %s::bytea[], %s::bytea[]) AS row
"""
# the same, only while this epoch's leader leads (`leitstand.journal.lease`)
_APPEND_LED: Final = _APPEND.replace(
    " RETURNING one", " AND EXISTS (SELECT FROM leitstand_lease.lease WHERE epoch = %s) RETURNING one"
)
_ENTRIES: Final = "SELECT seq, at, body FROM leitstand.facts WHERE seq > %s ORDER BY seq LIMIT %s"
_ROWS: Final = "SELECT seq, at, body, hash FROM leitstand.facts WHERE seq > %s ORDER BY seq LIMIT %s"
_HEAD_AT: Final = "SELECT seq, at, hash FROM leitstand.facts WHERE seq = %s"


class PostgresReader:
    """Reads a journal that another process may be writing. One thread at a time. A connection that is lost is made
    again by the next reading; JournalAway while the server cannot be reached."""

    def __init__(self, url: str, codec: Codec = DEFAULT) -> None:
        """`url`: as libpq takes it. JournalUnusable if there is no journal that this code can read, JournalAway if
        there is no server that answers."""
        self.path = shown(url)
        self._url = url
        self._codec = codec
        self._db = connect(url)
        try:
            self.journal_id = identify(self._db, self.path)
        except BaseException:
            self._db.close()
            raise

    @property
    def head(self) -> Head:
        """The head as it is committed now."""
        with naming(self.path):
            return stored_head(self._open(), self.path)

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]:
        """Entries with seq > `after`, at most `limit`; JournalUnusable for one that is missing or undecodable."""
        return self._codec.entries(self._select(_ENTRIES, max(after, 0), limit))

    def rows(self, after: int, limit: int | None = None) -> Iterator[tuple[int, int, bytes, bytes]]:
        """Stored (seq, at, body, hash) with seq > `after`, at most `limit`, as they stand: gaps are not refused."""
        return self._select(_ROWS, after, limit)

    def head_at(self, seq: int) -> Head | None:
        """The head as it was after entry `seq`; None if there is no such entry."""
        if seq == 0:
            return chain.genesis(self.journal_id)
        with naming(self.path):
            row = self._open().execute(_HEAD_AT, (seq,), binary=True).fetchone()
        return Head(*row) if row else None

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """All reads inside see the journal as it was at the first of them. Keep it short: it holds up cleaning."""
        with naming(self.path):
            self._open().execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield
        finally:
            if not self._db.closed:
                self._db.execute("ROLLBACK")

    def structure_fault(self) -> str:
        """'': a server looks after its own files (data checksums, `pg_amcheck`)."""
        return ""

    def foreign_parts(self) -> str:
        """Which tables, indexes, triggers or views of the schema are not those of a journal; '' if none."""
        with naming(self.path):
            return foreign_parts(self._open())

    def copy_to(self, target: Path) -> None:
        """Copies the whole journal as of now into the empty file `target`, a journal as SQLite keeps it; OSError if
        there is no room."""
        with self.one_moment():
            write_file(target, self.journal_id, self.rows(0))

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Connection:
        """The connection, made again if it was lost."""
        if self._db.closed:
            db = connect(self._url)
            found = identify(db, self.path)
            if found != self.journal_id:
                db.close()
                raise JournalUnusable(f"{self.path} is the journal {found!r} now, it was {self.journal_id!r}")
            self._db = db
        return self._db

    def _select(self, query: str, after: int, limit: int | None) -> Iterator[Any]:
        def fetch(after: int, wanted: int) -> list[Any]:
            with naming(self.path):
                return self._open().execute(query, (after, wanted), binary=True).fetchall()

        return paged(fetch, after, limit, name=self.path, whole=query is _ENTRIES)


class PostgresJournal(PostgresReader):
    """A `leitstand.runtime.ports.Journal`, created if there is none; one thread at a time.

    With `commit_every` > 1, entries are committed once that many have come together, before every read, and by
    `close`; an error of a commit loses what was not yet committed and puts the head back.
    """

    def __init__(
        self,
        url: str,
        *,
        journal_id: str | None = None,
        commit_every: int = 1,
        synced: bool = True,
        epoch: int | None = None,
        codec: Codec = DEFAULT,
    ) -> None:
        """`journal_id`: of a new journal (random if None), and what an old one must have. Not `synced`: what is
        committed survives the process, but not the machine. `epoch`: of the lease, where control planes take turns; 0
        is nobody's, and appends nothing."""
        self._epoch = epoch
        self._commit_every = commit_every
        self.path = shown(url)
        self._url = url
        self._codec = codec
        self._db = connect(url, writes=True, synced=synced)
        try:
            create_if_empty(self._db, self.path, journal_id)
            self.journal_id = identify(self._db, self.path)
            if journal_id not in (None, self.journal_id):
                raise JournalUnusable(f"{self.path} is the journal {self.journal_id!r}, not {journal_id!r}")
            if epoch is None and is_made(self._db):
                raise JournalUnusable(
                    f"control planes take turns on {self.path}: start this one with --standby"
                )
            self._pending = Pending(checked_head(self._db, self.path, self.journal_id), codec, self.path)
        except BaseException:
            self._db.close()
            raise

    @staticmethod
    def follow(url: str, codec: Codec = DEFAULT) -> PostgresReader:
        """A reader that works beside this journal's writer."""
        return PostgresReader(url, codec)

    @property
    def head(self) -> Head:
        """The head after the last append of this writer."""
        return self._pending.head

    def append(self, head: Head, at: int, facts: Sequence[Fact]) -> Head:
        """All of `facts` or nothing, stamped `at`; see the port for the errors.

        TimeoutError: another session held the head's row; nothing was appended. Any other error, JournalAway
        among them, leaves the outcome unknown: end the process, and fold again.
        """
        new = self._pending.add(head, at, facts)
        if len(self._pending.bodies) >= self._commit_every:
            self.commit()
        return new

    def commit(self) -> None:
        """Makes what was appended durable; errors as in `append`."""
        pending = self._pending
        if not pending.bodies:
            return
        old, new = pending.committed, pending.head
        sequence = list(range(old.seq + 1, new.seq + 1))
        fence: tuple[int | bytes, ...] = (new.seq, new.at, new.hash, old.seq, old.hash)
        query = _APPEND
        if self._epoch is not None:
            fence, query = (*fence, self._epoch), _APPEND_LED
        try:
            entries = (sequence, pending.stamps, pending.bodies, pending.hashes)
            with naming(self.path):
                added = self._db.execute(query, (*fence, *entries), binary=True).rowcount
            if added != len(sequence):
                raise StaleHead(
                    f"the head of {self.path} is no longer entry {old.seq}: another writer took over"
                )
        except errors.LockNotAvailable as error:
            pending.drop()
            raise TimeoutError(
                f"{self.path} was locked by another session for {LOCK_S} s; end what holds it"
            ) from error
        except errors.InsufficientResources as error:
            pending.drop()
            raise JournalFull(
                f"no room for {self.path} ({first_line(error)}): free disk space of its server"
            ) from error
        except BaseException:
            pending.drop()
            raise
        pending.done()

    def close(self) -> None:
        try:
            if not self._db.closed:
                self.commit()
        finally:
            self._db.close()

    def head_at(self, seq: int) -> Head | None:
        self.commit()
        return super().head_at(seq)

    def _select(self, query: str, after: int, limit: int | None) -> Iterator[Any]:
        self.commit()
        return super()._select(query, after, limit)

    def _open(self) -> Connection:
        """The connection as it is: a writer that lost it ends, and another one folds."""
        return self._db
