# SPDX-License-Identifier: Apache-2.0
"""Secrets of projects: list, set, delete. No answer and no error ever holds a value.

A value is stored before its fact is asked for: a crash between leaves a version that nothing names. A deletion is a
fact before it is done: after a crash between, the secret is still listed, and deleting it again ends it.
"""

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, delete, get, put
from litestar.params import FromPath

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.amounts import moment
from leitstand.api.auth import Identity
from leitstand.api.checks import an_id, optional
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity.names import PersonAnswer
from leitstand.api.jobs.submission import storing_secrets
from leitstand.api.paging import PageQuery, page_of
from leitstand.api.permission import absent, home, permit
from leitstand.api.problems import Problem
from leitstand.core.acts import SecretDeleted, SecretSet
from leitstand.stores.secrets import NAME, VALUE_BYTES_MAX

_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def _value(value: str) -> str:
    """No fault quotes anything of the value."""
    if not value:
        return "is empty"
    if "\0" in value:
        return "has a NUL character, which no environment can hold"
    if _SURROGATES.search(value):
        return "is no valid Unicode"
    size = len(value.encode())
    return "" if size <= VALUE_BYTES_MAX else f"has {size} bytes; the limit is {VALUE_BYTES_MAX}"


def _place(value: str) -> str:
    """As `an_id`, without quoting: who mixes fields up has put the secret there."""
    return "is no id: 1 to 63 of a-z, 0-9 and -, without - at its ends" if value and an_id(value) else ""


class SecretRequest(Input, frozen=True):
    """A value to set, of at most 64 KiB; `tenant` and `project` left out: as in a submission."""

    value: str
    tenant: str = ""
    project: str = ""

    hidden: ClassVar[frozenset[str]] = frozenset({"value", "tenant", "project"})
    checks: ClassVar[Mapping[str, Check]] = {"value": _value, "tenant": _place, "project": _place}


class SecretQuery(Input, frozen=True):
    """Whose; left out: as in a submission."""

    tenant: str = ""
    project: str = ""

    checks: ClassVar[Mapping[str, Check]] = {
        "tenant": optional(an_id),
        "project": optional(an_id),
    }


class SecretListQuery(PageQuery, frozen=True):
    """Whose; left out: as in a submission."""

    tenant: str = ""
    project: str = ""

    checks: ClassVar[Mapping[str, Check]] = {**PageQuery.checks, **SecretQuery.checks}


class SecretAnswer(msgspec.Struct, frozen=True):
    """A secret, never its value. `version`: the latest one; `by`: who set it."""

    name: str
    version: int
    created_at: datetime
    by: PersonAnswer | None


class SecretList(msgspec.Struct, frozen=True):
    """A page of the secrets of one project, by name; `next_cursor`: null on the last one."""

    tenant: str
    project: str
    items: list[SecretAnswer]
    next_cursor: str | None


class SecretVersion(msgspec.Struct, frozen=True):
    """What jobs may name: `name` for the latest version at their submission, `name@version` for this one."""

    name: str
    version: int


@get("/secrets", opt={"action": "secret:list", "query": SecretListQuery}, summary="List secrets")
async def list_secrets(request: Request[Any, Any, Any]) -> SecretList:
    """Names, versions, times and authors; values are for jobs alone."""
    faces = faces_of(request)
    query = decode.query(request.query_params.items(), SecretListQuery)
    tenant, project = home(request, query.tenant, query.project)
    _permit(request, tenant, project)
    found, more = page_of(await asyncio.to_thread(faces.secrets.list, tenant, project), query)
    people = faces.persons(one.by for one in found if one.by)
    items = [SecretAnswer(one.name, one.version, moment(one.created_us), people.get(one.by)) for one in found]
    return SecretList(tenant, project, items, more)


@put(
    "/secrets/{name:str}",
    opt={"action": "secret:set", "body": SecretRequest},
    status_code=200,
    summary="Set a secret",
)
async def set_secret(request: Request[Any, Any, Any], name: FromPath[str]) -> SecretVersion:
    """200 with the new version. Jobs that were submitted before keep the version they named."""
    faces = faces_of(request)
    asked = decode.body(await request.body(), SecretRequest)
    tenant, project = home(request, asked.tenant, asked.project)
    who = _permit(request, tenant, project)
    if not NAME.fullmatch(name):
        what = "1 to 63 of A-Z, a-z, 0-9, _, . and -, beginning with a letter or _"
        raise Problem(400, "invalid-request", f"the name in the path is none for a secret: {what}")
    faces.check_writer()
    with storing_secrets():
        version = await asyncio.to_thread(faces.secrets.put, tenant, project, name, asked.value, who.subject)
    await faces.ask(who, tenant, SecretSet(tenant, project, name, version, who.subject))
    return SecretVersion(name, version)


@delete(
    "/secrets/{name:str}",
    opt={"action": "secret:delete", "query": SecretQuery},
    status_code=204,
    summary="Delete a secret",
)
async def delete_secret(request: Request[Any, Any, Any], name: FromPath[str]) -> None:
    """204: all its versions are gone. Jobs that still name one cannot start."""
    faces = faces_of(request)
    query = decode.query(request.query_params.items(), SecretQuery)
    tenant, project = home(request, query.tenant, query.project)
    who = _permit(request, tenant, project)
    if name not in {one.name for one in await asyncio.to_thread(faces.secrets.list, tenant, project)}:
        raise Problem(
            404,
            "unknown-secret",
            f"project {project!r} of {tenant!r} has no secret of that name",
            hint="GET /v1/secrets lists what is there",
        )
    await faces.ask(who, tenant, SecretDeleted(tenant, project, name, who.subject))
    await asyncio.to_thread(faces.secrets.delete, tenant, project, name)


def _permit(request: Request[Any, Any, Any], tenant: str, project: str) -> Identity:
    """Who asks, if it may in a project that is there."""
    who = permit(request, Resource("project", tenant, project), project)
    _check_there(faces_of(request), tenant, project)
    return who


def _check_there(faces: Faces, tenant: str, project: str) -> None:
    known = faces.follower.state.tenants.get(tenant)
    if known is None:
        raise absent("tenant", tenant)
    if project not in known.projects:
        raise absent("project", project)
