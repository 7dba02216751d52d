# SPDX-License-Identifier: Apache-2.0
"""Sign-in with a token, and sign-out. With an identity provider: `oidc`; for the command line: `login`."""

from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec
from litestar import Request, Response, get, post

from leitstand.api import attempts, decode
from leitstand.api.auth import NEVER_US, Identity, unauthenticated
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Input
from leitstand.api.identity import sessions
from leitstand.api.permission import OPEN, anybody
from leitstand.api.problems import Problem
from leitstand.core.acts import TokenRevoked
from leitstand.core.people import ADMIN


class SignInRequest(Input, frozen=True):
    """A token to sign in with."""

    token: str

    hidden: ClassVar[frozenset[str]] = frozenset({"token"})


class SignInMethods(msgspec.Struct, frozen=True):
    """How to sign in. `provider`: what the identity provider is called, empty without one."""

    methods: list[str]
    provider: str


@get("/signin", opt={"action": OPEN, "strangers": True}, summary="How to sign in")
async def signin_methods(request: Request[Any, Any, Any]) -> SignInMethods:
    """`token`, and `oidc` if there is an identity provider."""
    anybody(request)
    provider = faces_of(request).provider
    if provider is None:
        return SignInMethods(["token"], "")
    settings = provider.settings
    return SignInMethods(["token", "oidc"], settings.title or urlsplit(settings.issuer).hostname or "")


@post(
    "/signin",
    opt={"action": OPEN, "strangers": True, "body": SignInRequest},
    status_code=204,
    summary="Sign in with a token",
)
async def sign_in(request: Request[Any, Any, Any]) -> Response[None]:
    """204 with the cookie of a session of at most eight hours, which may what the token may and ends with it."""
    anybody(request)
    sessions.check_own_page(request)
    faces = faces_of(request)
    asked = decode.body(await request.body(), SignInRequest)
    who = _behind(request, asked.token)
    ends_us = _ends_us(faces, who)
    secret = await sessions.begin(faces, who, ends_us)
    life_us = min(sessions.SESSION_US, ends_us - faces.lives.now())
    headers = {"Set-Cookie": sessions.cookie(request, secret, life_us), "Cache-Control": "no-store"}
    return Response(None, status_code=204, headers=headers)


@post("/signout", opt={"action": OPEN, "strangers": True}, status_code=204, summary="Sign out")
async def sign_out(request: Request[Any, Any, Any]) -> Response[None]:
    """204: the token or session that asks is valid no more, and the cookie is gone."""
    faces, who = faces_of(request), anybody(request)
    if who.token == ADMIN:
        raise Problem(
            409,
            "conflict",
            "the administrator's token of the data folder stays valid",
            hint="`leitstand admin reset-token` replaces it",
        )
    if who.subject:
        try:
            await faces.ask(who, "", TokenRevoked(who.token, who.subject))
        except Problem as problem:
            if problem.code != "unknown-token":  # it was revoked meanwhile
                raise
    return Response(None, status_code=204, headers={"Set-Cookie": sessions.cookie(request, "")})


def _behind(request: Request[Any, Any, Any], token: str) -> Identity:
    """Who holds the token; one and the same Problem 401 for every one that opens nothing, or 429."""
    refused = unauthenticated("the token is not valid")
    try:
        who = faces_of(request).tokens.identify(b"Bearer " + token.encode("utf-8", "replace"))
    except Problem:
        raise attempts.wrong(request, refused) from None
    if not who.subject:  # the claim of an application signs nobody in
        raise attempts.wrong(request, refused)
    return who


def _ends_us(faces: Faces, who: Identity) -> int:
    token = faces.follower.state.people.tokens.get(who.token)
    return faces.lives.ends_us(token) if token else NEVER_US
