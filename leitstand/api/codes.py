# SPDX-License-Identifier: Apache-2.0
"""Every code that a problem can carry: its status, when it comes, and on which routes. Codes are stable.

The description of the API (`schema`) and the table in docs/api.md are made of it; a test compares both with what is
answered.
"""

from typing import Final

import msgspec
from litestar.handlers import HTTPRouteHandler

from leitstand.core.admission import REASONS

WRITES: Final = ("POST", "PUT", "DELETE")


class Code(msgspec.Struct, frozen=True):
    """`when`: in words, the example of the description too. `actions`: it comes on routes whose action begins so, ''
    for all, '-' for none: it comes before any route; `takes`: only where the route takes one of these: body, query, id,
    If-Match, writes (it changes something), asks (the action is not open to everybody)."""

    name: str
    status: int
    when: str
    actions: tuple[str, ...] = ("",)
    takes: tuple[str, ...] = ()


_CODES: Final = (
    Code(
        "invalid-request", 400, "the request is not valid: `errors` names each fault", takes=("body", "query")
    ),
    Code(
        "tenant-missing",
        400,
        "name the tenant: you have roles in acme, bolt",
        ("job:submit", "job:plan", "blob:", "secret:"),
    ),
    Code("unknown-blob", 400, "workdir was not uploaded", ("job:submit", "job:plan")),
    Code("unknown-secret", 400, "the job names secrets that are not there", ("job:submit", "job:plan")),
    Code("secret-refused", 400, "a value is over a limit", ("job:submit", "secret:set")),
    Code("wrong-digest", 400, "what arrived has another SHA-256", ("blob:",)),
    Code("not-an-archive", 400, "the work directory is no tar archive", ("blob:",)),
    Code("unknown-code", 400, "there is no login with this code, or no longer", ("token:", "open")),
    Code("authorization-pending", 400, "the login is not confirmed yet", ("open",), ("body",)),
    Code("slow-down", 400, "asked again too soon", ("open",), ("body",)),
    Code("expired", 400, "the login was not confirmed in time", ("open",), ("body",)),
    Code("access-denied", 400, "the user said no", ("open",), ("body",)),
    Code("client-left", 400, "the connection ended before the body was complete", ("-",)),
    *(
        Code(reason, 400, when, ("open",), ("query",))
        for reason, when in (
            ("code_refused", "the identity provider did not accept the sign-in"),
            ("provider_away", "the identity provider cannot be reached"),
            ("provider_wrong", "the identity provider answers wrongly"),
            ("state_unknown", "this sign-in was not begun here, or is over"),
            ("token_invalid", "what the identity provider says cannot be trusted"),
        )
    ),
    Code("unauthenticated", 401, "the token is not valid"),
    Code("forbidden", 403, "no policy permits it here", takes=("asks",)),
    Code("cross-site", 403, "the request comes from another site", takes=("writes",)),
    Code("not-found", 404, "there is nothing at this path", ("open",)),
    Code("unknown-job", 404, "there is no such job", ("job:",), ("id",)),
    Code("unknown-task", 404, "the job has fewer tasks", ("job:logs",)),
    Code(
        "unknown-project",
        404,
        "there is no such project",
        ("job:", "blob:", "secret:", "project:", "role:", "invitation:", "booking:book"),
    ),
    Code(
        "unknown-tenant",
        404,
        "there is no such tenant",
        (
            "tenant:", "legal:", "project:", "member:", "budget:", "blob:", "secret:", "role:", "user:", "token:",
            "invitation:", "audit:", "access:", "job:submit", "job:plan", "entitlement:read", "commitment:list",
            "booking:book",
        ),
    ),
    Code("unknown-pool", 404, "there is no such pool", ("entitlement:", "commitment:"), ("query", "If-Match")),
    Code("unknown-commitment", 404, "there is no such commitment, or no longer", ("commitment:end",)),
    Code("unknown-booking", 404, "there is no such booking, or no longer", ("booking:cancel",)),
    Code("unknown-maintenance", 404, "there is no such maintenance window, or no longer", ("maintenance:cancel",)),
    Code("unknown-node", 404, "there is no such node", ("node:report", "node:return")),
    Code("unknown-site", 404, "there is no such site, or no longer", ("site:",), ("id",)),
    Code("unknown-legal", 404, "nothing is known of the legal identity", ("legal:", "tenant:")),
    Code("unknown-user", 404, "there is no such user", ("user:", "token:", "role:", "invitation:", "access:")),
    Code("unknown-token", 404, "there is no such token", ("token:",)),
    Code("unknown-invitation", 404, "there is no such invitation, or no longer", ("invitation:",)),
    Code("unknown-application", 404, "there is no such application", ("application:", "access:")),
    Code("unknown-check", 404, "the application has no such check", ("application:check",)),
    Code("unknown-agreement", 404, "there is no such version of the contract", ("open",), ("query",)),
    Code("unknown-secret", 404, "there is no such secret", ("secret:delete",)),
    Code("method-not-allowed", 405, "the path does not take this method; `Allow` says what it takes", ("-",)),
    Code("request-reused", 409, "the Idempotency-Key was used with another body", ("job:submit", "booking:book")),
    Code("exists", 409, "it is there already", takes=("writes",)),
    Code("conflict", 409, "it cannot be done in the state that it is in", takes=("writes",)),
    Code("plan-changed", 412, "the plan of this job is not the expected one any more", ("job:submit",)),
    Code("changed", 412, "it has changed since you read it", takes=("If-Match",)),
    Code("too-large", 413, "the body exceeds the limit of 1 MiB", takes=("body", "writes")),
    Code("tenant-full", 413, "the tenant has no room for more", ("blob:",)),
    Code("unknown-tenant", 422, "there is no such tenant", ("job:submit", "job:plan")),
    Code("invalid", 422, "the writer refuses it: the detail says why", takes=("writes",)),
    *(Code(reason, 422, when, ("job:submit",)) for reason, when in REASONS.items()),
    Code("if-match-missing", 428, "say which state is to be changed", ("legal:write",)),
    Code("too-many-attempts", 429, "too many wrong tokens or codes came from your address"),
    Code("busy", 429, "over a limit of requests at once"),
    Code("internal", 500, "the request could not be answered"),
    Code("storage-away", 503, "what the data folder holds cannot be read or written now"),
    Code("writer-away", 503, "the writer is away", takes=("writes",)),
    Code("standby", 503, "this control plane is on standby, and https://one.example leads", takes=("writes",)),
    Code("disk-full", 507, "free disk space is below the reserve"),
)  # fmt: skip
CODES: Final = _CODES


def codes_of(path: str, method: str, handler: HTTPRouteHandler) -> list[Code]:
    """The codes that the route can answer with, by status."""
    action = handler.opt["action"]
    takes: set[str] = {part for part in ("body", "query") if part in handler.opt}
    takes |= {header for header in handler.opt.get("headers", ()) if header == "If-Match"}
    if "{" in path:
        takes.add("id")
    if method in WRITES:
        takes.add("writes")
    if action != "open":
        takes.add("asks")
    found = [
        code
        for code in CODES
        if action.startswith(code.actions) and (not code.takes or takes.intersection(code.takes))
    ]
    named = {(code.status, code.name) for code in found}
    more = [code for code in CODES if code.name in handler.opt.get("problems", ())]
    return sorted(
        [*found, *(code for code in more if (code.status, code.name) not in named)],
        key=lambda code: code.status,
    )
