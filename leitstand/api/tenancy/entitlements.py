# SPDX-License-Identifier: Apache-2.0
"""The entitlement tree of a pool: who is guaranteed, uses and deserves what; changing it, with a look at who wins and
who loses before it is done."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, Response, get, post

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.amounts import duration_fault, duration_us, stamp_us
from leitstand.api.checks import an_id, between, optional
from leitstand.api.context import Faces, faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.paging import PageQuery, page_of
from leitstand.api.permission import PLATFORM, absent, inside, permit, places
from leitstand.api.preconditions import IF_MATCH, check_match
from leitstand.api.problems import Fault, Problem
from leitstand.api.tenancy.shares import (
    KINDS,
    EntitlementOutcome,
    Made,
    NodeShare,
    ScheduledEntitlement,
    Sight,
    amount,
    decided,
    milli,
    node_share,
    pool_of,
    scheduled_answer,
    tag_of,
    unit_of,
)
from leitstand.core.acts import Entitlement, EntitlementsChanged
from leitstand.core.rules import TENANT_CLASSES, WEIGHT_MAX
from leitstand.core.sharing.entitlements import capacity, change, contracts_of
from leitstand.core.sharing.outlook import outlook
from leitstand.core.state import State

POOL: Final = "shared"
AMOUNT_MAX: Final = 1_000_000_000  # GPUs or cores
YEARS: Final = (1970, 9000)


def moment_fault(value: datetime | None) -> str:
    """A check of times that may be left out."""
    if value is None:
        return ""
    if value.tzinfo is None:
        return "has no time zone; write it like 2027-03-01T00:00:00Z"
    least, most = YEARS
    if least <= value.year <= most:
        return ""
    return f"is in the year {value.year}; the limits are {least} and {most}"


class EntitlementQuery(PageQuery, frozen=True):
    """Which tree: of one `pool`; of one `tenant` alone, or left out of all that the asker sees."""

    pool: str = POOL
    tenant: str = ""

    checks: ClassVar[Mapping[str, Check]] = {**PageQuery.checks, "tenant": optional(an_id)}


class EntitlementTree(msgspec.Struct, frozen=True):
    """The nodes that the asker sees, by path; `next_cursor`: null on the last page. `unit`: gpu or core; `capacity`: in
    service now; `spare`: kept out of all guarantees; `scheduled`: changes to come, in the order of their times."""

    pool: str
    unit: str
    capacity: float
    spare: float
    items: list[NodeShare]
    scheduled: list[ScheduledEntitlement]
    next_cursor: str | None


class NodeEntitlement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `node` (`industry/acme`, empty: the root) is to be entitled to; it takes the place of all that was said of
    it before. Left out: `guarantee`: what its children have, together (a project: nothing); `weight`: that of the rules
    for its class, or 1; `borrow`: no limit; `lend`: all; `recall`: that of the rules."""

    node: str
    guarantee: float | None = None
    weight: int | None = None
    borrow: float | None = None
    lend: float | None = None
    recall: str | float | None = None


class EntitlementRequest(Input, frozen=True):
    """A change of some nodes of a pool's tree, all at once or not at all. `from_at`: when it comes into force, left
    out: at once; `scale`: shrink guarantees that do not fit, in proportion; `dry_run`: only say what it would do."""

    entitlements: list[NodeEntitlement]
    pool: str = POOL
    from_at: datetime | None = None
    scale: bool = False
    dry_run: bool = False

    checks: ClassVar[Mapping[str, Check]] = {"from_at": moment_fault}

    def across(self) -> list[tuple[str, str]]:
        return [
            (f"entitlements/{place}/{name}", fault)
            for place, one in enumerate(self.entitlements)
            for name, fault in _faults(one)
        ]


