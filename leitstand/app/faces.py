# SPDX-License-Identifier: Apache-2.0
"""The faces' process: a follower of the journal and the API on uvicorn. It reads everything and decides nothing.

Started by `leitstand up` as `python -m leitstand.app.faces SETTINGS`; says `ready` on standard output when it serves,
ends when its standard input does (the parent is gone) or on SIGTERM, after answering what it has. When it cannot go
on, it says so in one line on standard error and ends with a code of `serving.EXIT_CODES`.
"""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sqlite3
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import uvicorn
import uvloop
from litestar.types import ASGIApp

from leitstand.access import oidc_settings
from leitstand.access.oidc import Provider
from leitstand.access.policy import Authorizer
from leitstand.access.signin import SignIns
from leitstand.alerts import settings as alerts
from leitstand.alerts.settings import AlertSettings
from leitstand.alerts.store import Store
from leitstand.api import app as api
from leitstand.api.amounts import moment
from leitstand.api.auth import Tokens
from leitstand.api.context import Faces, Limits, Shown, Twin
from leitstand.api.lives import Lives, WorldLives
from leitstand.api.seat import Seat
from leitstand.app import chores, seats
from leitstand.app.admin_token import AdminTokenFile
from leitstand.app.alerting import Alerting, Surroundings, look_of
from leitstand.app.certificate import CertificateWrong, Pair, Renewal
from leitstand.app.forwarded import forwarded
from leitstand.app.left import Left
from leitstand.app.logs import Logs
from leitstand.app.protocol import Protocol
from leitstand.app.serving import (
    CannotServe,
    DiskLow,
    addresses,
    is_loopback,
    is_open,
    lock,
    saying_why,
)
from leitstand.app.settings import Settings
from leitstand.engines import burnin
from leitstand.engines.book import SiteBook
from leitstand.engines.slurm import checks
from leitstand.journal import heads, snapshots
from leitstand.journal.codec import JournalUnusable
from leitstand.journal.place import Reader, open_reader
from leitstand.runtime.dial import Dial
from leitstand.runtime.disk import is_full
from leitstand.runtime.follower import Follower, ViewBroken
from leitstand.runtime.yamlfile import YamlWrong
from leitstand.stores import place as stores
from leitstand.stores.agreement import Agreement
from leitstand.stores.blobs import Blobs
from leitstand.stores.commit import GroupCommit
from leitstand.stores.ends import Ends
from leitstand.stores.people import People
from leitstand.stores.records import Records
from leitstand.stores.secrets import Secrets
from leitstand.twin.forecasting.kept import Latest
from leitstand.twin.live.logs import read_log
from leitstand.views.availability import Availability
from leitstand.views.database import Database, drop
from leitstand.views.reading import Reading
from leitstand.views.several import Views
from leitstand.web.pages import PAGES

LOCK_S: Final = 15.0  # how long the faces before these may take to end
JOURNAL_S: Final = 600.0  # how long the writer may take to make or restore its journal
LINK_S: Final = 30.0  # how long `ready` waits for the writer
POLL_S: Final = 0.02
DRAIN_S: Final = 5  # for requests that are under way when the process is told to end
CONNECTIONS_MAX: Final = 4096
BACKLOG: Final = 1024
_log = logging.getLogger("leitstand.faces")


def main() -> None:
    settings = Settings.from_json(sys.argv[1])
    with (
        saying_why(settings),
        listen(settings) as listener,
        lock(settings.faces_lock, LOCK_S),  # one at a time: they write the views
    ):
        uvloop.run(serve(settings, listener))


def listen(settings: Settings) -> socket.socket:
    """The listening socket; CannotServe for an address that is taken, foreign, or open to others without TLS."""
    host, port = settings.host, settings.port
    try:
        if is_open(settings):
            raise CannotServe(
                "insecure",
                f"refusing to listen on {host} without TLS: others could read the token; give --tls-cert and "
                "--tls-key, or --behind-proxy if a proxy does TLS",
            )
        family, address = addresses(host, port)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
            listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise CannotServe(
            "busy",
            f"cannot listen on {host}:{port}: {error.strerror}; stop what uses it, or give another --port",
        ) from error
    return listener


