# SPDX-License-Identifier: Apache-2.0
"""Wrong secrets are counted: who tries too many of them waits. Called wherever somebody shows a token or a code.

Secrets of 256 bits are looked up first and counted when wrong, so that one that is right never waits. A short code is
counted before it is looked up, and given back when it was right.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from litestar import Request

from leitstand.api.context import faces_of
from leitstand.api.problems import Problem, too_many_attempts


def source(request: Request[Any, Any, Any]) -> str:
    """The address that the request comes from, '' if that is not known."""
    client = request.scope.get("client")
    return client[0] if client else ""


def wrong(request: Request[Any, Any, Any], answer: Problem) -> Problem:
    """Count a wrong secret; the problem to raise: `answer`, or 429 after too many."""
    faces = faces_of(request)
    wait_s = faces.signins.attempt(faces.wall(), source(request))
    return too_many_attempts(wait_s) if wait_s else answer


@contextlib.contextmanager
def trying(request: Request[Any, Any, Any], account: str) -> Iterator[None]:
    """Count an attempt of the signed-in `account` with a short code; Problem 429 after too many. Counts no more if what
    is done with it raises nothing. Counted apart from what strangers try, who could keep everybody waiting."""
    faces = faces_of(request)
    wait_s = faces.codes.attempt(faces.wall(), source(request), account)
    if wait_s:
        raise too_many_attempts(wait_s)
    yield
    faces.codes.succeeded(faces.wall(), source(request), account)
