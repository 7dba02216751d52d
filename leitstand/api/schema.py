# SPDX-License-Identifier: Apache-2.0
"""The description of the API (OpenAPI 3.1), made of the routes: their paths, structs and docstrings. Built once.

A handler names what it takes in its `opt`: `body` and `query` are structs, `headers` are names. What it answers is in
its annotation, or a stream of the type `media`.
"""

import inspect
import typing
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from leitstand import __version__
from leitstand.api.problems import MEDIA_TYPE, ProblemDetails

_REF: Final = "#/components/schemas/{name}"
_OPEN: Final = ("/healthz", "/metrics", "/v1/openapi.json")


@get("/openapi.json", opt={"action": "open"}, summary="This description")
async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The OpenAPI 3.1 document."""
    return Response(request.app.state.openapi, media_type="application/json")


def describe(handlers: Sequence[tuple[str, HTTPRouteHandler]]) -> bytes:
    """The document for handlers with their full paths, as JSON."""
    kinds: list[Any] = [ProblemDetails]
    for _, handler in handlers:
        kinds += [handler.opt[part] for part in ("body", "query") if part in handler.opt]
        answer = _answer(handler)
        if answer is not None:
            kinds.append(answer)
    kinds = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    known = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for path, handler in handlers:
        plain = path.replace(":str}", "}")
        for method in sorted(handler.http_methods):
            paths.setdefault(plain, {})[str(method).lower()] = _operation(plain, handler, known, components)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Leitstand",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }
    return msgspec.json.encode(document)


def _operation(
    path: str, handler: HTTPRouteHandler, known: dict[Any, Any], components: dict[str, Any]
) -> dict[str, Any]:
    problem = {MEDIA_TYPE: {"schema": known[ProblemDetails]}}
    operation: dict[str, Any] = {
        "operationId": handler.handler_name,
        "summary": handler.summary,
        "description": inspect.getdoc(handler.fn),
        "parameters": [*_parameters(path, handler, components)],
        "responses": {
            str(handler.status_code): {"description": "Done", "content": _content(handler, known)},
            "default": {"description": "A problem (RFC 9457)", "content": problem},
        },
    }
    if "body" in handler.opt:
        schema = known[handler.opt["body"]]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    elif "put" in {str(method).lower() for method in handler.http_methods}:
        operation["requestBody"] = {"required": True, "content": {"application/x-tar": {}}}
    if path in _OPEN:
        operation["security"] = []
    return operation


def _parameters(path: str, handler: HTTPRouteHandler, components: dict[str, Any]) -> list[dict[str, Any]]:
    text = {"type": "string"}
    found = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": text}
        for part in path.split("/")
        if part.startswith("{")
    ]
    if "query" in handler.opt:
        properties = components[handler.opt["query"].__name__]["properties"]
        found += [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]
    found += [{"name": name, "in": "header", "schema": text} for name in handler.opt.get("headers", ())]
    return found


def _answer(handler: HTTPRouteHandler) -> Any:
    """The struct that the handler answers with; None for bytes and streams."""
    kind = inspect.signature(handler.fn).return_annotation
    if typing.get_origin(kind) is Response:
        (kind,) = typing.get_args(kind)
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _content(handler: HTTPRouteHandler, known: dict[Any, Any]) -> dict[str, Any]:
    if "media" in handler.opt:
        return {handler.opt["media"]: {}}
    answer = _answer(handler)
    if answer is not None:
        return {"application/json": {"schema": known[answer]}}
    if inspect.signature(handler.fn).return_annotation is Stream:
        return {"text/event-stream": {}, "text/plain": {}}
    return {"text/plain": {}}
