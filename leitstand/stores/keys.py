# SPDX-License-Identifier: Apache-2.0
"""The keys of subjects (`DIR/keys/subjects.db`): what makes erasure true, also for copies of other files.

A *subject* is whom stored things are about: a user, an application, an invitation, a tenant. Whatever a store keeps
of it is sealed under its key, and digests that name it are made with its key. Destroying the key erases all of it:
here, in backups of the stores' files, and in what digests in the journal mean. So this file is backed up apart from the
others, and only its latest copy is kept. With a standby they are in a database of their own (`keys.url`), for which the
same holds. Used by the other stores of this room.
"""

import hmac
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leitstand.stores import place
from leitstand.stores.tables import Forms, open_tables

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # NIST SP 800-38D; random: up to 2^32 messages under one key
FOLDER: Final = "keys"  # of the data folder

# ids are random, so that a file restored from an older copy never gives one of them to somebody else
_FORMS: Final = Forms(
    "keys",
    ("CREATE TABLE keys(subject TEXT PRIMARY KEY, id INTEGER NOT NULL UNIQUE, key BLOB NOT NULL)",),
    (
        'CREATE TABLE keys(subject text COLLATE "C" PRIMARY KEY, id bigint NOT NULL UNIQUE, key bytea NOT NULL)',
    ),
)


class Damaged(ValueError):
    """Sealed bytes that are not as they were written, or stand in another place."""


class Key(NamedTuple):
    """A subject's key and the number by which rows refer to it."""

    id: int
    key: bytes

    def __repr__(self) -> str:
        return f"Key({self.id})"


class Keys:
    """The keys of one data folder. Nothing is cached: a key destroyed by one process is gone for all."""

    def __init__(self, path: Path) -> None:
        """`path`: `subjects.db` in the folder `keys` of a data folder."""
        self._tables = open_tables(path, _FORMS, path.parent.parent, place.KEYS)

    def of(self, subject: str, make: Callable[[], bytes] = lambda: secrets.token_bytes(KEY_BYTES)) -> Key:
        """The key of `subject`; made, durably, at first need. `make()` runs with all other writers kept out."""
        found = self.known(subject)
        if found is not None:
            return found
        with self._tables.writing() as connection:
            row = connection.execute("SELECT id, key FROM keys WHERE subject = ?", (subject,)).fetchone()
            if row is None:
                row = (secrets.randbits(62), make())
                connection.execute("INSERT INTO keys VALUES(?,?,?)", (subject, *row))
        return Key(*row)

    def known(self, subject: str) -> Key | None:
        """The key of `subject`, if there is one."""
        rows = self._tables.read("SELECT id, key FROM keys WHERE subject = ?", (subject,))
        return Key(*rows[0]) if rows else None

    def by_id(self, ids: Iterable[int]) -> dict[int, bytes]:
        """Those of the keys that were not destroyed."""
        return dict(self._tables.read_in("SELECT id, key FROM keys WHERE id IN", ids))

    def any_like(self, start: str) -> bool:
        """Whether a subject has a key whose name begins with `start`."""
        return bool(
            self._tables.read(
                "SELECT 1 FROM keys WHERE substr(subject, 1, ?) = ? LIMIT 1", (len(start), start)
            )
        )

    def destroy(self, subject: str) -> bool:
        """Whether there was a key. Gone from disk on return; TimeoutError as `Tables.forget`."""
        with self._tables.writing() as connection:
            deleted = connection.execute("DELETE FROM keys WHERE subject = ?", (subject,)).rowcount
        self._tables.forget()
        return deleted > 0

    def close(self) -> None:
        """Close the file."""
        self._tables.close()


def beside(path: Path) -> Keys:
    """The keys that belong to the store file `path` of a data folder."""
    return Keys(path.parent / FOLDER / "subjects.db")


def keyed_digest(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 of `parts`, 32 bytes."""
    # each part is preceded by its length, so that no two lists of parts read the same
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.digest(key, message, "sha256")


class Seal:
    """Seals and opens under one key: AES-256-GCM with what the bytes are about as associated data."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, plain: bytes, about: bytes) -> bytes:
        """Nonce and ciphertext of `plain`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, about)

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """What was sealed; Damaged if it was changed, or sealed about something else."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
        except (InvalidTag, ValueError):
            raise Damaged("sealed bytes are damaged, or were moved from elsewhere") from None
