# SPDX-License-Identifier: Apache-2.0
"""The API put together. Called by `leitstand.app.faces`, and by tests without a server."""

import time
from collections.abc import Sequence
from typing import Any, Final

from litestar import Litestar, Request, Router
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from leitstand.api import blobs, events, health, jobs, logs, nodes, plan, schema, tenants, usage
from leitstand.api.auth import STRANGER, check_origin, header, unauthenticated
from leitstand.api.context import Faces
from leitstand.api.permission import check_routes
from leitstand.api.problems import Problem, allowed, on_exception

BODY_BYTES_MAX: Final = 1024 * 1024
PREFIX: Final = "/v1"
SUBMISSIONS: Final = "/v1/jobs"
OPEN_PATHS: Final = frozenset(
    {"/healthz", "/metrics", "/v1/openapi.json"}
)  # spelled so; every other way is closed

BEHIND_THE_DOOR: Final[tuple[HTTPRouteHandler, ...]] = (
    jobs.submit,
    jobs.list_jobs,
    jobs.read,
    jobs.cancel,
    logs.read_log,
    events.events,
    plan.plan,
    blobs.upload,
    nodes.list_nodes,
    nodes.list_sites,
    tenants.list_tenants,
    tenants.add,
    usage.usage,
)
OPEN: Final[tuple[HTTPRouteHandler, ...]] = (health.healthz, health.metrics)


def build(faces: Faces, pages: Sequence[HTTPRouteHandler] = ()) -> ASGIApp:
    """The ASGI application that answers with `faces`, and serves `pages`, which name their action like all others."""
    served = [(path, page) for page in pages for path in page.paths]
    app = Litestar(
        route_handlers=[
            *OPEN,
            *pages,
            Router(PREFIX, route_handlers=[schema.openapi, *BEHIND_THE_DOOR]),
        ],
        exception_handlers={Exception: on_exception},
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    app.state.faces = faces
    app.state.traffic = health.Traffic()
    app.state.openapi = schema.describe(routes())
    check_routes(routes() + served)
    for_strangers = frozenset(path for path, one in routes() + served if one.opt.get("strangers"))
    return _door(app, faces, app.state.traffic, for_strangers)


def routes() -> list[tuple[str, HTTPRouteHandler]]:
    """Every handler with its full path."""
    below = [(PREFIX, handler) for handler in (schema.openapi, *BEHIND_THE_DOOR)]
    return [
        (prefix + path, handler)
        for prefix, handler in [("", one) for one in OPEN] + below
        for path in handler.paths
    ]


def _door(app: Litestar, faces: Faces, traffic: health.Traffic, for_strangers: frozenset[str]) -> ASGIApp:
    """Find out who asks; let strangers only to routes that say so (`opt["strangers"]`); stop every answer for which
    nobody has decided whether it may be given; count answers, and time submissions."""

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        method, path = str(scope.get("method", "")), scope["path"]
        began = time.perf_counter()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                traffic.answers[method, message["status"]] += 1
                if message["status"] == 201 and path == SUBMISSIONS:
                    traffic.note_submission(time.perf_counter() - began)
            await send(message)

        if path in OPEN_PATHS:
            await app(scope, receive, counting)
            return
        try:
            scope["identity"] = who = faces.tokens.identify(  # type: ignore[typeddict-unknown-key]
                header(scope, b"authorization"), header(scope, b"cookie")
            )
            if who is STRANGER and path not in for_strangers:
                raise unauthenticated("the request carries no token")
            check_origin(scope)
            if method == "OPTIONS":
                raise Problem(405, "method-not-allowed", f"{path} takes {allowed(app, path)}")
        except Problem as problem:
            await _refuse(problem, scope, receive, counting)
            return
        await app(scope, receive, _decided(scope, receive, counting))

    return door


def _decided(scope: Scope, receive: Receive, send: Send) -> Send:
    """`send`, but for an answer that gives something and for which no handler asked whether it may."""
    stopped = False

    async def checking(message: Message) -> None:
        nonlocal stopped
        if message["type"] == "http.response.start" and message["status"] < 400 and not scope.get("decided"):
            stopped = True
            detail = f"{scope['path']} answered without a decision"
            await _refuse(Problem(500, "internal", detail), scope, receive, send)
        elif not stopped:
            await send(message)

    return checking


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    request: Request[Any, Any, Any] = Request(scope)
    await problem.response().to_asgi_response(None, request)(scope, receive, send)
