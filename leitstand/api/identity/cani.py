# SPDX-License-Identifier: Apache-2.0
"""May I, and why: the decision on an action with the policies that made it, for whoever asks about itself."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from litestar import Request, get

from leitstand.access.actions import ACTIONS, KINDS, Kind
from leitstand.access.policy import Resource
from leitstand.access.policytext import PolicyShown
from leitstand.api import decode
from leitstand.api.auth import Identity
from leitstand.api.checks import NAME_MAX, an_id, at_most, one_of, optional
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity.people import ME, only_tenant, seen, tenants_of
from leitstand.api.permission import PLATFORM, permit, sees_tenant
from leitstand.api.problems import Fault, Problem


class CanIQuery(Input, frozen=True):
    """`action`: `noun:verb`; what it is done to: `job`, `application`, `user` (`me`), or `tenant` with or without
    `project`, or nothing for the platform. `kind`: where that leaves a choice."""

    action: str
    kind: str = ""
    tenant: str = ""
    project: str = ""
    job: str = ""
    user: str = ""
    application: str = ""

    checks: ClassVar[Mapping[str, Check]] = {
        "action": lambda value: "" if value in ACTIONS else _unknown(value),
        "kind": optional(one_of(KINDS)),
        "tenant": optional(an_id),
        "project": optional(an_id),
        "job": at_most(NAME_MAX),
        "user": at_most(NAME_MAX),
        "application": at_most(NAME_MAX),
    }


class ResourceShown(msgspec.Struct, frozen=True):
    """What was asked about. `owner`: who submitted the job or filed the application, if that is you."""

    kind: str
    tenant: str
    project: str
    owner: str
    user: str


class CanI(msgspec.Struct, frozen=True):
    """`policies`: those that decided; none if nothing permits it."""

    allowed: bool
    action: str
    resource: ResourceShown
    policies: list[PolicyShown]


@get("/can-i", opt={"action": "access:explain", "query": CanIQuery}, summary="May I, and why?")
async def can_i(request: Request[Any, Any, Any]) -> CanI:
    """Whether the token that asks may do the action, and by which policies."""
    faces, who = faces_of(request), permit(request, PLATFORM)
    query = decode.query(request.query_params.items(), CanIQuery)
    resource = _resource(request, who, query)
    if resource is None:  # not there, or the asker may not know of it: one answer for both
        return CanI(False, query.action, ResourceShown(_kind(query), "", "", "", ""), [])
    decision = faces.authorizer.decide(faces.tokens.asker(who), query.action, resource)
    shown = ResourceShown(
        resource.kind,
        resource.tenant,
        resource.project,
        resource.owner if resource.owner == who.subject else "",
        resource.user,
    )
    return CanI(decision.allowed, query.action, shown, list(decision.policies))


def _unknown(action: str) -> str:
    near = [one for one in ACTIONS if one.partition(":")[0] == action.partition(":")[0]]
    known = f"known for this noun: {', '.join(near)}" if near else f"known: {', '.join(ACTIONS)}"
    return f"is {action[:40]!r}; {known}"


def _kind(query: CanIQuery) -> Kind:
    """What kind of thing is asked about; Problem 400 if the action is never done to one."""
    kinds = ACTIONS[query.action].kinds
    given: list[tuple[Kind, str]] = [
        ("job", query.job),
        ("application", query.application),
        ("user", query.user),
        ("project", query.project),
        ("tenant", query.tenant),
    ]
    named = [kind for kind, value in given if value]
    if query.kind:
        kind = next(one for one in KINDS if one == query.kind)
    elif len(kinds) == 1:
        kind = kinds[0]
    else:
        kind = next((one for one in named if one in kinds), "platform")
    if kind not in kinds:
        what = f"{query.action} is done to {' or '.join(kinds)}, not to {kind}"
        raise Problem(400, "invalid-request", what, errors=(Fault("kind", what),))
    return kind


def _resource(request: Request[Any, Any, Any], who: Identity, query: CanIQuery) -> Resource | None:
    """The thing that is asked about; None if it is not there, or the asker may not know of it."""
    faces, kind = faces_of(request), _kind(query)
    match kind:
        case "job" if query.job:
            return _job(request, who, query.job)
        case "application" if query.application:
            return _application(faces, who, query.application)
        case "user":
            user = who.subject if query.user in ("", ME) else query.user
            return _user(faces, who, query, user)
        case "tenant" | "project" | "job":
            return Resource(kind, query.tenant or who.tenant, "" if kind == "tenant" else query.project)
    return Resource(kind)


def _job(request: Request[Any, Any, Any], who: Identity, job: str) -> Resource | None:
    faces, tenant = faces_of(request), job.rpartition("-")[0]
    found = faces.reading.job(job) if sees_tenant(request, tenant) else None
    if found is None:
        return None
    row = found.job
    resource = Resource("job", row.tenant, row.project, owner=row.user)
    return resource if faces.authorizer.sees(faces.tokens.asker(who), resource) else None


def _application(faces: Faces, who: Identity, application: str) -> Resource | None:
    resource = Resource("application", owner=application)
    there = application in faces.follower.state.onboarding.applications
    return resource if there and faces.authorizer.sees(faces.tokens.asker(who), resource) else None


def _user(faces: Faces, who: Identity, query: CanIQuery, user: str) -> Resource | None:
    """A person in the tenant by which the asker may, or the one that is named."""
    state, action = faces.follower.state, query.action
    if user != who.subject and not seen(faces, who, user):
        return None
    tenants = tenants_of(state, user) if action == "user:read" else [only_tenant(state, user)]
    if user == who.subject and who.tenant:
        tenants = [who.tenant]
    named = [query.tenant] if query.tenant in tenants else tenants or [""]
    ways = [Resource("user", one, user=user) for one in named]
    asker = faces.tokens.asker(who)
    return next((one for one in ways if faces.authorizer.decide(asker, action, one).allowed), ways[0])
