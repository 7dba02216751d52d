# SPDX-License-Identifier: Apache-2.0
"""Sign-in with an identity provider, as a browser goes it: there and back again. The protocol: `leitstand.access.oidc`.

What is pending lies sealed in a cookie of the browser that began, so an answer that somebody else began signs nobody
in. A failure leads to the sign-in page with its reason; the log has the sentence.
"""

import asyncio
import html
import logging
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import quote, unquote

from litestar import Request, Response, get

from leitstand.access import tokens
from leitstand.access.oidc import PENDING_S, Claims, Provider
from leitstand.access.oidc_http import SignInFailed
from leitstand.api import attempts, decode
from leitstand.api.auth import STRANGER, header
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity import sessions
from leitstand.api.permission import OPEN, anybody
from leitstand.api.problems import Problem
from leitstand.core.acts import Grant, SignIn, UserRemoved
from leitstand.stores.people import LoginTaken, Person

COOKIE: Final = "leitstand_signin"
PATH: Final = "/v1/signin/oidc"
CALLBACK: Final = f"{PATH}/callback"
PAGE: Final = "/"  # the sign-in page; ?signin=REASON says why somebody is back there
TRIES_MAX: Final = 3
_GUESSED: Final = ("state_unknown", "code_refused")
_log = logging.getLogger("leitstand.signin")


class ReturnQuery(Input, frozen=True, rename={"back": "return"}):
    """`return`: the page to come back to, a path of this server."""

    back: str = "/"

    checks: ClassVar[Mapping[str, Check]] = {"back": sessions.local_path}


class CallbackQuery(Input, frozen=True, forbid_unknown_fields=False):
    """What the provider sends back: a code or an error, and the state; providers add more."""

    code: str = ""
    state: str = ""
    iss: str = ""
    error: str = ""

    hidden: ClassVar[frozenset[str]] = frozenset({"code", "state"})


@get(
    "/signin/oidc",
    opt={"action": OPEN, "strangers": True, "query": ReturnQuery},
    status_code=302,
    summary="Sign in with the identity provider",
)
async def begin_oidc(request: Request[Any, Any, Any]) -> Response[None]:
    """302 to the identity provider, with a cookie for the way back."""
    anybody(request)
    query = decode.query(request.query_params.items(), ReturnQuery)
    redirect_uri = sessions.own_url(request, CALLBACK)
    try:
        begun = await _provider(faces_of(request)).begin(redirect_uri)
    except SignInFailed as failure:
        return _failed(request, failure)
    note = f"{begun.pending}.{quote(query.back, safe='')}"
    return _to(begun.url, _cookie(request, note, PENDING_S))


@get(
    "/signin/oidc/callback",
    opt={"action": OPEN, "strangers": True, "query": CallbackQuery},
    status_code=200,
    summary="Come back from the identity provider",
)
async def finish_oidc(request: Request[Any, Any, Any]) -> Response[str]:
    """200 with the cookie of a session and a page that leads on. Not a redirect: that would be a step of the provider's
    site, with which browsers send no cookie that is SameSite=Strict."""
    anybody(request)
    faces = faces_of(request)
    query = decode.query(request.query_params.items(), CallbackQuery)
    provider = _provider(faces)
    pending, _, back = _note(header(request.scope, b"cookie")).partition(".")
    try:
        if query.error:
            raise SignInFailed("code_refused", f"the identity provider says {query.error[:60]!r}")
        claims = await provider.finish(query.code, query.state, pending, query.iss)
    except SignInFailed as failure:
        return _failed(request, failure)
    secret = await _signed_in(faces, provider, claims)
    path = unquote(back)
    page = _onward("/" if sessions.local_path(path) else path)
    answer = Response(page, media_type="text/html; charset=utf-8", headers=_PAGE_HEADERS)
    answer.headers["Set-Cookie"] = sessions.cookie(request, secret)
    return answer


async def _signed_in(faces: Faces, provider: Provider, claims: Claims) -> str:
    """The secret of a session of that person, whose account is made at first sight; its roles are as its groups say."""
    roles = sorted(provider.grants_for(claims))
    grants = tuple(Grant(one.role, one.tenant, one.project) for one in roles)
    person = Person(claims.name, claims.email, claims.issuer, claims.subject)
    for _ in range(TRIES_MAX):
        known = await asyncio.to_thread(faces.people.find_login, claims.issuer, claims.subject)
        user = known if known in faces.follower.state.people.users else ""
        secret = tokens.make(tokens.TOKEN)
        digest = tokens.digest(secret)
        ends_us = faces.begin_life(digest, sessions.SESSION_US)
        settled = await faces.ask(STRANGER, "", SignIn(digest, ends_us, user or "", grants))
        if known and not user:  # erased, but for the login
            await asyncio.to_thread(faces.people.erase, known)
        try:
            await asyncio.to_thread(faces.people.put_person, settled.made, person)
        except LoginTaken:  # the same person came twice at once; the other one was quicker
            await faces.ask(STRANGER, "", UserRemoved(settled.made))
            continue
        return secret
    raise Problem(409, "conflict", "this login is being made elsewhere", hint="sign in again")


def _provider(faces: Faces) -> Provider:
    if faces.provider is None:
        raise Problem(
            404,
            "not-found",
            "there is no identity provider here",
            hint="sign in with a token; operators set one up with `leitstand up --oidc FILE`",
        )
    return faces.provider


def _failed(request: Request[Any, Any, Any], failure: SignInFailed) -> Response[Any]:
    """Back to the sign-in page; Problem 429 for who guesses."""
    _log.warning("sign-in failed (%s): %s", failure.reason, failure.detail)
    if failure.reason in _GUESSED:
        refused = Problem(400, failure.reason, failure.detail)
        if (problem := attempts.wrong(request, refused)) is not refused:
            raise problem
    return _to(f"{PAGE}?signin={failure.reason}", _cookie(request, "", 0))


def _to(url: str, cookie: str) -> Response[None]:
    headers = {"Location": url, "Set-Cookie": cookie, "Cache-Control": "no-store"}
    return Response(None, status_code=302, headers=headers)


def _cookie(request: Request[Any, Any, Any], note: str, age_s: int) -> str:
    """Lax: the provider sends the browser back to us."""
    flags = f"HttpOnly; SameSite=Lax; Path={PATH}; Max-Age={age_s}{sessions.secure(request)}"
    return f"{COOKIE}={note}; {flags}"


def _note(cookies: bytes) -> str:
    """What this browser began with; '' if nothing."""
    for part in cookies.decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


_PAGE_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _onward(path: str) -> str:
    """A page of our own that leads to `path`."""
    there = html.escape(path, quote=True)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={there}">'
        f'<title>Leitstand</title><p><a href="{there}">Leitstand</a></p></html>'
    )
