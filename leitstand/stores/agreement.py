# SPDX-License-Identifier: Apache-2.0
"""What two machines of one control plane must have alike, though it never enters a database: the administrator's token
and the master key of secrets. Their digests are kept beside the stores, so that a machine with others does not start.

Called by `leitstand.app` before a start, and when the token is replaced.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from leitstand.stores import place
from leitstand.stores.tables import Forms, Tables, open_tables

_FORMS: Final = Forms(
    "agreement",
    (),
    (
        'CREATE TABLE agreement(name text COLLATE "C" PRIMARY KEY, digest bytea NOT NULL, made_us bigint NOT NULL)',
    ),
)


class Disagreement(ValueError):
    """A file of this machine is missing, or another than that of the control plane: which, and what helps."""


class Agreement:
    """The digests of one control plane, whose stores are in databases. StoreAway, PermissionError."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the data folder."""
        self._tables: Tables = open_tables(folder / "agreement.db", _FORMS, folder, place.STORES)

    def check_there(self, files: Mapping[str, Path]) -> None:
        """Disagreement if a file that the control plane has is missing here: it must not be made anew."""
        known = {name for (name,) in self._tables.read("SELECT name FROM agreement")}
        for name, path in files.items():
            if name in known and not path.exists():
                raise Disagreement(
                    f"{path} is missing: copy it from the machine on which this control plane was started first"
                )

    def check_alike(self, files: Mapping[str, Path]) -> None:
        """Agree on files that nobody had before; Disagreement for one that is another than was agreed on. The time of
        each file becomes that of the first: what was issued before it does not count (`leitstand.app.admin_token`)."""
        for name, path in files.items():
            digest, made_us = _digest(path)
            with self._tables.writing() as connection:
                connection.execute(
                    "INSERT INTO agreement VALUES(?,?,?) ON CONFLICT DO NOTHING", (name, digest, made_us)
                )
                row = connection.execute(
                    "SELECT digest, made_us FROM agreement WHERE name = ?", (name,)
                ).fetchone()
            if bytes(row[0]) != digest:
                raise Disagreement(
                    f"{path} is not that of this control plane: copy it from the machine on which it is right, or, if "
                    "it was replaced there, was that done by `leitstand admin`?"
                )
            if row[1] != made_us:
                os.utime(path, ns=(row[1] * 1000, row[1] * 1000))

    def holds(self, path: Path) -> bool:
        """Whether the file of this name is, as it lies here now, what was agreed on."""
        row = self._tables.read("SELECT digest FROM agreement WHERE name = ?", (path.name,))
        try:
            return not row or bytes(row[0][0]) == _digest(path)[0]
        except FileNotFoundError:
            return False

    def replace(self, name: str, path: Path) -> None:
        """From now on the file is this one; other machines need a copy before their next start."""
        with self._tables.writing() as connection:
            connection.execute(
                "INSERT INTO agreement VALUES(?,?,?) ON CONFLICT(name) DO UPDATE "
                "SET digest = excluded.digest, made_us = excluded.made_us",
                (name, *_digest(path)),
            )


def _digest(path: Path) -> tuple[bytes, int]:
    """Of a file with enough randomness that its digest tells nothing; and when it was made, µs."""
    content = path.read_bytes()
    return hashlib.sha256(b"leitstand agreement\n" + content).digest(), path.stat().st_mtime_ns // 1000
