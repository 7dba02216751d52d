# SPDX-License-Identifier: Apache-2.0
"""Tokens: list, issue, revoke. The secret of one is shown once, when it is issued; kept is its SHA-256.

A token issues none with more scopes or in other tenants than its own (the policies see to that). How long it lives is
no right in this sense: who may issue tokens may renew, up to the longest life that the rules allow. What must end by
itself gets scopes without `admin`, and issues nothing.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath

from leitstand.access import tokens
from leitstand.access.actions import SCOPES
from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.amounts import duration_fault, duration_us, span
from leitstand.api.auth import identity
from leitstand.api.checks import an_id, optional
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity.people import account_of, meant, only_tenant, permit_or, seen
from leitstand.api.identity.tokenview import Issued, TokenAnswer, token_answer, token_shown
from leitstand.api.permission import absent, permit, sees_tenant
from leitstand.api.problems import Fault, Problem
from leitstand.core.acts import TokenIssued, TokenRevoked
from leitstand.core.people import Token
from leitstand.core.state import State
from leitstand.core.units import DAY_US

LIFE_US: Final = 30 * DAY_US  # of a token for which nothing else is asked


def _scopes(value: list[str] | None) -> str:
    unknown = [one for one in value or () if one not in SCOPES]
    if unknown:
        return f"has the unknown scope {unknown[0][:40]!r}; known: {', '.join(SCOPES)}"
    return "names a scope twice" if len(set(value or ())) < len(value or ()) else ""


class TokenRequest(Input, frozen=True):
    """A token to issue. `scopes`: what it may at most; [] for all that the user may, left out: as the token that asks.
    `tenant`: where alone it is valid; left out: as the token that asks. `expires_in`: 30 days if left out."""

    expires_in: str | float | None = None
    scopes: list[str] | None = None
    tenant: str | None = None

    checks: ClassVar[Mapping[str, Check]] = {
        "expires_in": duration_fault,
        "scopes": _scopes,
        "tenant": optional(an_id),
    }


class TokenList(msgspec.Struct, frozen=True):
    """`next_cursor` is always null: nobody has many."""

    items: list[TokenAnswer]
    next_cursor: str | None = None


@get("/users/{user_id:str}/tokens", opt={"action": "token:list"}, summary="List the tokens of a user")
async def list_tokens(request: Request[Any, Any, Any], user_id: FromPath[str]) -> TokenList:
    """Those valid and some that have expired, without secrets: your own; in a tenant that you administer or audit,
    those bound to it, and all of who has roles nowhere else."""
    faces, user = faces_of(request), meant(request, user_id)
    account = account_of(request, user)
    state = faces.follower.state
    found = [state.people.tokens[token] for token in account.tokens]
    ways = [Resource("user", only_tenant(state, user), user=user), *(_resource(state, one) for one in found)]
    asking = identity(request)
    if user != asking.subject and not seen(faces, asking, user):
        raise absent("user", user)
    asker = faces.tokens.asker(asking)
    allowed = [way for way in ways if faces.authorizer.decide(asker, "token:list", way).allowed]
    permit(request, (allowed or ways)[0], user)
    return TokenList([token_shown(faces, one) for one in found if _resource(state, one) in allowed])


@post(
    "/users/{user_id:str}/tokens",
    opt={"action": "token:issue", "body": TokenRequest},
    summary="Issue a token",
)
async def issue_token(request: Request[Any, Any, Any], user_id: FromPath[str]) -> Issued:
    """201 with the token and its secret, which is shown this once."""
    faces, user = faces_of(request), meant(request, user_id)
    asked = decode.body(await request.body() or b"{}", TokenRequest)
    asking = identity(request)
    scopes = asking.scopes if asked.scopes is None else tuple(asked.scopes)
    tenant = asking.tenant if asked.tenant is None else asked.tenant
    if user != asking.subject and not seen(faces, asking, user):
        raise absent("user", user)
    what = "this token issues none for others, with other scopes or in other tenants than its own"
    wider = Problem(403, "forbidden", what, hint="leave scopes and tenant out, or use a token that may more")
    who = permit_or(request, Resource("user", tenant, user=user, scopes=scopes), wider)
    account_of(request, user)
    if tenant and (tenant not in faces.follower.state.tenants or not sees_tenant(request, tenant)):
        raise absent("tenant", tenant)
    life_us = life_of(asked.expires_in, LIFE_US, faces.life_rules().token_ttl_max_us, "a token")
    secret = tokens.make(tokens.TOKEN)
    digest = tokens.digest(secret)
    ends_us = faces.begin_life(digest, life_us)
    fact = TokenIssued("", user, digest, ends_us, "api", scopes, tenant, who.subject)
    await faces.ask(who, tenant, fact)
    return Issued(secret, token_answer(faces, fact.digest))


@delete("/tokens/{token_id:str}", opt={"action": "token:revoke"}, status_code=204, summary="Revoke a token")
async def revoke_token(request: Request[Any, Any, Any], token_id: FromPath[str]) -> None:
    """204: it is valid no more, and what it is listening to ends."""
    faces = faces_of(request)
    missing = Problem(
        404,
        "unknown-token",
        f"there is no token {token_id[:80]!r}",
        hint="GET /v1/users/me/tokens lists yours",
    )
    state = faces.follower.state
    found = state.people.tokens.get(token_id)
    resource = Resource("user", user="nobody") if found is None else _resource(state, found)
    who = permit_or(request, resource, missing)
    if found is None or not (found.user == who.subject or seen(faces, who, found.user)):
        raise missing
    await faces.ask(who, "", TokenRevoked(token_id, who.subject))


def _resource(state: State, token: Token) -> Resource:
    """A token as policies see it: its user, in the tenant it is bound to, or else in the only one of its user."""
    return Resource("user", token.tenant or only_tenant(state, token.user), user=token.user)


def life_of(asked: str | float | None, usual_us: int, most_us: int, thing: str) -> int:
    """How long `thing` lives if `asked` says so, None: as usual; Problem 400 if that is longer than the rules allow."""
    if asked is None:
        return min(usual_us, most_us)
    wanted_us = duration_us(asked)
    if wanted_us > most_us:
        what = f"is {span(wanted_us)}; the longest life of {thing} is {span(most_us)}"
        raise Problem(400, "invalid-request", f"/expires_in {what}", errors=(Fault("/expires_in", what),))
    return wanted_us
