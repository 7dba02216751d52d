# SPDX-License-Identifier: Apache-2.0
"""Secrets of projects (`DIR/secrets.db`), sealed at rest. The faces write and list them, the writer's engine reads.

Each tenant has a data key, wrapped by the master key (`DIR/keys/secrets.key`) and kept with the keys of subjects. A
value is sealed about its tenant, project, name and version, so that no row can be moved to another place. Facts and
records name a secret `name@version`; values are nowhere but here and in the environment of a run. No error shows one.
"""

import os
import re
import secrets as random
import time
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from leitstand.runtime.disk import write_whole
from leitstand.stores import place
from leitstand.stores.keys import FOLDER, KEY_BYTES, Damaged, Key, Seal, beside
from leitstand.stores.tables import Connection, Forms, open_tables

VALUE_BYTES_MAX: Final = 64 * 1024
NAMES_MAX: Final = 1000  # secrets of one project
NAMES_EVER_MAX: Final = 10_000  # of one project, with deleted ones, whose versions are never given again
VERSIONS_MAX: Final = 20  # kept of one secret; the oldest goes first
JOB_VALUES_MAX: Final = 100  # of one job alone
TENANT_BYTES_MAX: Final = 64 * 1024 * 1024  # of all values of a tenant, as stored
JOB_PREFIX: Final = "~"  # of the names of secrets that one job alone has
# what a job can name: a name becomes an environment variable by default
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
REFERENCE: Final = re.compile(rf"({NAME.pattern})(?:@([1-9][0-9]{{0,8}}))?")  # `name` or `name@version`
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_OF_JOB: Final = re.compile(rf"({JOB_PREFIX}[0-9a-f]{{24}})@(1)")

_FORM_1: Final = """
CREATE TABLE names(
  tenant TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, live INTEGER NOT NULL,
  PRIMARY KEY(tenant, project, name)) WITHOUT ROWID;;
CREATE TABLE secrets(
  tenant TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
  created_us INTEGER NOT NULL, author TEXT NOT NULL, key INTEGER NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY(tenant, project, name, version)) WITHOUT ROWID;;
CREATE TABLE tenants(tenant TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;;
CREATE TRIGGER more AFTER INSERT ON secrets BEGIN
  INSERT INTO tenants VALUES(new.tenant, length(new.value))
  ON CONFLICT(tenant) DO UPDATE SET bytes = bytes + length(new.value);
END;;
CREATE TRIGGER less AFTER DELETE ON secrets BEGIN
  UPDATE tenants SET bytes = bytes - length(old.value) WHERE tenant = old.tenant;
END
"""
_SERVER_1: Final = """
CREATE TABLE names(
  tenant text COLLATE "C" NOT NULL, project text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL,
  version bigint NOT NULL, live bigint NOT NULL, PRIMARY KEY(tenant, project, name));;
CREATE TABLE secrets(
  tenant text COLLATE "C" NOT NULL, project text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL,
  version bigint NOT NULL, created_us bigint NOT NULL, author text NOT NULL, key bigint NOT NULL, value bytea NOT NULL,
  PRIMARY KEY(tenant, project, name, version));;
CREATE TABLE tenants(tenant text COLLATE "C" PRIMARY KEY, bytes bigint NOT NULL);;
CREATE FUNCTION count_bytes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO tenants VALUES(NEW.tenant, length(NEW.value))
    ON CONFLICT(tenant) DO UPDATE SET bytes = tenants.bytes + excluded.bytes;
  ELSE
    UPDATE tenants SET bytes = bytes - length(OLD.value) WHERE tenant = OLD.tenant;
  END IF;
  RETURN NULL;
END $$;;
CREATE TRIGGER counted AFTER INSERT OR DELETE ON secrets FOR EACH ROW EXECUTE FUNCTION count_bytes()
"""
_FORMS: Final = Forms("secrets", (_FORM_1,), (_SERVER_1,))
_OF: Final = "tenant = ? AND project = ? AND name = ?"


class SecretRefused(ValueError):
    """A name, a value or a number of them is against a limit; the sentence never holds a value."""


