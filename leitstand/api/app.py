# SPDX-License-Identifier: Apache-2.0
"""The API put together. Called by `leitstand.app.faces`, and by tests without a server."""

import time
from typing import Final

from litestar import Litestar, Router
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from leitstand.api import blobs, events, health, jobs, logs, nodes, plan, schema, tenants, usage
from leitstand.api.auth import authenticated
from leitstand.api.context import Faces
from leitstand.api.problems import on_exception

BODY_BYTES_MAX: Final = 1024 * 1024
PREFIX: Final = "/v1"

GUARDED: Final[tuple[HTTPRouteHandler, ...]] = (
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
            Router(PREFIX, route_handlers=[schema.openapi]),
            Router(PREFIX, route_handlers=list(GUARDED), guards=[authenticated]),
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
    return _counted(app, app.state.traffic)


def routes() -> list[tuple[str, HTTPRouteHandler]]:
    """Every handler with its full path."""
    below = [(PREFIX, handler) for handler in (schema.openapi, *GUARDED)]
    return [
        (prefix + path, handler)
        for prefix, handler in [("", one) for one in OPEN] + below
        for path in handler.paths
    ]


def _counted(app: ASGIApp, traffic: health.Traffic) -> ASGIApp:
    """Count answers by method and status, and time submissions."""

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        method = str(scope.get("method", ""))
        began = time.perf_counter()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                traffic.answers[method, message["status"]] += 1
                if message["status"] == 201 and scope["path"] == "/v1/jobs":
                    traffic.note_submission(time.perf_counter() - began)
            await send(message)

        await app(scope, receive, counting)

    return counted
