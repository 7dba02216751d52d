# SPDX-License-Identifier: Apache-2.0
"""The writer process: journal, core, engine and inbox around the loop. It decides and appends, nothing else.
Its world is this machine, or that of a twin (`leitstand.app.twinned`).

Started by `leitstand up` as `python -m leitstand.app.writer SETTINGS`; says `ready` on standard output when it
accepts requests, ends when its standard input does (the parent is gone), on SIGTERM, or with one line on standard
error and a code of `serving.EXIT_CODES` when it cannot go on.
"""

import contextlib
import errno
import logging
import os
import selectors
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Final

import msgspec

from leitstand import __version__
from leitstand.app.added_sites import AddedSites, Around, Cluster
from leitstand.app.isolation import tenants
from leitstand.app.serving import CannotServe, DiskLow, lock, saying_why
from leitstand.app.settings import Settings
from leitstand.app.world import World
from leitstand.core.cycle import Core
from leitstand.core.facts import NodeRemoved, Observation, RulesSet, SiteAdded, TenantAdded, WriterStarted
from leitstand.core.rules import Rules
from leitstand.core.state import State
from leitstand.core.units import SECOND_US
from leitstand.engines.book import SiteBook, health_path
from leitstand.engines.local.engine import Limits, LocalEngine
from leitstand.engines.local.gpus import SITE, LocalSite, discover
from leitstand.engines.local.orders import Surroundings
from leitstand.engines.local.watch import watch
from leitstand.engines.sitefile import SiteFile
from leitstand.engines.slurm.engine import SlurmEngine
from leitstand.engines.slurm.site import Place
from leitstand.journal import snapshots
from leitstand.journal.place import Writer, open_writer
from leitstand.runtime import collector
from leitstand.runtime.clock import LiveClock
from leitstand.runtime.inbox import Inbox
from leitstand.runtime.loop import Loop, resume
from leitstand.runtime.ports import Engine
from leitstand.runtime.sites import Sites
from leitstand.runtime.spec import OPERATOR, RunSpec
from leitstand.stores.blobs import Blobs
from leitstand.stores.keys import Damaged
from leitstand.stores.records import Records
from leitstand.stores.secrets import MasterKeyMissing, Secrets

LAG_MAX_US: Final = 60 * SECOND_US
LOCK_S: Final = 1.0  # who starts another control plane holds the lock for a moment, to look
_log = logging.getLogger("leitstand.writer")


def main() -> None:
    settings = Settings.from_json(sys.argv[1])
    with saying_why(settings, leads=settings.standby), lock(settings.lock, LOCK_S):
        serve(settings)


def serve(settings: Settings) -> None:
    """Restore, adopt, accept, loop."""
    site: LocalSite | None = None
    if settings.twin is None and not settings.standby:  # who may have to leave its machine runs nothing there
        try:
            site = discover(settings.gpus, settings.nodes)
        except ValueError as error:
            raise CannotServe("unusable", str(error)) from error
    with contextlib.ExitStack() as closing:
        journal, state = _journal(settings, closing)
        if settings.twin is None:
            world = _machine(settings, site, journal, state, closing)
        else:
            from leitstand.app.twinned import simulated  # a real control plane has no need of it

            world = simulated(settings, journal.head, state)
        _run(settings, journal, state, world)


def _journal(settings: Settings, closing: contextlib.ExitStack) -> tuple[Writer, State]:
    """The journal to append to, once it is ours, and the state after its last entry. `closing` lets go of it."""
    if settings.standby:
        from leitstand.app.leading import stand_by  # a control plane on a file has no need of it

        led = stand_by(settings)
        closing.callback(led.keeper.give_back)
        closing.callback(led.journal.close)
        return led.journal, led.state
    journal = open_writer(settings.journal, synced=settings.twin is None)
    closing.callback(journal.close)
    state, _ = snapshots.restore(journal, settings.snapshots)
    return journal, state


def _run(settings: Settings, journal: Writer, state: State, world: World) -> None:
    """The loop in this world, until it is told to end."""
    clock, engine = world.clock, world.engine
    inbox = Inbox(settings.inbox, clock, DiskLow(settings.data, settings.disk_reserve_bytes))
    loop = Loop(Core(state), journal, clock, engine, [Opening(world.opening), *world.sources, inbox])
    resume(engine, state)
    _stop_on(loop, clock)
    loop.step(world.now)
    collector.settle()
    print("ready", flush=True)
    try:
        loop.run()
    finally:
        inbox.close()
        engine.close()
        if settings.twin is not None:
            clock.close()


