# SPDX-License-Identifier: Apache-2.0
"""Who people and tenants are (`DIR/people.db`): erasable profiles behind the pseudonymous ids of the journal.

The faces write and read them: persons by user id, legal identities by application or tenant, addresses by
invitation, notes by keyed digest. Every body is sealed under the key of its subject (`leitstand.stores.keys`); the file
itself shows ids alone, and no login. What was erased reads as absent.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from leitstand.stores import place
from leitstand.stores.keys import Damaged, Seal, beside, keyed_digest
from leitstand.stores.legal import LegalIdentity
from leitstand.stores.tables import Forms, open_tables

NOTE_CHARS_MAX: Final = 4000
_LOGINS: Final = "/logins"  # whose key makes the digests of logins; no id has a slash

_FORM_1: Final = """
CREATE TABLE bodies(
  kind TEXT NOT NULL, id TEXT NOT NULL, subject TEXT NOT NULL, key INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY(kind, id)) WITHOUT ROWID;;
CREATE INDEX bodies_by_subject ON bodies(subject);;
CREATE TABLE logins(login BLOB PRIMARY KEY, user TEXT NOT NULL UNIQUE) WITHOUT ROWID
"""
_SERVER_1: Final = """
CREATE TABLE bodies(
  kind text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, subject text COLLATE "C" NOT NULL,
  key bigint NOT NULL, body bytea NOT NULL, PRIMARY KEY(kind, id));;
CREATE INDEX bodies_by_subject ON bodies(subject);;
CREATE TABLE logins(login bytea PRIMARY KEY, "user" text COLLATE "C" NOT NULL UNIQUE)
"""
_FORMS: Final = Forms("people", (_FORM_1,), (_SERVER_1,))
_PUT: Final = """
INSERT INTO bodies VALUES(?,?,?,?,?) ON CONFLICT(kind, id) DO UPDATE
SET subject = excluded.subject, key = excluded.key, body = excluded.body
"""
_encode = msgspec.json.Encoder(order="deterministic").encode


class Person(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who a user is. `issuer`, `subject`: of the OpenID Connect provider, both or neither."""

    name: str
    email: str
    issuer: str = ""
    subject: str = ""


class LoginTaken(ValueError):
    """The login belongs to another user."""


class NoteTooLong(ValueError):
    """A note has more than NOTE_CHARS_MAX characters."""


