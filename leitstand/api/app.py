# SPDX-License-Identifier: Apache-2.0
"""The API put together. Called by `leitstand.app.faces`, and by tests without a server."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from litestar import Litestar, Request, Router
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from leitstand.api import health, schema
from leitstand.api.auth import STRANGER, Identity, Unknown, check_origin, header, unauthenticated
from leitstand.api.codes import WRITES
from leitstand.api.context import Faces, Shown, Twin
from leitstand.api.identity import routes as identity
from leitstand.api.jobs import (
    alerts,
    availability,
    blobs,
    bookings,
    events,
    explanation,
    forecasts,
    jobs,
    logs,
    maintenance,
    nodehealth,
    nodes,
    plan,
    sites,
    usage,
)
from leitstand.api.onboarding import agreement, applications, reviews
from leitstand.api.permission import check_held, check_routes
from leitstand.api.problems import Problem, not_allowed, on_exception, too_many_attempts
from leitstand.api.seat import READS
from leitstand.api.tenancy import (
    budgets,
    commitments,
    entitlements,
    export,
    legal,
    projects,
    shareview,
    tenantlife,
    tenants,
)

BODY_BYTES_MAX: Final = 1024 * 1024
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")  # no browser takes a log for a page
PREFIX: Final = "/v1"
SUBMISSIONS: Final = "/v1/jobs"
TWIN: Final = b"leitstand-twin"
OPEN_PATHS: Final = frozenset({"/healthz", "/metrics", "/v1/openapi.json"})

BEHIND_THE_DOOR: Final[tuple[HTTPRouteHandler, ...]] = (
    jobs.submit,
    jobs.list_jobs,
    jobs.read,
    jobs.cancel,
    explanation.explain_job,
    forecasts.list_forecasts,
    jobs.hold,
    jobs.release,
    logs.read_log,
    events.events,
    plan.plan,
    blobs.upload,
    availability.read_availability,
    alerts.list_alerts,
    alerts.test_alerts,
    nodes.list_nodes,
    nodehealth.report_node,
    nodehealth.return_node,
    sites.list_sites,
    sites.read_site,
    sites.put_site,
    sites.remove_site,
    sites.test_site,
    maintenance.list_maintenance,
    maintenance.plan_maintenance,
    maintenance.cancel_maintenance,
    bookings.list_bookings,
    bookings.book,
    bookings.cancel_booking,
    agreement.agreement,
    applications.file_application,
    applications.list_applications,
    applications.read_application,
    applications.withdraw_application,
    applications.claim_token,
    reviews.record_check,
    reviews.approve_application,
    reviews.refuse_application,
    tenants.list_tenants,
    tenants.add_tenant,
    tenants.read_tenant,
    tenantlife.suspend_tenant,
    tenantlife.resume_tenant,
    tenantlife.exit_tenant,
    tenantlife.extend_exit,
    tenantlife.erase_tenant,
    export.export_tenant,
    legal.read_legal,
    legal.write_legal,
    projects.list_projects,
    projects.add_project,
    projects.close_project,
    projects.list_members,
    budgets.list_budgets,
    budgets.grant_budget,
    entitlements.read_entitlements,
    shareview.explain_share,
    entitlements.change_entitlements,
    commitments.list_commitments,
    commitments.make_commitment,
    commitments.end_commitment,
    usage.usage,
    *identity.ROUTES,
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
        before_request=_whole,
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    app.state.faces = faces
    app.state.traffic = health.Traffic()
    app.state.openapi = schema.describe(routes())
    check_routes(routes() + served)
    return _door(app, faces, app.state.traffic, _for_strangers(routes() + served))


def routes() -> list[tuple[str, HTTPRouteHandler]]:
    """Every handler with its full path."""
    below = [(PREFIX, handler) for handler in (schema.openapi, *BEHIND_THE_DOOR)]
    return [
        (prefix + path, handler)
        for prefix, handler in [("", one) for one in OPEN] + below
        for path in handler.paths
    ]


async def _whole(request: Request[Any, Any, Any]) -> None:
    """Have the whole body before anything is decided. Else whoever sends slowly, and loses token or role meanwhile,
    would act with what it had when it began."""
    if "body" in request.route_handler.opt:
        await request.body()  # kept: the handler gets the same one
        check_held(request)


def _for_strangers(served: Iterable[tuple[str, HTTPRouteHandler]]) -> Callable[[str], bool]:
    """Whether a path is one of those that let strangers in (`opt["strangers"]`)."""
    patterns = [_pattern(path) for path, handler in served if handler.opt.get("strangers")]
    found = re.compile("|".join(patterns or [r"(?!)"]))
    return lambda path: found.fullmatch(path) is not None


def _pattern(path: str) -> str:
    parts = re.split(r"\{\w+:(\w+)\}", path)
    return "".join(
        (r".+" if part == "path" else r"[^/]+") if at % 2 else re.escape(part)
        for at, part in enumerate(parts)
    )


def _door(
    app: Litestar, faces: Faces, traffic: health.Traffic, for_strangers: Callable[[str], bool]
) -> ASGIApp:
    """Find out who asks; let strangers only to routes that are for them; stop every answer for which nobody has
    decided whether it may be given; count answers, and time submissions. HEAD is GET without a body (RFC 9110)."""

    async def door(scope: Any, receive: Receive, send: Send) -> None:
        path = _one_spelling(scope["path"])
        scope = {**scope, "path": path}
        is_open = path in OPEN_PATHS
        answer = _Answer(scope, receive, send, traffic, is_open)
        answer.twin = faces.twin
        try:
            if scope["method"] == "OPTIONS":
                raise not_allowed(app, path, "OPTIONS")
            if not is_open:
                scope["identity"] = _who(faces, scope, for_strangers)
                check_origin(scope)
                if faces.stands_by and scope["method"] in WRITES and path not in READS:
                    faces.check_writer()
        except Problem as problem:
            await _refuse(problem, scope, receive, answer.send)
            return
        if scope["method"] == "HEAD":
            answer.scope = scope = {**scope, "method": "GET"}
        await app(scope, answer.receive, answer.send)

    return door


def _one_spelling(path: str) -> str:
    """The path as the router takes it, so that both mean the same: a second slash, or one at the end, says nothing."""
    return "/" + "/".join(part for part in path.split("/") if part)


def _who(faces: Faces, scope: Any, for_strangers: Callable[[str], bool]) -> Identity:
    """Who asks; Problem 401 or, after too many guesses, 429. A session that is over is as none."""
    authorization = header(scope, b"authorization")
    try:
        who = faces.tokens.identify(authorization, header(scope, b"cookie"))
    except Problem as problem:
        if not authorization and for_strangers(scope["path"]):
            return STRANGER
        client = scope.get("client")
        wait_s = isinstance(problem, Unknown) and faces.signins.attempt(
            faces.wall(), client[0] if client else ""
        )
        raise too_many_attempts(wait_s) if wait_s else problem from None
    if who is STRANGER and not for_strangers(scope["path"]):
        raise unauthenticated("the request carries no token")
    return who


class _Answer:
    """One answer on its way out. Once it is over, no more of it leaves, and who makes it hears that nobody listens."""

    def __init__(
        self, scope: Any, receive: Receive, send: Send, traffic: health.Traffic, decided: bool
    ) -> None:
        """`scope`: of the request as its handler gets it; `decided`: nobody has to ask whether it may be given."""
        self.scope = scope
        self._receive = receive
        self._send = send
        self._traffic = traffic
        self._decided = decided
        self._method, self._path = scope["method"], scope["path"]
        self._began = time.perf_counter()
        self._over = False
        self.twin: Twin | None = None

    async def receive(self) -> Any:
        return {"type": "http.disconnect"} if self._over else await self._receive()

    async def send(self, message: Message) -> None:
        if self._over:
            return
        if message["type"] != "http.response.start":
            await self._send(message)
            return
        status = message["status"]
        if status < 400 and not (self._decided or self.scope.get("decided")):
            self._decided = True
            problem = Problem(500, "internal", f"{self._path} answered without a decision")
            await _refuse(problem, self.scope, self._receive, self.send)
            self._over = True
            return
        self._traffic.answers[self._method, status] += 1
        if status == 201 and self._path == SUBMISSIONS:
            self._traffic.note_submission(time.perf_counter() - self._began)
        if not any(name == NOSNIFF[0] for name, _ in message["headers"]):
            message["headers"] = [*message["headers"], NOSNIFF]
        if self.twin is not None:
            message["headers"] = [*message["headers"], (TWIN, _shown(self.twin()))]
        await self._send(message)
        if self._method == "HEAD":
            self._over = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _shown(twin: Shown) -> bytes:
    """What every answer of a twin says, so that nobody takes it for a real control plane, or its time for the
    world's."""
    return f"speed={twin.speed:g}, reached={twin.reached:.4g}, now={twin.now.isoformat()}".encode()


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    request: Request[Any, Any, Any] = Request(scope)
    await problem.response().to_asgi_response(None, request)(scope, receive, send)
