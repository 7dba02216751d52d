# SPDX-License-Identifier: Apache-2.0
"""Jobs: submit, list, read, cancel."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.auth import Identity, header
from leitstand.api.checks import an_id, between, optional
from leitstand.api.context import AWAY, Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.jobs import answers
from leitstand.api.jobs.answers import Job
from leitstand.api.jobs.jobrequest import JobRequest, observation, run_spec
from leitstand.api.jobs.messages import sentence
from leitstand.api.jobs.plan import check_expected
from leitstand.api.jobs.submission import (
    at_home,
    check_profiles,
    check_workdir,
    forget_values,
    keep_values,
    offered,
    secrets_of,
)
from leitstand.api.permission import absent, permit, places, sees_tenant
from leitstand.api.problems import Problem, disk_full
from leitstand.core.facts import CancelJob, HoldJob, ReleaseJob
from leitstand.runtime.spec import RunSpec
from leitstand.stores.commit import TooManyWaiting
from leitstand.stores.records import SpecTooLarge
from leitstand.views.reading import LIMIT_MAX, NUMBER_MAX, JobView, Page
from leitstand.views.rows import ENDED, STATES, JobRow

KEY_MAX: Final = 255  # bytes of an Idempotency-Key


def _states(value: str) -> str:
    unknown = [state for state in value.split(",") if value and state not in STATES]
    return f"has the unknown state {unknown[0][:40]!r}; known: {', '.join(STATES)}" if unknown else ""


class ListQuery(Input, frozen=True):
    """Which jobs, newest first. `state`: one or several, separated by commas; `cursor`: of the page before."""

    state: str = ""
    tenant: str = ""
    project: str = ""
    limit: int = 100
    cursor: int = NUMBER_MAX

    checks: ClassVar[Mapping[str, Check]] = {
        "state": _states,
        "tenant": optional(an_id),
        "project": optional(an_id),
        "limit": between(1, LIMIT_MAX),
        "cursor": between(1, NUMBER_MAX),
    }


class JobPage(msgspec.Struct, frozen=True):
    """A page; `next_cursor`: null on the last one."""

    items: list[Job]
    next_cursor: str | None


@post(
    "/jobs",
    opt={"action": "job:submit", "body": JobRequest, "headers": ["Idempotency-Key", "If-Match"]},
    summary="Submit a job",
)
async def submit(request: Request[Any, Any, Any]) -> Job:
    """201 with the job once it is durable; 422 if admission refuses it. The same Idempotency-Key within 24 hours gives
    the same job. With `If-Match` and what a plan called `expected`: 412 if the plan would be another one now."""
    faces = faces_of(request)
    asked = at_home(request, decode.body(await request.body(), JobRequest))
    who = permit(request, Resource("project", asked.tenant, asked.project), asked.project)
    check_workdir(faces, asked)
    check_profiles(faces, asked)
    secrets = secrets_of(faces, asked)
    digests = _digests(faces, who, header(request.scope, b"idempotency-key"), asked)
    if digests.get("request") not in faces.follower.state.requests:  # a retry has changed what is planned
        check_expected(faces, who, asked, header(request.scope, b"if-match"))
    faces.check_writer()
    if faces.disk_low():
        raise disk_full()
    found = await _submit(faces, who, asked, secrets, digests)
    if found.job.state == "rejected":
        raise _rejected(faces, found)
    return answers.job(faces, found, asked.name)


@get("/jobs", opt={"action": "job:list", "query": ListQuery}, summary="List jobs, newest first")
async def list_jobs(request: Request[Any, Any, Any]) -> JobPage:
    """Live and ended jobs, with cursor paging."""
    faces = faces_of(request)
    _, where = places(request)
    query = decode.query(request.query_params.items(), ListQuery)
    states = tuple(dict.fromkeys(query.state.split(","))) if query.state else ()
    found = await faces.reading.page(
        Page(query.tenant, query.project, states, query.cursor, query.limit + 1, scopes=where)
    )
    shown = found[: query.limit]
    more = str(shown[-1].job.number) if len(found) > len(shown) else None
    return JobPage(answers.jobs(faces, shown), more)


@get("/jobs/{job_id:str}", opt={"action": "job:read"}, summary="Read a job")
async def read(request: Request[Any, Any, Any], job_id: FromPath[str]) -> Job:
    """The job with its runs and what it used so far."""
    _, found = job_permitted(request, job_id)
    return answers.job(faces_of(request), found)


@post("/jobs/{job_id:str}/cancel", opt={"action": "job:cancel"}, status_code=202, summary="Cancel a job")
async def cancel(request: Request[Any, Any, Any], job_id: FromPath[str]) -> Job:
    """202 with the job, which ends soon; a job that has ended stays as it is."""
    faces = faces_of(request)
    who, found = job_permitted(request, job_id)
    if found.job.state not in ENDED:
        try:
            await faces.ask(who, "", CancelJob(job_id, who.subject))
        except Problem as problem:
            if problem.code != "unknown-job":  # it has ended meanwhile
                raise
    return answers.job(faces, found_job(faces, job_id))


@post("/jobs/{job_id:str}/hold", opt={"action": "job:hold"}, status_code=200, summary="Hold a job that waits")
async def hold(request: Request[Any, Any, Any], job_id: FromPath[str]) -> Job:
    """200 with the job, which does not start until it is released; 409 if it does not wait any more."""
    return await _said_of(request, job_id, HoldJob)


@post(
    "/jobs/{job_id:str}/release",
    opt={"action": "job:release"},
    status_code=200,
    summary="Release a job that is held",
)
async def release(request: Request[Any, Any, Any], job_id: FromPath[str]) -> Job:
    """200 with the job, which waits for its turn again, or for what else it waits for."""
    return await _said_of(request, job_id, ReleaseJob)


async def _said_of(
    request: Request[Any, Any, Any], job_id: str, kind: type[HoldJob] | type[ReleaseJob]
) -> Job:
    faces = faces_of(request)
    who, found = job_permitted(request, job_id)
    if found.job.state in ENDED:
        raise Problem(409, "conflict", f"job {job_id} has ended: only one that waits is held or released")
    await faces.ask(who, "", kind(job_id, who.subject))
    return answers.job(faces, found_job(faces, job_id))


def job_permitted(request: Request[Any, Any, Any], job_id: str) -> tuple[Identity, JobView]:
    """Who asks, and the job, if the route's action may be done to it; Problem 404 alike for one that is not there."""
    tenant = job_id.rpartition("-")[0]
    found = faces_of(request).reading.job(job_id) if sees_tenant(request, tenant) else None
    if found is None:
        raise absent("job", job_id)
    return permit(request, resource_of(found.job), job_id), found


