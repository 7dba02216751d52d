# SPDX-License-Identifier: Apache-2.0
"""May it be done? Each handler asks here before it reads or writes; the door stops an answer without a decision.

A route names its action in `opt["action"]` (`check_routes` refuses to start otherwise); the handler names what it is
done to. Denied: 401 for a stranger, 404 where the asker may not know of the thing, else 403 with the policies.
"""

from collections.abc import Iterable
from typing import Any, Final

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from leitstand.access.actions import ACTIONS
from leitstand.access.policy import Asker, Places, Resource
from leitstand.access.roles import Grant
from leitstand.api.auth import STRANGER, Identity, identity, unauthenticated
from leitstand.api.context import Faces, faces_of
from leitstand.api.problems import Problem
from leitstand.core.people import ADMIN
from leitstand.core.tenancy import DEFAULT_PROJECT
from leitstand.runtime.spec import OPERATOR

OPEN: Final = "open"  # the action of routes that answer anybody, and tell nothing about anybody
PLATFORM: Final = Resource("platform")
REMEDIES: Final = {  # of what forbids, by the id of its policy
    "scope-read": "issue a token with the scope read",
    "scope-jobs": "issue a token with the scope jobs",
    "scope-admin": "issue a token with the scope admin",
    "bound-token": "use a token of that tenant, or one that is bound to none",
    "no-wider-token": "ask for scopes that this token has, or use a wider one",
    "four-eyes": "somebody else records a check, or approves",
}
ASK_TENANT: Final = "ask an administrator of the tenant for the role"
ASK_PLATFORM: Final = "it takes a role of the platform, which its operators grant"
_LISTING: Final = {
    "job": "GET /v1/jobs",
    "tenant": "GET /v1/tenants",
    "project": "GET /v1/tenants/TENANT/projects",
    "application": "GET /v1/applications",
    "user": "GET /v1/users",
}


def check_routes(routes: Iterable[tuple[str, HTTPRouteHandler]]) -> None:
    """AssertionError unless every route names an action of the closed list."""
    for path, handler in routes:
        action = handler.opt.get("action")
        assert action == OPEN or action in ACTIONS, f"route {path} ({handler}) names no action: {action!r}"


def permit(request: Request[Any, Any, Any], resource: Resource, name: str = "") -> Identity:
    """Who asks, if the route's action may be done to `resource`; else a Problem that calls it `name`."""
    who, action = _asked(request)
    faces = faces_of(request)
    asker = faces.tokens.asker(who)
    decision = faces.authorizer.decide(asker, action, resource)
    if decision.allowed:
        return who
    if not who.subject and not who.claim:
        raise unauthenticated("the request carries no token")
    if not faces.authorizer.sees(asker, resource):
        raise absent(resource.kind, name)
    forbidding = tuple(policy.id for policy in decision.policies)
    because = f"forbidden by {', '.join(forbidding)}" if forbidding else "no policy permits it"
    raise Problem(
        403,
        "forbidden",
        f"{action} is not yours here: {because}",
        hint=_remedy(faces, action, resource, forbidding),
    )


def check_held(request: Request[Any, Any, Any]) -> None:
    """Problem 401 if what identified the asker is valid no more; asked after a wait for the client, before `permit`."""
    who = identity(request)
    if who is not STRANGER and not faces_of(request).tokens.holds(who):
        raise unauthenticated(f"token {who.token} is valid no more")


def places(request: Request[Any, Any, Any]) -> tuple[Identity, Places | None]:
    """Who asks, and where the route's action may be done: None for everywhere, else (tenant, project or '') pairs."""
    who, action = _asked(request)
    faces = faces_of(request)
    if not who.subject and not who.claim:
        raise unauthenticated("the request carries no token")
    where = faces.authorizer.scopes_of(faces.tokens.asker(who), action)
    if where == () and who.scopes and ACTIONS[action].group not in who.scopes:
        group = ACTIONS[action].group
        detail = f"{action} takes a token with the scope {group}; this one has {', '.join(who.scopes)}"
        raise Problem(403, "forbidden", detail, hint=REMEDIES[f"scope-{group}"])
    return who, where


def still(faces: Faces, who: Identity, action: str, resource: Resource) -> bool:
    """Whether what was permitted is so still: asked again and again by answers that last."""
    return (
        faces.tokens.holds(who) and faces.authorizer.decide(faces.tokens.asker(who), action, resource).allowed
    )


def sees_tenant(request: Request[Any, Any, Any], tenant: str) -> bool:
    """Whether the asker may know of anything in the tenant. Asked before a look-up by an id that names its tenant:
    what is not looked up cannot be told apart from what is not there, not even by time."""
    faces = faces_of(request)
    return faces.authorizer.sees(faces.tokens.asker(identity(request)), Resource("tenant", tenant))


def inside(where: Places | None, tenant: str, project: str) -> bool:
    """Whether a project lies in one of the places."""
    return where is None or (tenant, "") in where or (tenant, project) in where


def anybody(request: Request[Any, Any, Any]) -> Identity:
    """Who asks, for a route whose action is OPEN."""
    assert request.route_handler.opt["action"] == OPEN, "the route has an action: ask `permit`"
    request.scope["decided"] = True  # type: ignore[typeddict-unknown-key]
    return identity(request)


def absent(kind: str, name: str) -> Problem:
    """The thing is not there, or the asker may not know of it: the same words for both."""
    return Problem(
        404,
        f"unknown-{kind}",
        f"there is no {kind} {name[:80]!r}",
        hint=f"{_LISTING[kind]} lists what you see",
    )


def home(request: Request[Any, Any, Any], tenant: str, project: str) -> tuple[str, str]:
    """Tenant and project of a request that may leave them out: the token's, else the only ones the asker works in;
    Problem 400 if that leaves a choice."""
    who = identity(request)
    if not tenant:
        grants = faces_of(request).tokens.asker(who).grants
        mine = sorted({grant.tenant for grant in grants if grant.tenant})
        if who.tenant:
            tenant = who.tenant
        elif who.subject == ADMIN:
            tenant = OPERATOR
        elif len(mine) == 1:
            tenant = mine[0]
        else:
            raise Problem(
                400,
                "tenant-missing",
                f"name the tenant: you have roles in {', '.join(mine[:20]) or 'none'}",
                hint="give tenant, or --tenant",
            )
    return tenant, project or _project(request, tenant)


def _project(request: Request[Any, Any, Any], tenant: str) -> str:
    """`default`, or the only project of the tenant that the asker works in."""
    grants = faces_of(request).tokens.asker(identity(request)).grants
    mine = {grant.project for grant in grants if grant.tenant == tenant}
    return mine.pop() or DEFAULT_PROJECT if len(mine) == 1 else DEFAULT_PROJECT


def _remedy(faces: Faces, action: str, resource: Resource, forbidding: tuple[str, ...]) -> str:
    """What helps who was refused: another token or another person where something forbids it, else a role."""
    for policy, remedy in REMEDIES.items():
        if policy in forbidding:
            return remedy
    admin = Asker("u0", (Grant("tenant_admin", resource.tenant),) if resource.tenant else ())
    return ASK_TENANT if faces.authorizer.decide(admin, action, resource).allowed else ASK_PLATFORM


def _asked(request: Request[Any, Any, Any]) -> tuple[Identity, str]:
    request.scope["decided"] = True  # type: ignore[typeddict-unknown-key]
    return identity(request), request.route_handler.opt["action"]
