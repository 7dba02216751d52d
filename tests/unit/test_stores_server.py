# SPDX-License-Identifier: Apache-2.0
"""The shared connection of stores in a database: whatever fails on it, the next use of it works."""

import psycopg
import pytest
from psycopg import errors

from leitstand.stores.server import Database


class Connection:
    """One to a server which refuses what is in `refused`, and takes nothing in a transaction that failed."""

    def __init__(self, refused: dict[str, Exception]) -> None:
        self.refused = refused
        self.closed = False
        self.aborted = False

    def execute(self, sql: str | bytes, _: object = None) -> None:
        text = sql.decode() if isinstance(sql, bytes) else sql
        if self.closed:
            raise psycopg.InterfaceError("the connection is closed")
        for word, error in self.refused.items():
            if word in text:
                self.aborted = True
                raise error
        if text == "ROLLBACK":
            self.aborted = False
        elif self.aborted:
            raise errors.InFailedSqlTransaction("current transaction is aborted")

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def refused() -> dict[str, Exception]:
    """Word of a statement → what the server says to it."""
    return {}


@pytest.fixture
def database(refused: dict[str, Exception], monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(Database, "_connect", lambda *_: Connection(refused))
    return Database("postgresql://leitstand@db/leitstand", "leitstand_stores")


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (errors.InsufficientResources("out of shared memory"), OSError),
        (errors.InternalError_("no room in the table of locks"), psycopg.InternalError),
        (errors.InsufficientPrivilege("no right to that function"), psycopg.ProgrammingError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_lock_that_the_server_refuses_leaves_a_connection_that_works(
    database: Database, refused: dict[str, Exception], error: Exception, known: type[BaseException]
) -> None:
    with database.transaction(1) as db:
        db.execute("SELECT 1")
    refused["pg_advisory_xact_lock"] = error
    with pytest.raises(known), database.transaction(1):
        pass
    refused.clear()
    with database.transaction(1) as db:
        db.execute("SELECT 1")


def test_a_rollback_that_fails_does_not_hide_why_it_was_needed(
    database: Database, refused: dict[str, Exception]
) -> None:
    refused["INSERT"] = errors.UniqueViolation("it is there already")
    refused["ROLLBACK"] = psycopg.OperationalError("the connection is lost")
    with pytest.raises(errors.UniqueViolation), database.transaction(1) as db:
        db.execute("INSERT INTO t VALUES(1)")
    refused.clear()
    with database.transaction(1) as db:
        db.execute("SELECT 1")
