# SPDX-License-Identifier: Apache-2.0
"""Errors as the API tells them: problem details (RFC 9457) with stable codes, never a traceback.

Handlers raise `Problem`; `on_exception` turns everything else into one. Called by Litestar for every exception.
"""

import http
import secrets
import sqlite3
import sys
import traceback
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, MethodNotAllowedException

from leitstand.runtime.disk import is_full
from leitstand.runtime.follower import ViewBroken
from leitstand.stores.tables import StoreAway

MEDIA_TYPE: Final = "application/problem+json"
DETAIL_MAX: Final = 2000  # characters of a sentence that goes back


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request. `where`: JSON pointer like /resources/gpus, or the parameter's name."""

    where: str
    what: str


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error. `code` is stable; `hint` says what helps; `job`: the id of a job that was refused."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    hint: str = ""
    errors: tuple[Fault, ...] = ()
    job: str = ""


class Problem(Exception):
    """An answer that refuses. `retry_after_s` becomes the header Retry-After."""

    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        """`more`: hint, errors, job; retry_after_s and allow, which become headers."""
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_s: int | None = more.pop("retry_after_s", None)
        self.allow: str = more.pop("allow", "")
        self.more = more

    def response(self) -> Response[bytes]:
        """The answer, with a request id of its own."""
        body = self._details()
        headers = {"X-Request-Id": body.request_id, "Cache-Control": "no-store"}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.allow:
            headers["Allow"] = self.allow
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="leitstand"'
        if self.code == "internal":
            print(f"request {body.request_id} failed:\n{self.detail}", file=sys.stderr, flush=True)
            body = msgspec.structs.replace(body, detail="The request could not be answered.")
        return Response(
            msgspec.json.encode(body), status_code=self.status, media_type=MEDIA_TYPE, headers=headers
        )

    def body(self) -> bytes:
        """The JSON of the answer, for where there are no headers of ours."""
        return msgspec.json.encode(self._details())

    def _details(self) -> ProblemDetails:
        return ProblemDetails(
            f"urn:leitstand:problem:{self.code}",
            title_of(self.status),
            self.status,
            self.detail[:DETAIL_MAX],
            self.code,
            secrets.token_hex(8),
            **self.more,
        )


def title_of(status: int) -> str:
    """What HTTP calls the status."""
    return http.HTTPStatus(status).phrase


def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to a request that raised."""
    return _problem(request, error).response()


def not_allowed(app: Any, path: str, method: str) -> Problem:
    """Nothing does `method` at `path`; 404 if there is nothing at all."""
    takes = allowed(app, path)
    if not takes:
        return _not_found(path)
    detail = f"{path[:200]} does not take {method[:20]}; it takes {takes}"
    return Problem(405, "method-not-allowed", detail, allow=takes)


def _not_found(path: str) -> Problem:
    hint = "the API is described at /v1/openapi.json"
    return Problem(404, "not-found", f"there is nothing at {path[:200]}", hint=hint)


def too_many_attempts(wait_s: int) -> Problem:
    """Too many tokens, codes or claims that were wrong came from there."""
    detail = f"too many wrong tokens or codes came from your address; the next may be tried in {wait_s} s"
    hint = "`leitstand login` gets a token; one that is right is never kept waiting"
    return Problem(429, "too-many-attempts", detail, hint=hint, retry_after_s=wait_s)


def disk_full() -> Problem:
    """The disk has no room, or is below its reserve."""
    return Problem(
        507, "disk-full", "free disk space is below the reserve", hint="free disk space; running jobs go on"
    )


def _problem(request: Request[Any, Any, Any], error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    path = request.scope["path"][:200]
    if isinstance(error, MethodNotAllowedException):
        return not_allowed(request.app, request.scope["path"], request.scope["method"])
    # no fault of ours to log
    if isinstance(error, InternalServerException) and "disconnected" in error.detail:
        return Problem(400, "client-left", "the connection ended before the body was complete")
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            return _not_found(request.scope["path"])
        if error.status_code == 413:
            return Problem(413, "too-large", "the body exceeds the limit of 1 MiB")
        if error.status_code < 500:
            return Problem(error.status_code, "invalid-request", error.detail)
    if is_full(error) or is_full(error.__cause__):
        return disk_full()
    if isinstance(error, sqlite3.OperationalError | ViewBroken | StoreAway):
        print(f"{request.scope['method']} {path} met: {error}", file=sys.stderr, flush=True)
        where = "its database" if isinstance(error, StoreAway) else "the data folder"
        detail = f"what {where} holds cannot be read or written now"
        return Problem(503, "storage-away", detail, hint="try again", retry_after_s=1)
    trace = "".join(traceback.format_exception(error))
    return Problem(
        500, "internal", trace, hint="the log of the control plane has the details under this request_id"
    )


def allowed(app: Any, path: str) -> str:
    """The methods that the path takes, '' if it is none of ours."""
    ours = path.rstrip("/").split("/")
    found: set[str] = set()
    for route in app.routes:
        parts = route.path.split("/")
        if len(parts) == len(ours) and all(
            theirs.startswith("{") or theirs == mine for theirs, mine in zip(parts, ours, strict=True)
        ):
            found = {str(getattr(method, "value", method)) for method in getattr(route, "methods", ())}
            if "{" not in route.path:
                break  # a path without parameters goes before one with them
    if "GET" in found:
        found.add("HEAD")
    return ", ".join(sorted(found - {"OPTIONS"}))
