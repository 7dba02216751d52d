# SPDX-License-Identifier: Apache-2.0
"""How entitlements look to clients, who sees which of them, and what an act on them would change. Used by the routes of
entitlements and of commitments."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from leitstand.access.policy import Places
from leitstand.api.amounts import moment, seconds
from leitstand.api.auth import Identity
from leitstand.api.context import Faces, refusal
from leitstand.api.permission import inside
from leitstand.api.preconditions import etag
from leitstand.api.problems import Problem
from leitstand.core.acts import Entitlement
from leitstand.core.cycle import DECIDE
from leitstand.core.facts import Observation
from leitstand.core.sharing.entitlements import Contracts, capacity, contracts_of
from leitstand.core.sharing.outlook import Share
from leitstand.core.state import State
from leitstand.runtime.wire import Settled

KINDS: Final = ("root", "class", "tenant", "project")
_STAMP: Final = re.compile(r"from (\d{10,19}) µs on")


class NodeShare(msgspec.Struct, frozen=True):
    """A node of the tree, amounts in GPUs (cores in a pool without). `node`: its path, empty for the root; `kind`:
    root, class, tenant or project. `guarantee`: commitments in force included; `borrow`: at most so much beyond it,
    null: no limit; `lend`: others use at most so much of it while it is idle, null: all; `recall_s`: how soon it is
    back. `used`: by what runs; `waiting`: asked by what waits; `deserved`: its share of what is asked now; `contended`:
    its share if everybody asked for everything."""

    node: str
    kind: str
    guarantee: float
    weight: int
    borrow: float | None
    lend: float | None
    recall_s: float
    used: float
    waiting: float
    deserved: float
    contended: float


class ScheduledEntitlement(msgspec.Struct, frozen=True):
    """What a node will be entitled to from `from_at` on. `guarantee` null: what its children have, together."""

    from_at: datetime
    node: str
    guarantee: float | None
    weight: int
    borrow: float | None
    lend: float | None
    recall_s: float


class ShareChange(msgspec.Struct, frozen=True):
    """What a change does to a node, each as [before, after]; in GPUs (cores)."""

    node: str
    guarantee: tuple[float, float]
    weight: tuple[int, int]
    deserved: tuple[float, float]
    contended: tuple[float, float]


class EntitlementOutcome(msgspec.Struct, frozen=True):
    """What a change did, or with `dry_run` would do: `changes` of every node that wins or loses, at `from_at`.
    `scaled`: guarantees were shrunk to fit; `commitment`: its id, if one was made or ended; `expected`: names the
    contracts as they are now; sent as `If-Match` of a change, it makes sure of them."""

    pool: str
    unit: str
    dry_run: bool
    scaled: bool
    from_at: datetime
    commitment: str
    changes: list[ShareChange]
    expected: str


class Made(msgspec.Struct, frozen=True):
    """What an act does: before and after at `at`, the shares of every node."""

    pool: str
    at: int
    before: dict[str, Share]
    after: dict[str, Share]
    scaled: bool = False

    def answer(self, faces: Faces, *, dry_run: bool, commitment: str = "") -> EntitlementOutcome:
        """As clients see it, with the contracts as they are now."""
        state = faces.follower.state
        changes = [
            found
            for node in sorted({*self.before, *self.after})
            if (found := _change(node, self.before.get(node, NOTHING), self.after.get(node, NOTHING)))
        ]
        return EntitlementOutcome(
            self.pool,
            unit_of(state, self.pool),
            dry_run,
            self.scaled,
            moment(self.at),
            commitment,
            changes,
            tag_of(state, self.pool).strip('"'),
        )


NOTHING: Final = Share(Entitlement("", 0), 0, 0, 0, 0)


def decided(state: State, now: int, asked: Observation) -> Sequence[Any]:
    """The facts that the writer would record; the Problem with which it would refuse."""
    decision = DECIDE[type(asked)](state, now, asked)
    if decision.answer.refused:
        said = _STAMP.sub(lambda found: f"from {_iso(int(found[1]))} on", decision.answer.detail)
        raise refusal(Settled(0, 0, refused=decision.answer.refused, detail=said))
    return decision.facts


class Sight:
    """Which nodes of the tree somebody sees. `tenant`: of this one alone."""

    def __init__(self, faces: Faces, who: Identity, where: Places | None, tenant: str = "") -> None:
        self.where = where
        self.projects = faces.authorizer.scopes_of(faces.tokens.asker(who), "project:list")
        self.tenant = tenant

    def __call__(self, node: str) -> bool:
        _, tenant, project, *_ = (*node.split("/"), "", "")
        if self.tenant and tenant != self.tenant:
            return False
        if self.where is None:
            return True
        if not tenant or not any(tenant == one for one, _ in self.where):
            return False
        return not project or inside(self.projects, tenant, project)


def pool_of(faces: Faces, pool: str) -> tuple[State, Contracts]:
    """The state, and the contracts of a pool; Problem 404."""
    state = faces.follower.state
    if pool not in state.pools:
        known = ", ".join(list(state.pools)[:20]) or "none"
        raise Problem(404, "unknown-pool", f"there is no pool {pool[:64]!r}; known: {known}")
    return state, contracts_of(state, pool)


def tag_of(state: State, pool: str) -> str:
    """The ETag of what decides about a change: the contracts, the capacity and the rules."""
    return etag(pool, contracts_of(state, pool).version, capacity(state, pool), state.rules_digest)


def unit_of(state: State, pool: str) -> str:
    """What charges of the pool count."""
    return "gpu" if any(node.gpus for node in state.nodes.values() if node.pool == pool) else "core"


def amount(milli: int) -> float:
    """GPUs or cores of thousandths."""
    return milli / 1000


def milli(amount: float) -> int:
    """Thousandths of GPUs or cores."""
    return round(amount * 1000)


def node_share(state: State, node: str, share: Share) -> NodeShare:
    """A node as clients see it."""
    said = share.entitlement
    return NodeShare(
        node,
        KINDS[len(node.split("/")) if node else 0],
        amount(said.guarantee_milli),
        said.weight,
        _limit(said.borrow_milli),
        _limit(said.lend_milli),
        seconds(said.recall_us or state.rules.sharing.recall_us),
        amount(share.used),
        amount(share.waiting),
        amount(share.deserved),
        amount(share.contended),
    )


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def scheduled_answer(state: State, from_us: int, said: Entitlement) -> ScheduledEntitlement:
    return ScheduledEntitlement(
        moment(from_us),
        said.node,
        _limit(said.guarantee_milli),
        said.weight,
        _limit(said.borrow_milli),
        _limit(said.lend_milli),
        seconds(said.recall_us or state.rules.sharing.recall_us),
    )


def _limit(milli: int) -> float | None:
    return None if milli < 0 else amount(milli)


def _change(node: str, before: Share, after: Share) -> ShareChange | None:
    was, is_now = before.entitlement, after.entitlement
    shown = (before.deserved, before.contended, *_terms(was)) != (
        after.deserved,
        after.contended,
        *_terms(is_now),
    )
    if not shown:
        return None
    return ShareChange(
        node,
        (amount(was.guarantee_milli), amount(is_now.guarantee_milli)),
        (was.weight, is_now.weight),
        (amount(before.deserved), amount(after.deserved)),
        (amount(before.contended), amount(after.contended)),
    )


def _terms(said: Entitlement) -> tuple[int, ...]:
    """All that an entitlement says but its node."""
    return said.guarantee_milli, said.weight, said.borrow_milli, said.lend_milli, said.recall_us


def _iso(us: int) -> str:
    try:
        return moment(us).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:
        return f"{us} µs"
