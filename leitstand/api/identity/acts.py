# SPDX-License-Identifier: Apache-2.0
"""Audit: who did which administrative act, from the journal. Digests of secrets and of notes are never shown."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Request, get

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.amounts import moment
from leitstand.api.checks import an_id, between, optional
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity.names import PersonAnswer
from leitstand.api.permission import inside, permit, places
from leitstand.views.acts import ActRow
from leitstand.views.reading import LIMIT_MAX, NUMBER_MAX, ActPage

_HIDDEN = ("by", "digest", "note")  # `note` names a record by its digest


class ActQuery(Input, frozen=True):
    """Which acts, latest first. `tenant` left out: all that you see; `cursor`: of the page before."""

    tenant: str = ""
    limit: int = 100
    cursor: int = NUMBER_MAX

    checks: ClassVar[Mapping[str, Check]] = {
        "tenant": optional(an_id),
        "limit": between(1, LIMIT_MAX),
        "cursor": between(1, NUMBER_MAX),
    }


class ActAnswer(msgspec.Struct, frozen=True):
    """One act. `seq`: its entry in the journal; `by`: null for the control plane itself and for strangers; `subject`:
    id or name of what it was done to; `person`: who that is, if it is a person; `body`: what else was said."""

    seq: int
    at: datetime
    act: str
    by: PersonAnswer | None
    tenant: str
    subject: str
    person: PersonAnswer | None
    body: dict[str, Any]


class ActList(msgspec.Struct, frozen=True):
    """A page; `next_cursor`: null on the last one."""

    items: list[ActAnswer]
    next_cursor: str | None


@get("/acts", opt={"action": "audit:read", "query": ActQuery}, summary="Read the audit trail")
async def list_acts(request: Request[Any, Any, Any]) -> ActList:
    """Administrative acts in the tenants that you audit or administer; of the platform for its operators and
    auditors."""
    faces = faces_of(request)
    _, where = places(request)
    query = decode.query(request.query_params.items(), ActQuery)
    if query.tenant and not inside(where, query.tenant, ""):
        permit(request, Resource("tenant", query.tenant), query.tenant)
    found = faces.reading.acts(ActPage(query.tenant, query.cursor, query.limit + 1, where))
    page = found[: query.limit]
    bodies = [msgspec.json.decode(row.body) for row in page]
    whose = [_person(row, body) for row, body in zip(page, bodies, strict=True)]
    people = faces.persons({*whose, *(row.by for row in page)} - {""})
    items = [
        ActAnswer(
            row.seq,
            moment(row.at),
            row.name,
            people.get(row.by),
            row.tenant,
            row.subject,
            people.get(user),
            {name: value for name, value in body.items() if name not in _HIDDEN},
        )
        for row, body, user in zip(page, bodies, whose, strict=True)
    ]
    return ActList(items, str(page[-1].seq) if len(found) > len(page) else None)


def _person(row: ActRow, body: Mapping[str, Any]) -> str:
    """The user that the act is about, if any."""
    if row.name == "RecordsErased":
        return row.subject if row.subject[:1] == "u" and row.subject[1:].isdecimal() else ""
    return str(body.get("user", ""))
