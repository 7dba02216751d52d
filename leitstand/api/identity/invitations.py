# SPDX-License-Identifier: Apache-2.0
"""Invitations: whoever has the code gets the role, with a new account or with the one that is signed in.

The code is shown once and kept as its SHA-256. The address is kept only while the invitation is open.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath

from leitstand.access import tokens
from leitstand.access.policy import Resource
from leitstand.access.roles import Grant, fault
from leitstand.api import attempts, decode
from leitstand.api.amounts import duration_fault, moment
from leitstand.api.auth import Identity
from leitstand.api.checks import a_name, an_id, between, one_of, optional
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity.names import PersonAnswer
from leitstand.api.identity.people import permit_or
from leitstand.api.identity.roles import place_of
from leitstand.api.identity.tokens import life_of
from leitstand.api.identity.tokenview import TokenAnswer, token_answer
from leitstand.api.identity.users import number_of
from leitstand.api.paging import PAGE_MAX, PLACE_MAX, one_by_one
from leitstand.api.permission import PLATFORM, inside, permit, places
from leitstand.api.problems import Problem
from leitstand.core.acts import AcceptInvitation, InvitationIssued, InvitationWithdrawn
from leitstand.core.people import ADMIN, ROLES, Invitation
from leitstand.core.units import DAY_US
from leitstand.stores.legal import email_fault
from leitstand.stores.people import People, Person

LIFE_US: Final = 7 * DAY_US
FIRST_TOKEN_US: Final = 90 * DAY_US  # of a new account


class InvitationRequest(Input, frozen=True):
    """A role to offer in a tenant (left out: of the platform) and, if named, in one project. `expires_in`: 7 days."""

    role: str
    tenant: str = ""
    project: str = ""
    email: str = ""
    expires_in: str | float | None = None

    checks: ClassVar[Mapping[str, Check]] = {
        "role": one_of(ROLES),
        "tenant": optional(an_id),
        "project": optional(an_id),
        "email": optional(email_fault),
        "expires_in": duration_fault,
    }

    def across(self) -> Iterable[tuple[str, str]]:
        """Where the role can be held."""
        if self.role in ROLES and (wrong := fault(Grant(self.role, self.tenant, self.project))):
            yield "role", f"cannot be held there: {wrong}"


class InvitationQuery(Input, frozen=True):
    """Which invitations, oldest first. `cursor`: of the page before."""

    tenant: str = ""
    limit: int = 100
    cursor: int = 0

    checks: ClassVar[Mapping[str, Check]] = {
        "tenant": optional(an_id),
        "limit": between(1, PAGE_MAX),
        "cursor": between(0, PLACE_MAX),
    }


class AcceptRequest(Input, frozen=True):
    """The code. `name`, `email`: of a new account; left out: the address that was invited."""

    code: str
    name: str = ""
    email: str = ""

    hidden: ClassVar[frozenset[str]] = frozenset({"code"})
    checks: ClassVar[Mapping[str, Check]] = {
        "name": optional(a_name),
        "email": optional(email_fault),
    }


class InvitationAnswer(msgspec.Struct, frozen=True):
    """An invitation. `state`: open, accepted, expired; `email`: empty if none was given, or it is over."""

    id: str
    tenant: str
    project: str
    role: str
    email: str
    state: str
    expires_at: datetime
    accepted_by: PersonAnswer | None


class Invited(InvitationAnswer, frozen=True, kw_only=True):
    """The invitation just issued. `code`: shown this once."""

    code: str


class InvitationPage(msgspec.Struct, frozen=True):
    """A page; `next_cursor`: null on the last one."""

    items: list[InvitationAnswer]
    next_cursor: str | None


class Accepted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The role that came with it; for a new account also its first token, whose secret is shown this once."""

    user: PersonAnswer
    tenant: str
    role: str
    project: str
    secret: str = ""
    token: TokenAnswer | None = None


@post(
    "/invitations", opt={"action": "invitation:issue", "body": InvitationRequest}, summary="Invite somebody"
)
async def invite(request: Request[Any, Any, Any]) -> Invited:
    """201 with the invitation and its code, which is shown this once: give it to whom it is for."""
    faces = faces_of(request)
    asked = decode.body(await request.body(), InvitationRequest)
    who = permit(request, place_of(asked.tenant, asked.project), asked.project or asked.tenant)
    life_us = life_of(asked.expires_in, LIFE_US, faces.life_rules().invitation_ttl_max_us, "an invitation")
    code = tokens.make(tokens.INVITATION)
    digest = tokens.digest(code)
    fact = InvitationIssued(
        "",
        asked.tenant,
        asked.role,
        digest,
        faces.begin_life(digest, life_us),
        asked.project,
        who.subject,
    )
    settled = await faces.ask(who, asked.tenant, fact)
    if asked.email:
        await asyncio.to_thread(faces.people.put_invitation, settled.made, asked.email)
    (answer,) = _shown(faces, [faces.follower.state.people.invitations[settled.made]])
    return Invited(code=code, **msgspec.structs.asdict(answer))


