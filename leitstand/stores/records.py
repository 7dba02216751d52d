# SPDX-License-Identifier: Apache-2.0
"""Erasable records (`DIR/records.db`): what a job runs and is called, named by keyed digests.

The faces write them and show names from them; an engine reads one at the start of a run. The journal knows a record
only by its digest: HMAC-SHA256 under a random key of the *subject* (the person the record is about). Erasing a
subject destroys its key and rows, and what the journal still holds means nothing any more.

Safe to open in several processes; a transaction serialises writers.
"""

import hmac
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from leitstand.runtime.spec import RunSpec

FORM: Final = 1  # of the tables below
BATCH_MAX: Final = 900  # refs of one lookup; SQLite takes 999 parameters at least
SPEC_BYTES_MAX: Final = 1024 * 1024
CHECKPOINT_TRIES: Final = 50
LOG_PAGES_MAX: Final = 20_000  # of the log, before a writer itself makes a checkpoint

_TABLES: Final = """
CREATE TABLE subjects(id INTEGER PRIMARY KEY AUTOINCREMENT, subject TEXT NOT NULL UNIQUE, key BLOB NOT NULL);
CREATE TABLE records(
  ref TEXT PRIMARY KEY, subject INTEGER NOT NULL REFERENCES subjects(id) ON DELETE CASCADE, tenant TEXT NOT NULL,
  name TEXT NOT NULL, spec BLOB NOT NULL) WITHOUT ROWID;
"""

_KEY: Final = "SELECT id, key FROM subjects WHERE subject = ?"

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(RunSpec).decode


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


class NewerRecords(Exception):
    """The file was written by a newer release."""


class Records:
    """The records of one data folder. Calls are short and may come from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._writes = _connect(path)
        _prepare(self._writes, path)
        self._reads_lock = threading.Lock()
        self._reads = _connect(path)
        self._path = path

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────
    def put(self, tenant: str, subject: str, spec: RunSpec) -> str:
        """Keep one record; its ref. SpecTooLarge, else as `put_all`."""
        return self.put_all([Record.of(tenant, subject, spec)])[0]

    def put_all(self, records: Sequence[Record]) -> list[str]:
        """Keep records in one transaction, durable on return; their refs (64 hex digits), equal for equal records.
        sqlite3.Error if the disk refuses."""
        with self._lock, self._transaction():
            keys: dict[str, tuple[int, bytes]] = {}
            rows = []
            for record in records:
                if record.subject not in keys:
                    keys[record.subject] = self._key(record.subject)
                rows.append(_row(record, *keys[record.subject]))
            self._writes.executemany("INSERT OR IGNORE INTO records VALUES(?,?,?,?,?)", rows)
        return [row[0] for row in rows]

    def erase(self, subject: str) -> int:
        """Destroy the key and all records of `subject`; how many records there were. Gone from disk on return.

        Walks all records: keeping an index on subjects would cost every submission."""
        with self._lock:
            with self._transaction():
                (count,) = self._writes.execute(
                    "SELECT count(*) FROM records JOIN subjects s ON s.id = records.subject WHERE s.subject = ?",
                    (subject,),
                ).fetchone()
                self._writes.execute("DELETE FROM subjects WHERE subject = ?", (subject,))
            for _ in range(CHECKPOINT_TRIES):  # the log still holds old pages until nobody reads them
                (busy, _, _) = self._writes.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy:
                    return int(count)
        raise TimeoutError(
            f"records of {subject!r} are erased, but readers keep old pages in the log; try again"
        )

    def checkpoint(self) -> None:
        """Bring the log into the file, beside writers and readers. Who writes much calls it now and then from a
        thread of its own, so that no writer has to wait for it."""
        connection = _connect(self._path)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            connection.close()

    def digest(self, subject: str, *parts: bytes) -> str:
        """Keyed digest of `parts` under the key of `subject`, 64 hex digits; makes a durable key at first need."""
        found = self._read(_KEY, (subject,))
        if found:
            key = found[0][1]
        else:
            with self._lock:
                key = self._key(subject)[1]
        return _hmac(key, *parts)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────
    def get(self, ref: str) -> RunSpec | None:
        """What `ref` names; None if it never was or was erased."""
        rows = self._read("SELECT spec FROM records WHERE ref = ?", (ref,))
        return _decode(rows[0][0]) if rows else None

    def get_all(self, refs: Iterable[str]) -> dict[str, RunSpec]:
        """The specs of those `refs` that exist."""
        return {ref: _decode(spec) for ref, spec in self._rows("spec", refs)}

    def names(self, refs: Iterable[str]) -> dict[str, str]:
        """The display names of those `refs` that exist and have one."""
        return {ref: name for ref, name in self._rows("name", refs) if name}

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._reads_lock:
            self._reads.close()
            self._writes.close()

    # ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────
    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writes.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writes.execute("COMMIT")
        except BaseException:
            if self._writes.in_transaction:  # a full disk has taken it back already
                self._writes.execute("ROLLBACK")
            raise

    def _key(self, subject: str) -> tuple[int, bytes]:
        """Number and key of a subject, made at first need; nothing is written if there is one."""
        found = self._writes.execute(_KEY, (subject,)).fetchone()
        if found is None:
            self._writes.execute(
                "INSERT OR IGNORE INTO subjects(subject, key) VALUES(?,?)", (subject, secrets.token_bytes(32))
            )
            found = self._writes.execute(_KEY, (subject,)).fetchone()
        row: tuple[int, bytes] = found
        return row

    def _rows(self, column: str, refs: Iterable[str]) -> Iterable[tuple[str, Any]]:
        wanted = list(dict.fromkeys(refs))
        for start in range(0, len(wanted), BATCH_MAX):
            part = wanted[start : start + BATCH_MAX]
            marks = ",".join("?" * len(part))
            yield from self._read(f"SELECT ref, {column} FROM records WHERE ref IN ({marks})", tuple(part))

    def _read(self, sql: str, parameters: tuple[str, ...]) -> list[tuple[Any, ...]]:
        with self._reads_lock:
            return self._reads.execute(sql, parameters).fetchall()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES_MAX}")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    (form,) = connection.execute("PRAGMA user_version").fetchone()
    if form > FORM:
        connection.execute("ROLLBACK")
        raise NewerRecords(
            f"{path} has form {form}; this release reads up to {FORM}: install the newer release"
        )
    if form == 0:
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={FORM}")
    connection.execute("COMMIT")


def _row(record: Record, subject: int, key: bytes) -> tuple[str, int, str, str, bytes]:
    ref = _hmac(key, b"spec", record.tenant.encode(), record.spec)
    return ref, subject, record.tenant, record.name, record.spec


def _hmac(key: bytes, *parts: bytes) -> str:
    # each part is preceded by its length, so that no two lists of parts read the same
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.digest(key, message, "sha256").hex()
