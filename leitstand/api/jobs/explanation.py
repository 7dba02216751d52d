# SPDX-License-Identifier: Apache-2.0
"""Why a job waits: the one reason with its numbers, when it starts, what would start it now; and why runs of it were
stopped for others. Records nothing."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from leitstand.api import decode
from leitstand.api.amounts import moment
from leitstand.api.context import faces_of
from leitstand.api.decode import Input
from leitstand.api.jobs.changes import Change, change_of
from leitstand.api.jobs.elsewhere import AlternativeAnswer, alternatives_of
from leitstand.api.jobs.forecasts import JobForecast, Starts
from leitstand.api.jobs.jobs import job_permitted
from leitstand.api.jobs.messages import binding_sentence, sentence
from leitstand.api.jobs.stops import Stop, stops
from leitstand.core.explaining.why import Binding, Explanation, Start, explains, why


class ExplanationQuery(Input, frozen=True):
    """`thorough`: also look through all runs for those that a greater guarantee could call back; this may take
    seconds."""

    thorough: bool = False


class StartAnswer(msgspec.Struct, frozen=True):
    """When it starts. `kind`: claim (as soon as what is being freed for it is free, or its own run that moves has
    ended), promise (kept, whoever comes
    later), plan (unless lenders call back what is theirs) or estimate (not before, as things are now)."""

    kind: str
    at: datetime
    nodes: list[str]


class JobExplanation(msgspec.Struct, frozen=True):
    """Why a job waits. `reason`: the one that binds, the first that holds of held, begin_time, dependency,
    tenant_suspended, moving, freeing, failure, booking, limit, no_such_capacity, order, maintenance, capacity, lending,
    reserved, share, topology; '' for a job that does not wait. `asked` of `resource` against `limit`, at `node` of the
    entitlement tree; `jobs_ahead`: how many waiting jobs of its project come first, `first`: the first of them that
    asks for the same; `until`: when what it waits for comes; `window`: of maintenance; `booking`: that it names.
    `changes`: the first is the one to try. `stops`: the latest runs of it that were stopped before their end, but not
    by its tenant, the latest first, also of a job that runs again or has ended. `alternatives`: where it could wait,
    the best first; none if there is no choice. `forecast`: when it will start, and how sure that is; null where it does
    not wait or nobody forecasts."""

    job: str
    state: str
    reason: str
    message: str
    asked: int
    limit: int
    resource: str
    node: str
    jobs_ahead: int
    first: str
    until: datetime | None
    window: str
    booking: str
    start: StartAnswer | None
    changes: list[Change]
    stops: list[Stop]
    alternatives: list[AlternativeAnswer]
    forecast: JobForecast | None


@get(
    "/jobs/{job_id:str}/explanation",
    opt={"action": "job:read", "query": ExplanationQuery},
    summary="Why a job waits, and what would start it",
)
async def explain_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> JobExplanation:
    """The one binding reason with its numbers, the promised or expected start, and the smallest changes, each of one
    thing, with which it would start now; and why runs of it were stopped for others."""
    _, found = job_permitted(request, job_id)
    query = decode.query(request.query_params.items(), ExplanationQuery)
    faces = faces_of(request)
    live = faces.follower.state.jobs.get(job_id)
    said = Explanation(job_id, Binding(""))
    if live is not None and explains(faces.follower.state, live):
        said = why(faces.follower.state, job_id, faces.now(), query.thorough)
    binding = said.binding
    return JobExplanation(
        job_id,
        found.job.state,
        binding.reason,
        binding_sentence(binding) if binding.reason else sentence(found.job, found.job.reason),
        binding.asked,
        binding.limit,
        binding.resource,
        binding.node,
        binding.jobs_ahead,
        binding.job,
        moment(binding.until_us) if binding.until_us else None,
        binding.window,
        binding.booking,
        _start(said.start),
        [change_of(one) for one in said.changes],
        stops(request, found),
        alternatives_of(faces.follower.state, job_id, faces.now()),
        Starts(faces).explained(job_id),
    )


def _start(start: Start) -> StartAnswer | None:
    return StartAnswer(start.kind, moment(start.start_us), list(start.nodes)) if start.kind else None
