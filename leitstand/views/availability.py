# SPDX-License-Identifier: Apache-2.0
"""How much of what is installed served, and how much of what is guaranteed could be had, over any time. A view of the
journal in a SQLite file of its own (`DIR/availability.db`), droppable like the others.

A node is *installed* from the first time it was in service, for good. At each moment it *serves*, or is in an
*announced* maintenance window (one that was no emergency and has begun), or is *down*: drained, failed, removed by its
engine, or in an emergency window. Availability of a site = GPU·µs serving / (installed - announced).

What a tenant is guaranteed in a pool (its node of the entitlement tree, with commitments) *could be had* as far as the
pool's nodes bear all guarantees together: guarantee × min(1, GPUs there / GPUs guaranteed in all). What is announced
counts as there. Pools without GPUs are left out. Availability of a tenant = what could be had / what was guaranteed.
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.sharing.entitlements import Guarantees, upwards
from leitstand.runtime.disk import is_damaged, make_private
from leitstand.runtime.ports import Entry, View

FORM: Final = 1
COMMIT_ENTRIES: Final = 20_000  # between two commits where nothing of interest happens
SERVES, ANNOUNCED, DOWN = "serves", "announced", "down"
_TABLES: Final = """
CREATE TABLE progress (journal TEXT NOT NULL, seq INTEGER NOT NULL, now BLOB NOT NULL);
CREATE TABLE steps (at INTEGER NOT NULL, node TEXT NOT NULL, site TEXT NOT NULL, pool TEXT NOT NULL,
    gpus INTEGER NOT NULL, state TEXT NOT NULL);
