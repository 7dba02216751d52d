# SPDX-License-Identifier: Apache-2.0
"""Roles of users: grant and revoke, each in the project, tenant or platform it is about."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from litestar import Request, Response, delete, post
from litestar.params import FromPath

from leitstand.access.policy import Resource
from leitstand.access.roles import Grant, fault
from leitstand.api import decode
from leitstand.api.checks import an_id, one_of, optional
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity.people import account_of, meant, seen
from leitstand.api.identity.users import UserAnswer, answer
from leitstand.api.permission import absent, permit
from leitstand.api.problems import Problem
from leitstand.core.acts import RoleGranted, RoleRevoked
from leitstand.core.people import ROLES


class RoleRequest(Input, frozen=True):
    """A role in a tenant (left out: of the platform) and, if named, in one of its projects."""

    role: str
    tenant: str = ""
    project: str = ""

    checks: ClassVar[Mapping[str, Check]] = {
        "role": one_of(ROLES),
        "tenant": optional(an_id),
        "project": optional(an_id),
    }

    def across(self) -> Iterable[tuple[str, str]]:
        """Where the role can be held."""
        if self.role in ROLES and (wrong := fault(Grant(self.role, self.tenant, self.project))):
            yield "role", f"cannot be held there: {wrong}"


def place_of(tenant: str, project: str) -> Resource:
    """What a role is granted in."""
    return Resource("project" if project else "tenant" if tenant else "platform", tenant, project)


@post(
    "/users/{user_id:str}/roles",
    opt={"action": "role:grant", "body": RoleRequest, "again": True},
    summary="Grant a role",
)
async def grant_role(request: Request[Any, Any, Any], user_id: FromPath[str]) -> Response[UserAnswer]:
    """201 with the user; 200 if it has the role already. Whom you do not see yet comes by invitation."""
    faces, user = faces_of(request), meant(request, user_id)
    asked = decode.body(await request.body(), RoleRequest)
    who = permit(request, place_of(asked.tenant, asked.project), asked.project or asked.tenant)
    # Or an administrator could make anybody a member, and read and erase what is known of that person.
    if not seen(faces, who, user):
        raise absent("user", user)
    status = 201
    try:
        await faces.ask(
            who, asked.tenant, RoleGranted(user, asked.role, asked.tenant, asked.project, by=who.subject)
        )
    except Problem as problem:
        if problem.code == "unknown-user":
            raise absent("user", user) from None
        if problem.code != "exists":
            raise
        status = 200
    return Response(answer(faces, who, account_of(request, user)), status_code=status)


@delete(
    "/users/{user_id:str}/roles",
    opt={"action": "role:revoke", "query": RoleRequest},
    status_code=204,
    summary="Revoke a role",
)
async def revoke_role(request: Request[Any, Any, Any], user_id: FromPath[str]) -> None:
    """204. What follows from a group of the identity provider comes back with the next sign-in."""
    faces, user = faces_of(request), meant(request, user_id)
    asked = decode.query(request.query_params.items(), RoleRequest)
    who = permit(request, place_of(asked.tenant, asked.project), asked.project or asked.tenant)
    if not seen(faces, who, user):
        raise absent("user", user)
    try:
        await faces.ask(
            who, asked.tenant, RoleRevoked(user, asked.role, asked.tenant, asked.project, who.subject)
        )
    except Problem as problem:
        raise (absent("user", user) if problem.code == "unknown-user" else problem) from None