def resource_of(row: JobRow) -> Resource:
    """A job, as policies are asked about it."""
    return Resource("job", row.tenant, row.project, owner=row.user)


def found_job(faces: Faces, job_id: str) -> JobView:
    """A job that is there."""
    found = faces.reading.job(job_id)
    assert found is not None, f"{job_id} is in the journal and not in the views"
    return found


async def _submit(
    faces: Faces, who: Identity, asked: JobRequest, secrets: dict[str, str], digests: dict[str, str]
) -> JobView:
    """Keep what must not enter the journal, durably, and ask the writer; what is kept for nothing goes again."""
    values = await keep_values(faces, who.subject, asked)
    kept = ""
    try:
        spec = msgspec.structs.replace(run_spec(asked), secrets={**secrets, **values})
        kept = await _keep(faces, who, asked.tenant, spec)
        submission = observation(
            asked, faces.cpus_milli_default, faces.now(), user=who.subject, spec=kept, **digests
        )
        found = found_job(faces, (await faces.ask(who, asked.tenant, submission)).made)
    except Problem as problem:
        if problem.code != AWAY:  # else it may have been taken: retention decides
            await forget_values(faces, values)
        raise
    if found.job.spec != kept or found.job.state == "rejected":
        await forget_values(faces, values)
    return found


async def _keep(faces: Faces, who: Identity, tenant: str, spec: RunSpec) -> str:
    """Keep a record; the digest that names it."""
    try:
        return await faces.commit.put(tenant, who.subject, spec)
    except TooManyWaiting as error:
        raise Problem(429, "busy", str(error), retry_after_s=1) from None
    except SpecTooLarge as error:
        hint = "put what is long into files of the work directory"
        raise Problem(413, "too-large", str(error), hint=hint) from None


def _digests(faces: Faces, who: Identity, key: bytes, asked: JobRequest) -> dict[str, str]:
    """The keyed digests of the Idempotency-Key and of the body, so that a retry is known and neither is stored."""
    if not key:
        return {}
    if len(key) > KEY_MAX:
        raise Problem(400, "invalid-request", f"Idempotency-Key has {len(key)} bytes; the limit is {KEY_MAX}")
    return {
        "request": faces.records.digest(who.subject, b"request", who.token.encode(), key),
        "request_digest": faces.records.digest(who.subject, b"body", asked.canonical()),
    }


def _rejected(faces: Faces, found: JobView) -> Problem:
    row = found.job
    hint = "POST /v1/plan tells beforehand what would be admitted"
    if row.resource == "mig" and row.reason == "no_such_capacity":
        hint = f"MIG profiles that GPUs here have: {', '.join(offered(faces.follower.state)) or 'none'}"
    return Problem(
        422,
        row.reason,
        f"job {row.job} was refused: it {sentence(row, row.reason)}",
        job=row.job,
        hint=hint,
    )
