# SPDX-License-Identifier: Apache-2.0
"""The description of the API (OpenAPI 3.1), made of the routes: their paths, structs and docstrings. Built once.

A handler names what it takes in its `opt`: `body` and `query` are structs, `headers` are names. What it answers is in
its annotation, or a stream of the type `media`. The problems of a route come from `codes`, examples from `examples`.
"""

import inspect
import re
import typing
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from leitstand import __version__
from leitstand.api.codes import Code, codes_of
from leitstand.api.examples import ANSWERS, BODIES, HEADERS, PARAMETERS
from leitstand.api.problems import MEDIA_TYPE, ProblemDetails, title_of

_REF: Final = "#/components/schemas/{name}"
_OPEN: Final = ("/healthz", "/metrics", "/v1/openapi.json")
_ABOUT: Final = """\
The control plane of an industrial AI cloud. JSON everywhere; times in RFC 3339 (UTC); durations like "1h30m", or \
seconds; every error is a problem (RFC 9457) whose `code` is stable.

**Versions.** Everything under `/v1` stays: paths, names, types and codes are not taken away and do not change their \
meaning. New optional fields, routes, codes and events can come at any time: ignore what you do not know.

**Deprecation.** What is to go says so for at least twelve months: `deprecated` here, and in each answer the header \
`Deprecation` (RFC 9745) with the date, `Sunset` (RFC 8594) with the end, and a `Link` to what takes its place. It \
goes only with another version beside `/v1`, which is served for as long.

**Retries.** GET, PUT and DELETE can be repeated. POST /v1/jobs and POST /v1/applications take an `Idempotency-Key`. \
429 and 503 say in `Retry-After` when to come back.

**Pages.** `limit` and `cursor`; `next_cursor` is null on the last page. A cursor is opaque and stays valid."""


