# SPDX-License-Identifier: Apache-2.0
"""Who asks: the token, session cookie or claim of a request becomes an `Identity`. Asked by the door (`app`).

Tokens are known by the SHA-256 of their secret alone, from the folded state: a revoked one is refused as soon as its
fact is folded here. What an identity may do is asked elsewhere (`permission`).
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final

import msgspec
from litestar import Request

from leitstand.access.policy import Asker
from leitstand.access.roles import Grant
from leitstand.api.lives import Lives
from leitstand.api.problems import Problem
from leitstand.core.people import ADMIN, Token
from leitstand.core.state import State

COOKIE: Final = "leitstand_session"
_COOKIE: Final = COOKIE.encode()
SAFE: Final = ("GET", "HEAD")
ASKERS_MAX: Final = 65_536  # remembered
NEVER_US: Final = 2**63
_HINT: Final = "send Authorization: Bearer TOKEN; `leitstand login` gets one"


class Identity(msgspec.Struct, frozen=True, cache_hash=True):
    """`token`: the id of the token, for limits and idempotency; `subject`: the pseudonymous person whose records are
    written, and the author of facts, '' for a stranger; `scopes`, `tenant`: of the token; `claim`: the application
    whose claim was shown; `since_us`: of the administrator's token of the data folder, when it was made."""

    token: str
    subject: str
    scopes: tuple[str, ...] = ()
    tenant: str = ""
    claim: str = ""
    since_us: int = 0


class AdminToken(msgspec.Struct, frozen=True):
    """The administrator's token of the data folder, as its digest (`leitstand.access.tokens`). `since_us`: when it was
    made, µs; what its user got before, tokens and sessions, opens nothing more."""

    digest: str
    since_us: int


class Unknown(Problem):
    """401: what was shown is nothing that we ever gave out, or give out no more; it may be a guess."""


STRANGER: Final = Identity("stranger", "")
ROOT: Final = Identity(ADMIN, ADMIN)


class Tokens:
    """The tokens that open the door: the administrator's of the data folder, and those in the state."""

    def __init__(self, admin: Callable[[], AdminToken], state: Callable[[], State], lives: Lives) -> None:
        """`admin`: the administrator's token as it is now, one object until it is replaced."""
        self._read_admin = admin
        self._admin: AdminToken | None = None  # as it was when it was asked about last
        self._admin_digest = b""
        self._root = ROOT
        self._state = state
        self._lives = lives
        self._version = -1  # of the access that the following was made of
        self._identities: dict[bytes, tuple[Identity, int]] = {}  # by digest, with the end of the token, µs
        self._askers: dict[Identity, Asker] = {}

    def identify(self, authorization: bytes, cookies: bytes = b"") -> Identity:
        """The identity behind an Authorization header, else behind a session cookie, else STRANGER; Problem 401 for a
        token that is not valid, Unknown if it may be a guess."""
        if authorization:
            scheme, _, token = authorization.partition(b" ")
            if scheme.lower() != b"bearer" or not token.strip():
                raise unauthenticated("the request carries no token")
            return self._of(token.strip())
        session = session_of(cookies)
        return self._of(session) if session else STRANGER

    def _of(self, token: bytes) -> Identity:
        digest = _hash(token)
        self._refresh()
        if hmac.compare_digest(digest, self._admin_digest):
            return self._root
        kept = self._identities.get(digest)
        if kept is None:
            kept = self._identities[digest] = self._look_up(digest)
        who, expires_us = kept
        if expires_us <= self._lives.now():
            raise unauthenticated(f"token {who.token} has expired")
        return who

    def _look_up(self, digest: bytes) -> tuple[Identity, int]:
        state = self._state()
        known = state.digests.get(digest.hex(), "")
        found = state.people.tokens.get(known)
        if found is not None and not self.is_replaced(found):
            return Identity(found.id, found.user, found.scopes, found.tenant), self._lives.ends_us(found)
        if known in state.onboarding.applications:
            return Identity(known, "", claim=known), NEVER_US
        raise Unknown(401, "unauthenticated", "the token is not valid", hint=_HINT)

    def holds(self, who: Identity) -> bool:
        """Whether what identified `who` is still valid; asked again and again by answers that last."""
        self._refresh()
        state = self._state()
        token = state.people.tokens.get(who.token)
        if token is not None:
            return self._lives.ends_us(token) > self._lives.now() and not self.is_replaced(token)
        return who == self._root or who.claim in state.onboarding.applications

    def is_replaced(self, token: Token) -> bool:
        """Whether it is one that the administrator got by a token of the data folder that was replaced since."""
        self._refresh()
        return token.user == ADMIN and self._lives.issued_us(token) < self._root.since_us

    def asker(self, who: Identity) -> Asker:
        """The identity with its roles of now, as policies are asked about it."""
        self._refresh()
        asker = self._askers.get(who)
        if asker is None:
            grants = grants_of(self._state(), who.subject)
            asker = self._askers[who] = Asker(who.subject, grants, who.scopes, who.tenant, who.claim)
        return asker

    def _refresh(self) -> None:
        """Forget what is no longer so, or too much."""
        admin = self._read_admin()
        if admin is not self._admin:
            self._admin, self._admin_digest = admin, bytes.fromhex(admin.digest)
            self._root = Identity(ADMIN, ADMIN, since_us=admin.since_us)
            self._version = -1
        version = self._state().access_version
        if version != self._version or max(len(self._identities), len(self._askers)) > ASKERS_MAX:
            self._version = version
            self._identities.clear()
            self._askers.clear()


def grants_of(state: State, user: str) -> tuple[Grant, ...]:
    """The roles that count for `user` now: those in a tenant that has left are over."""
    if user == ADMIN:
        return (Grant("operator"),)
    found = state.people.users.get(user)
    if found is None:
        return ()
    kept = {
        Grant(grant.role, grant.tenant, grant.project)
        for grant in found.grants
        if not grant.tenant or state.tenants[grant.tenant].stage != "closed"
    }
    return tuple(sorted(kept))


def identity(request: Request[Any, Any, Any]) -> Identity:
    """Who asks, behind the door."""
    found: Identity = request.scope["identity"]  # type: ignore[typeddict-item]
    return found


def check_origin(scope: Any) -> None:
    """Problem 403 for a request that another site made a browser send with the cookie of a session."""
    if scope["method"] in SAFE or header(scope, b"authorization") or not session_of(header(scope, b"cookie")):
        return
    origin, host = header(scope, b"origin"), header(scope, b"host")
    if header(scope, b"sec-fetch-site") == b"same-origin" or (host and origin.partition(b"://")[2] == host):
        return
    raise Problem(
        403, "cross-site", "the request comes from another site", hint="use a token instead of a cookie"
    )


def unauthenticated(detail: str) -> Problem:
    """Nobody, or nobody known."""
    return Problem(401, "unauthenticated", detail, hint=_HINT)


def header(scope: Any, name: bytes) -> bytes:
    """The first header of that lower-case name, b'' if there is none."""
    for found, value in scope["headers"]:
        if found == name:
            return bytes(value)
    return b""


def session_of(cookies: bytes) -> bytes:
    """The token in the cookie of a session, b'' if there is none."""
    if not cookies:
        return b""
    for part in cookies.split(b";"):
        name, _, value = part.strip(b" \t").partition(b"=")
        if name == _COOKIE:
            return value.strip(b' \t"')
    return b""


def _hash(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
