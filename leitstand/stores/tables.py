# SPDX-License-Identifier: Apache-2.0
"""The tables of a store: in one SQLite file, durable, private, erasing what it deletes; or, where a control plane has a
standby, in a database that both reach (`leitstand.stores.server`). Safe in several processes and threads.

Every store of this room that keeps rows keeps them in `Tables`, and asks for them in SQL that both take: `?` for
values, `ON CONFLICT` for what is there already. A transaction serialises writers.
"""

import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from leitstand.runtime.disk import make_private
from leitstand.stores import place

BATCH_MAX: Final = 900  # values of one lookup; SQLite takes 999 parameters at least
CHECKPOINT_TRIES: Final = 50
LOCKED_TRIES: Final = 500  # while another process makes the same file
LOCKED_S: Final = 0.02
LOG_PAGES_MAX: Final = 20_000  # of the log, before a writer itself makes a checkpoint

Row = tuple[Any, ...]
Migrate = Callable[[sqlite3.Connection], None]


class NewerFile(Exception):
    """The file, or the database, was written by a newer release."""


class StoreAway(ConnectionError):
    """The server of the stores does not answer; whether what was under way was written is not known."""


class Forms(NamedTuple):
    """How the tables of the store `name` came to be as they are: `file[n]` (SQL, or a function) brings a file from
    form n to n + 1, `server[n]` the tables of a database; the last ones are this release's. `;;` parts statements."""

    name: str
    file: Sequence[str | Migrate]
    server: Sequence[str]


class Found(Protocol):
    """What a statement found or did."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """What may be done in a transaction."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Found: ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Found: ...


class Tables(ABC):
    """The tables of one store. Calls are short and may come from any thread."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """One transaction, durable when it ends, nothing if it raises. sqlite3.Error if the disk refuses, StoreAway if
        there is a server and it does not answer."""

    @abstractmethod
    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """The rows of one query, as they were committed last."""

    def read_in(self, sql: str, values: Iterable[object], *before: object) -> Iterator[Row]:
        """The rows of a query that ends before the list of an `IN`, for all `values` in batches; `before`: its other
        parameters."""
        wanted = list(dict.fromkeys(values))
        for start in range(0, len(wanted), BATCH_MAX):
            part = wanted[start : start + BATCH_MAX]
            yield from self.read(f"{sql} ({','.join('?' * len(part))})", (*before, *part))

    @abstractmethod
    def forget(self) -> None:
        """After a deletion: takes the old rows out of where they lie. TimeoutError if readers keep them for long."""

    @abstractmethod
    def checkpoint(self) -> None:
        """Bring the log into the file, beside writers and readers. Who writes much calls it now and then from a
        thread of its own, so that no writer has to wait for it."""

    @abstractmethod
    def close(self) -> None:
        """Close the file, or let go of the server."""


def open_tables(path: Path, forms: Forms, folder: Path, where: str) -> Tables:
    """The tables of the store whose file is `path`, made if there are none: in the database that the file `where` of
    the data `folder` names, if there is one. NewerFile for tables beyond this release's; StoreAway."""
    url = place.url_of(folder / where)
    if url is None:
        return FileTables(path, forms.file)
    from leitstand.stores.server import ServerTables

    return ServerTables(url, forms)


class FileTables(Tables):
    """The tables of one SQLite file."""

    def __init__(self, path: Path, forms: Sequence[str | Migrate]) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private(path)
        self._path = path
        self._lock = threading.RLock()
        self._writes = _connect(path)
        _prepare(self._writes, path, forms)
        self._reads_lock = threading.Lock()
        self._reads = _connect(path)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._lock:
            self._writes.execute("BEGIN IMMEDIATE")
            try:
                yield self._writes
                self._writes.execute("COMMIT")
            except BaseException:
                if self._writes.in_transaction:  # a full disk has taken it back already
                    self._writes.execute("ROLLBACK")
                raise

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        with self._reads_lock:
            return self._reads.execute(sql, parameters).fetchall()

    def forget(self) -> None:
        with self._lock:
            for _ in range(CHECKPOINT_TRIES):  # until nobody reads them
                (busy, _, _) = self._writes.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy:
                    return
        raise TimeoutError(f"it is erased, but readers keep old pages in the log of {self._path}; try again")

    def checkpoint(self) -> None:
        connection = _connect(self._path)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            connection.close()

    def close(self) -> None:
        with self._lock, self._reads_lock:
            self._reads.close()
            self._writes.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    _keep_log(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES_MAX}")
    return connection


def _keep_log(connection: sqlite3.Connection) -> None:
    """Put the file into WAL mode. Where two processes make it at once, one is told `locked` without having waited."""
    for _ in range(LOCKED_TRIES):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(LOCKED_S)
    connection.execute("PRAGMA journal_mode=WAL")


def _prepare(connection: sqlite3.Connection, path: Path, forms: Sequence[str | Migrate]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        if form > len(forms):
            raise NewerFile(
                f"{path} has form {form}; this release reads up to {len(forms)}: install the newer release"
            )
        for step in forms[form:]:
            if callable(step):
                step(connection)
            else:
                run_script(connection, step)
        connection.execute(f"PRAGMA user_version={len(forms)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Statements parted by `;;`, inside the transaction in progress (`executescript` would end it)."""
    for statement in script.split(";;"):
        connection.execute(statement)
