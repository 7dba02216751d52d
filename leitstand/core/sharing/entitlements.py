# SPDX-License-Identifier: Apache-2.0
"""Who is entitled to what, and when: the contracts of each pool. Called by the state (applies), by the fair plan (what
is in force now) and by `leitstand.core.sharing.granting`, which decides what may be promised.

    root ▸ class ▸ tenant ▸ project           '' ▸ 'industry' ▸ 'industry/acme' ▸ 'industry/acme/vision'

A node has its *base* entitlement, which scheduled changes replace when they are due, and *commitments*, which raise the
guarantee of their node and of every node above in their window. A node that no contract names, and one whose guarantee
is -1, is guaranteed what its children are, together. Nothing is recorded when a change falls due: what is in force at a
time is a pure function of the contracts and that time.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from leitstand.core import acts as a
from leitstand.core.acts import Entitlement
from leitstand.core.fact import Fact
from leitstand.core.rules import TENANT_CLASSES, Sharing
from leitstand.core.sharing.shares import Tree
from leitstand.core.units import INT64_MAX

if TYPE_CHECKING:
    from leitstand.core.state import State
    from leitstand.core.tenancy import Tenant

WHOLE_MILLI: Final = 1000  # of one GPU


class Change(msgspec.Struct, gc=False, array_like=True):
    """From `from_us` on the node is entitled to this."""

    from_us: int
    entitlement: Entitlement


class Commitment(msgspec.Struct, gc=False):
    """See `CommitmentMade`; `to_us` is earlier than agreed if it was ended."""

    id: str
    node: str
    milli: int
    from_us: int
    to_us: int
    recall_us: int
    price_micro_eur: int


class Contracts(msgspec.Struct):
    """Of one pool. `entitlements`: base, by node; `scheduled`: in the order in which they fall due; `commitments`: by
    id, those that are not over. `made`: commitments ever made. `version` rises with everything that changes them."""

    entitlements: dict[str, Entitlement] = msgspec.field(default_factory=dict)
    scheduled: list[Change] = msgspec.field(default_factory=list)
    commitments: dict[str, Commitment] = msgspec.field(default_factory=dict)
    made: int = 0
    version: int = 0

    def copy(self) -> "Contracts":
        """Another one of the same content; entitlements and commitments are shared."""
        return Contracts(
            dict(self.entitlements), list(self.scheduled), dict(self.commitments), self.made, self.version
        )


# ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────────
def in_force(state: "State", pool: str, at: int) -> dict[str, Entitlement]:
    """By node, what it is entitled to at `at` (µs): the root, all classes, and every node that a contract or a contract
    below names. Guarantees are whole, commitments included; `lend_milli` and `borrow_milli` as they were said."""
    return effective(contracts_of(state, pool), state.rules.sharing, at)


def effective(contracts: Contracts, sharing: Sharing, at: int) -> dict[str, Entitlement]:
    """The same of these contracts under these rules."""
    base = Guarantees(contracts.entitlements.values())
    for change in contracts.scheduled:
        if change.from_us > at:
            break
        base.put(change.entitlement)
    more: dict[str, int] = {}
    recall: dict[str, int] = {}
    default = sharing.recall_us
    for one in contracts.commitments.values():
        if one.from_us <= at < one.to_us:
            for node in upwards(one.node):
                more[node] = more.get(node, 0) + one.milli
            recall[one.node] = min(one.recall_us or default, recall.get(one.node, INT64_MAX))
    found = {}
    for node in sorted({"", *TENANT_CLASSES, *base.of, *more}):
        said = base.said.get(node) or Entitlement(node, weight=sharing.weights.get(node, 1))
        least = min(said.recall_us or default, recall.get(node, INT64_MAX))
        found[node] = Entitlement(
            node,
            base.of.get(node, 0) + more.get(node, 0),
            said.weight,
            said.borrow_milli,
            said.lend_milli,
            0 if least == default else least,
        )
    return found


def next_change(state: "State", pool: str, at: int) -> int | None:
    """When, after `at` (µs), time alone changes what is in force; None: never."""
    contracts = contracts_of(state, pool)
    return min((due for due in times(contracts) if due > at), default=None)


def changes(state: "State", pool: str) -> bool:
    """Whether time alone will change what is in force, or did after the last change was settled."""
    return any(True for _ in times(contracts_of(state, pool)))


def refresh(tree: Tree, state: "State", pool: str, at: int) -> None:
    """Bring `tree` up to what is in force at `at` (µs, never before the last call's). Said again before anything is due
    or was changed it costs nothing; else it touches only nodes that are entitled to something else."""
    shows = (contracts_of(state, pool).version, state.rules_digest)
    if tree.shows == shows and at < tree.shows_until_us:
        return
    wanted = in_force(state, pool, at)
    for node in tree.nodes:
        if node not in wanted:
            wanted[node] = Entitlement(node)
    for entitlement in wanted.values():
        if not _shown(tree, entitlement):
            tree.entitle(entitlement)
    tree.shows = shows
    due = next_change(state, pool, at)
    tree.shows_until_us = INT64_MAX if due is None else due


def capacity(state: "State", pool: str) -> int:
    """The charge of the nodes in service: GPUs in thousandths, or thousandths of cores in a pool without GPUs."""
    nodes = [node for node in state.nodes.values() if node.pool == pool]
    if any(node.gpus for node in nodes):
        return sum(node.gpus * WHOLE_MILLI for node in nodes if node.in_service)
    return sum(node.cpus_milli for node in nodes if node.in_service)


def node_of(tenant: "Tenant", project: str = "") -> str:
    """The node of a tenant, or of one of its projects."""
    return f"{tenant.tenant_class}/{tenant.id}" + (f"/{project}" if project else "")


def find_commitment(state: "State", commitment: str) -> tuple[str, Commitment] | None:
    """Its pool and the commitment, if it is not over."""
    for pool, contracts in state.contracts.items():
        found = contracts.commitments.get(commitment)
        if found is not None:
            return pool, found
    return None


def contracts_of(state: "State", pool: str) -> Contracts:
    """Those of the pool; to read alone."""
    return state.contracts.get(pool) or Contracts()


# ── guarantees ────────────────────────────────────────────────────────────────────────────────────────────────────
class Guarantees:
    """Base guarantees at one time. `said`: the entitlements; `of`: node → guarantee, for every node that is named or
    lies above one; `below`: node → what its children are guaranteed together."""

    __slots__ = ("below", "of", "said")

    def __init__(self, entitlements: Iterable[Entitlement]) -> None:
        self.said: dict[str, Entitlement] = {}
        self.of: dict[str, int] = {}
        self.below: dict[str, int] = {}
        for one in entitlements:
            self.put(one)

    def put(self, entitlement: Entitlement) -> None:
        """From now on the node is entitled to this."""
        node = entitlement.node
        self.said[node] = entitlement
        while True:
            fixed = self.fixed(node)
            after = self.below.get(node, 0) if fixed is None else fixed
            known, before = node in self.of, self.of.get(node, 0)
            self.of[node] = after
            if not node or (known and after == before):
                return
            node = above(node)
            self.below[node] = self.below.get(node, 0) + after - before

    def fixed(self, node: str) -> int | None:
        """The guarantee that was said for it; None: it has what its children have."""
        said = self.said.get(node)
        return None if said is None or said.guarantee_milli < 0 else said.guarantee_milli


def above(node: str) -> str:
    """The parent of a node that is not the root."""
    return node.rpartition("/")[0]


def upwards(node: str) -> Iterator[str]:
    """The node and all above it, up to the root."""
    while node:
        yield node
        node = above(node)
    yield ""


def times(contracts: Contracts) -> Iterator[int]:
    """When time alone changes what is in force, in no order."""
    for change in contracts.scheduled:
        yield change.from_us
    for one in contracts.commitments.values():
        yield one.from_us
        yield one.to_us


def _shown(tree: Tree, wanted: Entitlement) -> bool:
    node = tree.nodes.get(wanted.node)
    if node is None:
        return False
    guarantee, lend = wanted.guarantee_milli, wanted.lend_milli
    floor = 0 if lend < 0 else max(0, guarantee - lend)
    shown = (node.guarantee, node.weight, node.borrow, node.floor, node.recall_us)
    return shown == (guarantee, wanted.weight, wanted.borrow_milli, floor, wanted.recall_us)


# ── apply ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def change(contracts: Contracts, at: int, fact: a.EntitlementsChanged) -> None:
    """What the fact makes of the contracts of its pool."""
    _settle(contracts, at)
    for one in fact.entitlements:
        if fact.from_us <= at:
            contracts.entitlements[one.node] = one
        else:
            insort(contracts.scheduled, Change(fact.from_us, one), key=_due)


def make(contracts: Contracts, at: int, fact: a.CommitmentMade) -> None:
    """What the fact makes of the contracts of its pool."""
    _settle(contracts, at)
    contracts.made += 1
    contracts.commitments[fact.commitment] = Commitment(
        fact.commitment,
        fact.node,
        fact.milli,
        fact.from_us,
        fact.to_us,
        fact.recall_us,
        fact.price_micro_eur,
    )


def end(contracts: Contracts, at: int, fact: a.CommitmentEnded) -> None:
    """What the fact makes of the contracts of its pool."""
    _settle(contracts, at)
    ended = contracts.commitments[fact.commitment]
    left = msgspec.structs.replace(ended, to_us=fact.at_us or at)
    if left.to_us > max(at, left.from_us):
        contracts.commitments[fact.commitment] = left
    else:
        del contracts.commitments[fact.commitment]


def leave(state: "State", at: int, tenant: "Tenant") -> None:
    """The tenant works no more (stage `retrieval` of its exit): what it was entitled to ends, commitments too."""
    top = node_of(tenant)
    for contracts in state.contracts.values():
        before = len(contracts.entitlements), len(contracts.scheduled), len(contracts.commitments)
        contracts.entitlements = {
            node: one for node, one in contracts.entitlements.items() if not _inside(node, top)
        }
        contracts.scheduled = [one for one in contracts.scheduled if not _inside(one.entitlement.node, top)]
        contracts.commitments = {
            id: one for id, one in contracts.commitments.items() if not _inside(one.node, top)
        }
        after = len(contracts.entitlements), len(contracts.scheduled), len(contracts.commitments)
        contracts.version += before != after


def _settle(contracts: Contracts, at: int) -> None:
    """Make what has fallen due part of the base, and forget what is over; in force stays what is."""
    contracts.version += 1
    due = 0
    for one in contracts.scheduled:
        if one.from_us > at:
            break
        contracts.entitlements[one.entitlement.node] = one.entitlement
        due += 1
    del contracts.scheduled[:due]
    over = [one.id for one in contracts.commitments.values() if one.to_us <= at]
    for id in over:
        del contracts.commitments[id]


def _due(change: Change) -> int:
    return change.from_us


def _inside(node: str, top: str) -> bool:
    return node == top or node.startswith(f"{top}/")


def _changed(state: "State", at: int, fact: a.EntitlementsChanged) -> None:
    change(state.contracts.setdefault(fact.pool, Contracts()), at, fact)


def _made(state: "State", at: int, fact: a.CommitmentMade) -> None:
    make(state.contracts.setdefault(fact.pool, Contracts()), at, fact)


def _ended(state: "State", at: int, fact: a.CommitmentEnded) -> None:
    found = find_commitment(state, fact.commitment)
    assert found is not None, "only what is known ends"
    end(state.contracts[found[0]], at, fact)


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {
    a.EntitlementsChanged: _changed,
    a.CommitmentMade: _made,
    a.CommitmentEnded: _ended,
}
