# SPDX-License-Identifier: Apache-2.0
"""Who one is: the person, the token used, the roles."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, get

from leitstand.api.amounts import moment
from leitstand.api.auth import Identity, grants_of
from leitstand.api.context import Faces, faces_of
from leitstand.api.identity.names import ADMINISTRATOR
from leitstand.api.permission import PLATFORM, home, permit
from leitstand.api.problems import Problem
from leitstand.core.people import ADMIN


class RoleAnswer(msgspec.Struct, frozen=True):
    """A role in a tenant (empty: of the platform) and, if named, in one project. `origin`: `sso` if it follows from a
    group of the identity provider."""

    role: str
    tenant: str
    project: str
    origin: str = ""


class OwnPerson(msgspec.Struct, frozen=True):
    """A person with its address."""

    id: str
    name: str
    email: str


class OwnToken(msgspec.Struct, frozen=True):
    """The token used. `scopes`: empty for all; `tenant`: empty for any; `expires_at`: null for the administrator's."""

    id: str
    kind: str
    scopes: tuple[str, ...]
    tenant: str
    expires_at: datetime | None


class Home(msgspec.Struct, frozen=True):
    """What is meant where a request leaves tenant and project out."""

    tenant: str
    project: str


class Self(msgspec.Struct, frozen=True):
    """Who asks. `home`: null if there is a choice of tenants."""

    user: OwnPerson
    token: OwnToken
    roles: list[RoleAnswer]
    home: Home | None


@get("/self", opt={"action": "self:read"}, summary="Who am I?")
async def read_self(request: Request[Any, Any, Any]) -> Self:
    """The person, the token used, and the roles that count for it now."""
    faces, who = faces_of(request), permit(request, PLATFORM)
    origins = {
        (one.role, one.tenant, one.project): one.origin
        for one in getattr(faces.follower.state.people.users.get(who.subject), "grants", ())
    }
    roles = [
        RoleAnswer(one.role, one.tenant, one.project, origins.get((one.role, one.tenant, one.project), ""))
        for one in grants_of(faces.follower.state, who.subject)
        if not who.tenant or one.tenant in ("", who.tenant)
    ]
    return Self(_person(faces, who.subject), _token(faces, who), roles, _home(request))


def _person(faces: Faces, user: str) -> OwnPerson:
    known = faces.people.person(user)
    if known is None:
        return OwnPerson(user, ADMINISTRATOR if user == ADMIN else "", "")
    return OwnPerson(user, known.name, known.email)


def _token(faces: Faces, who: Identity) -> OwnToken:
    found = faces.follower.state.people.tokens.get(who.token)
    if found is None:
        return OwnToken(who.token, "api", (), "", None)
    return OwnToken(found.id, found.kind, found.scopes, found.tenant, moment(found.expires_us))


def _home(request: Request[Any, Any, Any]) -> Home | None:
    try:
        return Home(*home(request, "", ""))
    except Problem:
        return None