class People:
    """The profiles of one data folder. Calls are short and may come from any thread and process; what is put is
    durable on return. sqlite3.Error if the disk refuses."""

    def __init__(self, path: Path) -> None:
        """Keys lie beside `path`, see `leitstand.stores.keys`."""
        self._keys = beside(path)
        self._tables = open_tables(path, _FORMS, path.parent, place.STORES)

    # ── persons ───────────────────────────────────────────────────────────────────────────────────────────────────
    def put_person(self, user: str, person: Person) -> None:
        """Keep who `user` is, in place of what was kept; LoginTaken if another user has that login."""
        row = self._sealed("person", user, user, _encode(person))
        login = self._login(person.issuer, person.subject) if person.subject else None
        with self._tables.writing() as connection:
            connection.execute('DELETE FROM logins WHERE "user" = ?', (user,))
            if login is not None:
                if connection.execute("SELECT 1 FROM logins WHERE login = ?", (login,)).fetchone():
                    raise LoginTaken("this login belongs to another user already; sign in with it instead")
                connection.execute("INSERT INTO logins VALUES(?,?)", (login, user))
            connection.execute(_PUT, row)

    def person(self, user: str) -> Person | None:
        """Who `user` is; None if that is not known, or no longer."""
        return self.people([user]).get(user)

    def people(self, users: Iterable[str]) -> dict[str, Person]:
        """Those of `users` that are known."""
        return {id: msgspec.json.decode(body, type=Person) for id, body in self._open("person", users)}

    def find_login(self, issuer: str, subject: str) -> str | None:
        """The user with that login, if there is one."""
        rows = self._tables.read('SELECT "user" FROM logins WHERE login = ?', (self._login(issuer, subject),))
        return str(rows[0][0]) if rows else None

    # ── legal identities ──────────────────────────────────────────────────────────────────────────────────────────
    def put_legal(self, subject: str, legal: LegalIdentity) -> None:
        """Keep who `subject` (an application, or a tenant) is before the law, in place of what was kept."""
        self._put("legal", subject, subject, _encode(legal))

    def legal(self, subject: str) -> LegalIdentity | None:
        """Who `subject` is before the law, if that is known."""
        return self.legals([subject]).get(subject)

    def legals(self, subjects: Iterable[str]) -> dict[str, LegalIdentity]:
        """Those of `subjects` that are known."""
        return {
            id: msgspec.json.decode(body, type=LegalIdentity) for id, body in self._open("legal", subjects)
        }

    def move_legal(self, application: str, tenant: str) -> bool:
        """Give the legal identity of an application to the tenant that came of it; whether there was one. Notes stay
        with the application."""
        legal = self.legal(application)
        if legal is None:
            return False
        row = self._sealed("legal", tenant, tenant, _encode(legal))
        with self._tables.writing() as connection:
            connection.execute(_PUT, row)
            connection.execute("DELETE FROM bodies WHERE kind = 'legal' AND id = ?", (application,))
        return True

    # ── applications ──────────────────────────────────────────────────────────────────────────────────────────────
    def put_purpose(self, application: str, purpose: str) -> None:
        """Keep what an applicant wants to do here."""
        self._put("purpose", application, application, purpose.encode())

    def purposes(self, applications: Iterable[str]) -> dict[str, str]:
        """The purposes of those `applications` that have one."""
        return {id: body.decode() for id, body in self._open("purpose", applications)}

    def move_person(self, application: str, user: str) -> bool:
        """Give the person of an application to the user that came of it, who keeps a profile that is there already;
        whether there was one."""
        person = self.person(application)
        if person is None:
            return False
        row = self._sealed("person", user, user, _encode(person))
        with self._tables.writing() as connection:
            connection.execute("INSERT INTO bodies VALUES(?,?,?,?,?) ON CONFLICT DO NOTHING", row)
            connection.execute("DELETE FROM bodies WHERE kind = 'person' AND id = ?", (application,))
        return True

    def subjects(self, start: str) -> set[str]:
        """Those of whom something is kept and whose name begins with `start`."""
        rows = self._tables.read(
            "SELECT DISTINCT subject FROM bodies WHERE substr(subject, 1, ?) = ?", (len(start), start)
        )
        return {subject for (subject,) in rows}

    # ── invitations ───────────────────────────────────────────────────────────────────────────────────────────────
    def put_invitation(self, invitation: str, email: str) -> None:
        """Keep the address that an invitation goes to."""
        self._put("invitation", invitation, invitation, email.encode())

    def invitations(self, invitations: Iterable[str]) -> dict[str, str]:
        """The addresses of those `invitations` that have one."""
        return {id: body.decode() for id, body in self._open("invitation", invitations)}

    # ── notes ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def note(self, subject: str, text: str) -> str:
        """Keep a text about `subject`; the ref that names it (64 hex digits). NoteTooLong."""
        if len(text) > NOTE_CHARS_MAX:
            raise NoteTooLong(f"a note has at most {NOTE_CHARS_MAX} characters, this one {len(text)}")
        ref = keyed_digest(self._keys.of(subject).key, b"note", text.encode()).hex()
        self._put("note", ref, subject, text.encode())
        return ref

    def notes(self, refs: Iterable[str]) -> dict[str, str]:
        """The texts of those `refs` that exist."""
        return {id: body.decode() for id, body in self._open("note", refs)}

    # ── erasure ───────────────────────────────────────────────────────────────────────────────────────────────────
    def erase(self, subject: str) -> int:
        """Destroy the key of `subject` and all that is kept of it; how many things. Gone from disk on return;
        TimeoutError if a reader holds old pages for long: try again."""
        with self._tables.writing() as connection:
            deleted = connection.execute("DELETE FROM bodies WHERE subject = ?", (subject,)).rowcount
            connection.execute('DELETE FROM logins WHERE "user" = ?', (subject,))
        self._tables.forget()
        self._keys.destroy(subject)  # last: an erasure that was cut short can be done again
        return deleted

    def close(self) -> None:
        """Close the files."""
        self._tables.close()
        self._keys.close()

    # ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _login(self, issuer: str, subject: str) -> bytes:
        return keyed_digest(self._keys.of(_LOGINS).key, issuer.encode(), subject.encode())

    def _put(self, kind: str, id: str, subject: str, body: bytes) -> None:
        row = self._sealed(kind, id, subject, body)
        with self._tables.writing() as connection:
            connection.execute(_PUT, row)

    def _sealed(self, kind: str, id: str, subject: str, body: bytes) -> tuple[Any, ...]:
        key = self._keys.of(subject)
        return kind, id, subject, key.id, Seal(key.key).close(body, _about(kind, id))

    def _open(self, kind: str, ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Id and body of those that can be read; a damaged one is as absent, so that listings go on."""
        rows = list(
            self._tables.read_in("SELECT id, key, body FROM bodies WHERE kind = ? AND id IN", ids, kind)
        )
        keys = self._keys.by_id(key for _, key, _ in rows)
        for id, key, body in rows:
            if key in keys:
                try:
                    yield id, Seal(keys[key]).open(body, _about(kind, id))
                except Damaged:
                    continue


def _about(kind: str, id: str) -> bytes:
    return f"{kind}/{id}".encode()
