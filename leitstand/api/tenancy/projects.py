# SPDX-License-Identifier: Apache-2.0
"""Projects of a tenant, and who works there."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from leitstand.access.policy import Places, Resource
from leitstand.api import decode
from leitstand.api.checks import an_id, between, optional
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity.names import PersonAnswer
from leitstand.api.paging import PAGE_MAX, PLACE_MAX, PageQuery, one_by_one, page_of
from leitstand.api.permission import absent, inside, permit, places, sees_tenant
from leitstand.api.problems import Problem
from leitstand.api.tenancy.tenants import ProjectAnswer, tenant_permitted
from leitstand.core.acts import ProjectAdded, ProjectClosed
from leitstand.core.state import State

_USER_ID: Final = 1  # where the number of a user id begins


class ProjectRequest(Input, frozen=True):
    """A project to add."""

    name: str

    checks: ClassVar[Mapping[str, Check]] = {"name": an_id}


class Projects(msgspec.Struct, frozen=True):
    """A page; `next_cursor`: null on the last one."""

    items: list[ProjectAnswer]
    next_cursor: str | None


class MemberQuery(Input, frozen=True):
    """Whose roles: of one `project` alone, or left out of all."""

    project: str = ""
    limit: int = PAGE_MAX
    cursor: int = 0

    checks: ClassVar[Mapping[str, Check]] = {
        "project": optional(an_id),
        "limit": between(1, PAGE_MAX),
        "cursor": between(0, PLACE_MAX),
    }


class Member(msgspec.Struct, frozen=True):
    """One role of one person. `project`: empty for the whole tenant; `origin`: sso if it follows from a group of the
    identity provider."""

    user: PersonAnswer
    role: str
    project: str
    origin: str


class Members(msgspec.Struct, frozen=True):
    """A page, which may hold a few more than asked for, since the roles of one person stay together."""

    items: list[Member]
    next_cursor: str | None


@get(
    "/tenants/{tenant_id:str}/projects",
    opt={"action": "project:list", "query": PageQuery},
    summary="List the projects of a tenant",
)
async def list_projects(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Projects:
    """Those that the asker sees, in the order in which they were added; closed ones, too."""
    where = _places_in(request, tenant_id)
    query = decode.query(request.query_params.items(), PageQuery)
    projects = faces_of(request).follower.state.tenants[tenant_id].projects
    seen = [ProjectAnswer(*one) for one in projects.items() if inside(where, tenant_id, one[0])]
    return Projects(*page_of(seen, query))


@post(
    "/tenants/{tenant_id:str}/projects",
    opt={"action": "project:add", "body": ProjectRequest, "again": True},
    summary="Add a project",
)
async def add_project(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Response[ProjectAnswer]:
    """201 with the project, also when a closed one opens again; 200 if it is there and open."""
    faces = faces_of(request)
    who, _ = tenant_permitted(request, tenant_id)
    asked = decode.body(await request.body(), ProjectRequest)
    status = 201
    try:
        await faces.ask(who, tenant_id, ProjectAdded(tenant_id, asked.name, who.subject))
    except Problem as problem:
        if problem.code != "exists":
            raise
        status = 200  # the answer to an earlier try may have been lost
    return Response(ProjectAnswer(asked.name, True), status_code=status)


@post(
    "/tenants/{tenant_id:str}/projects/{project:str}/close",
    opt={"action": "project:close"},
    status_code=200,
    summary="Close a project",
)
async def close_project(
    request: Request[Any, Any, Any], tenant_id: FromPath[str], project: FromPath[str]
) -> ProjectAnswer:
    """It takes no new job; what it has goes on."""
    faces = faces_of(request)
    tenant = faces.follower.state.tenants.get(tenant_id)
    if tenant is None or project not in tenant.projects:
        raise absent("project", project)
    who = permit(request, Resource("project", tenant_id, project), project)
    if tenant.projects[project]:
        await faces.ask(who, tenant_id, ProjectClosed(tenant_id, project, who.subject))
    return ProjectAnswer(project, False)


@get(
    "/tenants/{tenant_id:str}/members",
    opt={"action": "member:list", "query": MemberQuery},
    summary="List who has which role in a tenant",
)
async def list_members(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Members:
    """Everybody with a role where the asker may see who has one."""
    where = _places_in(request, tenant_id)
    query = decode.query(request.query_params.items(), MemberQuery)
    faces = faces_of(request)
    found, more = await _members(faces.follower.state, tenant_id, query, where)
    people = faces.persons(user for user, *_ in found)
    return Members([Member(people[user], *grant) for user, *grant in found], more)


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _places_in(request: Request[Any, Any, Any], tenant_id: str) -> Places | None:
    """Where in the tenant the route's action may be done; a Problem if nowhere."""
    if tenant_id not in faces_of(request).follower.state.tenants or not sees_tenant(request, tenant_id):
        raise absent("tenant", tenant_id)
    _, where = places(request)
    if where is not None and not any(tenant == tenant_id for tenant, _ in where):
        permit(request, Resource("project", tenant_id), tenant_id)
    return where


async def _members(
    state: State, tenant_id: str, query: MemberQuery, where: Places | None
) -> tuple[list[tuple[str, str, str, str]], str | None]:
    """User, role, project and origin of a page, and the cursor of the next: the number of the last user on it."""
    found: list[tuple[str, str, str, str]] = []
    last = 0
    async for user in one_by_one(state.people.users.values()):
        number = int(user.id[_USER_ID:])
        if number <= query.cursor:
            continue
        mine = [
            (user.id, grant.role, grant.project, grant.origin)
            for grant in user.grants
            if grant.tenant == tenant_id
            and query.project in ("", grant.project)
            and inside(where, tenant_id, grant.project)
        ]
        if mine and len(found) >= query.limit:
            return found, str(last)
        if mine:
            found += mine
            last = number
    return found, None