def _machine(
    settings: Settings,
    site: LocalSite | None,
    journal: Writer,
    state: State,
    closing: contextlib.ExitStack,
) -> World:
    """The wall clock, this machine if it is a `site`, and those of the book. `closing` lets go of the stores at the
    end."""
    clock = LiveClock(journal.head.at)
    now = clock.wait(0)
    if clock.lag_us > LAG_MAX_US:
        raise CannotServe(
            "clock",
            f"this machine's clock is {clock.lag_us // SECOND_US} s behind the journal's last entry "
            f"(limit {LAG_MAX_US // SECOND_US} s); set the clock",
        )
    clock.alert = _say_lag
    records = Records(settings.records)
    closing.callback(records.close)
    secrets = Secrets(settings.secrets)
    closing.callback(secrets.close)
    around = Surroundings(
        read_spec=lambda ref: read_spec(records, ref),
        open_blob=Blobs(settings.blobs).open,
        wake=clock.wake,
        journal=journal.journal_id,
        read_secret=lambda *name: read_secret(secrets, *name),
        tenants=tenants(settings),
        python=(settings.python or Path(sys.executable)).absolute(),
    )
    engines: dict[str, Engine] = {}
    if site is not None:
        limits = Limits(log_bytes_max=settings.log_bytes_max, grace_us=settings.grace_s * SECOND_US)
        gpus = watch(site, clock.wake)
        if gpus is not None:
            closing.callback(gpus.close)
        take = gpus.take if gpus is not None else tuple
        engines[SITE] = LocalEngine(settings.runs, site, around, limits, take)
    sites = Sites(engines, lambda node: state.nodes[node].site)

    def open_site(file: SiteFile, known: frozenset[str]) -> Cluster:
        place = Place(
            file.name,
            file.mode,
            file.slurm,
            around,
            known,
            file.jurisdiction,
            settings.grace_s * SECOND_US,
            file.quota,
        )
        return SlurmEngine(place)

    added = AddedSites(
        SiteBook(settings.sites), sites, state, Around(open_site, clock.wake, health_path(settings.sites))
    )
    closing.callback(added.close)
    return World(clock, now, sites, opening(state, settings, site), [added])


def read_spec(records: Records, ref: str) -> RunSpec | None:
    """The record `ref`, as `Surroundings` wants it: ValueError if it is damaged, OSError if it cannot be read now."""
    try:
        return records.get(ref)
    except sqlite3.OperationalError as error:  # locked, no memory: the record itself may be whole
        raise OSError(errno.EAGAIN, str(error)) from error
    except sqlite3.Error as error:
        raise ValueError(str(error)) from error


def read_secret(secrets: Secrets, tenant: str, project: str, name: str) -> str | None:
    """A secret, as `Surroundings` wants it: ValueError if it is damaged, OSError if it cannot be read now, also because
    the operator has yet to bring back the master key."""
    try:
        return secrets.read(tenant, project, name)
    except (sqlite3.OperationalError, MasterKeyMissing) as error:
        raise OSError(errno.EAGAIN, str(error)) from error
    except (sqlite3.Error, Damaged) as error:
        raise ValueError(str(error)) from error


def _say_lag(lag_us: int) -> None:
    _log.critical(
        "this machine's clock is %.1f s behind; stamps stand still until it caught up", lag_us / SECOND_US
    )


class Opening:
    """The source of what the start itself has to say, once."""

    def __init__(self, observations: list[Observation]) -> None:
        self._observations = observations

    def next_time(self) -> int | None:
        return 0 if self._observations else None

    def take(self, now: int) -> list[Observation]:
        observations, self._observations = self._observations, []
        return observations


def opening(state: State, settings: Settings, site: LocalSite | None) -> list[Observation]:
    """This code, the rules, the built-in tenant, and the fleet as it is today; the core keeps what is new."""
    seen: list[Observation] = [WriterStarted(__version__)]
    rules = state.rules if state.rules_digest else Rules()
    if settings.discipline is not None:
        rules = msgspec.structs.replace(rules, discipline=settings.discipline)
    seen.append(RulesSet(rules, ""))
    if OPERATOR not in state.tenants:
        seen.append(TenantAdded(OPERATOR, "public"))
    fleet = [] if site is None else site.facts()
    seen += fleet
    present = {fact.node for fact in fleet if not isinstance(fact, SiteAdded)}
    seen += [
        NodeRemoved(node.id) for node in state.nodes.values() if node.site == SITE and node.id not in present
    ]
    return seen


def _stop_on(loop: Loop, clock: LiveClock) -> None:
    """SIGTERM, or the end of standard input, ends the loop after its cycle."""

    def stop(*_: object) -> None:
        loop.stopping = True
        clock.wake()

    def heard(_: int) -> None:
        if not os.read(0, 4096):
            clock.unregister(0)
            stop()

    clock.wake_on_signals()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells when
    with contextlib.suppress(PermissionError):  # not a pipe: there is no parent to outlive
        clock.register(0, selectors.EVENT_READ, heard)


if __name__ == "__main__":
    main()
