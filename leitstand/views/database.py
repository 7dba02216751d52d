# SPDX-License-Identifier: Apache-2.0
"""The views' file (`DIR/views.db`): local, droppable, rebuilt from the journal. Fed by the follower, read by the API.

Not durable on purpose (synchronous OFF, a commit now and then): batches and their seq are one transaction, so after a
crash the file holds a prefix of the journal, or it is damaged and dropped. Who reads through `connection` sees what
is not yet committed too. Another form, another journal or a seq beyond the journal's head
drop it as well.
"""

import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from leitstand.runtime.disk import make_private
from leitstand.runtime.ports import Entry
from leitstand.views.acts import ActRow
from leitstand.views.rows import ENDED, JobRow, RunRow, UsageRow, fold

FORM: Final = (
    6  # of the tables below and of what `rows.fold` writes into them: raise it with a change of either
)
CACHE_KIB: Final = 8192
WAL_BYTES_MAX: Final = 16 * 1024 * 1024
COMMIT_ENTRIES: Final = 512  # applied, or
COMMIT_S: Final = 0.25  # passed since the last commit, before the next one
LIVE_MAX: Final = 16_384  # live rows kept in memory, of each kind

JOB_COLUMNS: Final = ", ".join(f'"{name}"' for name in JobRow.__struct_fields__)
RUN_COLUMNS: Final = ", ".join(f'"{name}"' for name in RunRow.__struct_fields__)
ACT_COLUMNS: Final = ", ".join(f'"{name}"' for name in ActRow.__struct_fields__)
_USAGE_COLUMNS: Final = ", ".join(f'"{name}"' for name in UsageRow.__struct_fields__)
_JOB_KEPT: Final = 18  # columns that never change after the submission
_RUN_KEPT: Final = 3

_TABLES: Final = f"""
CREATE TABLE progress(one INTEGER PRIMARY KEY CHECK (one = 1), journal TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE TABLE jobs({JOB_COLUMNS.replace('"number"', "number INTEGER PRIMARY KEY", 1)});
CREATE UNIQUE INDEX jobs_by_id ON jobs(job);
CREATE INDEX jobs_by_state ON jobs(state, number);
CREATE INDEX jobs_by_tenant ON jobs(tenant, state, number);
CREATE INDEX jobs_by_project ON jobs(tenant, project, state, number);
CREATE INDEX jobs_by_change ON jobs(changed, tenant, project);
CREATE TABLE runs({RUN_COLUMNS.replace('"run"', "run TEXT PRIMARY KEY", 1)}) WITHOUT ROWID;
CREATE INDEX runs_by_job ON runs(job);
CREATE INDEX runs_by_stop ON runs(stopped_for, stopped_us) WHERE stopped_for <> '';
CREATE TABLE usage({_USAGE_COLUMNS}, PRIMARY KEY(tenant, project)) WITHOUT ROWID;
CREATE TABLE acts({ACT_COLUMNS.replace('"seq"', "seq INTEGER PRIMARY KEY", 1)});
CREATE INDEX acts_by_tenant ON acts(tenant, seq);
CREATE INDEX acts_by_subject ON acts(subject, name, seq);
"""


def _insert(table: str, row: type[msgspec.Struct]) -> str:
    return f"INSERT INTO {table} VALUES({','.join('?' * len(row.__struct_fields__))})"


def _update(table: str, row: type[msgspec.Struct], kept: int, key: str) -> str:
    columns = ", ".join(f'"{name}" = ?' for name in row.__struct_fields__[kept:])
    return f"UPDATE {table} SET {columns} WHERE {key} = ?"


_INSERT_JOB: Final = _insert("jobs", JobRow)
_UPDATE_JOB: Final = _update("jobs", JobRow, _JOB_KEPT, "number")
_INSERT_RUN: Final = _insert("runs", RunRow)
_UPDATE_RUN: Final = _update("runs", RunRow, _RUN_KEPT, "run")
_PUT_USAGE: Final = _insert("usage", UsageRow).replace("INSERT", "INSERT OR REPLACE")
_INSERT_ACT: Final = _insert("acts", ActRow)
_GET_ACT_TENANT: Final = "SELECT tenant FROM acts WHERE subject = ? AND name = ? ORDER BY seq LIMIT 1"
_GET_JOB: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE job = ?"
_GET_RUN: Final = f"SELECT {RUN_COLUMNS} FROM runs WHERE run = ?"
_GET_USAGE: Final = f"SELECT {_USAGE_COLUMNS} FROM usage WHERE tenant = ? AND project = ?"


