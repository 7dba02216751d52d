# SPDX-License-Identifier: Apache-2.0
"""The tables of stores in a PostgreSQL database, so that they outlive the machine of a control plane. Opened by
`leitstand.stores.tables` where the data folder names one.

All stores of a process that are in one database share two connections, one that reads and one that writes; one that was
lost is made again by the next call. The schema is `leitstand_stores` (or `leitstand_keys`), and its table `forms` says
which form the tables of each store have. A transaction holds an advisory lock of its store, as one on a file holds
the file's.
"""

import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from errno import ENOSPC
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg import errors

from leitstand.runtime import postgres
from leitstand.runtime.postgres import first_line
from leitstand.stores.tables import Connection, Forms, Found, NewerFile, Row, StoreAway, Tables

LOCK_S: Final = 10  # for another transaction of the same store
AWAY_S: Final = 4.0  # after which a server that says nothing counts as away
AGAIN_S: Final = 1.0  # after which it is asked again: who reads in between is told at once
KEYS: Final = "keys"  # the store whose rows must not lie on in the table's file
_LOCKS: Final = 0x4C535453  # the class of advisory locks
_MAKING: Final = 0  # the lock of who makes tables


class ServerTables(Tables):
    """The tables of one store."""

    def __init__(self, url: str, forms: Forms) -> None:
        """StoreAway; PermissionError if the server lets us not in, NewerFile."""
        self._forms = forms
        self._database = _shared(url, f"leitstand_{'keys' if forms.name == KEYS else 'stores'}")
        self._lock = zlib.crc32(forms.name.encode()) & 0x7FFFFFFF
        self._database.prepare(forms)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._database.transaction(self._lock) as connection:
            yield connection

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        return self._database.read(sql, parameters)

    def forget(self) -> None:
        """Keys are all that makes sealed rows readable: their table is written anew without what was deleted. Of the
        others the server clears away what is dead by itself."""
        if self._forms.name == KEYS:
            self._database.rewrite(KEYS)

    def checkpoint(self) -> None:
        """The server's own affair."""

    def close(self) -> None:
        """The connections are the process's."""


