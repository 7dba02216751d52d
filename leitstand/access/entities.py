# SPDX-License-Identifier: Apache-2.0
"""The few Cedar entities one decision is about: the asker with its teams, the resource with what it lies in.

Called by `policy`. Persons have no names here: there is the asker and there is another, so equal cases give equal
decisions. The names of teams are JSON, so no name of a tenant can be taken for another's.
"""

from typing import Any, Final

import msgspec

from leitstand.access.actions import ACTIONS, Kind
from leitstand.access.roles import PLATFORM_ROLES, Grant

ASKER: Final = {"type": "User", "id": "asker"}
_ANOTHER: Final = {"type": "User", "id": "another"}
_PLATFORM: Final = {"type": "Platform", "id": "platform"}
_TEAM_OF: Final = {"tenant_admin": "admins", "auditor": "auditors", "member": "members", "viewer": "viewers"}

Uid = dict[str, str]
Entity = dict[str, Any]


class Case(msgspec.Struct, frozen=True):
    """One asker, one action and one resource; `own`: the resource is the asker, or its owner is."""

    action: str
    grants: tuple[Grant, ...]
    signed_in: bool
    kind: Kind
    tenant: str
    project: str
    own: bool


def context(
    scopes: tuple[str, ...], bound: str, asked: tuple[str, ...], checked_alone: bool
) -> dict[str, Any]:
    """What the schema calls Request."""
    known: dict[str, Any] = {"scopes": scopes, "asked": asked, "checked_alone": checked_alone}
    return {**known, "tenant": {"__entity": _tenant(bound)}} if bound else known


def action_uid(name: str) -> Uid:
    """The entity of an action or of a group of actions."""
    return {"type": "Action", "id": name}


def uid_of(case: Case) -> Uid:
    """The entity that is the resource."""
    match case.kind:
        case "platform":
            return _PLATFORM
        case "tenant":
            return _tenant(case.tenant)
        case "project":
            return _project(case)
        case "job":
            return {"type": "Job", "id": "job"}
        case "application":
            return {"type": "Application", "id": "application"}
        case "user":
            return ASKER if case.own else _ANOTHER


def graph(case: Case, bound: str) -> str:
    """Every entity the decision may look at, as Cedar JSON."""
    found = [*_people(case), _entity(_PLATFORM)]
    # Without it Cedar would not know the group of the action, and whatever forbids a group would pass it over.
    found.append(_entity(action_uid(case.action), (action_uid(ACTIONS[case.action].group),)))
    if bound and bound != case.tenant:
        found.append(_tenant_entity(bound))
    match case.kind:
        case "tenant" | "project" | "job":
            found.append(_tenant_entity(case.tenant))
        case "user" if case.tenant:
            found.append(_tenant_entity(case.tenant))
        case "application":
            found.append(_entity(uid_of(case), (_PLATFORM,), owner=ASKER if case.own else _ANOTHER))
    if case.kind in ("project", "job"):
        found.append(_entity(_project(case), (_tenant(case.tenant),), **_project_teams(case)))
    if case.kind == "job":
        owner = ASKER if case.own else _ANOTHER
        found.append(_entity(uid_of(case), (_project(case),), owner=owner, **_project_teams(case)))
    return msgspec.json.encode(found + _teams(case)).decode()


def _people(case: Case) -> list[Entity]:
    """The asker in its teams, and another; in their tenant if that is what the decision is about."""
    teams = [_named("signed-in")] if case.signed_in else []
    for grant in case.grants:
        if not grant.tenant and grant.role in PLATFORM_ROLES:
            teams.append(_named(grant.role))
        elif grant.tenant and grant.tenant == case.tenant and grant.role in _TEAM_OF:
            teams.append(_team(_TEAM_OF[grant.role], grant.tenant, grant.project))
    in_tenant: tuple[Uid, ...] = ()
    attributes: dict[str, Uid] = {}
    if case.kind == "user" and case.tenant:
        in_tenant = (_tenant(case.tenant),)
        attributes = {name: _team(name, case.tenant) for name in ("admins", "auditors")}
    other = {} if case.own else attributes
    return [
        _entity(ASKER, (*teams, *(in_tenant if case.own else ())), **(attributes if case.own else {})),
        _entity(_ANOTHER, () if case.own else in_tenant, **other),
    ]


def _teams(case: Case) -> list[Entity]:
    """The teams of the tenant and of every project the case names, each in the wider ones."""
    tenant = case.tenant
    if not tenant:
        return []
    projects = {grant.project for grant in case.grants if grant.tenant == tenant} | {case.project}
    named = sorted(projects - {""})
    insiders = _team("insiders", tenant)
    found = [
        _entity(_team("admins", tenant), (_team("members", tenant),)),
        _entity(_team("auditors", tenant), (insiders,)),
    ]
    for name, wider in (("members", (_team("viewers", tenant),)), ("viewers", (insiders,))):
        found.append(_entity(_team(name, tenant), (*wider, *(_team(name, tenant, one) for one in named))))
    for one in named:
        found.append(_entity(_team("members", tenant, one), (_team("viewers", tenant, one),)))
        found.append(_entity(_team("viewers", tenant, one), (insiders,)))
    return found


def _tenant_entity(tenant: str) -> Entity:
    names = ("admins", "members", "viewers", "auditors", "insiders")
    return _entity(_tenant(tenant), (_PLATFORM,), **{name: _team(name, tenant) for name in names})


def _project_teams(case: Case) -> dict[str, Uid]:
    """Members and viewers are the project's, administrators and auditors the tenant's."""
    return {
        **{name: _team(name, case.tenant) for name in ("admins", "auditors")},
        **{name: _team(name, case.tenant, case.project) for name in ("members", "viewers")},
    }


def _entity(uid: Uid, parents: tuple[Uid, ...] = (), **attributes: Uid) -> Entity:
    values = {name: {"__entity": value} for name, value in attributes.items()}
    return {"uid": uid, "attrs": values, "parents": parents}


def _tenant(tenant: str) -> Uid:
    return {"type": "Tenant", "id": tenant}


def _project(case: Case) -> Uid:
    return {"type": "Project", "id": _name(case.tenant, case.project)}


def _team(name: str, tenant: str, project: str = "") -> Uid:
    return _named(_name(name, tenant, project) if project else _name(name, tenant))


def _named(name: str) -> Uid:
    return {"type": "Team", "id": name}


def _name(*parts: str) -> str:
    return msgspec.json.encode(parts).decode()
