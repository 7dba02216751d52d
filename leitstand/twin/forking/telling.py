# SPDX-License-Identifier: Apache-2.0
"""The changes of a scenario as a source: each is told to the core at its time, made of the state at that time.

What the core does not grant is asked again every day: a guarantee that is over the capacity holds from the day on which
there is enough. Called by `course`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from typing import Final

import msgspec
from msgspec import UNSET

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.decision import Answer
from leitstand.core.fleet import Node, Site
from leitstand.core.sharing.entitlements import Guarantees, contracts_of
from leitstand.core.state import State
from leitstand.core.units import DAY_US
from leitstand.runtime.loop import Settling
from leitstand.runtime.ports import Head
from leitstand.twin.forking.changes import Add, Change, Commit, EndCommitment, Entitle, Remove, SetRules
from leitstand.twin.reading.table import TraceError
from leitstand.twin.rulefile import overlaid

CONTRACTS: Final = (Entitle, Commit, EndCommitment)
ASKED_MAX: Final = 4_000  # times that one thing is asked: every day for ten years
RACK_NODES: Final = 16
GB_MIB: Final = 1024


class Told(msgspec.Struct):
    """What became of one change. `refused`: why it was not granted when it was first asked, '' it was; `granted_us`:
    when it was, 0: never. `unheeded`: a contract that changes nothing, since who starts is decided by this discipline,
    which looks at none."""

    what: str
    asked_us: int
    refused: str = ""
    granted_us: int = 0
    unheeded: str = ""


class Telling(Settling):
    """See the module. `changes`: with their times, in order; `told`: what became of each; `gone`: nodes that were
    removed for good."""

    def __init__(self, changes: Sequence[tuple[int, Change]], state: State, from_us: int) -> None:
        self._state = state
        self._from_us = from_us
        self._due: list[tuple[int, bool, int]] = []  # what is asked again comes after what is new
        self._changes = [change for _, change in changes]
        self._asked: list[int] = [0] * len(changes)
        self._taken: tuple[int, int] | None = None  # when, which change
        self.told = [Told(change.said(at, from_us), at) for at, change in changes]
        self.gone: set[str] = set()
        for number, (at, _) in enumerate(changes):
            heappush(self._due, (at, False, number))

    def next_time(self) -> int | None:
        return self._due[0][0] if self._due else None

    def take(self, now: int) -> Sequence[f.Observation]:
        """One change at a time: the next is made of what this one leaves."""
        if not self._due or self._due[0][0] > now:
            return ()
        _, _, number = heappop(self._due)
        self._taken = now, number
        self._asked[number] += 1
        change = self._changes[number]
        made = _MAKE[type(change.what)](_Moment(self._state, now, self._from_us), change)
        if isinstance(change.what, Remove):
            self.gone.update(one.node for one in made if isinstance(one, f.NodeRemoved))
        return made

    def settle(self, answers: Sequence[Answer], head: Head) -> None:
        if self._taken is None:
            return
        (now, number), self._taken = self._taken, None
        refused = next((answer for answer in answers if answer.refused), None)
        told = self.told[number]
        if refused is None:
            told.granted_us = now
            discipline = self._state.rules.discipline
            if isinstance(self._changes[number].what, CONTRACTS) and discipline != "fair":
                told.unheeded = discipline
            return
        if refused.refused not in ("conflict", "busy"):
            raise TraceError(f"{self._changes[number].place}: {refused.detail or refused.refused}")
        told.refused = told.refused or refused.detail
        if self._asked[number] < ASKED_MAX:
            heappush(self._due, (now + DAY_US, True, number))


def main_pool(state: State) -> str:
    """The pool with the most GPUs, the first of these; '' if there is none."""
    return max(state.pools, key=lambda name: state.pools[name].amounts()[0], default="")


@dataclass(frozen=True, slots=True)
class _Moment:
    """When a change happens: to what state, at which time, how long after which fork."""

    state: State
    now: int
    from_us: int


# ── nodes ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _add(moment: _Moment, change: Change) -> list[f.Observation]:
    """Nodes like those that the pool has most of, but for what is said of them."""
    what, state = change.what, moment.state
    assert isinstance(what, Add)
    pool = what.pool or main_pool(state) or "shared"
    like = _usual(state, pool)
    site = what.site or (like.site if like else "twin")
    model = state.sites.get(site) or (state.sites.get(like.site) if like else None)
    made: list[f.Observation] = []
    if site not in state.sites:
        made.append(_site(site, model))
    levels = model.levels if model else ()
    racks = what.racks or -(-what.nodes // RACK_NODES)
    stands = [_rack(state, levels, site, number) for number in range(racks)]
    for index, name in enumerate(_free_names(state, site, what.nodes)):
        made.append(_node(what, like, (name, site, pool), stands[index * racks // what.nodes]))
    return made


def _site(name: str, model: Site | None) -> f.SiteAdded:
    """A site like that of the other nodes."""
    if model is None:
        return f.SiteAdded(name, "simulated", logical=True)
    return f.SiteAdded(
        name,
        model.engine,
        logical=model.logical,
        colocate=model.colocate,
        levels=model.levels,
        resizes=model.resizes is True,
        mig_models=() if model.mig_models is UNSET else model.mig_models,
    )


def _node(what: Add, like: Node | None, where: tuple[str, str, str], domains: tuple[str, ...]) -> f.NodeAdded:
    """`where`: name, site and pool."""
    name, site, pool = where
    gpus = what.gpus if what.gpus is not None else like.gpus if like else 8
    cpus = what.cpus * 1000 if what.cpus is not None else like.cpus_milli if like else 0
    memory = what.memory_gb * GB_MIB if what.memory_gb is not None else like.memory_mib if like else 0
    kind = what.gpu_type if what.gpu_type is not None else like.gpu_type if like else ""
    same = like is not None and (gpus, kind) == (like.gpus, like.gpu_type)
    mig = like.mig if like is not None and same and like.mig is not UNSET else None
    return f.NodeAdded(name, site, gpus, cpus, memory, kind, pool, domains=domains, mig=mig)


def _usual(state: State, pool: str) -> Node | None:
    """A node of the kind that the pool has most of, in service if there is one; None if it has none."""
    nodes = [node for node in state.nodes.values() if node.pool == pool]
    nodes = [node for node in nodes if node.in_service] or nodes
    kinds = Counter((node.gpus, node.cpus_milli, node.memory_mib, node.gpu_type) for node in nodes)
    if not kinds:
        return None
    most = kinds.most_common(1)[0][0]
    return next(n for n in nodes if (n.gpus, n.cpus_milli, n.memory_mib, n.gpu_type) == most)


def _free_names(state: State, site: str, count: int) -> list[str]:
    names = (f"{site}-{number:05d}" for number in range(1, len(state.nodes) + count + 1))
    return list(islice((name for name in names if name not in state.nodes), count))


def _rack(state: State, levels: tuple[str, ...], site: str, number: int) -> tuple[str, ...]:
    """Where a further rack of the site stands: one domain on each level; the rack itself is new."""
    if not levels:
        return ()
    there = {node.domains[-1] for node in state.nodes.values() if node.site == site and node.domains}
    above = tuple(f"{site}-{level}" for level in levels[:-1])
    return (*above, f"{site}-{levels[-1]}-{len(there) + number + 1}")


def _remove(moment: _Moment, change: Change) -> list[f.Observation]:
    what, state = change.what, moment.state
    assert isinstance(what, Remove)
    for known, asked, kind in (
        (state.nodes, what.names, "node"),
        (state.sites, (what.site,) if what.site else (), "site"),
    ):
        missing = next((name for name in asked if name not in known), None)
        if missing is not None:
            raise TraceError(
                f"{change.place}: there is no {kind} {missing!r} at that time; known: {_some(known)}"
            )
    nodes = [
        node
        for node in state.nodes.values()
        if (node.in_service or not what.nodes)  # one that failed and is to come back goes, too
        and (not what.names or node.id in what.names)
        and (not what.site or node.site == what.site)
        and (not what.rack or what.rack in node.domains)
    ]
    if not nodes or len(nodes) < what.nodes:
        raise TraceError(
            f"{change.place}: {what}: {len(nodes)} such nodes are in service at that time; name others"
        )
    return [f.NodeRemoved(node.id) for node in nodes[-what.nodes :]]


def _some(names: Iterable[str]) -> str:
    first = list(islice(names, 9))
    return ", ".join(first[:8]) + (", …" if len(first) > 8 else "")


# ── contracts and rules ───────────────────────────────────────────────────────────────────────────────────────────
def _entitle(moment: _Moment, change: Change) -> list[f.Observation]:
    """What is said of the node, the rest as it is now; a guarantee is counted without commitments."""
    what, state = change.what, moment.state
    assert isinstance(what, Entitle)
    pool = what.pool or main_pool(state)
    contracts = contracts_of(state, pool)
    base = Guarantees(contracts.entitlements.values())
    for due in contracts.scheduled:
        if due.from_us <= moment.now:
            base.put(due.entitlement)
    weight = state.rules.sharing.weights.get(what.node, 1)
    old = base.said.get(what.node) or a.Entitlement(what.node, -1, weight)
    guarantee, borrow, lend = old.guarantee_milli, old.borrow_milli, old.lend_milli
    if what.guarantee is not None:
        guarantee = what.guarantee.of(base.of.get(what.node, 0))
        lend = min(lend, guarantee)
    if what.borrow is not None:
        borrow = what.borrow.of(max(borrow, 0))
    if what.lend is not None:
        lend = what.lend.of(max(lend, 0))
    new = a.Entitlement(
        what.node,
        guarantee,
        old.weight if what.weight is None else what.weight,
        borrow,
        lend,
        old.recall_us if what.recall_us is None else what.recall_us,
    )
    return [a.EntitlementsChanged(pool, (new,))]


def _commit(moment: _Moment, change: Change) -> list[f.Observation]:
    what = change.what
    assert isinstance(what, Commit)
    pool, until_us = what.pool or main_pool(moment.state), what.until.at(moment.from_us)
    price = what.price_micro_eur
    return [a.CommitmentMade("", pool, what.node, what.milli, 0, until_us, what.recall_us, price)]


def _end(moment: _Moment, change: Change) -> list[f.Observation]:
    assert isinstance(change.what, EndCommitment)
    return [a.CommitmentEnded(change.what.commitment)]


def _rules(moment: _Moment, change: Change) -> list[f.Observation]:
    assert isinstance(change.what, SetRules)
    return [f.RulesSet(overlaid(moment.state.rules, change.what.fields, change.place), "")]


_MAKE: Final[dict[type, Callable[[_Moment, Change], Sequence[f.Observation]]]] = {
    Add: _add,
    Remove: _remove,
    Entitle: _entitle,
    Commit: _commit,
    EndCommitment: _end,
    SetRules: _rules,
}
