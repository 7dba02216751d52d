# SPDX-License-Identifier: Apache-2.0
"""Changes that expect what they change to be as it was read: ETag and If-Match (RFC 9110, sections 8.8.3 and 13.1.1).

A client sends back the ETag of what it saw; if that has changed meanwhile, nothing is done.
"""

import hashlib
from typing import Any, Final

import msgspec
from litestar import Request

from leitstand.api.auth import header
from leitstand.api.problems import Problem

IF_MATCH: Final = "If-Match"
_TAG_CHARS: Final = 32
_encode = msgspec.json.Encoder(order="deterministic").encode


def etag(*parts: Any) -> str:
    """The tag of what `parts` say; equal parts, equal tags."""
    return f'"{hashlib.sha256(_encode(parts)).hexdigest()[:_TAG_CHARS]}"'


def check_match(request: Request[Any, Any, Any], current: str, what: str, *, required: bool = False) -> None:
    """Problem 412 if the request expects another state than `current`, the tag of `what` ('' if there is none);
    Problem 428 if it is `required` to say and does not."""
    given = header(request.scope, b"if-match").decode("latin-1").strip()
    if not given:
        if required and current:
            raise Problem(
                428,
                "if-match-missing",
                f"say which state of {what} is to be changed",
                hint="send If-Match with the ETag that you read",
            )
        return
    tags = [tag.strip() for tag in given.split(",")]
    if (given == "*" and current) or (current and current in tags):
        return
    raise changed(what)


def changed(what: str) -> Problem:
    """What was to be changed is not as it was when the asker read it."""
    return Problem(412, "changed", f"{what} has changed since you read it", hint="read it again, then decide")