async def serve(settings: Settings, listener: socket.socket) -> None:
    """Restore, catch up, answer; until told to end."""
    _allow_connections()
    ending = asyncio.Event()
    _end_on(ending)
    tail = await _open_journal(settings, ending)
    if tail is None:
        return
    state, head = snapshots.restore(tail, settings.snapshots)
    views = Database(settings.views, tail.journal_id, tail.head.seq)
    _say_lost_end(settings, tail.head.seq, views)
    availability = Availability(settings.availability, tail.journal_id, tail.head.seq)
    follower = Follower(tail, state, head.seq, Views(views, availability), settings.inbox)
    with views_dropped_if_broken(settings.views, settings.availability):
        follower.catch_up()
        gc.collect()
        gc.freeze()  # what was restored lives long: the collector need not walk it again
        admin = _admin_token(settings)
        faces = _faces(settings, Opened(follower, views, tail.journal_id, admin))
        faces.availability = availability.report
        alerting = faces.alerts = _alerting(settings, faces, tail)
        server = _server(settings, api.build(faces, PAGES))
        renewal = _renewal(settings, server.config)
        tasks = [
            asyncio.create_task(follower.run(), name="follower"),
            asyncio.create_task(server.serve(sockets=[listener]), name="server"),
            asyncio.create_task(_say_ready(server, faces), name="ready"),
            *chores.start(settings, faces, alerting),
        ]
        if stores.are_in_databases(settings.data):
            watching = admin.watch(Agreement(settings.data))
            tasks.append(asyncio.create_task(watching, name="look at the token"))
        if renewal is not None:
            tasks.append(asyncio.create_task(chores.repeat(chores.renewing(renewal)), name="renewal"))
        if faces.seat is not None:
            tasks.append(asyncio.create_task(seats.watch(settings, faces.seat), name="look at the lease"))
        try:
            await _until(ending, tasks)
        finally:
            faces.closing.set()
            follower.release()
            server.should_exit = True
            await asyncio.wait([tasks[1]], timeout=DRAIN_S + 1)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            faces.commit.close()
            if faces.provider is not None:
                await faces.provider.aclose()
            with contextlib.suppress(sqlite3.Error):  # they are droppable
                views.close()
                availability.close()
            chores.sign_last(settings, tail)
            if alerting is not None:
                alerting.close()


