# SPDX-License-Identifier: Apache-2.0
"""What happens to a tenant: suspension and its end, the exit with its timers, erasure after it.

Each act takes If-Match with the ETag of GET /v1/tenants/TENANT: if somebody else acted meanwhile, nothing is done.
What the state shows as done already is answered as done, for the answer to an earlier try may have been lost.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, Response, post
from litestar.params import FromPath

from leitstand.api import decode
from leitstand.api.amounts import duration_fault, duration_us, moment, span, stamp_us
from leitstand.api.auth import Identity
from leitstand.api.checks import one_of
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.ids import BUILT_IN
from leitstand.api.onboarding.applicationview import record_of
from leitstand.api.paging import one_by_one
from leitstand.api.preconditions import IF_MATCH, changed, check_match
from leitstand.api.problems import Fault, Problem
from leitstand.api.tenancy.tenants import TenantWhole, running, tag_of, tenant_answer, tenant_permitted
from leitstand.core.acts import (
    RUNNING,
    SUSPENSIONS,
    RecordsErased,
    TenantExitExtended,
    TenantExitStarted,
    TenantResumed,
    TenantSuspended,
    UserRemoved,
)
from leitstand.core.tenancy import EXTENDERS, Tenant
from leitstand.stores import tenants as stored

RUNNING_MAX: Final = 2**31


def _zoned(value: datetime) -> str:
    if value.tzinfo is None:
        return "has no time zone; write it like 2027-03-01T00:00:00Z"
    return "" if value.year >= 1970 else "is before 1970"


class SuspendRequest(Input, frozen=True):
    """Why, and what becomes of running jobs: `finish`, or `stop`. `expect`: how many are running, as far as the asker
    knows; if that is not so, nothing is done."""

    reason: str
    running: str = "finish"
    expect: int | None = None

    checks: ClassVar[Mapping[str, Check]] = {
        "reason": one_of(SUSPENSIONS),
        "running": one_of(RUNNING),
        "expect": lambda value: (
            "" if value is None or 0 <= value < RUNNING_MAX else f"is {value}; it is a number of jobs"
        ),
    }


class ExitRequest(Input, frozen=True):
    """`notice`: how long until the transition begins; left out, as long as the rules allow."""

    notice: str | float | None = None

    checks: ClassVar[Mapping[str, Check]] = {"notice": duration_fault}


class ExtendRequest(Input, frozen=True):
    """`until`: the new end of the transition; `whose`: wish it is: customer or provider, each once."""

    until: datetime
    whose: str

    checks: ClassVar[Mapping[str, Check]] = {"until": _zoned, "whose": one_of(EXTENDERS)}


class ErasedAnswer(msgspec.Struct, frozen=True):
    """How many things were erased: records of jobs, profiles, values of secrets, work directories, persons, and folders
    of runs (logs, checkpoints, the home)."""

    tenant: str
    records: int
    profiles: int
    secrets: int
    blobs: int
    people: int
    runs: int


@post(
    "/tenants/{tenant_id:str}/suspend",
    opt={"action": "tenant:suspend", "body": SuspendRequest, "headers": [IF_MATCH]},
    status_code=200,
    summary="Suspend a tenant",
)
async def suspend_tenant(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Response[TenantWhole]:
    """No job of the tenant starts from here on; what waits is held."""
    faces, who, tenant = _acting(request, tenant_id)
    asked = decode.body(await request.body(), SuspendRequest)
    _not_built_in(tenant)
    if tenant.suspended == asked.reason and (
        asked.running == "finish" or not _left_running(faces, tenant_id)
    ):
        return tenant_answer(faces, who, tenant_id)
    check_match(request, tag_of(tenant), f"tenant {tenant_id}")
    now_running = running(faces, tenant_id)
    if asked.expect not in (None, now_running):
        problem = changed(f"tenant {tenant_id}")
        problem.detail = f"tenant {tenant_id} has {now_running} jobs running, not {asked.expect}"
        raise problem
    await faces.ask(who, tenant_id, TenantSuspended(tenant_id, asked.reason, asked.running, who.subject))
    return tenant_answer(faces, who, tenant_id)


@post(
    "/tenants/{tenant_id:str}/resume",
    opt={"action": "tenant:resume", "headers": [IF_MATCH]},
    status_code=200,
    summary="End the suspension of a tenant",
)
async def resume_tenant(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Response[TenantWhole]:
    """What was held queues again."""
    faces, who, tenant = _acting(request, tenant_id)
    if tenant.suspended:
        check_match(request, tag_of(tenant), f"tenant {tenant_id}")
        await faces.ask(who, tenant_id, TenantResumed(tenant_id, who.subject))
    return tenant_answer(faces, who, tenant_id)


@post(
    "/tenants/{tenant_id:str}/exit",
    opt={"action": "tenant:exit", "body": ExitRequest, "headers": [IF_MATCH]},
    status_code=200,
    summary="Give notice for a tenant",
)
async def exit_tenant(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Response[TenantWhole]:
    """The exit begins, with the times of its stages (Regulation (EU) 2023/2854, Art. 25). It cannot be taken back."""
    faces, who, tenant = _acting(request, tenant_id)
    asked = decode.body(await request.body() or b"{}", ExitRequest)
    _not_built_in(tenant)
    if tenant.stage == "notice" and asked.notice is None:
        return tenant_answer(faces, who, tenant_id)
    _check_notice(faces, asked)
    check_match(request, tag_of(tenant), f"tenant {tenant_id}")
    transition_us = 0 if asked.notice is None else faces.now() + duration_us(asked.notice)
    await faces.ask(who, tenant_id, TenantExitStarted(tenant_id, transition_us, 0, 0, who.subject))
    return tenant_answer(faces, who, tenant_id)


@post(
    "/tenants/{tenant_id:str}/extend-exit",
    opt={"action": "tenant:extend-exit", "body": ExtendRequest, "headers": [IF_MATCH]},
    status_code=200,
    summary="Extend the transition of a tenant that leaves",
)
async def extend_exit(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> Response[TenantWhole]:
    """The transition ends later; customer and provider may each extend it once, the provider to seven months in all,
    the customer longer (Regulation (EU) 2023/2854, Art. 25(4) and (5))."""
    faces, who, tenant = _acting(request, tenant_id)
    asked = decode.body(await request.body(), ExtendRequest)
    until_us = stamp_us(asked.until)
    if asked.whose in tenant.extended and tenant.retrieval_us == until_us:
        return tenant_answer(faces, who, tenant_id)
    _check_until(faces, tenant, asked)
    check_match(request, tag_of(tenant), f"tenant {tenant_id}")
    await faces.ask(who, tenant_id, TenantExitExtended(tenant_id, until_us, 0, asked.whose, who.subject))
    return tenant_answer(faces, who, tenant_id)


@post(
    "/tenants/{tenant_id:str}/erase",
    opt={"action": "tenant:erase", "headers": [IF_MATCH]},
    status_code=200,
    summary="Erase the data of a tenant that has left",
)
async def erase_tenant(request: Request[Any, Any, Any], tenant_id: FromPath[str]) -> ErasedAnswer:
    """Destroys the keys and all that is kept of the tenant, and of the people who were in it alone. Only in the stage
    closed; can be repeated, which erases what an interruption left. The facts stay, and say nothing about anybody."""
    faces, who, tenant = _acting(request, tenant_id)
    if tenant.stage != "closed":
        raise Problem(
            409,
            "conflict",
            f"tenant {tenant_id} is in the stage {tenant.stage}; it can be erased when it is closed",
            hint=f"POST /v1/tenants/{tenant_id}/exit begins its exit",
        )
    if running(faces, tenant_id):
        raise Problem(409, "conflict", f"tenant {tenant_id} still has runs that end", hint="try again later")
    check_match(request, tag_of(tenant), f"tenant {tenant_id}")
    stores = stored.Stores(faces.people, faces.records, faces.secrets, faces.blobs)
    people = await only_there(faces, tenant_id)
    erased = stored.Erased()
    for user in people:
        erased = _sum(erased, await asyncio.to_thread(stored.erase_person, stores, user))
        await faces.ask(who, "", RecordsErased(user, who.subject))
        await faces.ask(
            who, "", UserRemoved(user, who.subject)
        )  # last: it is how a repetition finds this person
    for subject, name in _related(faces, tenant_id):
        count = await asyncio.to_thread(faces.people.erase, name)
        if count:
            erased = _sum(erased, stored.Erased(profiles=count))
            await faces.ask(who, "", RecordsErased(subject, who.subject))
    erased = _sum(erased, await asyncio.to_thread(stored.erase_tenant, stores, tenant_id))
    runs = await asyncio.to_thread(faces.leftovers.erase_tenant, tenant_id)
    await faces.ask(who, tenant_id, RecordsErased(tenant_id, who.subject))
    return ErasedAnswer(tenant_id, *erased, len(people), runs)


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def only_there(faces: Faces, tenant_id: str) -> list[str]:
    """Users whose roles are all in this tenant."""
    return [
        user.id
        async for user in one_by_one(faces.follower.state.people.users.values())
        if user.grants and all(grant.tenant == tenant_id for grant in user.grants)
    ]


def _acting(request: Request[Any, Any, Any], tenant_id: str) -> tuple[Faces, Identity, Tenant]:
    who, tenant = tenant_permitted(request, tenant_id)
    return faces_of(request), who, tenant


def _not_built_in(tenant: Tenant) -> None:
    if tenant.id == BUILT_IN:
        raise Problem(409, "conflict", f"tenant {BUILT_IN} is built in: the cloud itself works there")


def _check_notice(faces: Faces, asked: ExitRequest) -> None:
    limit_us = faces.follower.state.rules.exit.notice_us
    if asked.notice is not None and duration_us(asked.notice) > limit_us:
        what = f"is {span(duration_us(asked.notice))}; the longest notice is {span(limit_us)}"
        raise Problem(400, "invalid-request", f"/notice {what}", errors=(Fault("/notice", what),))


def _check_until(faces: Faces, tenant: Tenant, asked: ExtendRequest) -> None:
    if tenant.stage not in ("notice", "transition") or asked.whose in tenant.extended:
        return  # the core says so
    terms = faces.follower.state.rules.exit
    latest_us = tenant.transition_us + (
        terms.customer_max_us if asked.whose == "customer" else terms.transition_max_us
    )
    if not tenant.retrieval_us < stamp_us(asked.until) <= latest_us:
        what = (
            f"is not after {moment(tenant.retrieval_us):%Y-%m-%dT%H:%M:%SZ}, the end of the transition as it is, "
            f"and by {moment(latest_us):%Y-%m-%dT%H:%M:%SZ}, the latest that the {asked.whose} may ask for"
        )
        raise Problem(400, "invalid-request", f"/until {what}", errors=(Fault("/until", what),))


def _left_running(faces: Faces, tenant_id: str) -> bool:
    """Whether there are jobs that nobody has told to stop."""
    state = faces.follower.state
    runs = (state.jobs[run.job] for run in state.runs.values())
    return any(job.tenant == tenant_id and job.state != "stopping" for job in runs)


def _related(faces: Faces, tenant_id: str) -> list[tuple[str, str]]:
    """The application it came of, and invitations to it: the subject of the fact, and under which name it lies."""
    state = faces.follower.state
    found = [
        (one.id, record_of(one.digest))
        for one in state.onboarding.applications.values()
        if one.tenant == tenant_id and one.state == "approved"
    ]
    return found + [(one.id, one.id) for one in state.people.invitations.values() if one.tenant == tenant_id]


def _sum(one: stored.Erased, other: stored.Erased) -> stored.Erased:
    return stored.Erased(*(a + b for a, b in zip(one, other, strict=True)))
