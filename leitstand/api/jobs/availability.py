# SPDX-License-Identifier: Apache-2.0
"""Availability, as a service level counts it: of sites, and of what tenants are guaranteed."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, get

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.amounts import moment, stamp_us
from leitstand.api.checks import an_id, optional
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.permission import absent, inside, permit, places
from leitstand.api.problems import Problem
from leitstand.api.tenancy.entitlements import moment_fault
from leitstand.core.units import HOUR_US

DAYS: Final = 30
GPU_S: Final = 1e6  # GPU·µs of a GPU·s
MILLI_S: Final = 1e9


class AvailabilityQuery(Input, frozen=True):
    """`from_at` left out: 30 days before `to_at`; `to_at` left out: now. `tenant`: of it alone."""

    tenant: str = ""
    from_at: datetime | None = None
    to_at: datetime | None = None

    checks: ClassVar[Mapping[str, Check]] = {
        "tenant": optional(an_id),
        "from_at": moment_fault,
        "to_at": moment_fault,
    }


class SiteAvailability(msgspec.Struct, frozen=True):
    """In GPU-seconds: `installed`, of it `serving`, in `announced` maintenance, and `down`. `availability`: serving of
    what is installed and not announced; null: there was nothing."""

    site: str
    installed_gpu_s: float
    serving_gpu_s: float
    announced_gpu_s: float
    down_gpu_s: float
    availability: float | None


class TenantAvailability(msgspec.Struct, frozen=True):
    """In GPU-seconds: what was `guaranteed`, and what of it `had` could be; `availability`: their ratio."""

    tenant: str
    guaranteed_gpu_s: float
    had_gpu_s: float
    availability: float


class Availability(msgspec.Struct, frozen=True):
    """Over [from_at, to_at)."""

    from_at: datetime
    to_at: datetime
    sites: list[SiteAvailability]
    tenants: list[TenantAvailability]


@get(
    "/availability",
    opt={"action": "availability:read", "query": AvailabilityQuery},
    summary="Read the availability of sites and tenants",
)
async def read_availability(request: Request[Any, Any, Any]) -> Availability:
    """How much of each site served, and how much of each tenant's guarantee could be had: of the tenants that the asker
    sees. docs/guide.md says what counts as what."""
    faces = faces_of(request)
    _, where = places(request)
    query = decode.query(request.query_params.items(), AvailabilityQuery)
    if query.tenant and not inside(where, query.tenant, ""):
        permit(request, Resource("tenant", query.tenant), query.tenant)
    if query.tenant and query.tenant not in faces.follower.state.tenants:
        raise absent("tenant", query.tenant)
    now = faces.now()
    to_us = min(stamp_us(query.to_at), now) if query.to_at else now
    from_us = stamp_us(query.from_at) if query.from_at else max(to_us - DAYS * 24 * HOUR_US, 0)
    if from_us >= to_us:
        raise Problem(400, "invalid-request", "from_at is not before to_at, and not before now")
    found = await asyncio.to_thread(faces.availability, from_us, to_us)
    sites = [
        SiteAvailability(
            name,
            time.installed / GPU_S,
            time.serving / GPU_S,
            time.announced / GPU_S,
            (time.installed - time.serving - time.announced) / GPU_S,
            _ratio(time.serving, time.installed - time.announced),
        )
        for name, time in found.sites.items()
    ]
    tenants = [
        TenantAvailability(
            name, time.guaranteed / MILLI_S, time.had / MILLI_S, _ratio(time.had, time.guaranteed) or 0.0
        )
        for name, time in sorted(found.tenants.items())
        if time.guaranteed and inside(where, name, "") and query.tenant in ("", name)
    ]
    return Availability(moment(from_us), moment(to_us), sites, tenants)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
