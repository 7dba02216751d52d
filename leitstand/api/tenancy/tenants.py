# SPDX-License-Identifier: Apache-2.0
"""Tenants: list, add, read; and how they look to clients. What happens to one in its life: `tenantlife`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.amounts import moment
from leitstand.api.auth import Identity
from leitstand.api.checks import one_of
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.ids import BUILT_IN, a_new_tenant
from leitstand.api.onboarding.applicationview import complete
from leitstand.api.paging import PageQuery, one_by_one, page_of
from leitstand.api.permission import PLATFORM, absent, inside, permit
from leitstand.api.preconditions import etag
from leitstand.api.problems import Problem
from leitstand.core.budgets import Budget
from leitstand.core.facts import TenantAdded
from leitstand.core.rules import TENANT_CLASSES
from leitstand.core.tenancy import Tenant
from leitstand.core.units import HOUR_US, MICRO
from leitstand.stores.legal import LegalIdentity


class TenantRequest(Input, frozen=True, rename={"tenant_class": "class"}):
    """A tenant to add."""

    id: str
    tenant_class: str = "industry"

    checks: ClassVar[Mapping[str, Check]] = {
        "id": lambda value: "" if value == BUILT_IN else a_new_tenant(value),
        "tenant_class": one_of(TENANT_CLASSES),
    }


class TenantAnswer(msgspec.Struct, frozen=True, rename={"tenant_class": "class"}):
    """A tenant in a listing. `name`: its legal name, where the asker may see it; `suspended`: why, or empty; `stage`:
    active, notice, transition, retrieval, closed; `jobs`: ever submitted; `pending`: waiting now."""

    id: str
    tenant_class: str
    name: str
    suspended: str
    stage: str
    jobs: int
    pending: int


class ProjectAnswer(msgspec.Struct, frozen=True):
    """A project. `open`: it takes jobs."""

    name: str
    open: bool


class BudgetAnswer(msgspec.Struct, frozen=True):
    """GPU-hours (`gpu_us`: exact) or EUR (`micro_eur`: millionths, exact) for runs that end by `expires_at`. `origin`:
    paid, grant, subsidised. Exact in `unit` (gpu_us or micro_eur): `granted`; `reserved` for jobs that live; `posted`
    for what runs used; `available` to new jobs, 0 once it has expired."""

    id: str
    gpu_hours: float
    gpu_us: int
    expires_at: datetime
    origin: str
    eur: float
    micro_eur: int
    unit: str
    granted: int
    reserved: int
    posted: int
    available: int


class ExitTimes(msgspec.Struct, frozen=True):
    """When the stages of an exit begin. `extended`: who has extended the transition: customer, provider."""

    transition_at: datetime
    retrieval_at: datetime
    closed_at: datetime
    extended: list[str]


class TenantWhole(TenantAnswer, frozen=True):
    """A tenant. `running`: jobs that hold nodes now; `times`: of its exit, null before one; `projects`, `budgets`:
    those that the asker may see."""

    running: int
    times: ExitTimes | None
    projects: list[ProjectAnswer]
    budgets: list[BudgetAnswer]


class Tenants(msgspec.Struct, frozen=True):
    """A page; `next_cursor`: null on the last one."""

    items: list[TenantAnswer]
    next_cursor: str | None = None


@get("/tenants", opt={"action": "tenant:list", "query": PageQuery}, summary="List tenants")
async def list_tenants(request: Request[Any, Any, Any]) -> Tenants:
    """The tenants that the asker sees, oldest first."""
    who = permit(request, PLATFORM)
    query = decode.query(request.query_params.items(), PageQuery)
    faces = faces_of(request)
    where = faces.authorizer.scopes_of(faces.tokens.asker(who), "tenant:read")
    seen = [
        one async for one in one_by_one(faces.follower.state.tenants.values()) if inside(where, one.id, "")
    ]
    page, more = page_of(seen, query)
    legals = faces.people.legals(one.id for one in page if may(faces, who, "legal:read", one.id))
    return Tenants([_brief(one, legals.get(one.id)) for one in page], more)


@post("/tenants", opt={"action": "tenant:add", "body": TenantRequest, "again": True}, summary="Add a tenant")
async def add_tenant(request: Request[Any, Any, Any]) -> Response[TenantWhole]:
    """201 with the tenant; 200 if it is there already, of the same class; 409 if it is of another one."""
    faces, who = faces_of(request), permit(request, PLATFORM)
    asked = decode.body(await request.body(), TenantRequest)
    status = 201
    try:
        await faces.ask(who, "", TenantAdded(asked.id, asked.tenant_class, who.subject))
    except Problem as problem:
        there = faces.follower.state.tenants.get(asked.id)
        if problem.code != "exists" or there is None or there.tenant_class != asked.tenant_class:
            raise
        status = 200  # the answer to an earlier try may have been lost
    return tenant_answer(faces, who, asked.id, status)


@get("/tenants/{tenant_id:str}", opt={"action": "tenant:read"}, summary="Read a tenant")
async def read_tenant(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Response[TenantWhole]:
    """The tenant; its ETag changes with every administrative act on it, not with its jobs."""
    who, _ = tenant_permitted(request, tenant_id)
    return tenant_answer(faces_of(request), who, tenant_id)


# ── what others need ──────────────────────────────────────────────────────────────────────────────────────────────
def tenant_permitted(request: Request[Any, Any, Any], tenant_id: str) -> tuple[Identity, Tenant]:
    """Who asks, and the tenant, if the route's action may be done to it; Problem 404 alike if it is not there."""
    found = faces_of(request).follower.state.tenants.get(tenant_id)
    if found is None:
        raise absent("tenant", tenant_id)
    return permit(request, Resource("tenant", tenant_id), tenant_id), found


