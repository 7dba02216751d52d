# SPDX-License-Identifier: Apache-2.0
"""The API put together. Called by `leitstand.app.faces`, and by tests without a server."""

import time
from typing import Any, Final

from litestar import Litestar, Request, Router
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from leitstand.api import blobs, events, health, jobs, logs, nodes, plan, schema, tenants, usage
from leitstand.api.auth import header
from leitstand.api.context import Faces
from leitstand.api.problems import Problem, on_exception

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


def build(faces: Faces) -> ASGIApp:
    """The ASGI application that answers with `faces`."""
    app = Litestar(
        route_handlers=[
            *OPEN,
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
    return _door(app, faces, app.state.traffic)


def routes() -> list[tuple[str, HTTPRouteHandler]]:
    """Every handler with its full path."""
    below = [(PREFIX, handler) for handler in (schema.openapi, *BEHIND_THE_DOOR)]
    return [
        (prefix + path, handler)
        for prefix, handler in [("", one) for one in OPEN] + below
        for path in handler.paths
    ]


def _door(app: Litestar, faces: Faces, traffic: health.Traffic) -> ASGIApp:
    """Let nobody in without a valid token, but for OPEN_PATHS; count answers, and time submissions."""

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        method, path = str(scope.get("method", "")), scope["path"]
        began = time.perf_counter()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                traffic.answers[method, message["status"]] += 1
                if message["status"] == 201 and path == SUBMISSIONS:
                    traffic.note_submission(time.perf_counter() - began)
            await send(message)

        if path not in OPEN_PATHS:
            try:
                identity = faces.tokens.identify(header(scope, b"authorization"))
            except Problem as problem:
                request: Request[Any, Any, Any] = Request(scope)
                answer = problem.response().to_asgi_response(None, request)
                await answer(scope, receive, counting)
                return
            scope["identity"] = identity  # type: ignore[typeddict-unknown-key]
        await app(scope, receive, counting)

    return door
