# SPDX-License-Identifier: Apache-2.0
"""Bookings: list them, book capacity from a time to a time with a look at whether it can be had, cancel one."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from leitstand.access.policy import Places, Resource
from leitstand.api import decode
from leitstand.api.amounts import duration_fault, duration_us, moment, seconds, stamp_us
from leitstand.api.auth import Identity, header
from leitstand.api.checks import an_id, at_most, between, optional
from leitstand.api.context import Faces, faces_of, refusal
from leitstand.api.decode import Check, Input
from leitstand.api.identity.people import permit_or
from leitstand.api.jobs.jobrequest import NODES_MAX, NodeResources, shapes
from leitstand.api.paging import PageQuery, page_of
from leitstand.api.permission import PLATFORM, absent, home, inside, permit, places
from leitstand.api.problems import Fault, Problem
from leitstand.api.tenancy.entitlements import moment_fault
from leitstand.core.bookings import deciding, paying
from leitstand.core.bookings.booked import Booking
from leitstand.core.facts import BookingCancelled, BookingMade
from leitstand.core.places.fit import WHOLE_MILLI
from leitstand.core.state import State
from leitstand.core.units import HOUR_US, MICRO
from leitstand.runtime.wire import Settled

KEY_MAX: Final = 255  # bytes of an Idempotency-Key
POOL_MAX: Final = 63  # characters
_STAMP: Final = re.compile(r"(\d{10,19}) µs")
_encode = msgspec.json.Encoder(order="deterministic").encode


class BookingAnswer(msgspec.Struct, frozen=True):
    """Capacity held for the jobs of `project`, and of other `projects` of its tenant, that name the booking. `amount`:
    what it counts for, in GPUs (cores in a pool without); `gpus` on each of `num_nodes`, 0: on as few as hold them.
    `step`: booked, clearing (runs in its place are told to end), begun or closing (its own are). `nodes`: where; of one
    that is only asked for, none if it cannot be had. `gpu_hours`, `eur`: what is reserved for all of it, 0 if no budget
    limits the tenant. `jobs`: how many that name it have not ended, `running`: of these."""

    id: str
    tenant: str
    project: str
    projects: list[str]
    pool: str
    num_nodes: int
    gpus: int
    amount: float
    from_at: datetime
    until_at: datetime
    step: str
    nodes: list[str]
    release_idle_s: float
    gpu_hours: float
    eur: float
    jobs: int
    running: int


class Bookings(msgspec.Struct, frozen=True):
    """A page of those that are not over, in the order in which they were made; `next_cursor`: null on the last one."""

    items: list[BookingAnswer]
    next_cursor: str | None


class BookingOutcome(msgspec.Struct, frozen=True):
    """What was booked, or with `dry_run` would be. `possible`: whether it can be had; `message`: why not;
    `earliest_at`: from when on it can be, null: not known. `yields`: how many runs are told to end for it; `drops`: how
    many jobs lose a place that was not promised."""

    booking: BookingAnswer
    dry_run: bool
    possible: bool
    message: str
    earliest_at: datetime | None
    yields: int
    drops: int


class BookingQuery(PageQuery, frozen=True):
    """Those of a `tenant` alone, if it is named."""

    tenant: str = ""

    checks: ClassVar[Mapping[str, Check]] = {**PageQuery.checks, "tenant": optional(an_id)}


class BookingRequest(Input, frozen=True):
    """`resources` on each of `num_nodes`, as of a job; if neither CPUs nor memory are named, what comes with the GPUs.
    `from_at` left out: as soon as whoever is in its place can have left. `projects`: others of the tenant whose jobs
    may name it; `release_idle`: it ends once nobody used it for so long; `pool`: there alone; `dry_run`: only say
    whether it can be had."""

    until_at: datetime
    resources: NodeResources = NodeResources()
    num_nodes: int = 1
    from_at: datetime | None = None
    tenant: str = ""  # your only one
    project: str = ""  # default, or your only one
    projects: list[str] = []
    release_idle: str | float | None = None
    pool: str = ""
    dry_run: bool = False

    checks: ClassVar[Mapping[str, Check]] = {
        "until_at": moment_fault,
        "from_at": moment_fault,
        "num_nodes": between(1, NODES_MAX),
        "tenant": optional(an_id),
        "project": optional(an_id),
        "projects": lambda value: next((fault for one in value if (fault := an_id(one))), ""),
        "release_idle": duration_fault,
        "pool": at_most(POOL_MAX),
    }


@get("/bookings", opt={"action": "booking:list", "query": BookingQuery}, summary="List bookings")
async def list_bookings(request: Request[Any, Any, Any]) -> Bookings:
    """Those that are not over, of the projects that one sees."""
    faces = faces_of(request)
    _, where = places(request)
    query = decode.query(request.query_params.items(), BookingQuery)
    state = faces.follower.state
    found = [
        one for one in state.bookings.of.values() if query.tenant in ("", one.tenant) and _is_seen(where, one)
    ]
    page, more = page_of(found, query)
    return Bookings([_answer(state, one) for one in page], more)


@post(
    "/bookings",
    status_code=200,
    opt={"action": "booking:book", "body": BookingRequest, "headers": ["Idempotency-Key"]},
    summary="Book capacity",
)
async def book(request: Request[Any, Any, Any]) -> BookingOutcome:
    """Granted if all guarantees can be called beside it at any time of its window, there are places, and budgets can
    pay all of it: 409 says what is not so, and the first date at which it is. The same Idempotency-Key gives the same
    booking, as long as that is not over."""
    faces = faces_of(request)
    asked = decode.body(await request.body(), BookingRequest)
    tenant, project = home(request, asked.tenant, asked.project)
    who = permit(request, Resource("project", tenant, project), project)
    fact = _fact(faces, who, asked, (tenant, project))
    fact = msgspec.structs.replace(fact, **_digests(faces, who, request, fact))
    state, now = faces.follower.state, faces.now()
    known = deciding.known(state, fact)
    if known is not None and not asked.dry_run:
        settled = await faces.ask(who, tenant, fact)
        return BookingOutcome(_answer(state, state.bookings.of[settled.made]), False, True, "", None, 0, 0)
    outcome = _outcome(state, now, fact, asked.dry_run)
    if asked.dry_run:
        return outcome
    if not outcome.possible:
        raise Problem(409, "conflict", outcome.message)
    settled = await faces.ask(who, tenant, fact)
    made = state.bookings.of.get(settled.made)
    booking = outcome.booking if made is None else _answer(state, made)
    return msgspec.structs.replace(outcome, booking=booking)


@post(
    "/bookings/{booking_id:str}/cancel",
    status_code=200,
    opt={"action": "booking:cancel"},
    summary="Cancel a booking",
)
async def cancel_booking(request: Request[Any, Any, Any], booking_id: FromPath[str]) -> BookingAnswer:
    """It is not to be; if it has begun, it ends now, with the jobs that name it. The answer says what is paid all the
    same, as `gpu_hours` or `eur`."""
    faces = faces_of(request)
    missing = Problem(
        404,
        "unknown-booking",
        f"there is no booking {booking_id[:80]!r}, or no longer",
        hint="GET /v1/bookings lists what you see",
    )
    booking = faces.follower.state.bookings.of.get(booking_id)
    place = PLATFORM if booking is None else Resource("project", booking.tenant, booking.project)
    try:
        who = permit_or(request, place, missing)
    except Problem as problem:  # of what is not there nobody may do anything
        raise (missing if booking is None and problem.code == "forbidden" else problem) from None
    if booking is None:
        raise missing
    state = faces.follower.state
    paid = paying.if_cancelled(state, booking, faces.now())
    answer = _answer(state, msgspec.structs.replace(booking, reserved=paid))
    await faces.ask(who, booking.tenant, BookingCancelled(booking_id, who.subject))
    return answer


def _is_seen(where: Places | None, booking: Booking) -> bool:
    return any(inside(where, booking.tenant, project) for project in (booking.project, *booking.projects))


def _fact(faces: Faces, who: Identity, asked: BookingRequest, place: tuple[str, str]) -> BookingMade:
    found = shapes(asked.resources, asked.num_nodes, 0, lambda: 0)
    if len(found) > 1:
        what = "names several types of GPU; a booking has one"
        fault = Fault("/resources/accelerators", what)
        raise Problem(400, "invalid-request", f"/resources/accelerators {what}", errors=(fault,))
    state = faces.follower.state
    tenant, project = place
    if tenant not in state.tenants:
        raise absent("tenant", tenant)
    missing = next(
        (one for one in (project, *asked.projects) if one not in state.tenants[tenant].projects), None
    )
    if missing is not None:
        raise absent("project", missing)
    return BookingMade(
        "",
        tenant,
        project,
        found[0],
        stamp_us(asked.from_at) if asked.from_at else 0,
        stamp_us(asked.until_at),
        tuple(asked.projects),
        duration_us(asked.release_idle) if asked.release_idle is not None else 0,
        who.subject,
        pool=asked.pool,
    )


def _digests(
    faces: Faces, who: Identity, request: Request[Any, Any, Any], fact: BookingMade
) -> dict[str, str]:
    """The keyed digests of the Idempotency-Key and of what is asked, so that a retry is known."""
    key = header(request.scope, b"idempotency-key")
    if not key:
        return {}
    if len(key) > KEY_MAX:
        raise Problem(400, "invalid-request", f"Idempotency-Key has {len(key)} bytes; the limit is {KEY_MAX}")
    return {
        "request": faces.records.digest(who.subject, b"booking", who.token.encode(), key),
        "request_digest": faces.records.digest(who.subject, b"body", _encode(fact)),
    }


def _outcome(state: State, now: int, fact: BookingMade, dry_run: bool) -> BookingOutcome:
    """What the core would decide now; a Problem for what is wrong by itself."""
    if fault := deciding.tenant_fault(state, fact):
        raise refusal(Settled(0, 0, refused=fault[0], detail=fault[1]))
    wanted = deciding.wanted_at(state, now, fact)
    if faults := deciding.booking_faults(state, now, wanted):
        raise refusal(Settled(0, 0, refused="invalid", detail=_timed("; ".join(faults))))
    if busy := deciding.too_many(state, fact.tenant):
        raise refusal(Settled(0, 0, refused="busy", detail=busy))
    made = deciding.outcome(state, now, wanted)
    return BookingOutcome(
        msgspec.structs.replace(_answer(state, made.booking), id="" if dry_run else made.booking.id),
        dry_run,
        bool(made.facts),
        _timed(made.why),
        None if made.earliest_us is None else moment(made.earliest_us),
        len(made.booking.yields),
        max(len(made.facts) - 1, 0),
    )


def _answer(state: State, one: Booking) -> BookingAnswer:
    names = state.inside.jobs.get(one.id, {})
    known = {budget.id: budget for budget in state.tenants[one.tenant].budgets}
    gpu_us = sum(amount for name, amount in one.reserved if known[name].unit == "gpu_us")
    micro_eur = sum(amount for name, amount in one.reserved if known[name].unit == "micro_eur")
    return BookingAnswer(
        one.id,
        one.tenant,
        one.project,
        list(one.projects),
        one.pool,
        one.resources.nodes,
        one.resources.gpus // max(one.resources.nodes, 1),
        one.charge_milli / WHOLE_MILLI,
        moment(one.from_us),
        moment(one.until_us),
        one.step,
        list(dict.fromkeys(task.node for task in one.tasks)),
        seconds(one.release_idle_us),
        gpu_us / HOUR_US,
        micro_eur / MICRO,
        len(names),
        sum(1 for name in names if state.jobs[name].run),
    )


def _timed(text: str) -> str:
    """Stamps as times."""
    return _STAMP.sub(lambda found: moment(int(found[1])).strftime("%Y-%m-%dT%H:%M:%SZ"), text)
