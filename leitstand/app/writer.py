# SPDX-License-Identifier: Apache-2.0
"""The writer process: journal, core, local engine and inbox around the loop. It decides and appends, nothing else.

Started by `leitstand up` as `python -m leitstand.app.writer SETTINGS`; says `ready` on standard output when it
accepts requests, ends when its standard input does (the parent is gone), on SIGTERM, or with one line on standard
error and a code of `EXIT_CODES` when it cannot go on.
"""

import contextlib
import fcntl
import gc
import os
import selectors
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from leitstand import __version__
from leitstand.app.settings import Settings
from leitstand.core.cycle import Core
from leitstand.core.facts import NodeRemoved, Observation, RulesSet, SiteAdded, TenantAdded, WriterStarted
from leitstand.core.rules import Rules
from leitstand.core.state import State
from leitstand.core.units import SECOND_US
from leitstand.engines.local.engine import Limits, LocalEngine, Surroundings
from leitstand.engines.local.gpus import LocalSite, discover
from leitstand.journal import snapshots
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.sqlite import SqliteJournal
from leitstand.runtime.clock import LiveClock
from leitstand.runtime.inbox import Inbox
from leitstand.runtime.loop import Loop, resume
from leitstand.runtime.ports import JournalFull, StaleHead
from leitstand.stores.blobs import Blobs
from leitstand.stores.records import Records

OPERATOR: Final = "operator"  # the built-in tenant of the admin token
LAG_MAX_US: Final = 60 * SECOND_US
DISK_LOOK_S: Final = 0.25  # how often the free disk is looked at, at most

EXIT_CODES: Final = {"locked": 4, "unusable": 5, "fenced": 6, "full": 7, "clock": 8}


class CannotServe(Exception):
    """Why the writer does not start or go on: one line, and the name of its exit code."""

    def __init__(self, code: str, line: str) -> None:
        super().__init__(line)
        self.code = EXIT_CODES[code]


def main() -> None:
    settings = Settings.from_json(sys.argv[1])
    try:
        with lock(settings.lock):
            serve(settings)
    except CannotServe as reason:
        print(reason, file=sys.stderr)
        sys.exit(reason.code)
    except JournalUnusable as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_CODES["unusable"])
    except StaleHead:
        print(f"another writer took over {settings.journal}; this one ends", file=sys.stderr)
        sys.exit(EXIT_CODES["fenced"])
    except JournalFull as error:
        print(f"no room for {settings.journal} ({error}); free some disk, then it goes on", file=sys.stderr)
        sys.exit(EXIT_CODES["full"])


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the data folder; CannotServe names the process that holds it. The lock goes with the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise CannotServe(
                "locked",
                f"data folder {path.parent} is in use by another control plane (process {holder}); "
                "stop that one, or start this one with another --data",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def serve(settings: Settings) -> None:
    """Restore, adopt, accept, loop."""
    try:
        site = discover(settings.gpus, settings.nodes)
    except ValueError as error:
        raise CannotServe("unusable", str(error)) from error
    journal = SqliteJournal(settings.journal)
    state, head = snapshots.restore(journal, settings.snapshots)
    clock = LiveClock(head.at, _say_lag)
    now = clock.wait(0)
    if clock.lag_us > LAG_MAX_US:
        raise CannotServe(
            "clock",
            f"this machine's clock is {clock.lag_us // SECOND_US} s behind the journal's last entry "
            f"(limit {LAG_MAX_US // SECOND_US} s); set the clock",
        )
    records = Records(settings.records)
    engine = LocalEngine(
        settings.runs,
        site,
        Surroundings(read_spec=records.get, open_blob=Blobs(settings.blobs).open, wake=clock.wake),
        Limits(log_bytes_max=settings.log_bytes_max, grace_us=settings.grace_s * SECOND_US),
    )
    core = Core(state)
    inbox = Inbox(settings.inbox, clock, DiskLow(settings.data, settings.disk_reserve_bytes))
    loop = Loop(core, journal, clock, engine, [Opening(opening(state, settings, site)), inbox])
    resume(engine, state)
    _stop_on(loop, clock)
    loop.step(now)
    gc.collect()
    gc.freeze()  # what was restored lives long: the collector need not walk it again
    print("ready", flush=True)
    try:
        loop.run()
    finally:
        inbox.close()
        engine.close()
        journal.close()
        records.close()


def _say_lag(lag_us: int) -> None:
    seconds = lag_us / SECOND_US
    print(
        f"this machine's clock is {seconds:.1f} s behind; stamps stand still until it caught up",
        file=sys.stderr,
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


def opening(state: State, settings: Settings, site: LocalSite) -> list[Observation]:
    """This code, the rules, the built-in tenant, and the fleet as it is today; the core keeps what is new."""
    seen: list[Observation] = [WriterStarted(__version__)]
    rules = state.rules if state.rules_digest else Rules()
    if settings.discipline is not None:
        rules = msgspec.structs.replace(rules, discipline=settings.discipline)
    seen.append(RulesSet(rules, ""))
    if OPERATOR not in state.tenants:
        seen.append(TenantAdded(OPERATOR, "public"))
    fleet = site.facts()
    seen += fleet
    (site_id,) = (fact.site for fact in fleet if isinstance(fact, SiteAdded))
    present = {fact.node for fact in fleet if not isinstance(fact, SiteAdded)}
    seen += [
        NodeRemoved(node.id)
        for node in state.nodes.values()
        if node.site == site_id and node.id not in present
    ]
    return seen


class DiskLow:
    """Whether the disk of the data folder has less free than the reserve; looked at now and then."""

    def __init__(self, folder: Path, reserve_bytes: int) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._looked_s = -DISK_LOOK_S
        self._low = False

    def __call__(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._looked_s >= DISK_LOOK_S:
            self._looked_s = now_s
            disk = os.statvfs(self._folder)
            self._low = disk.f_bavail * disk.f_frsize < self._reserve_bytes
        return self._low


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