def tenant_answer(
    faces: Faces, who: Identity, tenant_id: str, status_code: int = 200
) -> Response[TenantWhole]:
    """The tenant as `who` sees it, with its ETag."""
    tenant = faces.follower.state.tenants[tenant_id]
    answer = whole(faces, who, tenant)
    return Response(answer, status_code=status_code, headers={"ETag": tag_of(tenant)})


def tag_of(tenant: Tenant) -> str:
    """The ETag of all that administrative acts change."""
    times = (tenant.transition_us, tenant.retrieval_us, tenant.closed_us, tenant.extended)
    return etag(
        tenant.id,
        tenant.tenant_class,
        tenant.suspended,
        tenant.stage,
        times,
        tenant.projects,
        [one.id for one in tenant.budgets],  # what jobs take of them is no act
    )


def whole(faces: Faces, who: Identity, tenant: Tenant) -> TenantWhole:
    """The tenant as `who` sees it."""
    projects = [
        ProjectAnswer(name, is_open)
        for name, is_open in tenant.projects.items()
        if may(faces, who, "project:list", tenant.id, name)
    ]
    budgets = tenant.budgets if may(faces, who, "budget:list", tenant.id) else []
    legal = legal_of(faces, tenant.id) if may(faces, who, "legal:read", tenant.id) else None
    return TenantWhole(
        **msgspec.structs.asdict(_brief(tenant, legal)),
        running=running(faces, tenant.id),
        times=exit_times(tenant),
        projects=projects,
        budgets=[budget_answer(one, faces.now()) for one in budgets],
    )


def exit_times(tenant: Tenant) -> ExitTimes | None:
    """When the stages of its exit begin, None before one."""
    if tenant.stage == "active":
        return None
    return ExitTimes(
        moment(tenant.transition_us),
        moment(tenant.retrieval_us),
        moment(tenant.closed_us),
        list(tenant.extended),
    )


def budget_answer(budget: Budget, now: int) -> BudgetAnswer:
    """A budget as clients see it at `now` (µs)."""
    return BudgetAnswer(
        budget.id,
        budget.gpu_us / HOUR_US,
        budget.gpu_us,
        moment(budget.expires_us),
        budget.origin,
        budget.micro_eur / MICRO,
        budget.micro_eur,
        budget.unit,
        budget.granted,
        budget.reserved,
        budget.posted,
        budget.available(now),
    )


def running(faces: Faces, tenant_id: str) -> int:
    """How many jobs of the tenant hold nodes now."""
    state = faces.follower.state
    return sum(1 for run in state.runs.values() if state.jobs[run.job].tenant == tenant_id)


def legal_of(faces: Faces, tenant_id: str) -> LegalIdentity | None:
    """Who the tenant is before the law; also when the faces died before its application gave it away."""
    legal = faces.people.legal(tenant_id)
    if legal is None:
        for application in faces.follower.state.onboarding.applications.values():
            if application.state == "approved" and application.tenant == tenant_id:
                complete(faces, application)
                return faces.people.legal(tenant_id)
    return legal


def may(faces: Faces, who: Identity, action: str, tenant_id: str, project: str = "") -> bool:
    """Whether a part of an answer is for `who`."""
    kind = "project" if action == "project:list" else "tenant"
    resource = Resource(kind, tenant_id, project)  # type: ignore[arg-type]
    return faces.authorizer.decide(faces.tokens.asker(who), action, resource).allowed


def _brief(tenant: Tenant, legal: LegalIdentity | None) -> TenantAnswer:
    return TenantAnswer(
        tenant.id,
        tenant.tenant_class,
        legal.name if legal else "",
        tenant.suspended,
        tenant.stage,
        tenant.jobs,
        tenant.pending,
    )
