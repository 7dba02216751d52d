# SPDX-License-Identifier: Apache-2.0
"""Budgets of a tenant: GPU-hours or euros with an origin and an end."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from leitstand.api import decode
from leitstand.api.amounts import duration_fault, duration_us, stamp_us
from leitstand.api.checks import between, one_of
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.paging import PageQuery, page_of
from leitstand.api.preconditions import IF_MATCH, check_match
from leitstand.api.problems import Fault, Problem
from leitstand.api.tenancy.tenants import BudgetAnswer, budget_answer, tag_of, tenant_permitted
from leitstand.core.acts import BudgetGranted
from leitstand.core.budgets import ORIGINS
from leitstand.core.units import HOUR_US, MICRO

GPU_HOURS_MAX: Final = 1_000_000_000
GPU_HOURS_MIN: Final = 0.001
EUR_MAX: Final = 1_000_000_000
EUR_MIN: Final = 0.01
YEAR_MAX: Final = 9000
_GPU_HOURS: Final = between(GPU_HOURS_MIN, GPU_HOURS_MAX, " GPU-hours")
_EUR: Final = between(EUR_MIN, EUR_MAX, " EUR")


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        return "has no time zone; write it like 2027-03-01T00:00:00Z"
    return "" if value.year <= YEAR_MAX else f"is in the year {value.year}; the limit is {YEAR_MAX}"


class BudgetRequest(Input, frozen=True):
    """A budget to grant: `gpu_hours` or `eur`, one of them; `expires_at` or `expires_in`, one of them; `origin`: paid,
    grant or subsidised."""

    gpu_hours: float | None = None
    eur: float | None = None
    expires_at: datetime | None = None
    expires_in: str | float | None = None
    origin: str = "grant"

    checks: ClassVar[Mapping[str, Check]] = {
        "gpu_hours": lambda value: "" if value is None else _GPU_HOURS(value),
        "eur": lambda value: "" if value is None else _EUR(value),
        "expires_at": lambda value: _moment(value) if value else "",
        "expires_in": duration_fault,
        "origin": one_of(ORIGINS),
    }

    def across(self) -> list[tuple[str, str]]:
        faults = []
        if (self.gpu_hours is None) == (self.eur is None):
            faults.append(("gpu_hours", "and eur: give one of them"))
        if (self.expires_at is None) == (self.expires_in is None):
            faults.append(("expires_at", "and expires_in: give one of them"))
        return faults


class Budgets(msgspec.Struct, frozen=True):
    """A page; `next_cursor`: null on the last one."""

    items: list[BudgetAnswer]
    next_cursor: str | None


@get(
    "/tenants/{tenant_id:str}/budgets",
    opt={"action": "budget:list", "query": PageQuery},
    summary="List the budgets of a tenant",
)
async def list_budgets(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Budgets:
    """In the order in which they were granted; those that have ended, too."""
    _, tenant = tenant_permitted(request, tenant_id)
    query = decode.query(request.query_params.items(), PageQuery)
    page, more = page_of(tenant.budgets, query)
    now = faces_of(request).now()
    return Budgets([budget_answer(one, now) for one in page], more)


@post(
    "/tenants/{tenant_id:str}/budgets",
    opt={"action": "budget:grant", "body": BudgetRequest, "headers": [IF_MATCH]},
    summary="Grant a budget",
)
async def grant_budget(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> BudgetAnswer:
    """201 with the budget. With If-Match (the ETag of the tenant) a retry never grants it twice: 412."""
    faces = faces_of(request)
    who, tenant = tenant_permitted(request, tenant_id)
    asked = decode.body(await request.body(), BudgetRequest)
    now = faces.now()
    if asked.expires_at is not None:
        expires_us = stamp_us(asked.expires_at)
    else:
        assert asked.expires_in is not None, "`across` lets one of them through"
        expires_us = now + duration_us(asked.expires_in)
    if expires_us <= now:
        what = "is in the past"
        raise Problem(400, "invalid-request", f"/expires_at {what}", errors=(Fault("/expires_at", what),))
    check_match(request, tag_of(tenant), f"tenant {tenant_id}")
    gpu_us, micro_eur = round((asked.gpu_hours or 0) * HOUR_US), round((asked.eur or 0) * MICRO)
    fact = BudgetGranted("", tenant_id, gpu_us, expires_us, asked.origin, who.subject, micro_eur)
    settled = await faces.ask(who, tenant_id, fact)
    budgets = faces.follower.state.tenants[tenant_id].budgets
    return budget_answer(next(one for one in budgets if one.id == settled.made), now)
