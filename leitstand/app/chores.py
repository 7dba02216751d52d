# SPDX-License-Identifier: Apache-2.0
"""What the faces' process does beside answering: signs chain heads, has snapshots written, deletes what is old.

Called by `leitstand.app.faces`. None of it is needed for correctness; a chore that fails says so and is tried later.
"""

import asyncio
import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from leitstand.api.auth import ROOT
from leitstand.api.context import Faces
from leitstand.api.onboarding.retention import Applications, erase_addresses
from leitstand.api.tenancy.leftovers import erase_of_the_gone
from leitstand.app import certificate
from leitstand.app.alerting import DERIVE_EVERY_S, TELL_EVERY_S, Alerting
from leitstand.app.certificate import CertificateWrong, Renewal
from leitstand.app.settings import Settings
from leitstand.core.acts import TokenRevoked
from leitstand.core.people import ADMIN
from leitstand.journal import heads, snapshots
from leitstand.journal.place import Reader, open_reader
from leitstand.stores.blobs import Retention
from leitstand.stores.secrets import Secrets

SIGN_EVERY_S: Final = 60.0
SNAPSHOT_LOOK_S: Final = 5.0
SNAPSHOT_FACTS: Final = 200_000  # since the last one
SNAPSHOT_AGAIN_S: Final = 600.0  # after one that came to nothing
PRUNE_EVERY_S: Final = 3600.0
PRUNE_RECORDS_EVERY_S: Final = 6 * 3600.0  # it walks all records
JOB_SECRET_MIN_US: Final = (
    3600 * 1_000_000
)  # how long a job's own secrets stay at least: it may not be submitted yet
FORECASTER_S: Final = 1.0  # after the start
FORECASTER_AGAIN_S: Final = 60.0  # after it ended
ALERT_AGAIN_S: Final = 5.0
RENEW_EVERY_S: Final = 2.0  # a look at two files
_log = logging.getLogger("leitstand.chores")


class Chore(NamedTuple):
    """`do` is done every `every_s`; after it failed, in `again_s`."""

    name: str
    do: Callable[[], Awaitable[object]]
    every_s: float
    again_s: float


def start(settings: Settings, faces: Faces, alerting: Alerting | None = None) -> list[asyncio.Task[None]]:
    """The chores as tasks that never end."""
    chores: tuple[Chore, ...] = (
        Chore("signing the journal's head", lambda: sign_now(settings), SIGN_EVERY_S, SIGN_EVERY_S),
        Chore(
            "writing a snapshot", lambda: write_snapshot(settings, faces), SNAPSHOT_LOOK_S, SNAPSHOT_AGAIN_S
        ),
        *(only_leading(faces, chore) for chore in _of_all(settings, faces)),
    )
    if alerting is not None:
        derive = Chore("deriving alerts", alerting.derive, DERIVE_EVERY_S, ALERT_AGAIN_S)
        chores = (*chores, derive, Chore("telling alerts", alerting.tell, TELL_EVERY_S, ALERT_AGAIN_S))
    if settings.forecast_cpu:
        run = Chore("forecasting", lambda: run_forecaster(settings), FORECASTER_S, FORECASTER_AGAIN_S)
        chores = (*chores, run)
    return [asyncio.create_task(repeat(chore), name=chore.name) for chore in chores]


def renewing(renewal: Renewal) -> Chore:
    """Takes a renewed certificate, and warns of one that runs out; for a control plane that does TLS."""

    async def do() -> None:
        try:
            times = await asyncio.to_thread(renewal.take_changed)
        except CertificateWrong as wrong:
            _log.critical("the renewed certificate is not taken, the one before goes on: %s", wrong)
        else:
            if times is not None:
                _log.warning("the renewed certificate is taken; it expires on %s", times.ends.isoformat())
        if said := renewal.due_warning(certificate.now()):
            _log.critical("%s", said)

    return Chore("taking a renewed certificate", do, RENEW_EVERY_S, RENEW_EVERY_S)


def only_leading(faces: Faces, chore: Chore) -> Chore:
    """A chore about what all machines of a control plane share: its leader does it."""

    async def do() -> None:
        if faces.leads:
            await chore.do()

    return chore._replace(do=do)


