# SPDX-License-Identifier: Apache-2.0
"""Questions to the views: one job, listings newest first, what changed, usage, acts. Asked by the API.

Every question is bounded by an index and a limit. `scopes` say what the asker may see: None for everything, else
(tenant, project) pairs, project '' for the whole tenant; () is nothing. Short questions are answered at once, in the
thread that writes; pages in a thread of their own.
"""

import asyncio
import heapq
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from leitstand.views.acts import ActRow
from leitstand.views.database import ACT_COLUMNS, JOB_COLUMNS, RUN_COLUMNS, Database, usage_row
from leitstand.views.rows import STATES, JobRow, RunRow, UsageRow

LIMIT_MAX: Final = 1000  # rows of one page
LOOKED_MAX: Final = 10_000  # changes that one call looks at to find those in scope
_PART: Final = 500  # ids of one lookup
NUMBER_MAX: Final = 2**63 - 1
_CHANGED: Final = (
    "SELECT changed, number, tenant, project FROM jobs WHERE changed > ? ORDER BY changed LIMIT ?"
)

Scopes = tuple[tuple[str, str], ...]


class JobView(NamedTuple):
    """A job and its runs, first run first."""

    job: JobRow
    runs: list[RunRow]


class Changes(NamedTuple):
    """Jobs that changed, in the order of their last change. `seen`: the entry up to which this call and those before
    gave them all, the next call's `after`; `more`: there may be others already."""

    jobs: list[JobView]
    seen: int
    more: bool


class Page(msgspec.Struct, frozen=True):
    """Which jobs: `states` () for all; `before`: only those submitted before this number, the `cursor` of the page
    before."""

    tenant: str = ""
    project: str = ""
    states: tuple[str, ...] = ()
    before: int = NUMBER_MAX
    limit: int = 100
    scopes: Scopes | None = None


class ActPage(msgspec.Struct, frozen=True):
    """Which acts: those of `tenant` ('' for all), recorded before entry `before`. A scope of one project shows none:
    acts belong to tenants, or ('' as the tenant of the act) to the platform, whose acts only scopes None show."""

    tenant: str = ""
    before: int = NUMBER_MAX
    limit: int = 100
    scopes: Scopes | None = None


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

    def stopped_together(self, job: str, at_us: int) -> int:
        """How many runs were told at `at_us` to end so that the job can start."""
        where = "stopped_for <> '' AND stopped_for = ? AND stopped_us = ?"
        counted = self._views.connection.execute(f"SELECT count(*) FROM runs WHERE {where}", (job, at_us))
        return int(counted.fetchone()[0])

    def changed(self, after: int, limit: int, scopes: Scopes | None = None) -> Changes:
        """At most `limit` jobs in scope that changed after entry `after`; looks at LOOKED_MAX changes at most."""
        views = self._views
        whole, part = _places(scopes)
        numbers: list[int] = []
        looked, seen = 0, after
        for seen, number, tenant, project in views.connection.execute(_CHANGED, (after, LOOKED_MAX)):
            looked += 1
            if scopes is None or tenant in whole or (tenant, project) in part:
                numbers.append(number)
                if len(numbers) == limit:
                    return Changes(_jobs(views.connection, numbers), seen, more=True)
        more = looked == LOOKED_MAX
        return Changes(_jobs(views.connection, numbers), seen if more else max(after, views.seq), more)

    def usage(self, scopes: Scopes | None = None) -> list[UsageRow]:
        """What every project in scope used, by tenant and project."""
        execute = self._views.connection.execute
        if scopes is None:
            return [usage_row(row) for row in execute("SELECT * FROM usage ORDER BY tenant, project")]
        whole, part = _places(scopes)
        rows = [row for tenant in whole for row in execute("SELECT * FROM usage WHERE tenant = ?", (tenant,))]
        for place in part:
            rows += execute("SELECT * FROM usage WHERE tenant = ? AND project = ?", place)
        return [usage_row(row) for row in sorted(rows)]

    def acts(self, page: ActPage) -> list[ActRow]:
        """At most `limit` acts in scope, latest first; the next page begins before the last one's seq."""
        limit = min(page.limit, LIMIT_MAX + 1)
        if page.scopes is None:
            tenants = [page.tenant] if page.tenant else [""]
        else:
            tenants = [one for one in _places(page.scopes)[0] if one and page.tenant in ("", one)]
        found: list[int] = []
        for tenant in tenants:
            where = "tenant = ? AND " if tenant else ""
            given = (tenant,) if tenant else ()
            walk = self._views.connection.execute(
                f"SELECT seq FROM acts WHERE {where}seq < ? AND seq > ? ORDER BY seq DESC LIMIT ?",
                (*given, page.before, _floor(found, limit), limit),
            )
            found = heapq.nlargest(limit, [*found, *(seq for (seq,) in walk)])
        rows = _by_key(self._views.connection, f"SELECT {ACT_COLUMNS} FROM acts WHERE seq", found)
        return [ActRow(*row) for row in rows]

    async def page(self, page: Page) -> list[JobView]:
        """At most `limit` jobs, newest first; the next page begins before the last one's number. What `show` raises."""
        self._show()
        return await asyncio.to_thread(self._page, page)

    def _page(self, page: Page) -> list[JobView]:
        limit = min(page.limit, LIMIT_MAX + 1)
        with self._lock:
            self._pages.execute("BEGIN")  # all queries see one moment
            try:
                found: list[int] = []
                # by tenant or state, each state is a walk down its own index; merged here
                for part in _parts(page):
                    for state in part.states or (STATES if part.tenant else ("",)):
                        walked = _walk(self._pages, part, state, limit, _floor(found, limit))
                        if walked:
                            found = heapq.nlargest(limit, found + walked)
                return _jobs(self._pages, found)
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
    whole, part = _places(page.scopes)
    places = [(tenant, page.project) for tenant in whole]
    places += [place for place in part if page.project in ("", place[1])]
    return [
        msgspec.structs.replace(page, tenant=tenant, project=project)
        for tenant, project in places
        if page.tenant in ("", tenant)
    ]


