# SPDX-License-Identifier: Apache-2.0
"""Connections to a PostgreSQL server: how they are made and what their errors mean. Used by the journal and the stores
that are in one; a control plane on files never loads this.
"""

from typing import Any, Final

import psycopg
from psycopg import conninfo, errors

CONNECT_S: Final = 5
# What a server says that will let us in later (errors 57P03 and 53300 of its manual).
PASSING: Final = (
    "starting up", "shutting down", "in recovery mode", "accepting connections", "too many clients", "connection slots",
)  # fmt: skip

Connection = psycopg.Connection[Any]


class NoUrl(ValueError):
    """What was given is no URL of a PostgreSQL database."""


class ServerAway(ConnectionError):
    """No server answers; later one may."""


class ServerRefuses(Exception):
    """A server answered and does not let us in."""


def shown(url: str) -> str:
    """The URL for people: without its password. NoUrl."""
    try:
        parts = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise NoUrl(
            f"{url.partition('://')[0]}://… is no PostgreSQL URL ({first_line(error)}): "
            "write postgresql://USER@HOST:PORT/DATABASE"
        ) from error
    user = f"{parts['user']}@" if parts.get("user") else ""
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"postgresql://{user}{parts.get('host', '')}{port}/{parts.get('dbname', '')}"


def connect(url: str, purpose: str, settings: str, away_s: float = 10.0) -> Connection:
    """A connection in which every statement is a transaction of its own, under the server's `settings` (`-c name=value
    …`); a peer that is gone without a word is noticed within `away_s`. NoUrl, ServerAway, ServerRefuses."""
    name = shown(url)
    probes = max(1, int(away_s / 3))
    try:
        return psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=min(CONNECT_S, max(2, int(away_s))),
            options=settings,
            application_name=f"leitstand {purpose}",
            keepalives_idle=max(1, int(away_s / 2)),
            keepalives_interval=max(1, int(away_s / 6)),
            keepalives_count=min(3, probes),
            tcp_user_timeout=int(away_s * 1000),
        )
    except psycopg.OperationalError as error:
        if isinstance(
            error, errors.InvalidAuthorizationSpecification | errors.InvalidCatalogName
        ) or _refused(error):
            raise ServerRefuses(f"{name}: {first_line(error)}") from error
        raise ServerAway(f"no PostgreSQL server answers for {name}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """What the server said, in one line."""
    return str(error).strip().partition("\n")[0]


def _refused(error: psycopg.OperationalError) -> bool:
    """Whether a server answered, and said no for good: without a code libpq says so in words alone."""
    text = str(error)
    return "FATAL:" in text and not any(words in text for words in PASSING)
