# SPDX-License-Identifier: Apache-2.0
"""Usage: what tenants, projects and jobs used, metered from the engines' own times."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from litestar import Request, get

from leitstand.api import decode
from leitstand.api.checks import an_id, between, one_of, optional
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.jobs import answers
from leitstand.api.permission import places
from leitstand.views.reading import LIMIT_MAX, NUMBER_MAX, Page
from leitstand.views.rows import UsageRow

GROUPS = ("tenant", "project", "job")


class UsageQuery(Input, frozen=True):
    """`by`: tenant, project or job; the others are for `job`, newest first, as in listings of jobs."""

    by: str = "tenant"
    tenant: str = ""
    project: str = ""
    limit: int = LIMIT_MAX
    cursor: int = NUMBER_MAX

    checks: ClassVar[Mapping[str, Check]] = {
        "by": one_of(GROUPS),
        "tenant": optional(an_id),
        "project": optional(an_id),
        "limit": between(1, LIMIT_MAX),
        "cursor": between(1, NUMBER_MAX),
    }


class UsageItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Usage of one tenant, project or job. `jobs`: how many used anything; `_s` in seconds, `_us` exact integers: wall
    time, times GPUs, times thousandths of a core."""

    tenant: str
    jobs: int
    wall_s: float
    gpu_s: float
    cpu_s: float
    wall_us: int
    gpu_us: int
    cpu_milli_us: int
    project: str = ""
    job: str = ""
    name: str = ""


class Usage(msgspec.Struct, frozen=True):
    items: list[UsageItem]
    next_cursor: str | None = None


@get("/usage", opt={"action": "usage:read", "query": UsageQuery}, summary="Read usage")
async def usage(request: Request[Any, Any, Any]) -> Usage:
    """Exact sums by tenant or project, or job by job."""
    faces = faces_of(request)
    _, where = places(request)
    query = decode.query(request.query_params.items(), UsageQuery)
    if query.by == "job":
        found = await faces.reading.page(
            Page(query.tenant, query.project, (), query.cursor, query.limit + 1, scopes=where)
        )
        shown = found[: query.limit]
        items = [_of_job(job) for job in answers.jobs(faces, shown)]
        return Usage(items, str(shown[-1].job.number) if len(found) > len(shown) else None)
    rows = [
        row
        for row in faces.reading.usage(where)
        if query.tenant in ("", row.tenant) and query.project in ("", row.project)
    ]
    if query.by == "project":
        return Usage([_item(row, row.project) for row in rows])
    tenants: dict[str, UsageRow] = {}
    for row in rows:
        total = tenants.setdefault(row.tenant, UsageRow(row.tenant, ""))
        total.jobs += row.jobs
        total.wall_us += row.wall_us
        total.gpu_us += row.gpu_us
        total.cpu_milli_us += row.cpu_milli_us
    return Usage([_item(row, "") for row in tenants.values()])


def _item(row: UsageRow, project: str) -> UsageItem:
    used = answers.used(row.wall_us, row.gpu_us, row.cpu_milli_us)
    return UsageItem(row.tenant, row.jobs, project=project, **msgspec.structs.asdict(used))


def _of_job(job: answers.Job) -> UsageItem:
    used = msgspec.structs.asdict(job.usage)
    counted = int(job.started_at is not None)
    return UsageItem(job.tenant, counted, project=job.project, job=job.id, name=job.name, **used)
