# SPDX-License-Identifier: Apache-2.0
"""Sessions of browsers: a token of kind `session` in a cookie that no script can read. Called by sign-in and sign-out.

The cookie goes with requests of our own pages alone (SameSite=Strict), and over HTTPS alone, but for a control plane on
loopback. Sessions are tokens in the journal: they survive a restart, and end when they are revoked.
"""

import re
from typing import Any, Final

from litestar import Request

from leitstand.access import tokens
from leitstand.api.auth import COOKIE, Identity, header
from leitstand.api.context import Faces, faces_of
from leitstand.api.problems import Problem
from leitstand.core.acts import TokenIssued
from leitstand.core.units import HOUR_US, SECOND_US

SESSION_US: Final = 8 * HOUR_US
PATH_MAX: Final = (
    1000  # characters of a place to go back to; quoted it must fit into a cookie (RFC 6265: 4096 bytes)
)
_PATH: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*", re.ASCII)  # no backslash: browsers take it for a slash
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?", re.ASCII)


async def begin(faces: Faces, who: Identity, ends_us: int) -> str:
    """The secret of a new session with what the token of `who` may, at most until `ends_us`."""
    secret = tokens.make(tokens.TOKEN)
    digest = tokens.digest(secret)
    fact = TokenIssued(
        "",
        who.subject,
        digest,
        faces.begin_life(digest, min(SESSION_US, ends_us - faces.lives.now())),
        "session",
        who.scopes,
        who.tenant,
        who.subject,
    )
    await faces.ask(who, "", fact)
    return secret


def cookie(request: Request[Any, Any, Any], secret: str, life_us: int = SESSION_US) -> str:
    """The header Set-Cookie for a session; for secret '' the one that ends it."""
    age_s = life_us // SECOND_US if secret else 0
    return f"{COOKIE}={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age_s}{secure(request)}"


def secure(request: Request[Any, Any, Any]) -> str:
    """The attribute that keeps a cookie on HTTPS, unless nobody but this machine can connect."""
    return "" if faces_of(request).loopback and request.scope["scheme"] == "http" else "; Secure"


def check_own_page(request: Request[Any, Any, Any]) -> None:
    """Problem 403 if a page of another site makes a browser ask: it could sign its victim in as somebody else."""
    origin, host = header(request.scope, b"origin"), header(request.scope, b"host")
    elsewhere = header(request.scope, b"sec-fetch-site") in (b"cross-site", b"same-site")
    if elsewhere or (origin and origin.partition(b"://")[2] != host):
        raise Problem(
            403, "cross-site", "the request comes from another site", hint="sign in on our own page"
        )


def own_url(request: Request[Any, Any, Any], path: str) -> str:
    """The address of `path` here as the browser sees it; Problem 400 if it does not say what it sees."""
    host = header(request.scope, b"host").decode("latin-1")
    if not _HOST.fullmatch(host):
        raise Problem(400, "invalid-request", "the header Host names no host")
    return f"{'https' if secure(request) else 'http'}://{host}{path}"


def local_path(text: str) -> str:
    """A check of where to go next: a path of this very server, so that no link leads through a sign-in to elsewhere."""
    if len(text) <= PATH_MAX and _PATH.fullmatch(text):
        return ""
    return f"is no path of this server; it begins with one /, is ASCII and has at most {PATH_MAX} characters"
