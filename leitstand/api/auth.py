# SPDX-License-Identifier: Apache-2.0
"""Who asks: the bearer token of a request becomes an `Identity`. Asked by the door of the API (`app`).

There is one token, the administrator's. Whatever identities come later come in here: handlers see `Identity` alone.
"""

import hashlib
import hmac
from typing import Any

import msgspec
from litestar import Request

from leitstand.api.problems import Problem


class Identity(msgspec.Struct, frozen=True):
    """`token`: the id of the token, for limits and idempotency; `subject`: the pseudonymous person whose records are
    written, and the `user` of facts."""

    token: str
    subject: str


class Tokens:
    """The tokens that open the door. Only hashes are kept in memory."""

    def __init__(self, admin_token: str) -> None:
        self._admin = _hash(admin_token.encode())
        self._identity = Identity("admin", "admin")

    def identify(self, authorization: bytes) -> Identity:
        """The identity behind an Authorization header; Problem 401."""
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise Problem(
                401,
                "unauthenticated",
                "the request carries no token",
                hint="send Authorization: Bearer TOKEN",
            )
        if not hmac.compare_digest(_hash(token.strip()), self._admin):
            raise Problem(
                401,
                "unauthenticated",
                "the token is not valid",
                hint="the valid one is in admin.token of the data folder",
            )
        return self._identity


def identity(request: Request[Any, Any, Any]) -> Identity:
    """Who asks, behind the door."""
    found: Identity = request.scope["identity"]  # type: ignore[typeddict-item]
    return found


def header(scope: Any, name: bytes) -> bytes:
    """The first header of that lower-case name, b'' if there is none."""
    for found, value in scope["headers"]:
        if found == name:
            return bytes(value)
    return b""


def _hash(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
