# SPDX-License-Identifier: Apache-2.0
"""Applications as who applies meets them: file one, see what became of it, withdraw it, fetch the first token.

Who examines them: `reviews`. Order of effects: what an applicant says of himself is durable, under a name made of the
claim, before the fact is asked for. A crash between leaves records without an application, which `retention` erases;
never an application without its records.
"""

import base64
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from leitstand.access import tokens
from leitstand.api import attempts, decode
from leitstand.api.amounts import duration_fault, duration_us, span
from leitstand.api.auth import header, identity
from leitstand.api.checks import at_most, between, one_of, optional
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.identity import sessions
from leitstand.api.identity.tokenview import Issued, token_answer
from leitstand.api.ids import an_applied_for_tenant
from leitstand.api.onboarding import legalinput
from leitstand.api.onboarding.applicationview import (
    Applicant,
    ApplicationAnswer,
    Filed,
    application_permitted,
    complete,
    record_of,
    show,
    shown_all,
)
from leitstand.api.paging import PAGE_MAX, one_by_one
from leitstand.api.permission import PLATFORM, permit, places
from leitstand.api.problems import Fault, Problem, disk_full
from leitstand.core.acts import ApplicationFiled, ApplicationWithdrawn, ClaimApplication, RecordsErased
from leitstand.core.onboarding import Application
from leitstand.core.people import KINDS
from leitstand.core.rules import TENANT_CLASSES
from leitstand.core.units import DAY_US
from leitstand.stores.legal import LegalIdentity
from leitstand.stores.people import Person

PURPOSE_MAX: Final = 4000  # characters
KEY_MAX: Final = 255  # bytes of an Idempotency-Key
KEY_MIN: Final = 16  # bytes: with the body, whoever knows the key gets the claim
KEY_TTL_US: Final = DAY_US
STATES: Final = ("open", "approved", "refused", "withdrawn")
TOKEN_TTL_US: Final = {"api": 90 * DAY_US, "session": sessions.SESSION_US}
CURSOR_MAX: Final = 2**53
_CLAIMS: Final = "/claims"  # whose key claims for an Idempotency-Key are made with; no id has a slash


class ApplicationRequest(Input, frozen=True, rename={"tenant_class": "class"}):
    """Who wants to become which tenant. `agreement`: the version of the data-processing contract that is accepted."""

    tenant: str
    tenant_class: str
    legal: LegalIdentity
    applicant: Applicant
    agreement: str
    purpose: str = ""

    checks: ClassVar[Mapping[str, Check]] = {
        "tenant": an_applied_for_tenant,
        "tenant_class": one_of(TENANT_CLASSES),
        "purpose": at_most(PURPOSE_MAX),
    }


class ApplicationQuery(Input, frozen=True):
    """Which applications, newest first. `state`: one of open, approved, refused, withdrawn."""

    state: str = ""
    limit: int = 100
    cursor: int = CURSOR_MAX

    checks: ClassVar[Mapping[str, Check]] = {
        "state": optional(one_of(STATES)),
        "limit": between(1, PAGE_MAX),
        "cursor": between(1, CURSOR_MAX),
    }


class ApplicationPage(msgspec.Struct, frozen=True):
    """A page; `next_cursor`: null on the last one."""

    items: list[ApplicationAnswer]
    next_cursor: str | None


class ClaimRequest(Input, frozen=True):
    """What the first token is for. `kind`: `api`, or `session` for a browser, which gets it as a cookie. `expires_in`:
    left out, 90 days, or 8 hours for a session."""

    kind: str = "api"
    expires_in: str | float | None = None

    checks: ClassVar[Mapping[str, Check]] = {"kind": one_of(KINDS), "expires_in": duration_fault}


