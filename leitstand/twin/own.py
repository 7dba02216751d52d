# SPDX-License-Identifier: Apache-2.0
"""A history told again in which every tenant has its guarantee as nodes of its own and nothing else. Called by
`leitstand.twin.partition`.

The nodes are copies of those of the pool, the largest first, as many as the guarantee fills; the last is cut to what is
left of it, in whole GPUs (whole cores in a pool without). When a guarantee changes, so does the partition: a node that
is not there any more takes no new run. Own nodes do not fail and are not maintained.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.fleet import Node
from leitstand.core.rules import digest
from leitstand.core.sharing.entitlements import in_force, next_change, node_of
from leitstand.core.state import State
from leitstand.core.tenancy import Tenant
from leitstand.twin.history import Moment

UNIT: Final = 1000  # charges of a GPU or of a core
# What is not told: whose the nodes are, and what was promised on them.
UNTOLD: Final = (
    f.NodeAdded, f.NodeRemoved, f.NodeReported, f.NodeRepaired, f.BookingMade, f.BookingCancelled,
    a.EntitlementsChanged, a.CommitmentMade, a.CommitmentEnded, a.MaintenancePlanned, a.MaintenanceCancelled,
)  # fmt: skip


class Owned:
    """`told` gives the history; `milli` then holds, by tenant, since when (µs) it was guaranteed how much in all pools;
    `recall_us`: R of each tenant, the least of its pools, as of the last change."""

    def __init__(self) -> None:
        self.state = State()
        self.milli: dict[str, list[tuple[int, int]]] = {}
        self.recall_us: dict[str, int] = {}
        self._stands: dict[tuple[str, str], tuple[int, list[str]]] = {}  # (tenant, pool) → guarantee, nodes
        self._added = 0
        self._seen: tuple[object, ...] = ()
        self._due_us: int | None = None  # when time alone next changes what is guaranteed

    def told(self, history: Iterable[Moment]) -> Iterator[Moment]:
        """The history with own nodes."""
        at = None
        for moment in history:
            if at is not None:
                yield from self._by_time(at, moment.at)
            at = moment.at
            yield Moment(at, moment.first, tuple(self._of(moment)))
        if at is not None:
            yield from self._by_time(at, None)

    def _by_time(self, after: int, until: int | None) -> Iterator[Moment]:
        """What time alone changes between two moments."""
        while self._due_us is not None and (until is None or self._due_us < until):
            due = max(self._due_us, after)
            changes = tuple(self._changes(due))
            if changes:
                yield Moment(due, 0, changes)

    def _of(self, moment: Moment) -> Iterator[f.Fact]:
        state = self.state
        if self._due_us is not None and self._due_us <= moment.at:
            yield from self._changes(moment.at)
        for fact in moment.facts:
            state.apply(moment.at, fact)
            if isinstance(fact, f.RulesSet):
                rules = replace(fact.rules, static=True)
                yield replace(fact, rules=rules, digest=digest(rules))
            elif not isinstance(fact, UNTOLD):
                if isinstance(fact, f.JobSubmitted):
                    yield from self._changed(moment.at)
                yield _by_itself(fact) if isinstance(fact, f.JobSubmitted) else fact
        yield from self._changed(moment.at)

    def _changed(self, at: int) -> Iterator[f.Fact]:
        """The changes, if any contract, the fleet or the rules were said otherwise since they were looked at."""
        state = self.state
        versions = (one.version for one in state.contracts.values())
        seen = (len(state.nodes), len(state.tenants), state.rules_digest, *versions)
        if seen != self._seen:
            self._seen = seen
            yield from self._changes(at)

    def _changes(self, at: int) -> Iterator[f.Fact]:
        """Nodes that come and go so that partitions are what is guaranteed at `at`."""
        state = self.state
        self._due_us = min(
            filter(None, (next_change(state, pool, at) for pool in state.contracts)), default=None
        )
        of_tenant: dict[str, int] = {}
        recalls: dict[str, int] = {}
        for pool in state.contracts:
            entitled = in_force(state, pool, at)
            nodes = [node for node in state.nodes.values() if node.pool == pool]
            for tenant in state.tenants.values():
                found = entitled.get(node_of(tenant))
                milli = 0 if found is None else found.guarantee_milli
                if found is not None and milli:
                    recall_us = found.recall_us or state.rules.sharing.recall_us
                    recalls[tenant.id] = min(recall_us, recalls.get(tenant.id, recall_us))
                of_tenant[tenant.id] = of_tenant.get(tenant.id, 0) + milli
                yield from self._stand(tenant, pool, milli, nodes)
        self.recall_us |= recalls
        for name, milli in of_tenant.items():
            steps = self.milli.setdefault(name, [])
            if not steps or steps[-1][1] != milli:
                steps.append((at, milli))

    def _stand(self, tenant: Tenant, pool: str, milli: int, nodes: list[Node]) -> Iterator[f.Fact]:
        """The partition of one tenant in the place of one pool."""
        known, names = self._stands.get((tenant.id, pool), (0, []))
        if milli == known or (milli and not nodes):
            return
        wanted = [*partition(nodes, milli)]
        alike = 0
        before = [*partition(nodes, known)]
        while alike < min(len(wanted), len(before), len(names)) and wanted[alike] == before[alike]:
            alike += 1
        yield from (f.NodeRemoved(name) for name in names[alike:])
        names = names[:alike]
        for node in wanted[alike:]:
            self._added += 1
            names.append(f"own-{self._added}")
            mig = None if node.mig is UNSET else node.mig
            yield f.NodeAdded(
                names[-1], node.site, node.gpus, node.cpus_milli, node.memory_mib, node.gpu_type, tenant.id,
                domains=node.domains, mig=mig,
            )  # fmt: skip
        self._stands[tenant.id, pool] = milli, names


def _by_itself(fact: f.JobSubmitted) -> f.JobSubmitted:
    """Each job of an array is told by itself: were an array refused, it would be one job, and others' ids would not be
    those of truth. There are no bookings."""
    return replace(fact, booking="", array="", index=0, size=0)


def partition(nodes: Iterable[Node], milli: int) -> Iterator[Node]:
    """Copies of these nodes, the largest first, that hold a guarantee: whole ones, and a part of one. Over again, if
    they hold less."""
    with_gpus = any(node.gpus for node in nodes)
    sizes = [(node.gpus if with_gpus else node.cpus_milli // UNIT, node) for node in nodes]
    largest = sorted((pair for pair in sizes if pair[0]), key=lambda pair: -pair[0])
    left = milli // UNIT
    while left and largest:
        for size, node in largest:
            if size <= left:
                left -= size
                yield node
            elif left:
                share = left / size
                cpus, memory = int(node.cpus_milli * share), int(node.memory_mib * share)
                part = replace(
                    node, gpus=left if with_gpus else 0, cpus_milli=cpus, memory_mib=memory, mig=UNSET
                )
                left = 0
                yield part
            if not left:
                return