def _places(scopes: Scopes | None) -> tuple[dict[str, None], dict[tuple[str, str], None]]:
    """Tenants that are in scope as a whole, and projects of others."""
    if scopes is None:
        return {}, {}
    whole = dict.fromkeys(tenant for tenant, project in scopes if not project)
    return whole, dict.fromkeys(place for place in scopes if place[0] not in whole)


def _floor(found: list[int], limit: int) -> int:
    """What a further number has to exceed to be among the `limit` largest; `found`: the largest so far, in order."""
    return found[limit - 1] if len(found) >= limit > 0 else -1


def _walk(connection: sqlite3.Connection, page: Page, state: str, limit: int, floor: int) -> list[int]:
    """Numbers of the page's jobs in the state, above `floor`, largest first."""
    wanted = {"tenant": page.tenant, "state": state, "project": page.project}
    given = {column: value for column, value in wanted.items() if value}
    where = " AND ".join([*(f"{column} = ?" for column in given), "number < ? AND number > ?"])
    rows = connection.execute(
        f"SELECT number FROM jobs WHERE {where} ORDER BY number DESC LIMIT ?",
        (*given.values(), page.before, floor, limit),
    )
    return [number for (number,) in rows]


def _jobs(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[JobView]:
    """The jobs with these numbers, in this order."""
    rows = _by_key(connection, f"SELECT {JOB_COLUMNS} FROM jobs WHERE number", numbers)
    return _with_runs(connection, [JobRow(*row) for row in rows])


def _by_key(connection: sqlite3.Connection, select: str, keys: Sequence[int]) -> list[Any]:
    """The rows with these keys, which are their first column, in this order."""
    found: dict[int, Any] = {}
    for start in range(0, len(keys), _PART):
        part = keys[start : start + _PART]
        rows = connection.execute(f"{select} IN ({','.join('?' * len(part))})", part)
        found.update((row[0], row) for row in rows)
    return [found[key] for key in keys]


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