def _of_all(settings: Settings, faces: Faces) -> tuple[Chore, ...]:
    """What is deleted once it is old."""
    applications = Applications()
    return (
        Chore("deleting old work directories", lambda: prune_blobs(faces), PRUNE_EVERY_S, PRUNE_EVERY_S),
        Chore(
            "deleting secrets of ended jobs",
            lambda: prune_secrets(settings, faces),
            PRUNE_EVERY_S,
            PRUNE_EVERY_S,
        ),
        Chore(
            "erasing what old applications hold",
            lambda: applications.erase_old(faces),
            PRUNE_EVERY_S,
            PRUNE_EVERY_S,
        ),
        Chore(
            "revoking what a replaced admin token got",
            lambda: revoke_replaced(faces),
            SIGN_EVERY_S,
            SIGN_EVERY_S,
        ),
        Chore(
            "erasing addresses of invitations", lambda: erase_addresses(faces), PRUNE_EVERY_S, PRUNE_EVERY_S
        ),
        Chore(
            "erasing what runs of erased people left",
            lambda: erase_of_the_gone(faces),
            PRUNE_EVERY_S,
            PRUNE_EVERY_S,
        ),
        Chore(
            "deleting old records",
            lambda: prune_records(settings, faces),
            PRUNE_RECORDS_EVERY_S,
            PRUNE_EVERY_S,
        ),
    )


async def repeat(chore: Chore) -> None:
    """Do it for ever. Whatever it fails of is said and tried again: a chore never ends the faces."""
    pause_s = chore.every_s
    while True:
        await asyncio.sleep(pause_s)
        try:
            await chore.do()
            pause_s = chore.every_s
        except Exception as error:
            pause_s = chore.again_s
            _log.warning("%s failed; the next try is in %g s: %s", chore.name, pause_s, error)


# ── signed heads ──────────────────────────────────────────────────────────────────────────────────────────────────
async def sign_now(settings: Settings) -> None:
    """Sign the journal's head, in a thread and by a connection of its own."""

    def sign() -> None:
        with open_reader(settings.journal) as own:
            sign_head(settings, own)

    await asyncio.to_thread(sign)


def sign_last(settings: Settings, tail: Reader) -> None:
    """At the end of the faces: sign the head if that can be."""
    try:
        sign_head(settings, tail)
    except Exception as error:
        _log.warning("the journal's last head was not signed: %s", error)


def sign_head(settings: Settings, tail: Reader) -> None:
    """Sign the journal's head and keep the line, unless it is the last one already."""
    head = tail.head
    known = heads.last_recorded(settings.heads)
    if head.seq and (known is None or known.seq != head.seq):
        heads.record(settings.heads, heads.Signer(settings.keys).sign(tail.journal_id, head))


# ── snapshots ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def write_snapshot(settings: Settings, faces: Faces) -> None:
    """Have a snapshot written by a process of its own, if enough facts came since the last one."""
    folded = faces.follower.folded
    if folded - snapshots.latest(settings.snapshots, folded) < SNAPSHOT_FACTS:
        return
    status = await ended("leitstand.app.snapshot", settings, subprocess.DEVNULL)
    if status:
        raise RuntimeError(f"its process ended with exit code {status}")


# ── forecasts ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def run_forecaster(settings: Settings) -> None:
    """Have a process of its own forecast, as long as these faces live; it should not end."""
    status = await ended("leitstand.app.forecaster", settings, subprocess.PIPE)
    raise RuntimeError(f"its process ended with exit code {status}")


async def ended(module: str, settings: Settings, stdin: int) -> int:
    """The exit code of a process of its own, which is told to end when the chore is."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", module, settings.to_json(), stdin=stdin
    )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        raise


# ── what a replaced token left ──────────────────────────────────────────────────────────────────────────────────────
async def revoke_replaced(faces: Faces) -> None:
    """Revoke what the administrator got by a token of the data folder that was replaced. It opens nothing already; now
    listings and the audit say so."""
    people = faces.follower.state.people
    held = people.users[ADMIN].tokens if ADMIN in people.users else ()
    for token in [one for one in held if faces.tokens.is_replaced(people.tokens[one])]:
        await faces.ask(ROOT, "", TokenRevoked(token, ADMIN))


# ── what is old ──────────────────────────────────────────────────────────────────────────────────────────────────────
async def prune_blobs(faces: Faces) -> None:
    """Delete work directories that nobody used for long and no live job needs."""
    live = [job.spec for job in faces.follower.state.jobs.values()]

    def prune() -> None:
        keep = {spec.workdir for spec in faces.records.get_all(live).values() if spec.workdir}
        faces.blobs.prune(time.time(), Retention(), keep)

    await asyncio.to_thread(prune)


async def prune_secrets(settings: Settings, faces: Faces) -> None:
    """Delete the secrets that one job alone had, once it has ended."""
    live = [job.spec for job in faces.follower.state.jobs.values()]

    def prune() -> None:
        keep = {name for spec in faces.records.get_all(live).values() for name in spec.secrets.values()}
        with contextlib.closing(Secrets(settings.secrets)) as secrets:
            secrets.prune_job_secrets(time.time_ns() // 1000 - JOB_SECRET_MIN_US, keep)

    await asyncio.to_thread(prune)


async def prune_records(settings: Settings, faces: Faces) -> None:
    """Delete names and commands that nobody submitted for long and no live job needs."""
    live = {job.spec for job in faces.follower.state.jobs.values()}
    await asyncio.to_thread(faces.records.prune, settings.record_days, live)