class Database:
    """The two connections of this process to one database."""

    def __init__(self, url: str, schema: str) -> None:
        self.name = postgres.shown(url)
        self._url = url
        self._schema = schema
        self._writes: postgres.Connection | None = None
        self._reads: postgres.Connection | None = None
        self._writes_lock = threading.RLock()
        self._reads_lock = threading.Lock()
        self._away_until = 0.0

    def prepare(self, forms: Forms) -> None:
        """Bring the tables of a store to this release's form."""
        with self.transaction(_MAKING) as connection:  # of all stores and machines that come at once
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS forms(store text PRIMARY KEY, form bigint NOT NULL)"
            )
            row = connection.execute("SELECT form FROM forms WHERE store = ?", (forms.name,)).fetchone()
            form = row[0] if row else 0
            if form > len(forms.server):
                raise NewerFile(
                    f"the {forms.name} in {self.name} have form {form}; this release reads up to "
                    f"{len(forms.server)}: install the newer release"
                )
            for step in forms.server[form:]:
                for statement in step.split(";;"):
                    connection.execute(statement)
            connection.execute(
                "INSERT INTO forms VALUES(?,?) ON CONFLICT(store) DO UPDATE SET form = excluded.form",
                (forms.name, len(forms.server)),
            )

    @contextmanager
    def transaction(self, lock: int) -> Iterator[Connection]:
        """One transaction, alone among those with the same `lock`."""
        with self._writes_lock, self._naming():
            db = self._begun(lock)
            try:
                yield _Writing(db)
                db.execute("COMMIT")
            except BaseException:
                _roll_back(db)
                raise

    def _begun(self, lock: int) -> postgres.Connection:
        """A transaction on a connection that works: where it was lost since the last one, it is made again."""
        for again in (True, False):
            fresh = self._writes is None or self._writes.closed
            try:
                with self._naming():
                    db = self._writer()
                    db.execute(f"BEGIN; SELECT pg_advisory_xact_lock({_LOCKS:d}, {lock:d})")
                    return db
            except BaseException as error:
                if self._writes is not None:
                    self._writes.close()  # or what failed would stay begun, and take nothing more
                if fresh or not again or not isinstance(error, StoreAway):
                    raise
        raise AssertionError("one of the two has returned or raised")

    def read(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        """The rows of one query; asked once more where the connection was lost since the last one."""
        with self._reads_lock:
            for again in (True, False):
                fresh = self._reads is None or self._reads.closed
                try:
                    with self._naming():
                        return self._reader().execute(_with_marks(sql), parameters).fetchall()
                except StoreAway:
                    if fresh or not again:
                        raise
        raise AssertionError("one of the two has returned or raised")

    def rewrite(self, table: str) -> None:
        """Write the table anew without what was deleted."""
        with self._writes_lock, self._naming():
            self._writer().execute(f"VACUUM (FULL) {table}")

    def _writer(self) -> postgres.Connection:
        if self._writes is None or self._writes.closed:
            self._writes = self._connect(f"-c synchronous_commit=on -c lock_timeout={LOCK_S}s")
        return self._writes

    def _reader(self) -> postgres.Connection:
        if self._reads is None or self._reads.closed:
            self._reads = self._connect("-c default_transaction_read_only=on")
        return self._reads

    def _connect(self, settings: str) -> postgres.Connection:
        if time.monotonic() < self._away_until:
            raise StoreAway(f"no PostgreSQL server answers for {self.name}")
        try:
            return postgres.connect(self._url, "stores", f"{settings} -c search_path={self._schema}", AWAY_S)
        except postgres.ServerAway as error:
            self._away_until = time.monotonic() + AGAIN_S
            raise StoreAway(str(error)) from error
        except postgres.ServerRefuses as error:
            raise PermissionError(f"cannot open the stores {error}") from error

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Turns errors of the server into those that callers know."""
        try:
            yield
        except errors.LockNotAvailable as error:
            raise StoreAway(f"{self.name} was locked by another session for {LOCK_S} s") from error
        except errors.InsufficientResources as error:
            raise OSError(ENOSPC, f"no room for {self.name} ({first_line(error)})") from error
        except errors.ReadOnlySqlTransaction as error:  # a copy that may become the server
            raise StoreAway(f"the server of {self.name} takes no writes now") from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise StoreAway(f"the server of {self.name} does not answer: {first_line(error)}") from error


class _Writing:
    """A connection that takes the SQL of the stores."""

    def __init__(self, db: postgres.Connection) -> None:
        self._db = db

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Found:
        return self._db.execute(_with_marks(sql), parameters or None)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Found:
        cursor = self._db.cursor()
        cursor.executemany(_with_marks(sql), parameters)
        return cursor


def _roll_back(db: postgres.Connection) -> None:
    """Whatever comes of it: the caller tells of what went wrong before, and a transaction ends with its connection."""
    try:
        if not db.closed:
            db.execute("ROLLBACK")
    except psycopg.Error:
        db.close()


@lru_cache(1024)
def _with_marks(sql: str) -> bytes:
    """The statement as the client of PostgreSQL takes it."""
    return sql.replace("?", "%s").encode()


_databases: dict[tuple[str, str], Database] = {}
_databases_lock = threading.Lock()


def _shared(url: str, schema: str) -> Database:
    """The connections of this process to that database."""
    with _databases_lock:
        if (url, schema) not in _databases:
            _databases[url, schema] = Database(url, schema)
        return _databases[url, schema]


def archived_together(one: str, other: str) -> bool:
    """Whether two databases are of one server that archives its log, or may. StoreAway, PermissionError."""
    asked = "SELECT system_identifier, current_setting('archive_mode') FROM pg_control_system()"
    found = [_shared(url, "leitstand_stores").read(asked, ()) for url in (one, other)]
    return found[0] == found[1] and found[0][0][1] != "off"
