# SPDX-License-Identifier: Apache-2.0
"""Erasable records (`DIR/records.db`): what a job runs and is called, named by keyed digests.

The faces write them and show names from them; an engine reads one at the start of a run. The journal knows a record
only by its digest: HMAC-SHA256 under the key of the *subject* (the person the record is about). A record is sealed
under the keys of its subject and of its tenant together: destroying either erases it, and what the
journal still holds means nothing any more.

Safe to open in several processes.
"""

import sqlite3
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from leitstand.runtime.spec import RunSpec
from leitstand.stores import place
from leitstand.stores.keys import Damaged, Key, Keys, Seal, beside, keyed_digest
from leitstand.stores.tables import Forms, NewerFile, open_tables, run_script

NewerRecords = NewerFile

FORM: Final = 2  # of the tables below
SPEC_BYTES_MAX: Final = 1024 * 1024
PAGE: Final = 2000  # records looked at in one go by a walk
DELETE_MAX: Final = 500  # records of one deleting transaction
DAY_S: Final = 24 * 3600

_FORM_1: Final = """
CREATE TABLE subjects(id INTEGER PRIMARY KEY AUTOINCREMENT, subject TEXT NOT NULL UNIQUE, key BLOB NOT NULL);;
CREATE TABLE records(
  ref TEXT PRIMARY KEY, subject INTEGER NOT NULL REFERENCES subjects(id) ON DELETE CASCADE, tenant TEXT NOT NULL,
  name TEXT NOT NULL, spec BLOB NOT NULL) WITHOUT ROWID
"""
# subject and tenant: the ids of their keys; day: of the last submission, since 1970
_FORM_2: Final = """
CREATE TABLE records(
  ref TEXT PRIMARY KEY, subject INTEGER NOT NULL, tenant INTEGER NOT NULL, day INTEGER NOT NULL,
  name BLOB NOT NULL, spec BLOB NOT NULL) WITHOUT ROWID
"""
_SERVER_1: Final = """
CREATE TABLE records(
  ref text COLLATE "C" PRIMARY KEY, subject bigint NOT NULL, tenant bigint NOT NULL, day bigint NOT NULL,
  name bytea NOT NULL, spec bytea NOT NULL);;
ALTER TABLE records ALTER COLUMN spec SET STORAGE EXTERNAL
"""
# an equal record stays as it is, unless it is older, or its tenant was erased meanwhile
_PUT: Final = """
INSERT INTO records VALUES(?,?,?,?,?,?) ON CONFLICT(ref) DO UPDATE
SET day = excluded.day, tenant = excluded.tenant, name = excluded.name, spec = excluded.spec
WHERE records.day < excluded.day OR records.tenant <> excluded.tenant
"""

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(RunSpec).decode
_Row = tuple[str, int, int, int, bytes, bytes]


class SpecTooLarge(ValueError):
    """The spec takes more than SPEC_BYTES_MAX as it is stored."""


class Record(msgspec.Struct, frozen=True):
    """One record to keep: what `subject` wants to run in `tenant`; `spec` as it is stored."""

    tenant: str
    subject: str
    name: str
    spec: bytes

    @classmethod
    def of(cls, tenant: str, subject: str, spec: RunSpec) -> "Record":
        """The record that keeps `spec`; SpecTooLarge."""
        encoded = _encode(spec)
        if len(encoded) > SPEC_BYTES_MAX:
            raise SpecTooLarge(f"run spec of {len(encoded)} bytes exceeds the limit of {SPEC_BYTES_MAX}")
        return cls(tenant, subject, spec.name, encoded)


