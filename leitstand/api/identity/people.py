# SPDX-License-Identifier: Apache-2.0
"""Who is meant, and from which tenant a right over a person comes. Called by the routes about users and tokens."""

from collections.abc import Iterable
from typing import Any

from litestar import Request

from leitstand.access.policy import Resource
from leitstand.api.auth import Identity, identity
from leitstand.api.context import Faces, faces_of
from leitstand.api.permission import absent, permit
from leitstand.api.problems import Problem
from leitstand.core.people import ADMIN
from leitstand.core.people import User as Account
from leitstand.core.state import State

ME = "me"


def meant(request: Request[Any, Any, Any], user: str) -> str:
    """The user id behind `me`, which stands for oneself; any other is as it is given."""
    return identity(request).subject or user if user == ME else user


def tenants_of(state: State, user: str) -> list[str]:
    """The tenants in which the user has a role, '' for the platform."""
    account = state.people.users.get(user)
    return sorted({grant.tenant for grant in account.grants}) if account else []


def only_tenant(state: State, user: str) -> str:
    """The tenant in which alone the user has roles; '' if it has others, too, or none."""
    tenants = tenants_of(state, user)
    return tenants[0] if len(tenants) == 1 else ""


def seen(faces: Faces, who: Identity, user: str) -> bool:
    """Whether `who` may know that person at all."""
    asker = faces.tokens.asker(who)
    return any(faces.authorizer.sees(asker, one) for one in _readable(faces.follower.state, user))


def account_of(request: Request[Any, Any, Any], user: str) -> Account:
    """The account that is there, also the administrator's before its first token; Problem 404."""
    found = faces_of(request).follower.state.people.users.get(user)
    if found is None and user != ADMIN:
        raise absent("user", user)
    return found or Account(ADMIN)


def permit_reading(request: Request[Any, Any, Any], user: str) -> Identity:
    """Who asks, if it may read that person by any tenant it has a role in; else a Problem."""
    faces = faces_of(request)
    asker, action = faces.tokens.asker(identity(request)), request.route_handler.opt["action"]
    ways = _readable(faces.follower.state, user)
    way = next((one for one in ways if faces.authorizer.decide(asker, action, one).allowed), ways[0])
    return permit(request, way, user)


def permit_or(request: Request[Any, Any, Any], resource: Resource, missing: Problem) -> Identity:
    """As `permit`, but what the asker may not know of is `missing`: in the words for what is not there."""
    try:
        return permit(request, resource)
    except Problem as problem:
        raise (missing if problem.status == 404 else problem) from None


def _readable(state: State, user: str) -> list[Resource]:
    tenants: Iterable[str] = tenants_of(state, user) or [""]
    return [Resource("user", tenant, user=user) for tenant in tenants]
