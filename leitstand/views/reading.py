# SPDX-License-Identifier: Apache-2.0
"""Questions to the views: one job, listings newest first, what changed, usage. Asked by the API.

Every question is bounded by an index and a limit. A `Reading` has a connection of its own and may be used from one
thread at a time, beside the thread that writes.
"""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from leitstand.views.database import JOB_COLUMNS, RUN_COLUMNS, usage_row
from leitstand.views.rows import STATES, JobRow, RunRow, UsageRow

LIMIT_MAX: Final = 1000  # rows of one page
_PART: Final = 500  # ids of one lookup
NUMBER_MAX: Final = 2**63 - 1


class JobView(NamedTuple):
    """A job and its runs, first run first."""

    job: JobRow
    runs: list[RunRow]


class Page(msgspec.Struct, frozen=True):
    """Which jobs: `states` () for all; `before`: only those submitted before this number, the `cursor` of the page
    before."""

    tenant: str = ""
    project: str = ""
    states: tuple[str, ...] = ()
    before: int = NUMBER_MAX
    limit: int = 100


class Reading:
    """See the module. Answers hold what the last committed batch held."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )

    def job(self, job: str) -> JobView | None:
        """The job with the id `job`."""
        with self._lock:
            found = self._connection.execute(
                f"SELECT {JOB_COLUMNS} FROM jobs WHERE job = ?", (job,)
            ).fetchone()
            return None if found is None else self._with_runs([JobRow(*found)])[0]

    def page(self, page: Page) -> list[JobView]:
        """At most `limit` jobs, newest first; the next page begins before the last one's number."""
        limit = min(page.limit, LIMIT_MAX)
        with self._lock:
            rows: list[JobRow] = []
            # by tenant or state, each state is a walk down its own index; merged here
            for state in page.states or (STATES if page.tenant else ("",)):
                rows += self._walk(page, state, limit)
            rows.sort(key=lambda row: -row.number)
            return self._with_runs(rows[:limit])

    def changed(self, after: int, limit: int) -> list[JobView]:
        """At most `limit` jobs that changed after entry `after`, in the order of their last change."""
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {JOB_COLUMNS} FROM jobs WHERE changed > ? ORDER BY changed LIMIT ?", (after, limit)
            ).fetchall()
            return self._with_runs([JobRow(*row) for row in rows])

    def usage(self) -> list[UsageRow]:
        """What every project used, by tenant and project."""
        with self._lock:
            rows = self._connection.execute("SELECT * FROM usage ORDER BY tenant, project").fetchall()
        return [usage_row(row) for row in rows]

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _walk(self, page: Page, state: str, limit: int) -> list[JobRow]:
        wanted = {"tenant": page.tenant, "state": state, "project": page.project}
        given = {column: value for column, value in wanted.items() if value}
        where = " AND ".join([*(f"{column} = ?" for column in given), "number < ?"])
        rows = self._connection.execute(
            f"SELECT {JOB_COLUMNS} FROM jobs WHERE {where} ORDER BY number DESC LIMIT ?",
            (*given.values(), page.before, limit),
        )
        return [JobRow(*row) for row in rows.fetchall()]

    def _with_runs(self, jobs: Sequence[JobRow]) -> list[JobView]:
        runs: dict[str, list[RunRow]] = {job.job: [] for job in jobs}
        ids = list(runs)
        for start in range(0, len(ids), _PART):
            part = ids[start : start + _PART]
            rows = self._connection.execute(
                f"SELECT {RUN_COLUMNS} FROM runs WHERE job IN ({','.join('?' * len(part))})", part
            )
            for row in rows.fetchall():
                runs[row[1]].append(RunRow(*row))
        for of_job in runs.values():
            if len(of_job) > 1:
                of_job.sort(key=lambda run: (len(run.run), run.run))  # .2 before .10
        return [JobView(job, runs[job.job]) for job in jobs]