class Records:
    """The records of one data folder. Calls are short and may come from any thread, except where a walk is named."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since 1970. Keys lie beside `path`, see `leitstand.stores.keys`."""
        self._clock = clock
        self._keys = beside(path)
        forms = Forms("records", (_FORM_1, lambda connection: _seal_all(connection, self)), (_SERVER_1,))
        self._tables = open_tables(path, forms, path.parent, place.STORES)

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────
    def put(self, tenant: str, subject: str, spec: RunSpec) -> str:
        """Keep one record; its ref. SpecTooLarge, else as `put_all`."""
        return self.put_all([Record.of(tenant, subject, spec)])[0]

    def put_all(self, records: Sequence[Record]) -> list[str]:
        """Keep records in one transaction, durable on return; their refs (64 hex digits), equal for equal records.
        sqlite3.Error if the disk refuses."""
        rows = self._sealed(records)
        with self._tables.writing() as connection:
            connection.executemany(_PUT, rows)
        return [row[0] for row in rows]

    def erase(self, subject: str) -> int:
        """Destroy the key and all records of `subject`; how many records there were. Gone from disk on return.

        Walks all records: keeping an index on subjects would cost every submission."""
        return self._erase(subject, "subject")

    def erase_tenant(self, tenant: str) -> int:
        """Destroy the key under which `tenant`'s records are sealed, and these, as `erase`."""
        return self._erase(tenant_subject(tenant), "tenant")

    def prune(self, age_days: int, keep: Container[str] = ()) -> int:
        """Delete records last submitted more than `age_days` ago, never a ref in `keep`; how many. Walks them all."""
        before = self._today() - age_days
        old = (ref for ref, day in self._walk("day", "day < ?", before) if day < before and ref not in keep)
        deleted = self._delete(old, "day < ?", before)
        if deleted:
            self._tables.forget()
        return deleted

    def checkpoint(self) -> None:
        """As `Tables.checkpoint`."""
        self._tables.checkpoint()

    def digest(self, subject: str, *parts: bytes) -> str:
        """Keyed digest of `parts` under the key of `subject`, 64 hex digits; makes a durable key at first need."""
        return keyed_digest(self._keys.of(subject).key, *parts).hex()

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────
    def get(self, ref: str) -> RunSpec | None:
        """What `ref` names; None if it never was or was erased; ValueError if it is damaged."""
        return self.get_all([ref]).get(ref)

    def get_all(self, refs: Iterable[str]) -> dict[str, RunSpec]:
        """The specs of those `refs` that exist; ValueError if one is damaged."""
        return {ref: _decode(spec) for ref, spec in self._open("spec", refs)}

    def names(self, refs: Iterable[str]) -> dict[str, str]:
        """The display names of those `refs` that exist, have one, and are whole: a listing goes on without."""
        return {ref: name.decode() for ref, name in self._open("name", refs, strict=False) if name}

    def refs_of(self, tenant: str) -> Iterator[str]:
        """The refs of all records of `tenant`. Walks all records."""
        key = self._keys.known(tenant_subject(tenant))
        if key is not None:
            yield from (ref for ref, _ in self._walk("tenant", "tenant = ?", key.id))

    def close(self) -> None:
        """Close the files."""
        self._tables.close()
        self._keys.close()

    # ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _today(self) -> int:
        return int(self._clock() // DAY_S)

    def _sealed(self, records: Sequence[Record]) -> list[_Row]:
        keys: dict[str, Key] = {}
        for subject in {one for record in records for one in (record.subject, tenant_subject(record.tenant))}:
            keys[subject] = self._keys.of(subject)
        seals: dict[tuple[bytes, bytes], Seal] = {}
        day = self._today()
        rows = []
        for record in records:
            person, tenant = keys[record.subject], keys[tenant_subject(record.tenant)]
            ref = keyed_digest(person.key, b"spec", record.tenant.encode(), record.spec).hex()
            seal = _seal(seals, person.key, tenant.key)
            name = seal.close(record.name.encode(), _about(ref, "name")) if record.name else b""
            spec = seal.close(record.spec, _about(ref, "spec"))
            rows.append((ref, person.id, tenant.id, day, name, spec))
        return rows

    def _open(self, column: str, refs: Iterable[str], strict: bool = True) -> Iterator[tuple[str, bytes]]:
        rows = list(
            self._tables.read_in(f"SELECT ref, subject, tenant, {column} FROM records WHERE ref IN", refs)
        )
        keys = self._keys.by_id(id for row in rows for id in row[1:3])
        seals: dict[tuple[bytes, bytes], Seal] = {}
        for ref, subject, tenant, sealed in rows:
            if subject not in keys or tenant not in keys:
                continue
            seal = _seal(seals, keys[subject], keys[tenant])
            try:
                yield ref, seal.open(sealed, _about(ref, column)) if sealed else b""
            except Damaged:
                if strict:
                    raise

    def _erase(self, subject: str, column: str) -> int:
        key = self._keys.known(subject)
        if key is None:
            return 0
        refs = (ref for ref, _ in self._walk(column, f"{column} = ?", key.id))
        deleted = self._delete(refs, f"{column} = ?", key.id)
        self._tables.forget()
        self._keys.destroy(subject)  # last: an erasure that was cut short can be done again
        return deleted

    def _walk(self, column: str, condition: str, value: int) -> Iterator[tuple[str, int]]:
        """Ref and `column` of the records that meet `condition`, by pages, so that nobody waits for long."""
        after = ""
        while True:
            (end,) = self._tables.read(
                "SELECT max(ref) FROM (SELECT ref FROM records WHERE ref > ? ORDER BY ref LIMIT ?) AS page",
                (after, PAGE),
            )[0]
            if end is None:
                return
            yield from self._tables.read(
                f"SELECT ref, {column} FROM records WHERE ref > ? AND ref <= ? AND {condition}",
                (after, end, value),
            )
            after = end

    def _delete(self, refs: Iterable[str], condition: str, value: int) -> int:
        """Delete those `refs` that still meet `condition`, by small transactions."""
        deleted = 0
        waiting = list(refs)
        for start in range(0, len(waiting), DELETE_MAX):
            part = waiting[start : start + DELETE_MAX]
            marks = ",".join("?" * len(part))
            with self._tables.writing() as connection:
                deleted += connection.execute(
                    f"DELETE FROM records WHERE {condition} AND ref IN ({marks})", (value, *part)
                ).rowcount
        return deleted


def tenant_subject(tenant: str) -> str:
    """The subject under whose key what a tenant owns is sealed; no person's id has a slash."""
    return f"tenant/{tenant}"


def _about(ref: str, column: str) -> bytes:
    return f"{ref}/{column}".encode()


def _seal(seals: dict[tuple[bytes, bytes], Seal], subject: bytes, tenant: bytes) -> Seal:
    found = seals.get((subject, tenant))
    if found is None:
        found = seals[subject, tenant] = Seal(keyed_digest(subject, b"record", tenant))
    return found


def _seal_all(connection: sqlite3.Connection, records: Records) -> None:
    """Form 1 held everything in the open, and the keys beside it."""
    keys: Keys = records._keys
    for subject, key in connection.execute("SELECT subject, key FROM subjects"):
        keys.of(subject, lambda key=key: key)  # type: ignore[misc]
    connection.execute("ALTER TABLE records RENAME TO open_records")
    run_script(connection, _FORM_2)
    rows = connection.execute(
        "SELECT r.tenant, s.subject, r.name, r.spec FROM open_records r JOIN subjects s ON s.id = r.subject"
    )
    while part := rows.fetchmany(PAGE):
        connection.executemany(_PUT, records._sealed([Record(*row) for row in part]))
    connection.execute("DROP TABLE open_records")
    connection.execute("DROP TABLE subjects")