@post(
    "/applications",
    opt={
        "action": "application:file",
        "strangers": True,
        "body": ApplicationRequest,
        "headers": ["Idempotency-Key"],
    },
    summary="Apply for a tenant",
)
async def file_application(request: Request[Any, Any, Any]) -> Filed:
    """201 with the application and its claim, which is shown this once and opens nothing but this application. With an
    Idempotency-Key of 16 bytes or more, a retry within 24 hours gives the same application and claim."""
    faces, who = faces_of(request), permit(request, PLATFORM)
    raw = await request.body()
    asked = _asked(raw, faces.follower.state.rules.onboarding.agreement)
    claim = _claim(faces, header(request.scope, b"idempotency-key"), raw)
    digest = tokens.digest(claim)
    filed = _filed(faces, digest)
    if filed is None:
        faces.check_writer()
        if faces.disk_low():
            raise disk_full()
        _check_rate(request, faces)
        _keep(faces, digest, asked)
        fact = ApplicationFiled("", asked.tenant, asked.tenant_class, digest, asked.agreement)
        try:
            settled = await faces.ask(who, "", fact)
        except Problem as problem:
            if problem.status < 500:  # it was refused, not lost: nobody will ever come back for the records
                faces.people.erase(record_of(digest))
            raise _taken(asked.tenant) if problem.code == "exists" else problem from None
        filed = faces.follower.state.onboarding.applications[settled.made]
    return Filed(claim=claim, **msgspec.structs.asdict(show(faces, filed, inside=False)))


@get(
    "/applications",
    opt={"action": "application:list", "query": ApplicationQuery},
    summary="List applications, newest first",
)
async def list_applications(request: Request[Any, Any, Any]) -> ApplicationPage:
    """All of them for who examines them; who holds a claim sees the one it is for."""
    faces = faces_of(request)
    who, where = places(request)
    query = decode.query(request.query_params.items(), ApplicationQuery)
    found = [
        one
        async for one in one_by_one(reversed(faces.follower.state.onboarding.applications.values()))
        if query.state in ("", one.state)
        and _number(one) < query.cursor
        and (where is None or one.id == who.claim)
    ]
    page = found[: query.limit]
    more = str(_number(page[-1])) if len(found) > len(page) else None
    return ApplicationPage(shown_all(faces, page, inside=where is None), more)


@get("/applications/{application_id:str}", opt={"action": "application:read"}, summary="Read an application")
async def read_application(
    request: Request[Any, Any, Any], application_id: FromPath[str]
) -> ApplicationAnswer:
    """How far it is and what happens next; the claim is the token for it. What reviewers noted is for them alone."""
    faces = faces_of(request)
    who, found = application_permitted(request, application_id)
    complete(faces, found)
    return show(faces, found, inside=not who.claim)


@post(
    "/applications/{application_id:str}/withdraw",
    opt={"action": "application:withdraw"},
    status_code=200,
    summary="Withdraw an application",
)
async def withdraw_application(
    request: Request[Any, Any, Any], application_id: FromPath[str]
) -> ApplicationAnswer:
    """It stays listed as withdrawn; what the applicant said is erased at once."""
    faces = faces_of(request)
    who, found = application_permitted(request, application_id)
    if found.state != "withdrawn":  # else the answer to an earlier try may have been lost
        await faces.ask(who, "", ApplicationWithdrawn(application_id))
    if faces.people.erase(record_of(found.digest)):
        await faces.ask(who, "", RecordsErased(application_id, who.subject))
    return show(faces, found, inside=not who.claim)


