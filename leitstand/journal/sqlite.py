# SPDX-License-Identifier: Apache-2.0
"""The journal in one SQLite file: `SqliteJournal` is the one writer, `SqliteReader` reads beside it or offline.

Called by the writer process (one commit per append, durable on return), by the twin (`commit_every`: many appends per
commit), and by followers and the CLI, which only read. A stale writer is fenced by the file itself: the commit moves
the one row of `head` on, and only from the head that the writer knows.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from errno import ENOSPC
from pathlib import Path
from typing import Any, Final, Self

from leitstand.core.facts import Fact
from leitstand.journal import chain
from leitstand.journal.codec import DEFAULT, Codec, JournalUnusable
from leitstand.journal.database import (
    BUSY_S,
    checked_head,
    connect,
    create_if_empty,
    foreign_parts,
    identify,
    naming,
    open_read_only,
    open_writable,
    stored_head,
)
from leitstand.journal.pages import paged
from leitstand.journal.pending import Pending
from leitstand.runtime.disk import is_full
from leitstand.runtime.ports import Entry, Head, JournalFull, StaleHead

_INSERT: Final = "INSERT INTO facts (seq, at, body, hash) VALUES (?, ?, ?, ?)"
_FENCE: Final = "UPDATE head SET seq = ?, at = ?, hash = ? WHERE seq = ? AND hash = ?"
_ENTRIES: Final = "SELECT seq, at, body FROM facts WHERE seq > ? ORDER BY seq LIMIT ?"
_ROWS: Final = "SELECT seq, at, body, hash FROM facts WHERE seq > ? ORDER BY seq LIMIT ?"


class SqliteReader:
    """Reads a journal that another process may be writing. One thread at a time."""

    def __init__(self, path: Path, codec: Codec = DEFAULT) -> None:
        """JournalUnusable if there is no journal at `path` that this code can read."""
        self.path = path
        self._codec = codec
        self._db = open_read_only(path)
        try:
            self.journal_id = identify(self._db, path)
        except BaseException:
            self._db.close()
            raise

    @property
    def head(self) -> Head:
        """The head as it is committed now."""
        with naming(self.path):
            return stored_head(self._db, self.path)

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
            row = self._db.execute("SELECT seq, at, hash FROM facts WHERE seq = ?", (seq,)).fetchone()
        return Head(*row) if row else None

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """All reads inside see the journal as it was at the first of them. Keep it short: it holds up the log."""
        with naming(self.path):
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def structure_fault(self) -> str:
        """What SQLite finds wrong with the file's own structure; '' if nothing."""
        with naming(self.path):
            found = str(self._db.execute("PRAGMA quick_check(1)").fetchone()[0])
        return "" if found == "ok" else found

    def foreign_parts(self) -> str:
        """Which tables, indexes, triggers or views are not those of a journal; '' if none."""
        with naming(self.path):
            return foreign_parts(self._db)

    def copy_to(self, target: Path) -> None:
        """Copies the whole journal as of now into the empty file `target`, one file without a log; OSError if there is
        no room."""
        # All pages in one step: the copy is of one moment, and a busy writer cannot make it start again.
        with naming(self.path), closing(connect(target, "rw")) as copy:
            try:
                self._db.backup(copy, pages=-1)
                copy.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.Error as error:
                if is_full(error):
                    raise OSError(ENOSPC, "no room for the copy", str(target)) from error
                raise

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _select(self, query: str, after: int, limit: int | None) -> Iterator[Any]:
        def fetch(after: int, wanted: int) -> list[Any]:
            with naming(self.path):
                return self._db.execute(query, (after, wanted)).fetchall()

        return paged(fetch, after, limit, name=self.path, whole=query is _ENTRIES)


class SqliteJournal(SqliteReader):
    """A `leitstand.runtime.ports.Journal`, created if there is none. One per data folder, guarded by the caller's
    lock; one thread at a time.

    With `commit_every` > 1, entries are committed once that many have come together, before every read, and by
    `close`; an error of a commit loses what was not yet committed and puts the head back.
    """

    def __init__(
        self,
        path: Path,
        *,
        journal_id: str | None = None,
        commit_every: int = 1,
        synced: bool = True,
        codec: Codec = DEFAULT,
    ) -> None:
        """`journal_id`: of a new journal (random if None), and what an old one must have. Not `synced`: what is
        committed outlives this process, and not always the machine."""
        self._commit_every = commit_every
        self.path = path
        self._codec = codec
        self._db = open_writable(path, synced=synced)
        try:
            create_if_empty(self._db, path, journal_id)
            self.journal_id = identify(self._db, path)
            if journal_id not in (None, self.journal_id):
                raise JournalUnusable(f"{path} is the journal {self.journal_id!r}, not {journal_id!r}")
            self._pending = Pending(checked_head(self._db, path, self.journal_id), codec, str(path))
        except BaseException:
            self._db.close()
            raise

    @staticmethod
    def follow(path: Path, codec: Codec = DEFAULT) -> SqliteReader:
        """A reader that works beside this journal's writer."""
        return SqliteReader(path, codec)

    @property
    def head(self) -> Head:
        """The head after the last append of this writer."""
        return self._pending.head

    def append(self, head: Head, at: int, facts: Sequence[Fact]) -> Head:
        """All of `facts` or nothing, stamped `at`; see the port for the errors.

        TimeoutError: another process held the file's write lock; nothing was appended. Any other error leaves the
        outcome unknown: end the process, and fold again.
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
        db, old, new = self._db, pending.committed, pending.head
        try:
            db.execute("BEGIN IMMEDIATE")
            if db.execute(_FENCE, (new.seq, new.at, new.hash, old.seq, old.hash)).rowcount != 1:
                raise StaleHead(
                    f"the head of {self.path} is no longer entry {old.seq}: another writer took over"
                )
            entries = (range(old.seq + 1, new.seq + 1), pending.stamps, pending.bodies, pending.hashes)
            db.executemany(_INSERT, zip(*entries, strict=True))
            db.execute("COMMIT")
        except BaseException as error:
            pending.drop()
            if db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                self._raise_known_outcome(error)
            raise
        pending.done()

    def close(self) -> None:
        try:
            self.commit()
        finally:
            self._db.close()

    def head_at(self, seq: int) -> Head | None:
        self.commit()
        return super().head_at(seq)

    def _select(self, query: str, after: int, limit: int | None) -> Iterator[Any]:
        self.commit()
        return super()._select(query, after, limit)

    def _raise_known_outcome(self, error: sqlite3.Error) -> None:
        """Raises what the failed commit means if it surely appended nothing; returns if that is unknown."""
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF == sqlite3.SQLITE_BUSY:
            raise TimeoutError(
                f"{self.path} was locked by another process for {BUSY_S:g} s; end what holds it"
            ) from error
        if is_full(error) and stored_head(self._db, self.path) == self._pending.committed:
            raise JournalFull(f"no room for {self.path} ({error}): free disk space") from error