class Database:
    """Jobs, runs, usage and acts; implements `leitstand.runtime.ports.View`. One thread writes."""

    def __init__(self, path: Path, journal: str, head_seq: int) -> None:
        """Opens, or drops and makes anew, the views of the journal with the id `journal` whose head is `head_seq`.
        `ahead`: the last entry of views that were dropped since they held more than the journal; else 0."""
        self.path = path
        self.ahead = 0
        found = _open(path, journal)
        if found is not None and found[1] > head_seq:
            self.ahead = found[1]
            found[0].close()
            found = None
        if found is None:
            drop(path)
            found = _create(path, journal)
        self.connection, self._seq = found
        self._committed = self._seq
        self._began_s = 0.0
        self._jobs: dict[str, JobRow] = {}
        self._runs: dict[str, RunRow] = {}

    @property
    def seq(self) -> int:
        """The last entry applied."""
        return self._seq

    def apply(self, entries: Iterable[Entry]) -> None:
        """Fold entries; those with seq ≤ self.seq are skipped, ValueError if one is missing. If it raises, nothing of
        what is not committed stays."""
        batch = _Batch(self.connection, self._jobs, self._runs)
        seq = self._seq
        try:
            for entry in entries:
                if entry.seq <= seq:
                    continue
                if entry.seq != seq + 1:
                    raise ValueError(f"entry {seq + 1} is missing: entry {entry.seq} came after entry {seq}")
                seq = entry.seq
                fold(batch, entry)
            if seq == self._seq:
                return
            if not self.connection.in_transaction:
                self.connection.execute("BEGIN")
                self._began_s = time.monotonic()
            batch.save()
        except BaseException:
            self._undo()
            raise
        batch.forget_ended()
        self._seq = seq
        if seq - self._committed >= COMMIT_ENTRIES or time.monotonic() - self._began_s > COMMIT_S:
            self.commit()

    def commit(self) -> None:
        """Make what was applied visible to other connections. If it raises, `seq` is back at the last commit."""
        if self._seq > self._committed:
            try:
                self.connection.execute("UPDATE progress SET seq = ?", (self._seq,))
                self.connection.execute("COMMIT")
            except BaseException:
                self._undo()
                raise
            self._committed = self._seq

    def _undo(self) -> None:
        self._jobs.clear()
        self._runs.clear()
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self._seq = self._committed

    def close(self) -> None:
        """Commit, and close the file."""
        self.commit()
        self.connection.close()