CREATE INDEX steps_at ON steps (at);
CREATE TABLE contracts (at INTEGER NOT NULL, body BLOB NOT NULL);
"""


class Seen(msgspec.Struct):
    """A node as the facts say. `there`: as its engine says; `windows`: begun → whether announced."""

    site: str
    pool: str
    gpus: int
    domains: tuple[str, ...]
    there: bool = True
    drained: bool = False
    windows: dict[str, bool] = {}

    @property
    def state(self) -> str:
        if any(self.windows.values()):
            return ANNOUNCED
        return SERVES if self.there and not self.drained and not self.windows else DOWN


class Now(msgspec.Struct):
    """What is folded so far: nodes, and windows that are not over → (nodes, whether they were announced)."""

    nodes: dict[str, Seen] = {}
    windows: dict[str, tuple[tuple[str, ...], bool]] = {}


class SiteTime(msgspec.Struct):
    """GPU·µs of a site."""

    installed: int = 0
    serving: int = 0
    announced: int = 0


class TenantTime(msgspec.Struct):
    """GPU·µs of a tenant, in thousandths."""

    guaranteed: int = 0
    had: int = 0


class Report(NamedTuple):
    sites: dict[str, SiteTime]
    tenants: dict[str, TenantTime]


class Availability(View):
    """See the module. One thread feeds it; `report` may be asked in any."""

    def __init__(self, path: Path, journal: str, head: int) -> None:
        self.path = path
        self._connection = _connect(path)
        try:
            found = self._found()
        except (sqlite3.DatabaseError, msgspec.DecodeError, TypeError) as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error) and not is_damaged(error):  # a full disk, a lock
                raise
            # damaged: the journal has it all
            drop(path)
            self._connection = _connect(path)
            found = self._found()
        if found is None or found[0] != journal or found[1] > head:
            self._begin_anew(journal)
            found = journal, 0, Now()
        self._seq = self._committed = found[1]
        self._now = found[2]
        self._steps: list[tuple[int, str, str, str, int, str]] = []
        self._contracts: list[tuple[int, bytes]] = []

    def _found(self) -> tuple[str, int, Now] | None:
        """Whose it is, how far it is, and what it knows; None: it is new."""
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")
        (form,) = self._connection.execute("PRAGMA user_version").fetchone()
        if form != FORM:
            return None
        journal, seq, now = self._connection.execute("SELECT journal, seq, now FROM progress").fetchone()
        return journal, int(seq), msgspec.json.decode(now, type=Now)

    def _begin_anew(self, journal: str) -> None:
        execute = self._connection.execute
        execute("BEGIN")
        for table in ("progress", "steps", "contracts"):
            execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _TABLES.split(";"):
            execute(statement)
        execute("INSERT INTO progress VALUES (?, 0, ?)", (journal, msgspec.json.encode(Now())))
        execute(f"PRAGMA user_version={FORM}")
        execute("COMMIT")

    @property
    def seq(self) -> int:
        return self._seq

    def apply(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.seq <= self._seq:
                continue
            change = _CHANGES.get(type(entry.fact))
            if change is not None:
                for name in change(self._now, entry.fact):
                    self._step(entry.at, name)
            elif type(entry.fact) in _CONTRACTS:
                self._contracts.append((entry.at, msgspec.json.encode(entry.fact)))
            self._seq = entry.seq
        if self._steps or self._contracts or self._seq - self._committed >= COMMIT_ENTRIES:
            self.commit()

    def _step(self, at: int, name: str) -> None:
        seen = self._now.nodes[name]
        self._steps.append((at, name, seen.site, seen.pool, seen.gpus, seen.state))

    def commit(self) -> None:
        if not self._steps and not self._contracts and self._seq - self._committed < COMMIT_ENTRIES:
            return  # nothing to see; those entries are read again after a restart
        self._save()

    def _save(self) -> None:
        execute = self._connection.execute
        execute("BEGIN")
        try:
            self._connection.executemany("INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?)", self._steps)
            self._connection.executemany("INSERT INTO contracts VALUES (?, ?)", self._contracts)
            if self._steps:
                execute("UPDATE progress SET seq = ?, now = ?", (self._seq, msgspec.json.encode(self._now)))
            else:
                execute("UPDATE progress SET seq = ?", (self._seq,))
            execute("COMMIT")
        except BaseException:
            execute("ROLLBACK")
            raise
        self._steps.clear()
        self._contracts.clear()
        self._committed = self._seq

    def close(self) -> None:
        self._save()
        self._connection.close()

    def report(self, from_us: int, to_us: int) -> Report:
        """Over [from_us, to_us), both µs and not after now; ValueError if there is no time between them."""
        if not 0 <= from_us < to_us:
            raise ValueError("the time is empty")
        connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            steps = connection.execute("SELECT * FROM steps WHERE at < ? ORDER BY rowid", (to_us,)).fetchall()
            contracts = connection.execute(
                "SELECT * FROM contracts WHERE at < ? ORDER BY rowid", (to_us,)
            ).fetchall()
        finally:
            connection.close()
        told = [(at, _decode(body)) for at, body in contracts]
        return Report(_sites(steps, from_us, to_us), _tenants(steps, told, (from_us, to_us)))


# ── what facts change ─────────────────────────────────────────────────────────────────────────────────────────────────
def _added(now: Now, fact: f.NodeAdded) -> Iterator[str]:
    before = now.nodes.get(fact.node)
    seen = now.nodes[fact.node] = Seen(fact.site, fact.pool, fact.gpus, fact.domains)
    if before is not None:
        seen.drained, seen.windows = before.drained, before.windows
    yield fact.node


def _removed(now: Now, fact: f.NodeRemoved) -> Iterator[str]:
    now.nodes[fact.node].there = False
    yield fact.node


def _drained(now: Now, fact: f.NodeDrained) -> Iterator[str]:
    now.nodes[fact.node].drained = True
    yield fact.node


def _returned(now: Now, fact: f.NodeReturned) -> Iterator[str]:
    now.nodes[fact.node].drained = False
    yield fact.node


def _planned(now: Now, fact: a.MaintenancePlanned) -> Iterator[str]:
    nodes = fact.nodes
    if fact.domain:
        site, *path = fact.domain
        nodes = tuple(
            name
            for name, seen in now.nodes.items()
            if seen.site == site and seen.domains[: len(path)] == tuple(path)
        )
    now.windows[fact.window] = nodes, not fact.emergency
    yield from ()


def _advanced(now: Now, fact: a.MaintenanceAdvanced) -> Iterator[str]:
    if fact.step == "begun":
        nodes, announced = now.windows[fact.window]
        for name in nodes:
            now.nodes[name].windows[fact.window] = announced
            yield name
    elif fact.step == "ended":
        yield from _over(now, fact)


def _over(now: Now, fact: Any) -> Iterator[str]:
    nodes, _ = now.windows.pop(fact.window)
    for name in nodes:
        if now.nodes[name].windows.pop(fact.window, None) is not None:
            yield name


_CHANGES: Final[dict[type, Any]] = {
    f.NodeAdded: _added,
    f.NodeRemoved: _removed,
    f.NodeDrained: _drained,
    f.NodeReturned: _returned,
    a.MaintenancePlanned: _planned,
    a.MaintenanceAdvanced: _advanced,
    a.MaintenanceCancelled: _over,
}
Contract = a.TenantAdded | a.EntitlementsChanged | a.CommitmentMade | a.CommitmentEnded
_CONTRACTS: Final = (a.TenantAdded, a.EntitlementsChanged, a.CommitmentMade, a.CommitmentEnded)
_decode: Final = msgspec.json.Decoder(Contract).decode


# ── sites ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _spans(steps: list[Any], to_us: int) -> Iterator[tuple[int, int, Any]]:
    """(from, until, step) of each node, as long as it was so."""
    last: dict[str, Any] = {}
    for step in steps:
        before = last.get(step[1])
        if before is not None:
            yield before[0], step[0], before
        last[step[1]] = step
    for step in last.values():
        yield step[0], to_us, step


def _sites(steps: list[Any], from_us: int, to_us: int) -> dict[str, SiteTime]:
    found: dict[str, SiteTime] = {}
    for since, until, (_, _, site, _, gpus, state) in _spans(steps, to_us):
        time = found.setdefault(site, SiteTime())
        amount = gpus * max(0, min(until, to_us) - max(since, from_us))
        time.installed += amount
        if state == SERVES:
            time.serving += amount
        elif state == ANNOUNCED:
            time.announced += amount
    return found


# ── tenants ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class _Contracts:
    """What was guaranteed when, in one pool. Amounts in thousandths of a GPU."""

    def __init__(self) -> None:
        self.said: dict[str, list[tuple[int, a.Entitlement]]] = {}  # node → (from when on, what)
        self.commitments: dict[str, tuple[str, int, int, int]] = {}  # → (node, from, to, amount)

    def times(self) -> Iterator[int]:
        for said in self.said.values():
            yield from (at for at, _ in said)
        for _, since, until, _ in self.commitments.values():
            yield since
            yield until

    def change(self, at: int, one: a.Entitlement) -> None:
        """From then on; what was to come later comes no more than the core says, so it stays."""
        said = self.said.setdefault(one.node, [])
        said.append((at, one))
        said.sort(key=lambda step: step[0])

    def guarantees(self, at: int) -> dict[str, int]:
        """By node, what is guaranteed to it and below it at that time."""
        now = []
        for said in self.said.values():
            place = bisect_right(said, at, key=lambda step: step[0])
            now += [said[place - 1][1]] if place else []
        found = dict(Guarantees(now).of)
        for node, since, until, milli in self.commitments.values():
            for one in upwards(node) if since <= at < until else ():
                found[one] = found.get(one, 0) + milli
        return found


def _tenants(
    steps: list[Any], told: list[tuple[int, Contract]], span: tuple[int, int]
) -> dict[str, TenantTime]:
    from_us, to_us = span
    pools: dict[str, _Contracts] = {}
    nodes: dict[str, str] = {}  # tenant → its node
    for at, fact in told:
        match fact:
            case a.TenantAdded():
                nodes[fact.tenant] = f"{fact.tenant_class}/{fact.tenant}"
            case a.EntitlementsChanged():
                for one in fact.entitlements:
                    pools.setdefault(fact.pool, _Contracts()).change(max(at, fact.from_us), one)
            case a.CommitmentMade():
                of = pools.setdefault(fact.pool, _Contracts())
                of.commitments[fact.commitment] = fact.node, fact.from_us, fact.to_us, fact.milli
            case a.CommitmentEnded():
                for contracts in pools.values():
                    if fact.commitment in contracts.commitments:
                        node, since, until, milli = contracts.commitments[fact.commitment]
                        until = min(until, max(at, fact.at_us))
                        contracts.commitments[fact.commitment] = node, since, until, milli
    found: dict[str, TenantTime] = {}
    for name, contracts in pools.items():
        changes = _capacity([step for step in steps if step[3] == name])
        if not any(milli for _, milli in changes):
            continue
        edges = {from_us, to_us, *contracts.times(), *(at for at, _ in changes)}
        times = sorted(at for at in edges if from_us <= at <= to_us)
        for since, until in pairwise(times):
            guaranteed = contracts.guarantees(since)
            every = guaranteed.get("", 0)
            place = bisect_right(changes, since, key=lambda one: one[0])
            there = changes[place - 1][1] if place else 0
            for tenant, node in nodes.items():
                milli = guaranteed.get(node, 0)
                if not milli:
                    continue
                time = found.setdefault(tenant, TenantTime())
                time.guaranteed += milli * (until - since)
                time.had += milli * (until - since) * min(there, every) // every
    return found


def _capacity(steps: list[Any]) -> list[tuple[int, int]]:
    """(from when on, GPUs there in thousandths) of the nodes of one pool."""
    there: dict[str, int] = {}
    milli, changes = 0, []
    for at, name, _, _, gpus, state in steps:
        now = 0 if state == DOWN else gpus * 1000
        milli += now - there.get(name, 0)
        there[name] = now
        changes.append((at, milli))
    return changes


def drop(path: Path) -> None:
    """Delete it; whoever opens it next makes it anew."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    make_private(path)
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)
