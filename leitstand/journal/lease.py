# SPDX-License-Identifier: Apache-2.0
"""The lease: which of several control planes on one journal leads. One row of the journal's database, in a schema of
its own beside the journal's.

Who holds it may append and send orders until it expires, by the server's clock; the holder renews it, and counts its
own time from before it asked. Each taking has a number, the *epoch*, which every append names
(`leitstand.journal.postgres`): whoever was overtaken appends nothing more. Called by the writer
(`leitstand.app.leading`) and, to look, by the faces.
"""

from typing import Any, Final

import msgspec
import psycopg

from leitstand.journal.codec import JournalUnusable
from leitstand.journal.server import naming
from leitstand.runtime import postgres
from leitstand.runtime.ports import JournalAway

LEASE_S: Final = 3.0  # after its last renewal
AWAY_S: Final = 2.0  # after which a server that says nothing counts as away
MEMBER_KEPT: Final = "1 hour"  # after its last sign of life
_MAKING: Final = 0x4C53544C  # the advisory lock under which the tables are made
_SCHEMA: Final = """
CREATE SCHEMA IF NOT EXISTS leitstand_lease;
CREATE TABLE leitstand_lease.lease (one integer PRIMARY KEY CHECK (one = 1), holder text NOT NULL,
    address text NOT NULL, epoch bigint NOT NULL, since timestamptz NOT NULL, expires timestamptz NOT NULL);
CREATE TABLE leitstand_lease.members (member text PRIMARY KEY, address text NOT NULL, folded bigint NOT NULL,
    note text NOT NULL, seen timestamptz NOT NULL);
INSERT INTO leitstand_lease.lease VALUES (1, '', '', 0, clock_timestamp(), clock_timestamp())
"""
_LOOK: Final = """
SELECT holder, address, epoch, (extract(epoch FROM since) * 1000000)::bigint,
       (extract(epoch FROM expires - clock_timestamp()) * 1000000)::bigint,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, (SELECT seq FROM leitstand.head)
  FROM leitstand_lease.lease
"""
_MEMBERS: Final = """
SELECT member, address, folded, note, (extract(epoch FROM clock_timestamp() - seen) * 1000000)::bigint
  FROM leitstand_lease.members ORDER BY address, member
"""
_TAKE: Final = f"""
UPDATE leitstand_lease.lease SET holder = %s, address = %s, epoch = epoch + 1, since = clock_timestamp(),
       expires = clock_timestamp() + interval '{LEASE_S} s'
 WHERE holder = %s OR expires <= clock_timestamp() RETURNING epoch
"""
_RENEW: Final = f"""
UPDATE leitstand_lease.lease SET expires = clock_timestamp() + interval '{LEASE_S} s'
 WHERE holder = %s AND epoch = %s
"""
_RELEASE: Final = """
UPDATE leitstand_lease.lease SET holder = '', address = '', expires = clock_timestamp() WHERE holder = %s AND epoch = %s
"""
_TELL: Final = f"""
WITH old AS (DELETE FROM leitstand_lease.members
              WHERE member <> %s AND (address = %s OR seen < clock_timestamp() - interval '{MEMBER_KEPT}'))
INSERT INTO leitstand_lease.members VALUES (%s, %s, %s, %s, clock_timestamp()) ON CONFLICT (member) DO UPDATE
SET address = excluded.address, folded = excluded.folded, note = excluded.note, seen = excluded.seen
"""


class Member(msgspec.Struct, frozen=True):
    """A control plane that takes part. `folded`: the last entry that its writer knows; `note`: what keeps it from
    leading, '' if nothing does; `silent_us`: since its last sign of life."""

    member: str
    address: str
    folded: int
    note: str
    silent_us: int


class Held(msgspec.Struct, frozen=True):
    """The lease as it was found. `holder` '': nobody's, given back; `since_us`: when it was taken; `left_us`: until it
    expires, not above 0 if it has; `now_us`: the server's clock; `seq`: the journal's last entry."""

    holder: str
    address: str
    epoch: int
    since_us: int
    left_us: int
    now_us: int
    seq: int

    @property
    def is_free(self) -> bool:
        """Whether anybody may take it."""
        return not self.holder or self.left_us <= 0


class Lease:
    """The lease as the member `member`, which others reach at `address`, sees it. One thread at a time; a connection
    that is lost is made again by the next call. JournalAway while the server does not answer."""

    def __init__(self, url: str, member: str, address: str) -> None:
        """JournalUnusable if the database lets us not in."""
        self.member = member
        self._name = postgres.shown(url)
        self._url = url
        self._address = address
        self._db: postgres.Connection | None = None

    def make(self) -> None:
        """The tables, if there are none."""
        with naming(self._name):
            db = self._open()
            with db.transaction():
                db.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
                if not is_made(db):
                    db.execute(_SCHEMA)

    def look(self) -> Held:
        """As it is now. JournalUnusable if there is none."""
        row = self._ask(_LOOK, ()).fetchone()
        if row is None:
            raise JournalUnusable(f"the lease of {self._name} has no row: drop the schema leitstand_lease")
        return Held(*row)

    def members(self) -> list[Member]:
        """Who takes part, by address."""
        return [Member(*row) for row in self._ask(_MEMBERS, ()).fetchall()]

    def take(self) -> int | None:
        """The epoch in which we lead, from now on; None if somebody else holds it."""
        row = self._ask(_TAKE, (self.member, self._address, self.member)).fetchone()
        return int(row[0]) if row else None

    def renew(self, epoch: int) -> bool:
        """Whether we lead on."""
        return bool(self._ask(_RENEW, (self.member, epoch)).rowcount)

    def release(self, epoch: int) -> None:
        """Give it back: another may take it at once."""
        self._ask(_RELEASE, (self.member, epoch))

    def tell(self, folded: int, note: str) -> None:
        """A sign of life. Who was at our address before is forgotten."""
        self._ask(_TELL, (self.member, self._address, self.member, self._address, folded, note))

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _ask(self, query: str, parameters: tuple[Any, ...]) -> "psycopg.Cursor[Any]":
        with naming(self._name):
            return self._open().execute(query.encode(), parameters)

    def _open(self) -> postgres.Connection:
        if self._db is None or self._db.closed:
            settings = f"-c synchronous_commit=on -c lock_timeout=1s -c statement_timeout={AWAY_S:g}s"
            try:
                self._db = postgres.connect(self._url, "lease", settings, AWAY_S)
            except postgres.ServerAway as error:
                raise JournalAway(str(error)) from error
            except postgres.ServerRefuses as error:
                raise JournalUnusable(f"cannot open the lease of {error}") from error
        return self._db


def is_made(db: postgres.Connection) -> bool:
    """Whether control planes take turns on this journal."""
    return db.execute("SELECT to_regclass('leitstand_lease.lease')").fetchone() != (None,)