@get("/openapi.json", opt={"action": "open"}, summary="This description")
async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The OpenAPI 3.1 document."""
    return Response(request.app.state.openapi, media_type="application/json")


def describe(handlers: Sequence[tuple[str, HTTPRouteHandler]]) -> bytes:
    """The document for handlers with their full paths, as JSON."""
    kinds: list[Any] = [ProblemDetails]
    for _, handler in handlers:
        kinds += [handler.opt[part] for part in ("body", "query") if part in handler.opt]
        kinds += filter(None, [_answer(handler)])
    kinds = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    known = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for path, handler in handlers:
        plain = re.sub(r":\w+\}", "}", path)
        for method in sorted(map(str, handler.http_methods)):
            operation = _Operation(plain, method, handler, known, components)
            paths.setdefault(plain, {})[method.lower()] = operation.document()
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Leitstand",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": tag} for tag in sorted({_tag(path) for path in paths})],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "lst_…; a claim lsa_…"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "leitstand_session",
                    "description": "of a browser; what changes something has to come from the same site",
                },
            },
        },
        "security": [{"token": []}, {"session": []}],
    }
    return msgspec.json.encode(document)


class _Operation:
    """One method of one path."""

    def __init__(
        self,
        path: str,
        method: str,
        handler: HTTPRouteHandler,
        known: dict[Any, Any],
        components: dict[str, Any],
    ) -> None:
        self.path = path
        self.method = method
        self.handler = handler
        self.known = known
        self.components = components

    def document(self) -> dict[str, Any]:
        handler = self.handler
        operation: dict[str, Any] = {
            "operationId": handler.handler_name,
            "tags": [_tag(self.path)],
            "summary": handler.summary,
            "description": inspect.getdoc(handler.fn),
            "parameters": [*self._in_path(), *self._in_query(), *self._in_headers()],
            "responses": {**self._answers(), **self._problems()},
        }
        if "body" in handler.opt:
            operation["requestBody"] = self._body(handler.opt["body"])
        elif self.method == "PUT":
            content = {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}
            operation["requestBody"] = {"required": True, "content": content}
        if self.path in _OPEN or handler.opt.get("strangers"):
            operation["security"] = [{}, *([] if self.path in _OPEN else [{"token": []}, {"session": []}])]
        if self.path in _OPEN[:1] + _OPEN[2:]:
            operation["security"] = []
        return operation

    # ── what it takes ─────────────────────────────────────────────────────────────────────────────────────────────
    def _body(self, kind: Any) -> dict[str, Any]:
        media: dict[str, Any] = {"schema": self.known[kind]}
        if kind.__name__ in BODIES:
            media["examples"] = BODIES[kind.__name__]
        required = any(field.required for field in msgspec.structs.fields(kind))
        return {"required": required, "content": {"application/json": media}}

    def _in_path(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "in": "path", "required": True, **_parameter(name)}
            for name in re.findall(r"\{(\w+)\}", self.path)
        ]

    def _in_query(self) -> list[dict[str, Any]]:
        kind = self.handler.opt.get("query")
        if kind is None:
            return []
        component = self.components[kind.__name__]
        return [
            {
                "name": name,
                "in": "query",
                "required": name in component.get("required", ()),
                "schema": {**_parameter(name).get("schema", {}), **schema},
            }
            for name, schema in component["properties"].items()
        ]

    def _in_headers(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "in": "header", **HEADERS[name]} for name in self.handler.opt.get("headers", ())
        ]

    # ── what it answers ───────────────────────────────────────────────────────────────────────────────────────────
    def _answers(self) -> dict[str, Any]:
        handler = self.handler
        done: dict[str, Any] = {"description": "Done"}
        content = self._content()
        if content:
            done["content"] = content
        found = {str(handler.status_code): done}
        if handler.opt.get("again"):
            found["200"] = {**done, "description": "It was done already"}
        if self.path == "/v1/signin/oidc/callback":
            found["302"] = {"description": "It failed: back to the sign-in page"}
        if self.path == "/healthz":
            found["503"] = {**done, "description": "The writer is away; readings go on"}
        return found

    def _content(self) -> dict[str, Any]:
        if "media" in self.handler.opt:
            return {self.handler.opt["media"]: {}}
        answer = _answer(self.handler)
        if answer is not None:
            media: dict[str, Any] = {"schema": self.known[answer]}
            if answer.__name__ in ANSWERS:
                media["examples"] = ANSWERS[answer.__name__]
            return {"application/json": media}
        return _PLAIN.get(self.path, {} if self.handler.status_code in (204, 302) else {"text/plain": {}})

    def _problems(self) -> dict[str, Any]:
        by_status: dict[str, list[Code]] = {}
        for code in (
            [] if self.path in _OPEN[:1] + _OPEN[2:] else codes_of(self.path, self.method, self.handler)
        ):
            by_status.setdefault(str(code.status), []).append(code)
        return {status: self._problem(status, codes) for status, codes in by_status.items()}

    def _problem(self, status: str, codes: list[Code]) -> dict[str, Any]:
        examples = {code.name: {"value": _example(code)} for code in codes}
        content = {MEDIA_TYPE: {"schema": self.known[ProblemDetails], "examples": examples}}
        headers = {name: _HEADERS_OUT[name] for name in _SENT_WITH.get(status, ())}
        described = "; ".join(f"`{code.name}`: {code.when}" for code in codes)
        return {"description": described, "content": content, "headers": headers}


_PLAIN: Final[dict[str, dict[str, Any]]] = {
    "/v1/jobs/{job_id}/logs": {"text/plain": {}, "text/event-stream": {}},
    "/v1/events": {"text/event-stream": {}},
    "/v1/openapi.json": {"application/json": {}},
    "/v1/signin/oidc/callback": {"text/html": {}},
}
_HEADERS_OUT: Final[dict[str, dict[str, Any]]] = {
    "Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"schema": {"type": "string"}},
    "Allow": {"schema": {"type": "string"}},
}
_SENT_WITH: Final = {
    "401": ("WWW-Authenticate",),
    "405": ("Allow",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}


def _tag(path: str) -> str:
    return path.removeprefix("/v1").split("/")[1].removesuffix(".json")


def _parameter(name: str) -> dict[str, Any]:
    return PARAMETERS.get(name, {"schema": {"type": "string", "minLength": 1, "maxLength": 200}})


def _example(code: Code) -> dict[str, Any]:
    return {
        "type": f"urn:leitstand:problem:{code.name}",
        "title": title_of(code.status),
        "status": code.status,
        "detail": code.when,
        "code": code.name,
        "request_id": "3f9c0a51d2e84b67",
    }


def _answer(handler: HTTPRouteHandler) -> Any:
    """The struct that the handler answers with; None for bytes and streams."""
    kind = inspect.signature(handler.fn).return_annotation
    if typing.get_origin(kind) is Response:
        (kind,) = typing.get_args(kind)
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None
