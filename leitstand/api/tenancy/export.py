# SPDX-License-Identifier: Apache-2.0
"""Everything about a tenant as one zip archive in open formats, made while it is sent (Regulation (EU) 2023/2854,
Articles 23, 25 and 30). Nothing is kept on disk for it, and no more than a page of anything in memory.
"""

import asyncio
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Request, get
from litestar.params import FromPath
from litestar.response import Stream

from leitstand.access.policy import Resource
from leitstand.api.auth import Identity
from leitstand.api.context import Faces, faces_of
from leitstand.api.jobs import answers
from leitstand.api.permission import still
from leitstand.api.tenancy.tenants import (
    ProjectAnswer,
    budget_answer,
    legal_of,
    tenant_permitted,
    whole,
)
from leitstand.core.acts import Grant, TenantExported
from leitstand.core.tenancy import Tenant
from leitstand.stores import tenants as stored
from leitstand.views.acts import ActRow
from leitstand.views.reading import NUMBER_MAX, ActPage, JobView, Page
from leitstand.views.rows import decode_tasks

EXPORTS_MAX: Final = 4  # at once, of all tenants
CHUNK: Final = 256 * 1024  # bytes read in one go
JOBS: Final = 200  # of one page
ACTS: Final = 500
MEDIA_TYPE: Final = "application/zip"

README: Final = """Everything that this installation of Leitstand holds about tenant {tenant}, as of {at}.
All text is UTF-8; .json is one JSON document, .jsonl one JSON document on each line. Times are UTC (RFC 3339), or whole
microseconds since 1970 where a name ends with _us.

tenant.json      what GET /v1/tenants/{tenant} tells: class, stage, times of the exit, projects, budgets
legal.json       the legal identity, if there is one
people.json      name and e-mail address of everybody with a role in the tenant, by id
members.json     who has which role, in which project
projects.json    the projects
budgets.json     the budgets with origin and end, and what is reserved and used of them
usage.json       what each project used; _us exact, gpu_us: time times GPUs, cpu_milli_us: times thousandths of a core
secrets.json     names and versions of secrets by project; values are not given out
jobs.jsonl       the jobs, newest first, with runs and usage; "spec" names the file with what it runs
jobs/REF.json    what a job runs: command, setup, environment, work directory (SHA-256), secrets by name
logs/RUN.N.log   what task N of a run printed, as far as it is kept
acts.jsonl       the administrative acts on the tenant, latest first: who did what when
blobs.json       the work directories that were handed in and are kept
blobs/SHA256     each of them: a tar archive, plain or compressed with gzip, bzip2 or xz

What runs left on the machine, as tar archives (POSIX.1-2001, pax) with modes and times:

home.tar              the home of the tenant's runs, if they have one
checkpoints/JOB-….tar the checkpoints of a job, as far as they are kept
runs/RUN.tar          the working directories of a run (work-N of task N) and its temporary files (tmp), if it left any;
                      RUN.stale-N: of a run whose record was lost, with its logs (task-N.log)
left-out.jsonl        what is not in these archives as it lay there, and why: fifo, socket, device; foreign: not the
                      tenant's own; unreadable; vanished meanwhile; deep: in more than 100 folders; large: over
                      1024 GiB; changed: written to while it was read, cut off or filled with zeros to its first size.
                      After 10,000 entries only their number: {{"more": N}}

A link stands in an archive as a link, with its target as text; what it leads to is there only if it lies there. A file
with several names is there under each. Runs that go on while the export is made go on writing: export again when they
have ended to have everything at rest.

Not in the export: values of secrets, and digests of tokens and invitations, which are nothing but keys; logs, working
directories and checkpoints that are not kept any more; what runs wrote to other places.
"""