@get(
    "/entitlements",
    opt={"action": "entitlement:read", "query": EntitlementQuery},
    summary="Read the entitlement tree",
)
async def read_entitlements(request: Request[Any, Any, Any]) -> Response[EntitlementTree]:
    """Who is guaranteed, uses and deserves what. Operators and auditors of the platform see the whole tree, with an
    ETag for changing it; others their own tenants, and in them the projects they see."""
    faces = faces_of(request)
    who, where = places(request)
    query = decode.query(request.query_params.items(), EntitlementQuery)
    if query.tenant and not inside(where, query.tenant, ""):
        permit(request, Resource("tenant", query.tenant), query.tenant)
    if query.tenant and query.tenant not in faces.follower.state.tenants:
        raise absent("tenant", query.tenant)
    state, contracts = pool_of(faces, query.pool)
    sees = Sight(faces, who, where, query.tenant)
    shares = outlook(state, query.pool, contracts, faces.now())
    found = [node_share(state, node, share) for node, share in shares.items() if sees(node)]
    page, more = page_of(found, query)
    scheduled = [
        scheduled_answer(state, one.from_us, one.entitlement)
        for one in contracts.scheduled
        if sees(one.entitlement.node)
    ]
    answer = EntitlementTree(
        query.pool,
        unit_of(state, query.pool),
        amount(capacity(state, query.pool)),
        amount(state.rules.sharing.spare_milli),
        page,
        scheduled,
        more,
    )
    headers = {"ETag": tag_of(state, query.pool)} if where is None else {}
    return Response(answer, headers=headers)


@post(
    "/entitlements",
    status_code=200,
    opt={"action": "entitlement:change", "body": EntitlementRequest, "headers": [IF_MATCH]},
    summary="Change entitlements",
)
async def change_entitlements(request: Request[Any, Any, Any]) -> EntitlementOutcome:
    """Refused if at any time a node's children would be guaranteed more than it is, or all together more than the pool
    has less its spare; 412 if the contracts are not those that If-Match names."""
    faces = faces_of(request)
    who = permit(request, PLATFORM)
    asked = decode.body(await request.body(), EntitlementRequest)
    state, _ = pool_of(faces, asked.pool)
    check_future(asked.from_at, faces.now(), "from_at")
    fact = EntitlementsChanged(
        asked.pool,
        tuple(_entitlement(state, one) for one in asked.entitlements),
        stamp_us(asked.from_at) if asked.from_at else 0,
        asked.scale,
        who.subject,
    )
    check_match(request, tag_of(state, asked.pool), f"the entitlements of pool {asked.pool}")
    made = preview(faces, asked.pool, fact)
    if not asked.dry_run:
        await faces.ask(who, "", fact)
    return made.answer(faces, dry_run=asked.dry_run)


# ── what commitments need, too ─────────────────────────────────────────────────────────────────────────────────────
def preview(faces: Faces, pool: str, fact: EntitlementsChanged) -> Made:
    """What the change would do; the Problem with which the writer would refuse it."""
    state, now = faces.follower.state, faces.now()
    facts = decided(state, now, fact)
    before = contracts_of(state, pool)
    after, scaled = before.copy(), False
    for one in facts:
        assert isinstance(one, EntitlementsChanged), "a change of entitlements makes nothing else"
        change(after, now, one)
        scaled = one.scaled
    at = max(now, fact.from_us)
    return Made(pool, at, outlook(state, pool, before, at), outlook(state, pool, after, at), scaled)


def check_future(value: datetime | None, now: int, where: str) -> None:
    """Problem 400 if the time has passed."""
    if value is not None and stamp_us(value) < now:
        what = "is in the past"
        raise Problem(400, "invalid-request", f"/{where} {what}", errors=(Fault(f"/{where}", what),))


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _entitlement(state: State, asked: NodeEntitlement) -> Entitlement:
    is_project = asked.node.count("/") == KINDS.index("project") - 1
    nothing = 0 if is_project else -1
    weight = state.rules.sharing.weights.get(asked.node, 1)
    return Entitlement(
        asked.node,
        nothing if asked.guarantee is None else milli(asked.guarantee),
        weight if asked.weight is None else asked.weight,
        -1 if asked.borrow is None else milli(asked.borrow),
        -1 if asked.lend is None else milli(asked.lend),
        0 if asked.recall is None else duration_us(asked.recall),
    )


def _faults(one: NodeEntitlement) -> list[tuple[str, str]]:
    found = [
        (name, between(0, AMOUNT_MAX)(value))
        for name, value in (("guarantee", one.guarantee), ("borrow", one.borrow), ("lend", one.lend))
        if value is not None
    ]
    found.append(("weight", between(0, WEIGHT_MAX)(one.weight) if one.weight is not None else ""))
    found.append(("recall", duration_fault(one.recall)))
    if one.node and one.node.split("/")[0] not in TENANT_CLASSES:
        found.append(("node", f"is {one.node[:80]!r}, and begins with none of {', '.join(TENANT_CLASSES)}"))
    return [(name, fault) for name, fault in found if fault]
