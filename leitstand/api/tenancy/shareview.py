# SPDX-License-Identifier: Apache-2.0
"""Why a tenant's or a project's share is what it is, and what its guarantee costs others. Records nothing."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, get

from leitstand.access.policy import Resource
from leitstand.api import decode
from leitstand.api.checks import an_id, optional
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.permission import absent, permit, places
from leitstand.api.tenancy.shares import Sight, amount, pool_of, unit_of
from leitstand.core.explaining.whyshare import NONE, WORDS, Part, ShareReason, why_share
from leitstand.core.sharing.entitlements import node_of
from leitstand.core.units import HOUR_US, SECOND_US

POOL: Final = "shared"
HOUR_S: Final = HOUR_US // SECOND_US


class ShareQuery(Input, frozen=True):
    """Whose share: of a `tenant`, or of one `project` of it."""

    tenant: str
    project: str = ""
    pool: str = POOL

    checks: ClassVar[Mapping[str, Check]] = {"tenant": an_id, "project": optional(an_id)}


class SharePart(msgspec.Struct, frozen=True):
    """A node and what it gets, in GPUs (cores). `base`: of its demand, what comes before all weights; `lag_h`:
    GPU-hours that it got too little (less than 0: too much), which decide who starts next."""

    node: str
    guarantee: float
    weight: int
    demand: float
    base: float
    deserved: float
    used: float
    lag_h: float


class ShareCost(msgspec.Struct, frozen=True):
    """What a node deserves now, and would without the guarantee in question."""

    node: str
    deserved: float
    without: float


class ShareExplanation(msgspec.Struct, frozen=True):
    """`because`: demand, weight, guarantee, shrunk, nothing, or none where the discipline has no shares; `above`: what
    the node above deserves; `siblings`: who shares it, as far as you may see them; `costs`: other nodes that the
    guarantee changes now, likewise; `taken`: what all others together have less by it."""

    pool: str
    unit: str
    own: SharePart
    because: str
    message: str
    above: float
    siblings: list[SharePart]
    costs: list[ShareCost]
    taken: float


@get("/shares", opt={"action": "entitlement:read", "query": ShareQuery}, summary="Why a share is what it is")
async def explain_share(request: Request[Any, Any, Any]) -> ShareExplanation:
    """What a tenant or project deserves now and why: guarantee, demand, weight, use, lag, its siblings; and what its
    guarantee costs others."""
    faces = faces_of(request)
    query = decode.query(request.query_params.items(), ShareQuery)
    permit(request, Resource("tenant", query.tenant), query.tenant)
    who, where = places(request)
    state, _ = pool_of(faces, query.pool)
    tenant = state.tenants.get(query.tenant)
    if tenant is None:
        raise absent("tenant", query.tenant)
    sees = Sight(faces, who, where)
    name = node_of(tenant, query.project)
    if query.project not in ("", *tenant.projects) or not sees(name):
        raise absent("project", query.project)
    try:
        found = why_share(state, query.pool, name, faces.now())
    except KeyError:
        found = ShareReason(Part(name, 0, 1, 0, 0, 0, 0, 0), NONE, 0, (), ())
    return ShareExplanation(
        query.pool,
        unit_of(state, query.pool),
        _part(found.own),
        found.because,
        WORDS[found.because],
        amount(found.above),
        [_part(one) for one in found.siblings if sees(one.node)],
        [
            ShareCost(one.node, amount(one.deserved), amount(one.without))
            for one in found.costs
            if sees(one.node)
        ],
        amount(found.taken),
    )


def _part(part: Part) -> SharePart:
    return SharePart(
        part.node,
        amount(part.guarantee),
        part.weight,
        amount(part.demand),
        amount(part.base),
        amount(part.deserved),
        amount(part.used),
        amount(part.lag) / HOUR_S,
    )
