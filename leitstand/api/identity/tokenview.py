# SPDX-License-Identifier: Apache-2.0
"""Tokens as clients see them; the secret only in the answer that issues one."""

from datetime import datetime

import msgspec

from leitstand.api.amounts import moment
from leitstand.api.context import Faces
from leitstand.core.people import Token


class TokenAnswer(msgspec.Struct, frozen=True):
    """A token. `scopes`: empty for all that its user may; `tenant`: where alone it is valid, empty for everywhere. Its
    times are the world's, also in a twin."""

    id: str
    user: str
    kind: str
    scopes: tuple[str, ...]
    tenant: str
    issued_at: datetime
    expires_at: datetime


class Issued(msgspec.Struct, frozen=True):
    """A token just issued. `secret`: shown this once; empty where it went into a cookie."""

    secret: str
    token: TokenAnswer


def token_answer(faces: Faces, digest: str) -> TokenAnswer:
    """The token behind the SHA-256 of its secret, which is there."""
    state = faces.follower.state
    return token_shown(faces, state.people.tokens[state.digests[digest]])


def token_shown(faces: Faces, one: Token) -> TokenAnswer:
    """A token as it is shown."""
    issued_at, expires_at = moment(faces.lives.issued_us(one)), moment(faces.lives.ends_us(one))
    return TokenAnswer(one.id, one.user, one.kind, one.scopes, one.tenant, issued_at, expires_at)