@get(
    "/tenants/{tenant_id:str}/export",
    opt={"action": "tenant:export", "media": MEDIA_TYPE},
    summary="Export all data of a tenant",
)
async def export_tenant(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Stream:
    """A zip archive with everything about the tenant in open formats; its README.txt explains them. In every stage of
    an exit but the last it is for the tenant's administrators, too. Who fetches it is recorded before it begins."""
    faces = faces_of(request)
    who, tenant = tenant_permitted(request, tenant_id)
    claims = (("exports", EXPORTS_MAX), (f"exports of tenant {tenant_id!r}", 1))
    with faces.limits.hold(*claims):
        pass  # refuse before the answer begins
    await faces.ask(who, tenant_id, TenantExported(tenant_id, who.subject))

    async def held() -> AsyncIterator[bytes]:
        with faces.limits.hold(*claims):
            async for part in archive(faces, who, tenant):
                yield part

    headers = {
        "Content-Disposition": f'attachment; filename="{tenant_id}.zip"',
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
    }
    return Stream(held(), media_type=MEDIA_TYPE, headers=headers)


async def archive(faces: Faces, who: Identity, tenant: Tenant) -> AsyncIterator[bytes]:
    """The bytes of the archive, piece by piece."""
    sink, place = _Sink(), Resource("tenant", tenant.id)
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        async for name, parts in _files(faces, who, tenant):
            with packed.open(name, "w", force_zip64=True) as file:
                async for part in parts:
                    if faces.closing.is_set() or not still(faces, who, "tenant:export", place):
                        raise ConnectionAbortedError("the faces end, or who reads may no more")
                    file.write(part)
                    if ready := sink.take():
                        yield ready
    yield sink.take()


# ── its files ─────────────────────────────────────────────────────────────────────────────────────────────────────
_Parts = AsyncIterator[bytes]
_Files = AsyncIterator[tuple[str, _Parts]]


async def _files(faces: Faces, who: Identity, tenant: Tenant) -> _Files:
    """Name and content of every file; each content is read to its end before the next is asked for."""
    for name, content in _described(faces, who, tenant):
        yield name, _whole(content)
    users = [user for user, _ in _roles(faces, tenant)]
    stores = stored.Stores(faces.people, faces.records, faces.secrets, faces.blobs)
    kept: Iterator[tuple[str, bytes]] = stored.export(stores, tenant.id, users)
    while (found := await asyncio.to_thread(next, kept, None)) is not None:
        yield found[0], _whole(found[1])
    yield "jobs.jsonl", _jobs(faces, tenant)
    yield "acts.jsonl", _acts(faces, tenant)
    async for page in _job_pages(faces, tenant):
        for run in (run for view in page for run in view.runs):
            for task in range(len(decode_tasks(run.tasks))):
                read = partial(_log, faces, run.run, task)
                if await asyncio.to_thread(read, 0, 1):
                    yield f"logs/{run.run}.{task}.log", _copied(read)
    for blob in sorted(faces.blobs.of(tenant.id)):
        yield f"blobs/{blob.digest}", _copied(partial(_file, blob.path))
    left = faces.leftovers.export(tenant.id)
    while (tree := await asyncio.to_thread(next, left, None)) is not None:
        yield tree[0], _taken(tree[1])


def _described(faces: Faces, who: Identity, tenant: Tenant) -> Iterator[tuple[str, bytes]]:
    """What the state holds."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(faces.now() // 1_000_000))
    yield "README.txt", README.format(tenant=tenant.id, at=at).encode()
    legal_of(faces, tenant.id)  # an application may still have to give it away
    members = [
        {"user": user, "role": grant.role, "project": grant.project, "origin": grant.origin}
        for user, grant in _roles(faces, tenant)
    ]
    for name, value in (
        ("tenant", whole(faces, who, tenant)),
        ("projects", [ProjectAnswer(*one) for one in tenant.projects.items()]),
        ("budgets", [budget_answer(one, faces.now()) for one in tenant.budgets]),
        ("members", members),
        ("usage", faces.reading.usage(((tenant.id, ""),))),
    ):
        yield f"{name}.json", msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _roles(faces: Faces, tenant: Tenant) -> list[tuple[str, Grant]]:
    return [
        (user.id, grant)
        for user in faces.follower.state.people.users.values()
        for grant in user.grants
        if grant.tenant == tenant.id
    ]


async def _jobs(faces: Faces, tenant: Tenant) -> _Parts:
    async for page in _job_pages(faces, tenant):
        lines = []
        for view, shown in zip(page, answers.jobs(faces, page), strict=True):
            spec = f"jobs/{view.job.spec}.json" if view.job.spec else None
            lines.append(msgspec.json.encode({**msgspec.to_builtins(shown), "spec": spec}) + b"\n")
        yield b"".join(lines)


async def _job_pages(faces: Faces, tenant: Tenant) -> AsyncIterator[list[JobView]]:
    before = NUMBER_MAX
    while page := await faces.reading.page(Page(tenant.id, before=before, limit=JOBS)):
        yield page
        before = page[-1].job.number


async def _acts(faces: Faces, tenant: Tenant) -> _Parts:
    before = NUMBER_MAX
    while page := faces.reading.acts(ActPage(tenant.id, before, ACTS)):
        yield b"".join(_act(row) for row in page)
        before = page[-1].seq
        await asyncio.sleep(0)


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class _Sink:
    """Takes what the archive writes; zip archives can be written without seeking."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        self._written += len(part)
        return len(part)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is held."""

    def tell(self) -> int:
        return self._written

    def take(self) -> bytes:
        """What was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def _whole(content: bytes) -> _Parts:
    yield content


async def _taken(parts: Iterator[bytes]) -> _Parts:
    while (part := await asyncio.to_thread(next, parts, None)) is not None:
        yield part


async def _copied(read: Callable[[int, int], bytes]) -> _Parts:
    """What `read` gives for each offset, to its end."""
    offset = 0
    while part := await asyncio.to_thread(read, offset, CHUNK):
        yield part
        offset += len(part)


def _log(faces: Faces, run: str, task: int, offset: int, limit: int) -> bytes:
    try:
        return faces.read_log(run, task, offset, limit)
    except KeyError:  # not kept any more
        return b""


def _file(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:  # deleted meanwhile
        return b""


def _act(row: ActRow) -> bytes:
    fields = msgspec.structs.asdict(row)
    fields["body"] = msgspec.Raw(row.body.encode())
    fields["at_us"] = fields.pop("at")
    return msgspec.json.encode(fields) + b"\n"