@post(
    "/applications/{application_id:str}/token",
    opt={"action": "application:claim", "body": ClaimRequest},
    summary="Fetch the first token of an approved application",
)
async def claim_token(request: Request[Any, Any, Any], application_id: FromPath[str]) -> Response[Issued]:
    """201 with the token of the tenant's first administrator, by the claim as bearer token; the secret is shown this
    once. Within an hour it can be asked for again, which replaces the token."""
    faces = faces_of(request)
    who, found = application_permitted(request, application_id)
    if who.claim != application_id:
        raise Problem(
            403,
            "forbidden",
            "the first token is for whoever holds the claim",
            hint="send the claim (lsa_…) as the bearer token",
        )
    asked = decode.body(await request.body() or b"{}", ClaimRequest)
    complete(faces, found)
    secret = tokens.make(tokens.TOKEN)
    life_us = TOKEN_TTL_US[asked.kind] if asked.expires_in is None else duration_us(asked.expires_in)
    limit_us = faces.life_rules().token_ttl_max_us
    if life_us > limit_us:
        what = f"is {span(life_us)}; the limit is {span(limit_us)}"
        raise Problem(400, "invalid-request", f"/expires_in {what}", errors=(Fault("/expires_in", what),))
    digest = tokens.digest(secret)
    fact = ClaimApplication(found.digest, digest, faces.begin_life(digest, life_us), asked.kind)
    await faces.ask(who, "", fact)
    token = token_answer(faces, fact.digest)
    if asked.kind == "api":
        return Response(Issued(secret, token), status_code=201)
    cookie = sessions.cookie(request, secret, life_us)
    return Response(Issued("", token), status_code=201, headers={"Set-Cookie": cookie})


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _asked(raw: bytes, agreement: str) -> ApplicationRequest:
    """The request; Problem 400 with every fault, those of the legal identity, too."""
    faults: list[Fault] = []
    asked: ApplicationRequest | None = None
    try:
        asked = decode.body(raw, ApplicationRequest)
    except Problem as problem:
        faults = list(problem.more.get("errors", ()))
        if not faults:  # no JSON at all
            raise
    given = msgspec.json.decode(raw)
    if isinstance(given, dict) and isinstance(given.get("legal"), dict):
        _, more = legalinput.read(given["legal"], "/legal")
        faults = [fault for fault in faults if not fault.where.startswith("/legal")] + more
    if (
        isinstance(given, dict)
        and isinstance(given.get("agreement"), str)
        and given["agreement"] != agreement
    ):
        what = f"is {given['agreement'][:40]!r}; the one in force is {agreement!r}"
        faults.append(Fault("/agreement", what))
    if faults or asked is None:
        detail = f"the application is not acceptable ({len(faults)} fault{'s' if len(faults) > 1 else ''})"
        about_agreement = any(fault.where == "/agreement" for fault in faults)
        hint = "GET /v1/agreement shows the agreement in force" if about_agreement else ""
        raise Problem(400, "invalid-request", detail, errors=tuple(faults[: decode.FAULTS_MAX]), hint=hint)
    return asked


def _claim(faces: Faces, key: bytes, raw: bytes) -> str:
    """A fresh claim; for an Idempotency-Key always the same one for the same body."""
    if not key:
        return tokens.make(tokens.CLAIM)
    if not KEY_MIN <= len(key) <= KEY_MAX:
        detail = f"Idempotency-Key has {len(key)} bytes; the limits are {KEY_MIN} to {KEY_MAX}"
        raise Problem(400, "invalid-request", detail, hint="take a random one, such as a UUID")
    made = bytes.fromhex(faces.records.digest(_CLAIMS, key, raw))
    return f"{tokens.CLAIM}_{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"


def _filed(faces: Faces, digest: str) -> Application | None:
    """What was filed with this claim before, if it was not long ago."""
    state = faces.follower.state
    found = state.onboarding.applications.get(state.digests.get(digest, ""))
    if found is not None and faces.now() - found.filed_us > KEY_TTL_US:
        raise Problem(
            409, "exists", "this Idempotency-Key was used more than 24 hours ago", hint="take a fresh one"
        )
    return found


def _check_rate(request: Request[Any, Any, Any], faces: Faces) -> None:
    """Problem 429 for too many applications from one address, or in all; who examines them files as many as needed."""
    asker = faces.tokens.asker(identity(request))
    if faces.authorizer.decide(asker, "application:list", PLATFORM).allowed:
        return
    wait_s = faces.filings.attempt(faces.wall(), attempts.source(request))
    if wait_s:
        raise Problem(
            429,
            "too-many-attempts",
            f"too many applications came from your address, or in all; the next may be filed in {wait_s} s",
            hint="an application that is open needs no second one: its claim shows how far it is",
            retry_after_s=wait_s,
        )


def _keep(faces: Faces, digest: str, asked: ApplicationRequest) -> None:
    """What must not enter the journal, durably."""
    name = record_of(digest)
    faces.people.put_legal(name, asked.legal)
    faces.people.put_person(name, Person(asked.applicant.name.strip(), asked.applicant.email))
    if asked.purpose.strip():
        faces.people.put_purpose(name, asked.purpose.strip())


def _taken(tenant: str) -> Problem:
    return Problem(409, "exists", f"the id {tenant!r} is taken or applied for", hint="choose another id")


def _number(application: Application) -> int:
    return int(application.id[1:])