class MasterKeyMissing(OSError):
    """The master key is not there, or not the one that the secrets were sealed with. An OSError: it may come back."""


class Listed(msgspec.Struct, frozen=True):
    """What may be shown of a secret: its name, its latest version, when and by whom (a user id) that was put."""

    name: str
    version: int
    created_us: int
    by: str


Listing = list[Listed]
Names = list[str]


class Secrets:
    """The secrets of one data folder. Calls are short and may come from any thread and process; what is put is
    durable on return. sqlite3.Error or OSError if the disk refuses."""

    def __init__(self, path: Path, clock: Callable[[], int] = time.time_ns) -> None:
        """`clock`: nanoseconds since 1970. Keys lie beside `path`."""
        self._clock = clock
        self._master_path = master_of(path.parent)
        self._keys = beside(path)
        self._tables = open_tables(path, _FORMS, path.parent, place.STORES)

    # ── secrets of a project ──────────────────────────────────────────────────────────────────────────────────────
    def put(self, tenant: str, project: str, name: str, value: str, by: str = "") -> int:
        """Keep `value` as the next version of `name`; the version, from 1. SecretRefused, MasterKeyMissing."""
        if not NAME.fullmatch(name):
            raise SecretRefused(
                "the name of a secret has 1 to 63 of A-Z, a-z, 0-9, _, . and -, beginning with a letter or _; "
                f"{name[:70]!r} has not"
            )
        plain = _plain(name, value)
        key = self._data_key(tenant)
        with self._tables.writing() as connection:
            version = _next_version(connection, tenant, project, name)
            self._insert(connection, (tenant, project, name, version), by, key, plain)
            connection.execute(
                f"DELETE FROM secrets WHERE {_OF} AND version <= ?",
                (tenant, project, name, version - VERSIONS_MAX),
            )
            _check_room(connection, tenant)
        return version

    def read(self, tenant: str, project: str, reference: str) -> str | None:
        """The value of `name@version`, or of the latest version of `name`; None if there is none (any more).
        MasterKeyMissing; Damaged if it is not as it was written."""
        parts = _parts(reference)
        if parts is None:
            return None
        name, version = parts.groups()
        condition, more = (" AND version = ?", (int(version),)) if version else ("", ())
        rows = self._tables.read(
            f"SELECT version, key, value FROM secrets WHERE {_OF}{condition} ORDER BY version DESC LIMIT 1",
            (tenant, project, name, *more),
        )
        key = self._keys.known(_subject(tenant)) if rows else None
        if key is None or key.id != rows[0][1]:  # erased, and its row came later
            return None
        seal = Seal(self._unwrap(tenant, key))
        return seal.open(rows[0][2], _about(tenant, project, name, rows[0][0])).decode()

    def resolve(self, tenant: str, project: str, reference: str) -> str:
        """`name@version` that `name`, or `name@version`, means now; '' if there is no such secret (any more)."""
        parts = _parts(reference)
        if parts is None:
            return ""
        name, version = parts.groups()
        condition, more = (" AND version = ?", (int(version),)) if version else ("", ())
        rows = self._tables.read(
            f"SELECT max(version) FROM secrets WHERE {_OF}{condition}", (tenant, project, name, *more)
        )
        return f"{name}@{rows[0][0]}" if rows[0][0] else ""

    def list(self, tenant: str, project: str) -> Listing:
        """The secrets of a project by name, without those of single jobs; never a value."""
        rows = self._tables.read(
            "SELECT name, version, created_us, author FROM secrets JOIN names USING(tenant, project, name, version) "
            "WHERE tenant = ? AND project = ? AND live = 1 ORDER BY name",
            (tenant, project),
        )
        return [Listed(*row) for row in rows]

    def projects(self, tenant: str) -> Names:
        """The projects of a tenant that have secrets."""
        rows = self._tables.read(
            "SELECT DISTINCT project FROM names WHERE tenant = ? AND live = 1 ORDER BY project", (tenant,)
        )
        return [project for (project,) in rows]

    def delete(self, tenant: str, project: str, name: str) -> bool:
        """Delete all versions of `name`; whether there was one. Its versions are never given again. Gone from disk on
        return."""
        with self._tables.writing() as connection:
            deleted = connection.execute(f"DELETE FROM secrets WHERE {_OF}", (tenant, project, name)).rowcount
            connection.execute(f"UPDATE names SET live = 0 WHERE {_OF}", (tenant, project, name))
        self._tables.forget()
        return deleted > 0

    # ── secrets of one job ────────────────────────────────────────────────────────────────────────────────────────
    def put_for_job(
        self, tenant: str, project: str, values: Mapping[str, str], by: str = ""
    ) -> dict[str, str]:
        """Keep values for one job alone; environment variable → reference. Errors as `put`."""
        if len(values) > JOB_VALUES_MAX:
            raise SecretRefused(
                f"a job has at most {JOB_VALUES_MAX} values of its own, this one {len(values)}"
            )
        plains = {variable: _plain(variable, value) for variable, value in values.items()}
        if not plains:
            return {}
        names = {variable: JOB_PREFIX + random.token_hex(12) for variable in plains}
        key = self._data_key(tenant)
        with self._tables.writing() as connection:
            for variable, plain in plains.items():
                self._insert(connection, (tenant, project, names[variable], 1), by, key, plain)
            _check_room(connection, tenant)
        return {variable: f"{name}@1" for variable, name in names.items()}

    def forget_job_secrets(self, references: Iterable[str]) -> int:
        """Delete the secrets of single jobs among `references`; how many. Gone from disk on return."""
        names = {reference.partition("@")[0] for reference in references}
        return self._forget(lambda name, created_us: name in names)

    def prune_job_secrets(self, before_us: int, keep: Container[str]) -> int:
        """Delete the secrets of single jobs put before `before_us`, never a reference in `keep`; how many."""
        return self._forget(lambda name, created_us: created_us < before_us and f"{name}@1" not in keep)

    # ── erasure ───────────────────────────────────────────────────────────────────────────────────────────────────
    def erase(self, tenant: str) -> int:
        """Destroy the data key of `tenant` and all its secrets; how many values. Gone from disk on return."""
        with self._tables.writing() as connection:
            deleted = connection.execute("DELETE FROM secrets WHERE tenant = ?", (tenant,)).rowcount
            connection.execute("DELETE FROM names WHERE tenant = ?", (tenant,))
            connection.execute("DELETE FROM tenants WHERE tenant = ?", (tenant,))
        self._tables.forget()
        self._keys.destroy(_subject(tenant))  # last: an erasure that was cut short can be done again
        return deleted

    def close(self) -> None:
        """Close the files."""
        self._tables.close()
        self._keys.close()

    # ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _insert(
        self,
        connection: Connection,
        place: tuple[str, str, str, int],
        by: str,
        key: Key,
        plain: bytes,
    ) -> None:
        sealed = Seal(key.key).close(plain, _about(*place))
        connection.execute(
            "INSERT INTO secrets VALUES(?,?,?,?,?,?,?,?)", (*place, self._clock() // 1000, by, key.id, sealed)
        )

    def _forget(self, unwanted: Callable[[str, int], bool]) -> int:
        """Delete those secrets of single jobs, by name and time; walks the tenants' secrets."""
        rows = self._tables.read(
            "SELECT tenant, project, name, created_us FROM secrets WHERE substr(name, 1, 1) = ?",
            (JOB_PREFIX,),
        )
        places = [tuple(place) for *place, created_us in rows if unwanted(place[2], created_us)]
        if not places:
            return 0
        with self._tables.writing() as connection:
            deleted = connection.executemany(f"DELETE FROM secrets WHERE {_OF}", places).rowcount
        self._tables.forget()
        return deleted

    def _data_key(self, tenant: str) -> Key:
        """The tenant's data key, made at first need."""
        kept = self._keys.of(_subject(tenant), lambda: self._wrapped_new(tenant))
        return Key(kept.id, self._unwrap(tenant, kept))

    def _wrapped_new(self, tenant: str) -> bytes:
        # runs with all other writers of keys kept out, so that only one of them makes the master key
        if not self._master_path.exists():
            if self._keys.any_like(_subject("")):
                raise MasterKeyMissing(_missing(self._master_path))
            make_master(self._master_path)
        return Seal(self._master()).close(os.urandom(KEY_BYTES), _subject(tenant).encode())

    def _unwrap(self, tenant: str, wrapped: Key) -> bytes:
        try:
            return Seal(self._master()).open(wrapped.key, _subject(tenant).encode())
        except Damaged:
            raise MasterKeyMissing(
                f"{self._master_path} is not the key that the secrets were sealed with; restore the right one"
            ) from None

    def _master(self) -> bytes:
        try:
            master = self._master_path.read_bytes()
        except FileNotFoundError:
            raise MasterKeyMissing(_missing(self._master_path)) from None
        if len(master) != KEY_BYTES:
            raise MasterKeyMissing(
                f"{self._master_path} has {len(master)} bytes, a master key {KEY_BYTES}; restore it from your backup"
            )
        return master


def master_of(folder: Path) -> Path:
    """Where the master key of a data folder lies."""
    return folder / FOLDER / "secrets.key"


def make_master(path: Path) -> None:
    """A new master key; FileExistsError if there is one, OSError."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_whole(path, os.urandom(KEY_BYTES), replace=False)


def _parts(reference: str) -> re.Match[str] | None:
    return REFERENCE.fullmatch(reference) or _OF_JOB.fullmatch(reference)


def _subject(tenant: str) -> str:
    return f"secrets/{tenant}"


def _about(tenant: str, project: str, name: str, version: int) -> bytes:
    return f"{tenant}/{project}/{name}/{version}".encode()  # none of them has a slash


def _plain(name: str, value: str) -> bytes:
    if _SURROGATES.search(value):  # an encoder's own error would carry the value
        raise SecretRefused(f"the value of {name[:70]!r} is no valid Unicode")
    plain = value.encode()
    if len(plain) > VALUE_BYTES_MAX:
        raise SecretRefused(
            f"the value of {name[:70]!r} has {len(plain)} bytes; the limit is {VALUE_BYTES_MAX}"
        )
    if b"\0" in plain:
        raise SecretRefused(f"the value of {name[:70]!r} has a zero byte, which no environment can hold")
    return plain


def _next_version(connection: Connection, tenant: str, project: str, name: str) -> int:
    of = (tenant, project, name)
    row = connection.execute(f"SELECT version, live FROM names WHERE {_OF}", of).fetchone()
    if row is None or not row[1]:
        count: tuple[Any, ...] = connection.execute(
            "SELECT count(*), coalesce(sum(live), 0) FROM names WHERE tenant = ? AND project = ?",
            (tenant, project),
        ).fetchone()
        if count[1] >= NAMES_MAX:
            raise SecretRefused(
                f"project {project!r} has {NAMES_MAX} secrets, which is the limit; delete some"
            )
        if row is None and count[0] >= NAMES_EVER_MAX:
            raise SecretRefused(
                f"project {project!r} has had {NAMES_EVER_MAX} names of secrets, which is the limit; use old ones again"
            )
    version = row[0] + 1 if row else 1
    connection.execute(
        "INSERT INTO names VALUES(?,?,?,?,1) ON CONFLICT(tenant, project, name) DO UPDATE "
        "SET version = excluded.version, live = 1",
        (*of, version),
    )
    return int(version)


def _check_room(connection: Connection, tenant: str) -> None:
    (used,) = connection.execute("SELECT bytes FROM tenants WHERE tenant = ?", (tenant,)).fetchone()
    if used > TENANT_BYTES_MAX:
        raise SecretRefused(
            f"the secrets of tenant {tenant!r} would take {used} bytes; the limit is {TENANT_BYTES_MAX}: delete some"
        )


def _missing(path: Path) -> str:
    return f"{path}, without which no secret can be read, is missing: restore it from your backup"