async def _until(ending: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Return when told to end; raise what ended a task that should go on."""
    told = asyncio.create_task(ending.wait())
    running = {task for task in tasks if task.get_name() != "ready"}
    done, _ = await asyncio.wait({told, *running}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    for task in done - {told}:
        task.result()
        if not ending.is_set():
            raise CannotServe("failed", f"the {task.get_name()} ended by itself")


async def _open_journal(settings: Settings, ending: asyncio.Event) -> Reader | None:
    """The journal, once the writer has made it; None if told to end before."""
    deadline = time.monotonic() + JOURNAL_S
    while not ending.is_set():
        try:
            return open_reader(settings.journal)
        except (JournalUnusable, sqlite3.Error):
            if time.monotonic() > deadline or _is_whole(settings.journal):
                raise
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), POLL_S)
    return None


def _is_whole(journal: Path) -> bool:
    """Whether the file is past the moment in which the writer makes it."""
    try:
        return time.time() - journal.stat().st_mtime > 10
    except FileNotFoundError:
        return False


def _say_lost_end(settings: Settings, last: int, views: Database) -> None:
    """What was committed cannot vanish by itself: tell the operator if others know of more than the journal holds."""
    signed = None
    with contextlib.suppress(OSError, ValueError):
        signed = heads.last_recorded(settings.heads)
    known = {
        settings.heads.name: signed.seq if signed else 0,
        settings.snapshots.name: snapshots.latest(settings.snapshots),
        settings.views.name: views.ahead,
    }
    witness, seq = max(known.items(), key=lambda item: item[1])
    if seq > last:
        _log.critical(
            "%s ends at entry %d, but %s knows entry %d: it lost its end, or is an older copy, and what was "
            "acknowledged since is gone; if you went back on purpose, move heads.jsonl and snapshots/ away",
            settings.journal, last, witness, seq,
        )  # fmt: skip


class Opened(NamedTuple):
    """What faces are made of that lives as long as their process. `journal`: its id."""

    follower: Follower
    views: Database
    journal: str
    admin: AdminTokenFile


def _admin_token(settings: Settings) -> AdminTokenFile:
    try:
        return AdminTokenFile(settings.admin_token)
    except (OSError, ValueError) as error:
        raise CannotServe("unusable", f"no admin token: {error}") from error


def _faces(settings: Settings, opened: Opened) -> Faces:
    follower, views, journal, admin = opened
    records = Records(settings.records)
    now, lives, twin = _times(settings)
    book = SiteBook(settings.sites if settings.twin is None else None)
    return Faces(
        follower=follower,
        reading=Reading(views, follower.show),
        records=records,
        commit=GroupCommit(records),
        blobs=Blobs(settings.blobs),
        tokens=Tokens(admin, lambda: follower.state, lives),
        authorizer=Authorizer(),
        signins=SignIns(),
        provider=_provider(settings),
        people=People(settings.people),
        secrets=Secrets(settings.secrets),
        now=now,
        wall=now_us,
        lives=lives,
        read_log=Logs(settings.runs, book, journal).read_log if twin is None else read_log,
        leftovers=Left(settings.runs, book),
        disk_low=DiskLow(settings.data, settings.disk_reserve_bytes),
        loopback=is_loopback(settings.host) and not settings.behind_proxy,
        limits=Limits(),
        closing=asyncio.Event(),
        forecasts=Latest(settings.data if settings.forecast_cpu else None),
        sites=book,
        test_site=lambda file: checks.run(file, journal),
        twin=twin,
        burn_in=burnin.SCRIPT.strip if settings.burn_in is None else settings.burn_in.read_text,
        seat=Seat(settings.member, settings.address) if settings.standby else None,
    )


def _alerting(settings: Settings, faces: Faces, tail: Reader) -> Alerting | None:
    """None in a twin: nobody is told of what is simulated. CannotServe if the file is wrong by now."""
    if settings.twin is not None:
        return None
    try:
        told = AlertSettings() if settings.alerts is None else alerts.read(settings.alerts)
    except YamlWrong as wrong:
        raise CannotServe("unusable", str(wrong)) from wrong
    store = Store(settings.alerted, tail.journal_id, tail.head.seq)
    around = Surroundings(
        open_journal=lambda: open_reader(settings.journal),
        now=now_us,
        look=look_of(faces),
        leave=lambda: faces.is_led_by_another,
    )
    return Alerting(store, told, tail.journal_id, around)


def _times(settings: Settings) -> tuple[Callable[[], int], Lives, Twin | None]:
    """The journal's time, how long lives what opens doors, and what a twin says of itself; CannotServe."""
    if settings.twin is None:
        return now_us, Lives(now_us), None
    try:
        dial, kept = Dial(settings.dial), Ends(settings.twin_ends)
        found = msgspec.json.decode(settings.twin_mark.read_bytes())
    except (OSError, ValueError) as error:
        raise CannotServe("unusable", f"the files of the twin in {settings.data}: {error}") from error

    def twin() -> Shown:
        read = dial.read()
        return Shown(found["name"], read.speed, read.reached, moment(read.now_us))

    def now() -> int:
        return dial.read().now_us

    return now, WorldLives(now_us, now, kept), twin


def _provider(settings: Settings) -> Provider | None:
    """Whom others sign in with; CannotServe if its file is wrong."""
    if settings.oidc is None:
        return None
    try:
        return Provider(oidc_settings.read(settings.oidc))
    except oidc_settings.SettingsWrong as error:
        raise CannotServe("unusable", " ".join(str(error).split())) from error


def now_us() -> int:
    """Wall clock, µs."""
    return time.time_ns() // 1000


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: this process ends in one way, `_until`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(settings: Settings, application: ASGIApp) -> uvicorn.Server:
    config = uvicorn.Config(
        forwarded(application) if settings.behind_proxy else application,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S,
    )
    return _Server(config)


def _renewal(settings: Settings, config: uvicorn.Config) -> Renewal | None:
    """Who takes a renewed certificate; None without one. CannotServe if the files cannot serve."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        renewal = Renewal(context, Pair(settings.tls_cert, settings.tls_key))
    except (CertificateWrong, OSError) as wrong:
        raise CannotServe("failed", str(wrong)) from wrong
    config.ssl_context_factory = lambda _config, _default: context
    return renewal


async def _say_ready(server: uvicorn.Server, faces: Faces) -> None:
    """Say `ready` once requests are answered; with a writer on the other side, if one comes up in LINK_S, or as a
    standby."""
    deadline = time.monotonic() + LINK_S
    link = faces.follower.link
    while not server.started or (not link.connected and time.monotonic() < deadline):
        if server.started and faces.is_led_by_another:
            break
        await asyncio.sleep(POLL_S)
    print("ready", flush=True)


def _end_on(ending: asyncio.Event) -> None:
    """SIGTERM, or the end of standard input, ends the process."""
    loop = asyncio.get_running_loop()

    def heard() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            ending.set()

    loop.add_signal_handler(signal.SIGTERM, ending.set)
    loop.add_signal_handler(signal.SIGINT, _nothing)  # the parent tells when
    with contextlib.suppress(OSError):  # not a pipe: there is no parent to outlive
        loop.add_reader(0, heard)


def _nothing() -> None:
    pass


@contextlib.contextmanager
def views_dropped_if_broken(*views: Path) -> Iterator[None]:
    """Views that cannot take an entry are deleted; the next start makes them anew from the journal. A full disk is not
    their fault."""
    try:
        yield
    except ViewBroken as error:
        if is_full(error.__cause__):
            raise CannotServe("full", f"no room for {views[0]}; free some disk, then it goes on") from error
        for path in views:
            drop(path)
        raise CannotServe(
            "failed", f"the views were damaged and are rebuilt at the next start: {error}"
        ) from error


def _allow_connections() -> None:
    """As many open files as connections may need, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + 256
    if soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


if __name__ == "__main__":
    main()
