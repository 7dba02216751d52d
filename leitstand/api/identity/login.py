# SPDX-License-Identifier: Apache-2.0
"""Login of a command line: it shows a short code, its user confirms it in a browser, and it gets a token (RFC 8628)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from leitstand.access import tokens
from leitstand.access.policy import Resource
from leitstand.api import attempts, decode
from leitstand.api.amounts import moment
from leitstand.api.auth import Identity, identity, unauthenticated
from leitstand.api.checks import printable
from leitstand.api.context import RETRY_AFTER_S, Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity.devices import EARLY_US, INTERVAL_US, PENDING_US, Device
from leitstand.api.identity.tokenview import Issued, token_answer
from leitstand.api.permission import OPEN, anybody, permit
from leitstand.api.problems import Problem
from leitstand.core.acts import TokenIssued
from leitstand.core.units import DAY_US, SECOND_US

VERIFICATION: Final = "/device"  # the page on which a user types the code
TOKEN_US: Final = 30 * DAY_US
CLIENT_MAX: Final = 100  # characters


class LoginRequest(Input, frozen=True):
    """`client`: what asks, in words for the person who confirms, such as "leitstand on laptop-7"."""

    client: str = ""

    checks: ClassVar[Mapping[str, Check]] = {"client": printable(CLIENT_MAX)}


class LoginBegun(msgspec.Struct, frozen=True):
    """Show `user_code` and `verification_url`, then ask with `device_code` every `interval_s` seconds."""

    device_code: str
    user_code: str
    verification_url: str
    interval_s: int
    expires_in_s: int


class LoginTokenRequest(Input, frozen=True):
    """The code that the command line holds."""

    device_code: str

    hidden: ClassVar[frozenset[str]] = frozenset({"device_code"})


class LoginConfirm(Input, frozen=True):
    """The code that a person read off the command line. `allow`: false denies."""

    user_code: str
    allow: bool

    hidden: ClassVar[frozenset[str]] = frozenset({"user_code"})


class LoginShown(msgspec.Struct, frozen=True):
    """What a person is about to allow: who asks, from where, since when, and what the token will be good for. `scopes`:
    empty for everything that the person may; `tenant`: empty for everywhere."""

    user_code: str
    client: str
    source: str
    requested_at: datetime
    scopes: tuple[str, ...]
    tenant: str
    expires_in_s: int


class LoginDecided(msgspec.Struct, frozen=True):
    """What was decided."""

    allowed: bool


@post(
    "/login",
    opt={"action": OPEN, "strangers": True, "body": LoginRequest},
    status_code=200,
    summary="Begin the login of a command line",
)
async def begin_login(request: Request[Any, Any, Any]) -> LoginBegun:
    """A code for the command line and one for its user, good once and for ten minutes."""
    anybody(request)
    faces = faces_of(request)
    asked = decode.body(await request.body() or b"{}", LoginRequest)
    begun = faces.devices.begin(faces.wall(), attempts.source(request), asked.client.strip())
    if begun is None:
        raise Problem(
            429,
            "busy",
            "too many logins wait to be confirmed",
            hint="they end by themselves after ten minutes",
            retry_after_s=60,
        )
    code, device = begun
    return LoginBegun(code, device.user_code, VERIFICATION, INTERVAL_US // SECOND_US, PENDING_US // SECOND_US)


@post(
    "/login/token",
    opt={"action": OPEN, "strangers": True, "body": LoginTokenRequest},
    status_code=200,
    summary="Fetch the token of a command line",
)
async def fetch_login(request: Request[Any, Any, Any]) -> Issued:
    """200 with a token for 30 days once the user has confirmed. Until then 400 with the code `authorization-pending`,
    or `slow-down` for who asks too often; `access-denied` if the user said no, `expired` if it is too late."""
    anybody(request)
    faces = faces_of(request)
    asked = decode.body(await request.body(), LoginTokenRequest)
    now = faces.wall()
    device = faces.devices.by_device(now, asked.device_code)
    if device is None or device.taken:
        raise attempts.wrong(request, _not_yet("expired", "this login is over, or was never begun here"))
    early = device.asked_us and now - device.asked_us < INTERVAL_US - EARLY_US
    device.asked_us = now
    if early:
        raise _not_yet("slow-down", f"ask every {INTERVAL_US // SECOND_US} s")
    if device.denied:
        faces.devices.forget(device)
        raise _not_yet("access-denied", "the user said no")
    if device.allowed is None:
        raise _not_yet("authorization-pending", "the user has not confirmed yet")
    if not faces.tokens.holds(device.allowed):  # signed out or revoked since: what it allowed is over, too
        faces.devices.forget(device)
        raise _not_yet("expired", "the session that confirmed is over")
    return await _issue(faces, device, device.allowed)


@get("/login/{user_code:str}", opt={"action": "token:issue"}, summary="What is about to be allowed?")
async def show_login(request: Request[Any, Any, Any], user_code: FromPath[str]) -> LoginShown:
    """Who asks and from where, for the page on which a person confirms."""
    faces, who = faces_of(request), _permit(request)
    with attempts.trying(request, who.subject):
        device = _pending(faces, user_code)
    return LoginShown(
        device.user_code,
        device.client,
        device.source,
        moment(device.begun_us),
        who.scopes,
        who.tenant,
        TOKEN_US // SECOND_US,
    )


@post(
    "/login/confirm",
    opt={"action": "token:issue", "body": LoginConfirm},
    status_code=200,
    summary="Confirm the login of a command line",
)
async def confirm_login(request: Request[Any, Any, Any]) -> LoginDecided:
    """By its user, once: the command line gets a token that may what this session may, or nothing."""
    faces, who = faces_of(request), _permit(request)
    asked = decode.body(await request.body(), LoginConfirm)
    with attempts.trying(request, who.subject):
        device = _pending(faces, asked.user_code)
    if asked.allow:
        device.allowed = who
    else:
        device.denied = True
    return LoginDecided(asked.allow)


def _permit(request: Request[Any, Any, Any]) -> Identity:
    """Who asks, if it may issue itself a token with what its own may."""
    who = identity(request)
    if not who.subject:
        raise unauthenticated("only a person can let a command line in")
    return permit(request, Resource("user", who.tenant, user=who.subject, scopes=who.scopes), who.subject)


def _pending(faces: Faces, user_code: str) -> Device:
    device = faces.devices.by_user(faces.wall(), user_code)
    if device is None:
        detail = "no login waits with this code"
        raise Problem(400, "unknown-code", detail, hint="`leitstand login` shows a fresh one")
    return device


async def _issue(faces: Faces, device: Device, who: Identity) -> Issued:
    """The token; the login is over then. If the writer is away, it can be asked for again."""
    secret = tokens.make(tokens.TOKEN)
    digest = tokens.digest(secret)
    ends_us = faces.begin_life(digest, min(TOKEN_US, faces.life_rules().token_ttl_max_us))
    device.taken = True  # two questions at once give one token
    try:
        fact = TokenIssued("", who.subject, digest, ends_us, "api", who.scopes, who.tenant, who.subject)
        await faces.ask(who, "", fact)
    except Problem as problem:
        if problem.status >= 429:
            device.taken = False
            raise
        faces.devices.forget(device)
        if problem.code == "unknown-user":  # erased since
            raise _not_yet("expired", "the user who confirmed is there no more") from None
        raise
    faces.devices.forget(device)
    return Issued(secret, token_answer(faces, digest))


def _not_yet(code: str, detail: str) -> Problem:
    return Problem(400, code, detail, retry_after_s=RETRY_AFTER_S if code == "slow-down" else None)
