# SPDX-License-Identifier: Apache-2.0
"""When jobs that wait will start, as the last forecast in the background says; nothing where there is none of late."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Request, get

from leitstand.api import decode
from leitstand.api.amounts import moment
from leitstand.api.checks import an_id, optional
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check
from leitstand.api.paging import PageQuery, page_of
from leitstand.api.permission import inside, places
from leitstand.twin.forecasting.forecaster import Expected, Forecast


class Covered(msgspec.Struct, frozen=True):
    """Of so many forecasts whose time has come, the `share` that was right; null: there is none yet."""

    forecasts: int
    share: float | None


class StartForecast(msgspec.Struct, frozen=True):
    """It starts by `p50` with 50 % and by `p90` with 90 % probability; null: not by `until`. `deadline_chance`: that it
    starts early enough for its deadline; null: it has none. Computed `at`."""

    p50: datetime | None
    p90: datetime | None
    deadline_chance: float | None
    at: datetime
    until: datetime


class JobForecast(StartForecast, frozen=True):
    """As with the job; `p50_covered`, `p90_covered`: how often that was right so far, of all jobs."""

    p50_covered: Covered
    p90_covered: Covered


class ListedForecast(msgspec.Struct, frozen=True):
    """Of one job; fields as in its explanation."""

    job: str
    tenant: str
    project: str
    p50: datetime | None
    p90: datetime | None
    deadline_chance: float | None


class Forecasts(msgspec.Struct, frozen=True):
    """A page, in the order of submission. `state`: ok, stale (there is none of the last half hour) or off. `at`: when
    it was computed; `until`: how far it looks; `next_cursor`: null on the last page."""

    state: str
    at: datetime | None
    until: datetime | None
    forks: int
    p50_covered: Covered
    p90_covered: Covered
    items: list[ListedForecast]
    next_cursor: str | None


class ForecastQuery(PageQuery, frozen=True):
    """Of the jobs of a `tenant` alone, if it is named."""

    tenant: str = ""

    checks: ClassVar[Mapping[str, Check]] = {**PageQuery.checks, "tenant": optional(an_id)}


@get("/forecast", opt={"action": "job:list", "query": ForecastQuery}, summary="When waiting jobs will start")
async def list_forecasts(request: Request[Any, Any, Any]) -> Forecasts:
    """Of the jobs that one sees and that still wait."""
    faces = faces_of(request)
    _, where = places(request)
    query = decode.query(request.query_params.items(), ForecastQuery)
    forecast, jobs = faces.forecasts.forecast(faces.now()), faces.follower.state.jobs
    found = []
    for one in [] if forecast is None else forecast.jobs:
        job = jobs.get(one.job)
        if job is None or job.state != "pending" or query.tenant not in ("", job.tenant):
            continue
        if inside(where, job.tenant, job.project):
            found.append(ListedForecast(job.id, job.tenant, job.project, *_said(one)))
    page, more = page_of(found, query)
    return Forecasts(
        faces.forecasts.state(faces.now()),
        None if forecast is None else moment(forecast.at_us),
        None if forecast is None else moment(forecast.horizon_us),
        0 if forecast is None else forecast.forks,
        *_covered(forecast),
        page,
        more,
    )


class Starts:
    """What is expected of jobs, one after the other, as of one moment; None where a job does not wait, or nothing may
    be said."""

    def __init__(self, faces: Faces) -> None:
        now = faces.now()
        self._forecast = faces.forecasts.forecast(now)
        self._expected = faces.forecasts.jobs(now)
        self._live = faces.follower.state.jobs

    def of(self, job: str) -> StartForecast | None:
        """As it stands with the job."""
        forecast, one, live = self._forecast, self._expected.get(job), self._live.get(job)
        if forecast is None or one is None or live is None or live.state != "pending":
            return None
        return StartForecast(*_said(one), moment(forecast.at_us), moment(forecast.horizon_us))

    def explained(self, job: str) -> JobForecast | None:
        """As it stands in its explanation."""
        said = self.of(job)
        if said is None:
            return None
        p50, p90 = _covered(self._forecast)
        return JobForecast(said.p50, said.p90, said.deadline_chance, said.at, said.until, p50, p90)


def _said(one: Expected) -> tuple[datetime | None, datetime | None, float | None]:
    return (
        None if one.p50_us is None else moment(one.p50_us),
        None if one.p90_us is None else moment(one.p90_us),
        one.chance,
    )


def _covered(forecast: Forecast | None) -> tuple[Covered, Covered]:
    if forecast is None:
        return Covered(0, None), Covered(0, None)
    p50, p90 = map(Covered, forecast.coverage.forecasts, forecast.coverage.share)
    return p50, p90
