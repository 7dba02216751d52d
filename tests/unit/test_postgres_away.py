# SPDX-License-Identifier: Apache-2.0
"""What a PostgreSQL server says while it comes and goes is waited out; what it says for good is not."""

import psycopg
import pytest

from leitstand.runtime import postgres

PREFIX = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '


def said(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise psycopg.OperationalError(PREFIX + text)

    monkeypatch.setattr(psycopg, "connect", refuse)
    postgres.connect("postgresql://leitstand@db/leitstand", "test", "")


@pytest.mark.parametrize(
    "text",
    [
        "Connection refused",
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is shutting down",
        "FATAL:  the database system is in recovery mode",
        "FATAL:  the database system is not yet accepting connections",
        "FATAL:  the database system is not accepting connections",
        "FATAL:  sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for non-replication superuser connections",
    ],
)
def test_a_server_that_comes_and_goes_is_away(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with pytest.raises(postgres.ServerAway, match="no PostgreSQL server answers"):
        said(monkeypatch, text)


@pytest.mark.parametrize(
    "text",
    [
        'FATAL:  password authentication failed for user "leitstand"',
        'FATAL:  database "nowhere" does not exist',
        'FATAL:  no pg_hba.conf entry for host "10.0.0.1"',
    ],
)
def test_a_server_that_says_no_refuses(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with pytest.raises(postgres.ServerRefuses, match="FATAL"):
        said(monkeypatch, text)