class _Batch:
    """The rows that one batch touches (`leitstand.views.rows.Rows`). `jobs` and `runs` hold live rows as they are in
    the file; whoever drops a failed batch clears them."""

    def __init__(
        self, connection: sqlite3.Connection, jobs: dict[str, JobRow], runs: dict[str, RunRow]
    ) -> None:
        self._select = connection.execute
        self._save = connection.executemany
        self._jobs = jobs
        self._runs = runs
        self._new_jobs: dict[str, JobRow] = {}
        self._old_jobs: dict[str, JobRow] = {}
        self._new_runs: dict[str, RunRow] = {}
        self._old_runs: dict[str, RunRow] = {}
        self._usage: dict[tuple[str, str], UsageRow] = {}
        self._acts: list[ActRow] = []

    def add_job(self, row: JobRow) -> None:
        self._new_jobs[row.job] = self._jobs[row.job] = row

    def add_run(self, row: RunRow) -> None:
        self._new_runs[row.run] = self._runs[row.run] = row

    def job(self, job: str) -> JobRow:
        row = self._jobs.get(job)
        if row is None:
            found = self._select(_GET_JOB, (job,)).fetchone()
            if found is None:
                raise KeyError(job)
            row = self._jobs[job] = JobRow(*found)
        if job not in self._new_jobs:
            self._old_jobs[job] = row
        return row

    def run(self, run: str) -> RunRow:
        row = self._runs.get(run)
        if row is None:
            found = self._select(_GET_RUN, (run,)).fetchone()
            if found is None:
                raise KeyError(run)
            row = self._runs[run] = RunRow(*found)
        if run not in self._new_runs:
            self._old_runs[run] = row
        return row

    def usage(self, tenant: str, project: str) -> UsageRow:
        row = self._usage.get((tenant, project))
        if row is None:
            found = self._select(_GET_USAGE, (tenant, project)).fetchone()
            row = UsageRow(tenant, project) if found is None else usage_row(found)
            self._usage[tenant, project] = row
        return row

    def add_act(self, row: ActRow) -> None:
        self._acts.append(row)

    def tenant_of(self, act: str, subject: str) -> str:
        found = self._select(_GET_ACT_TENANT, (subject, act)).fetchone()
        if found is not None:
            return str(found[0])
        return next((row.tenant for row in self._acts if (row.name, row.subject) == (act, subject)), "")

    def save(self) -> None:
        astuple = msgspec.structs.astuple
        if self._new_jobs:
            self._save(_INSERT_JOB, map(astuple, self._new_jobs.values()))
        if jobs := self._old_jobs.values():
            saved = self._save(_UPDATE_JOB, ((*astuple(row)[_JOB_KEPT:], row.number) for row in jobs))
            _check_changed("jobs", len(jobs), saved.rowcount)
        if self._new_runs:
            self._save(_INSERT_RUN, map(astuple, self._new_runs.values()))
        if runs := self._old_runs.values():
            saved = self._save(_UPDATE_RUN, ((*astuple(row)[_RUN_KEPT:], row.run) for row in runs))
            _check_changed("runs", len(runs), saved.rowcount)
        if self._usage:  # as text: sums may exceed 64 bits
            rows = map(astuple, self._usage.values())
            self._save(_PUT_USAGE, ((*row[:2], *map(str, row[2:])) for row in rows))
        if self._acts:
            self._save(_INSERT_ACT, map(astuple, self._acts))

    def forget_ended(self) -> None:
        """Keep live rows for the next batch, the latest LIVE_MAX of them."""
        for touched in (self._new_jobs, self._old_jobs):
            for job, row in touched.items():
                if row.state in ENDED:
                    self._jobs.pop(job, None)
        for runs in (self._new_runs, self._old_runs):
            for run, of_run in runs.items():
                if of_run.state == "ended":
                    self._runs.pop(run, None)
        for rows in (self._jobs, self._runs):
            while len(rows) > LIVE_MAX:
                del rows[next(iter(rows))]


def _check_changed(table: str, wanted: int, changed: int) -> None:
    if changed != wanted:
        raise ValueError(f"{wanted} rows of {table} were to change, {changed} did")


def drop(path: Path) -> None:
    """Delete the views at `path`; whoever opens them next makes them anew."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def usage_row(found: tuple[Any, ...]) -> UsageRow:
    """The row that the table holds as text."""
    return UsageRow(found[0], found[1], *map(int, found[2:]))


def _connect(path: Path) -> sqlite3.Connection:
    make_private(path)
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES_MAX}")
    return connection


def _open(path: Path, journal: str) -> tuple[sqlite3.Connection, int] | None:
    """The file and its seq, if it can be gone on with."""
    if not path.exists():
        return None
    connection = None
    try:
        connection = _connect(path)
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        if form == FORM:
            (found, seq) = connection.execute("SELECT journal, seq FROM progress").fetchone()
            if found == journal:
                return connection, seq
    except (sqlite3.DatabaseError, TypeError):  # damaged, or another form: the journal has it all
        pass
    if connection is not None:
        connection.close()
    return None


def _create(path: Path, journal: str) -> tuple[sqlite3.Connection, int]:
    connection = _connect(path)
    connection.execute("BEGIN")
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.execute("INSERT INTO progress VALUES(1, ?, 0)", (journal,))
    connection.execute(f"PRAGMA user_version={FORM}")
    connection.execute("COMMIT")
    return connection, 0
