# SPDX-License-Identifier: Apache-2.0
"""Questions to the views: one job, listings newest first, what changed, usage. Asked by the API.

Every question is bounded by an index and a limit. Short ones are answered at once, in the thread that writes; pages
in a thread of their own.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from leitstand.views.database import JOB_COLUMNS, RUN_COLUMNS, Database, usage_row
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
    before; `scopes`: None for everything, else (tenant, project or '' for all) pairs that may be shown."""

    tenant: str = ""
    project: str = ""
    states: tuple[str, ...] = ()
    before: int = NUMBER_MAX
    limit: int = 100
    scopes: tuple[tuple[str, str], ...] | None = None


class Reading:
    """See the module. Answers hold everything that `views` has applied."""

    def __init__(self, views: Database, show: Callable[[], None] | None = None) -> None:
        """`show` makes visible to other connections what `views` has applied; by default it is asked itself."""
        self._views = views
        self._show = show or views.commit
        self._lock = threading.Lock()
        self._pages = sqlite3.connect(
            f"{views.path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )

    def job(self, job: str) -> JobView | None:
        """The job with the id `job`."""
        connection = self._views.connection
        found = connection.execute(f"SELECT {JOB_COLUMNS} FROM jobs WHERE job = ?", (job,)).fetchone()
        return None if found is None else _with_runs(connection, [JobRow(*found)])[0]

    def changed(self, after: int, limit: int) -> list[JobView]:
        """At most `limit` jobs that changed after entry `after`, in the order of their last change."""
        connection = self._views.connection
        rows = connection.execute(
            f"SELECT {JOB_COLUMNS} FROM jobs WHERE changed > ? ORDER BY changed LIMIT ?", (after, limit)
        ).fetchall()
        return _with_runs(connection, [JobRow(*row) for row in rows])

    def usage(self) -> list[UsageRow]:
        """What every project used, by tenant and project."""
        rows = self._views.connection.execute("SELECT * FROM usage ORDER BY tenant, project").fetchall()
        return [usage_row(row) for row in rows]

    async def page(self, page: Page) -> list[JobView]:
        """At most `limit` jobs, newest first; the next page begins before the last one's number. What `show` raises."""
        self._show()
        return await asyncio.to_thread(self._page, page)

    def _page(self, page: Page) -> list[JobView]:
        limit = min(page.limit, LIMIT_MAX + 1)
        with self._lock:
            self._pages.execute("BEGIN")  # all queries see one moment
            try:
                rows: list[JobRow] = []
                # by tenant or state, each state is a walk down its own index; merged here
                for part in _parts(page):
                    for state in part.states or (STATES if part.tenant else ("",)):
                        rows += _walk(self._pages, part, state, limit)
                rows.sort(key=lambda row: -row.number)
                return _with_runs(self._pages, rows[:limit])
            finally:
                if self._pages.in_transaction:
                    self._pages.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._pages.close()


def _parts(page: Page) -> list[Page]:
    """The page as pages of one scope each; scopes that lie in one another give one."""
    if page.scopes is None:
        return [page]
    whole = {tenant for tenant, project in page.scopes if not project}
    return [
        msgspec.structs.replace(page, tenant=tenant, project=project or page.project)
        for tenant, project in dict.fromkeys(page.scopes)
        if page.tenant in ("", tenant)
        and (not project or (tenant not in whole and page.project in ("", project)))
    ]


def _walk(connection: sqlite3.Connection, page: Page, state: str, limit: int) -> list[JobRow]:
    wanted = {"tenant": page.tenant, "state": state, "project": page.project}
    given = {column: value for column, value in wanted.items() if value}
    where = " AND ".join([*(f"{column} = ?" for column in given), "number < ?"])
    rows = connection.execute(
        f"SELECT {JOB_COLUMNS} FROM jobs WHERE {where} ORDER BY number DESC LIMIT ?",
        (*given.values(), page.before, limit),
    )
    return [JobRow(*row) for row in rows.fetchall()]


def _with_runs(connection: sqlite3.Connection, jobs: Sequence[JobRow]) -> list[JobView]:
    if len(jobs) == 1:
        rows = connection.execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE job = ?", (jobs[0].job,)).fetchall()
        return [JobView(jobs[0], _in_order([RunRow(*row) for row in rows]))]
    runs: dict[str, list[RunRow]] = {job.job: [] for job in jobs}
    ids = list(runs)
    for start in range(0, len(ids), _PART):
        part = ids[start : start + _PART]
        of_part = connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE job IN ({','.join('?' * len(part))})", part
        )
        for row in of_part.fetchall():
            runs[row[1]].append(RunRow(*row))
    return [JobView(job, _in_order(runs[job.job])) for job in jobs]


def _in_order(runs: list[RunRow]) -> list[RunRow]:
    if len(runs) > 1:
        runs.sort(key=lambda run: (len(run.run), run.run))  # .2 before .10
    return runs
