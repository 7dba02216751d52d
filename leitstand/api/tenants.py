# SPDX-License-Identifier: Apache-2.0
"""Tenants: list and add."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from litestar import Request, Response, get, post

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.jobrequest import an_id
from leitstand.api.permission import PLATFORM, permit
from leitstand.api.problems import Problem
from leitstand.core.facts import TenantAdded
from leitstand.core.rules import TENANT_CLASSES


def _tenant_class(value: str) -> str:
    if value in TENANT_CLASSES:
        return ""
    return f"is {value[:40]!r}; the classes are {', '.join(TENANT_CLASSES)}"


class TenantRequest(Input, frozen=True, rename={"tenant_class": "class"}):
    """A tenant to add."""

    id: str
    tenant_class: str = "industry"

    checks: ClassVar[Mapping[str, Check]] = {"id": an_id, "tenant_class": _tenant_class}


class TenantAnswer(msgspec.Struct, frozen=True, rename={"tenant_class": "class"}):
    """A tenant. `jobs`: ever submitted; `pending`: waiting now."""

    id: str
    tenant_class: str
    jobs: int
    pending: int


class Tenants(msgspec.Struct, frozen=True):
    items: list[TenantAnswer]


@get("/tenants", opt={"action": "tenant:list"}, summary="List tenants")
async def list_tenants(request: Request[Any, Any, Any]) -> Tenants:
    """The tenants that the asker sees."""
    who = permit(request, PLATFORM)
    faces = faces_of(request)
    asker = faces.tokens.asker(who)
    seen = (
        one
        for one in faces.follower.state.tenants.values()
        if faces.authorizer.sees(asker, Resource("tenant", one.id))
    )
    return Tenants([TenantAnswer(one.id, one.tenant_class, one.jobs, one.pending) for one in seen])


@post("/tenants", opt={"action": "tenant:add", "body": TenantRequest}, summary="Add a tenant")
async def add(request: Request[Any, Any, Any]) -> Response[TenantAnswer]:
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
    tenant = faces.follower.state.tenants[asked.id]
    answer = TenantAnswer(tenant.id, tenant.tenant_class, tenant.jobs, tenant.pending)
    return Response(answer, status_code=status)
