# SPDX-License-Identifier: Apache-2.0
"""Commitments: guarantees with a time window and a price. List, make, end."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.amounts import duration_fault, duration_us, moment, seconds, stamp_us
from leitstand.api.checks import between
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.paging import page_of
from leitstand.api.permission import PLATFORM, absent, inside, permit, places
from leitstand.api.preconditions import IF_MATCH, check_match
from leitstand.api.problems import Problem
from leitstand.api.tenancy.entitlements import (
    AMOUNT_MAX,
    POOL,
    EntitlementQuery,
    check_future,
    moment_fault,
)
from leitstand.api.tenancy.shares import (
    EntitlementOutcome,
    Made,
    Sight,
    amount,
    decided,
    milli,
    pool_of,
    tag_of,
)
from leitstand.core.acts import CommitmentEnded, CommitmentMade
from leitstand.core.sharing.entitlements import Commitment, contracts_of, end, find_commitment, make
from leitstand.core.sharing.outlook import outlook
from leitstand.core.state import State

PRICE_MAX: Final = 1_000_000  # EUR for one GPU and hour
MICRO: Final = 1_000_000
LEAST: Final = 0.001


class CommitmentAnswer(msgspec.Struct, frozen=True):
    """In [from_at, to_at) the guarantees of `node` and of every node above are greater by `amount`, in GPUs (cores in a
    pool without). `price_eur`: for one of them and an hour, used or not; `recall_s`: how soon what was lent is back."""

    id: str
    pool: str
    node: str
    amount: float
    from_at: datetime
    to_at: datetime
    recall_s: float
    price_eur: float


class Commitments(msgspec.Struct, frozen=True):
    """A page of those that are not over; `next_cursor`: null on the last one."""

    items: list[CommitmentAnswer]
    next_cursor: str | None


class CommitmentRequest(Input, frozen=True):
    """A commitment to `node`, a class, tenant or project. `from_at` left out: from now on; `recall` left out: that of
    the rules; `dry_run`: only say what it would do."""

    node: str
    amount: float
    to_at: datetime
    from_at: datetime | None = None
    pool: str = POOL
    recall: str | float | None = None
    price_eur: float = 0.0
    dry_run: bool = False

    checks: ClassVar[Mapping[str, Check]] = {
        "amount": between(LEAST, AMOUNT_MAX),
        "to_at": moment_fault,
        "from_at": moment_fault,
        "recall": duration_fault,
        "price_eur": between(0, PRICE_MAX, " EUR"),
    }


class CommitmentEnd(Input, frozen=True):
    """When it is to end, before its time; left out: now."""

    at: datetime | None = None

    checks: ClassVar[Mapping[str, Check]] = {"at": moment_fault}


@get(
    "/commitments",
    opt={"action": "commitment:list", "query": EntitlementQuery},
    summary="List commitments",
)
async def list_commitments(request: Request[Any, Any, Any]) -> Commitments:
    """Those of a pool that are in force or to come, in the order in which they were made. Operators and auditors of the
    platform see all; others those of their own tenants, and in them of the projects they see."""
    faces = faces_of(request)
    who, where = places(request)
    query = decode.query(request.query_params.items(), EntitlementQuery)
    if query.tenant and not inside(where, query.tenant, ""):
        permit(request, Resource("tenant", query.tenant), query.tenant)
    if query.tenant and query.tenant not in faces.follower.state.tenants:
        raise absent("tenant", query.tenant)
    state, contracts = pool_of(faces, query.pool)
    sees, now = Sight(faces, who, where, query.tenant), faces.now()
    found = [one for one in contracts.commitments.values() if one.to_us > now and sees(one.node)]
    page, more = page_of(found, query)
    return Commitments([_answer(state, query.pool, one) for one in page], more)


@post(
    "/commitments",
    status_code=200,
    opt={"action": "commitment:make", "body": CommitmentRequest, "headers": [IF_MATCH]},
    summary="Make a commitment",
)
async def make_commitment(request: Request[Any, Any, Any]) -> EntitlementOutcome:
    """Refused if at any time of its window more would be guaranteed than the pool has less its spare. With If-Match
    (the ETag of the entitlement tree) a retry never makes it twice: 412."""
    faces = faces_of(request)
    who = permit(request, PLATFORM)
    asked = decode.body(await request.body(), CommitmentRequest)
    state, before = pool_of(faces, asked.pool)
    now = faces.now()
    check_future(asked.from_at, now, "from_at")
    check_future(asked.to_at, now, "to_at")
    fact = CommitmentMade(
        "",
        asked.pool,
        asked.node,
        milli(asked.amount),
        stamp_us(asked.from_at) if asked.from_at else 0,
        stamp_us(asked.to_at),
        duration_us(asked.recall) if asked.recall is not None else 0,
        round(asked.price_eur * MICRO),
        who.subject,
    )
    check_match(request, tag_of(state, asked.pool), f"the entitlements of pool {asked.pool}")
    (planned,) = decided(state, now, fact)
    after, at = before.copy(), max(now, fact.from_us)
    make(after, now, planned)
    made = Made(asked.pool, at, outlook(state, asked.pool, before, at), outlook(state, asked.pool, after, at))
    if asked.dry_run:
        return made.answer(faces, dry_run=True)
    settled = await faces.ask(who, "", fact)
    return made.answer(faces, dry_run=False, commitment=settled.made)


@post(
    "/commitments/{commitment_id:str}/end",
    status_code=200,
    opt={"action": "commitment:end", "body": CommitmentEnd},
    summary="End a commitment",
)
async def end_commitment(request: Request[Any, Any, Any], commitment_id: FromPath[str]) -> EntitlementOutcome:
    """Before its time. What runs is not stopped by it: the share that is deserved shrinks."""
    faces = faces_of(request)
    who = permit(request, PLATFORM)
    raw = await request.body()
    asked = decode.body(raw, CommitmentEnd) if raw else CommitmentEnd()
    state, now = faces.follower.state, faces.now()
    found = find_commitment(state, commitment_id)
    if found is None or found[1].to_us <= now:
        raise Problem(
            404,
            "unknown-commitment",
            f"there is no commitment {commitment_id[:80]!r}, or no longer",
            hint="GET /v1/commitments lists them",
        )
    pool, _ = found
    check_future(asked.at, now, "at")
    fact = CommitmentEnded(commitment_id, stamp_us(asked.at) if asked.at else 0, who.subject)
    (planned,) = decided(state, now, fact)
    before = contracts_of(state, pool)
    after, at = before.copy(), planned.at_us
    end(after, now, planned)
    made = Made(pool, at, outlook(state, pool, before, at), outlook(state, pool, after, at))
    await faces.ask(who, "", fact)
    return made.answer(faces, dry_run=False, commitment=commitment_id)


def _answer(state: State, pool: str, one: Commitment) -> CommitmentAnswer:
    return CommitmentAnswer(
        one.id,
        pool,
        one.node,
        amount(one.milli),
        moment(one.from_us),
        moment(one.to_us),
        seconds(one.recall_us or state.rules.sharing.recall_us),
        one.price_micro_eur / MICRO,
    )