@get("/invitations", opt={"action": "invitation:list", "query": InvitationQuery}, summary="List invitations")
async def list_invitations(request: Request[Any, Any, Any]) -> InvitationPage:
    """Open ones, and those of late that are over; never a code."""
    faces = faces_of(request)
    _, where = places(request)
    query = decode.query(request.query_params.items(), InvitationQuery)
    if query.tenant and not inside(where, query.tenant, ""):
        permit(request, Resource("tenant", query.tenant), query.tenant)
    found = [
        one
        async for one in one_by_one(faces.follower.state.people.invitations.values())
        if query.tenant in ("", one.tenant)
        and number_of(one.id) > query.cursor
        and inside(where, one.tenant, "")
    ]
    page = found[: query.limit]
    more = str(number_of(page[-1].id)) if len(found) > len(page) else None
    return InvitationPage(_shown(faces, page), more)


@delete(
    "/invitations/{invitation_id:str}",
    opt={"action": "invitation:withdraw"},
    status_code=204,
    summary="Withdraw an invitation",
)
async def withdraw_invitation(request: Request[Any, Any, Any], invitation_id: FromPath[str]) -> None:
    """204: its code opens nothing any more, and its address is erased."""
    faces = faces_of(request)
    missing = Problem(
        404,
        "unknown-invitation",
        f"there is no invitation {invitation_id[:80]!r}",
        hint="GET /v1/invitations lists what you see",
    )
    found = faces.follower.state.people.invitations.get(invitation_id)
    place = PLATFORM if found is None else place_of(found.tenant, found.project)
    try:
        who = permit_or(request, place, missing)
    except Problem as problem:  # the platform is no secret, an invitation to it is
        raise (missing if place == PLATFORM and problem.code == "forbidden" else problem) from None
    if found is None:
        raise missing
    await faces.ask(who, found.tenant, InvitationWithdrawn(invitation_id, who.subject))
    await asyncio.to_thread(faces.people.erase, invitation_id)


@post(
    "/invitations/accept",
    opt={"action": "invitation:accept", "strangers": True, "body": AcceptRequest},
    status_code=200,
    summary="Accept an invitation",
)
async def accept_invitation(request: Request[Any, Any, Any]) -> Accepted:
    """The role is yours. Without a token: a new account, with its first token, valid for 90 days; shown again within an
    hour, the code replaces that token, for an answer may be lost."""
    faces, who = faces_of(request), permit(request, PLATFORM)
    asked = decode.body(await request.body(), AcceptRequest)
    if who.subject == ADMIN:
        detail = "the built-in administrator takes no invitation"
        raise Problem(409, "conflict", detail, hint="accept it without a token, or with your own")
    secret = "" if who.subject else tokens.make(tokens.TOKEN)
    invitation = await _accept(request, who, asked.code, secret)
    if not who.subject:
        await asyncio.to_thread(_introduce, faces.people, invitation, asked)
    await asyncio.to_thread(faces.people.erase, invitation.id)
    return Accepted(
        faces.persons([invitation.user])[invitation.user],
        invitation.tenant,
        invitation.role,
        invitation.project,
        secret,
        token_answer(faces, tokens.digest(secret)) if secret else None,
    )


def _introduce(people: People, invitation: Invitation, asked: AcceptRequest) -> None:
    """Keep who the new user is; what a second try leaves out is as the first one said."""
    known = people.person(invitation.user) or Person("", "")
    invited = people.invitations([invitation.id]).get(invitation.id, "")
    email = asked.email or known.email or invited
    name = asked.name.strip() or known.name or email.partition("@")[0]
    people.put_person(invitation.user, Person(name, email))


async def _accept(request: Request[Any, Any, Any], who: Identity, code: str, secret: str) -> Invitation:
    """The invitation, accepted; one and the same Problem 404 for every code that opens nothing, or 429."""
    faces = faces_of(request)
    missing = Problem(404, "unknown-invitation", "this code opens nothing", hint="ask who invited you")
    if not tokens.has_form(code, tokens.INVITATION):
        raise attempts.wrong(request, missing)
    claim = tokens.digest(code)
    digest = tokens.digest(secret) if secret else ""
    life_us = min(FIRST_TOKEN_US, faces.life_rules().token_ttl_max_us)
    known = faces.follower.state.digests.get(claim, "")
    found = faces.follower.state.people.invitations.get(known)
    if found is None or faces.lives.ends_us(found) <= faces.lives.now():  # no need to trouble the writer
        raise attempts.wrong(request, missing)
    ends_us = faces.begin_life(digest, life_us) if digest else 0
    try:
        await faces.ask(who, "", AcceptInvitation(claim, digest, ends_us, user=who.subject))
    except Problem as problem:
        raise (attempts.wrong(request, missing) if problem.status == 404 else problem) from None
    return faces.follower.state.people.invitations[known]


def _shown(faces: Faces, found: list[Invitation]) -> list[InvitationAnswer]:
    now = faces.lives.now()
    emails = faces.people.invitations(one.id for one in found)
    people = faces.persons(one.user for one in found if one.user)
    return [
        InvitationAnswer(
            one.id,
            one.tenant,
            one.project,
            one.role,
            emails.get(one.id, ""),
            "accepted" if one.user else "expired" if faces.lives.ends_us(one) <= now else "open",
            moment(faces.lives.ends_us(one)),
            people.get(one.user),
        )
        for one in found
    ]
