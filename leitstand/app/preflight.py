# SPDX-License-Identifier: Apache-2.0
"""What has to hold before a control plane starts: sane settings, a usable data folder, nobody else on it, a free port.

Called by `leitstand.app.up`. Every refusal names the thing, the value, the limit and the remedy.
"""

import errno
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from leitstand.app import certificate
from leitstand.app.admin_token import admin_token
from leitstand.app.serving import EXIT_CODES, addresses, holder, is_open, locked
from leitstand.app.settings import Settings
from leitstand.cli.text import t
from leitstand.journal import place
from leitstand.journal.codec import JournalUnusable
from leitstand.stores import place as stores
from leitstand.stores.agreement import Agreement, Disagreement
from leitstand.stores.secrets import make_master
from leitstand.stores.tables import StoreAway

if TYPE_CHECKING:
    from leitstand.twin.live.scenario import Scenario

SIZE_MAX: Final = 1 << 50
POLL_S: Final = 0.05
FAILED: Final = EXIT_CODES["failed"]
BUSY: Final = EXIT_CODES["busy"]
LOCKED: Final = EXIT_CODES["locked"]


class Urls(NamedTuple):
    """Of databases, as they were given at this start. They may hold passwords and are no part of the settings."""

    journal: str | None = None
    keys: str | None = None


NO_URLS: Final = Urls()


class CannotStart(click.ClickException):
    """The control plane cannot start here."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it per class


# ── the settings ──────────────────────────────────────────────────────────────────────────────────────────────────
def check(settings: Settings) -> None:
    """BadParameter or UsageError for settings that cannot be: value, limit, remedy."""
    if settings.gpus is not None and settings.gpus % settings.nodes:
        message = t(
            "{gpus} GPUs cannot be shared evenly by {nodes} nodes", gpus=settings.gpus, nodes=settings.nodes
        )
        raise _bad("--nodes", message)
    for option, size in (
        ("--disk-reserve", settings.disk_reserve_bytes),
        ("--log-limit", settings.log_bytes_max),
    ):
        if size > SIZE_MAX:
            raise _bad(option, t("{size} bytes is over the limit of {limit}", size=size, limit=SIZE_MAX))
    _check_turns(settings)
    _check_tls(settings)
    _check_oidc(settings)
    try:
        exposed = is_open(settings)
    except (OSError, UnicodeError) as error:
        raise _no_address(settings) from error
    if exposed:
        raise _bad(
            "--host",
            t(
                "{host} can be reached from outside, and tokens would travel in clear. "
                "Give --tls-cert and --tls-key, or --behind-proxy if a proxy does the TLS.",
                host=settings.host,
            ),
        )


def _check_turns(settings: Settings) -> None:
    if not settings.standby:
        for option, given in (("--shared", settings.shared), ("--address", settings.address)):
            if given:
                raise _bad(option, t("is for control planes that take turns: give --standby, too"))
        return
    if settings.gpus is not None or settings.nodes > 1:
        message = t(
            "control planes that take turns run nothing on their own machines; leave --gpus and --nodes out"
        )
        raise _bad("--standby", message)
    if settings.shared is None:
        message = t(
            "needs --shared DIR, a folder that all of them have: work directories and sites lie there"
        )
        raise _bad("--standby", message)
    if not (settings.shared.is_dir() and os.access(settings.shared, os.W_OK)):
        raise _bad("--shared", t("{folder} is no folder that can be written", folder=settings.shared))


def _check_tls(settings: Settings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise click.UsageError(t("--tls-cert and --tls-key belong together"))
    if settings.tls_cert is None:
        return
    assert settings.tls_key is not None
    try:
        certificate.examine(certificate.Pair(settings.tls_cert, settings.tls_key))
    except certificate.CertificateWrong as wrong:
        raise _bad("--tls-cert", str(wrong)) from wrong


def _check_oidc(settings: Settings) -> None:
    if settings.oidc is None:
        return
    from leitstand.access.oidc_settings import SettingsWrong, read

    try:
        read(settings.oidc)
    except SettingsWrong as error:
        raise _bad("--oidc", str(error)) from error


def _no_address(settings: Settings) -> click.BadParameter:
    return _bad("--host", t('"{host}" is not an address of this machine', host=settings.host))


def _bad(option: str, message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint=option)


# ── the twin ──────────────────────────────────────────────────────────────────────────────────────────────────────
def scenario_of(settings: Settings) -> "Scenario | None":
    """The scenario of a twin, None for a real control plane; BadParameter for one that cannot be, or is not that of the
    data folder, or where the folder is of the other kind."""
    if settings.twin is None:
        if settings.twin_mark.exists():
            message = t(
                "{folder} is that of a twin; start it with --twin SCENARIO, or name another folder",
                folder=settings.data,
            )
            raise _bad("--data", message)
        return None
    from leitstand.app.twinned import mark_of
    from leitstand.twin.live.scenario import read_scenario
    from leitstand.twin.reading.table import TraceError

    try:
        scenario = read_scenario(settings.twin)
        known = mark_of(settings)
    except TraceError as error:
        raise _bad("--twin", str(error)) from error
    except (OSError, ValueError) as error:
        message = t("{folder} cannot be used: {error}", folder=settings.twin_mark, error=error)
        raise _bad("--data", message) from error
    if known is None and (place.exists(settings.journal) or settings.admin_token.exists()):
        message = t(
            "{folder} is that of a real control plane; name another folder for the twin", folder=settings.data
        )
        raise _bad("--data", message)
    if known is not None and known.digest != scenario.digest:
        message = t(
            '{folder} goes on with the scenario "{name}", and this is another one; name another folder for it',
            folder=settings.data,
            name=known.name,
        )
        raise _bad("--data", message)
    return scenario


def mark_folder(settings: Settings, scenario: "Scenario | None") -> None:
    """Make the folder of a new twin and say in it whose it is, before anything else is there."""
    if scenario is None or settings.twin_mark.exists():
        return
    from leitstand.app.twinned import mark

    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(settings.data.iterdir()):
            mark(settings, scenario)
    except OSError as error:
        message = t("{folder} cannot be used: {error}", folder=settings.data, error=error.strerror or error)
        raise _bad("--data", message) from error


# ── the data folder ───────────────────────────────────────────────────────────────────────────────────────────────
def prepare_folder(settings: Settings, urls: Urls = NO_URLS) -> None:
    """Make DIR (0700), DIR/log and DIR/admin.token (0600; kept if there is one), and note where journal and keys are,
    if that is said. BadParameter if it cannot be used."""
    data = settings.data
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = any(one.exists() for one in (settings.admin_token, settings.twin_mark))
        if any(data.iterdir()) and not (known or place.exists(settings.journal)):
            raise _bad("--data", t("{folder} holds other things; name a new or empty folder", folder=data))
        data.chmod(0o700)
        _settle(settings, urls)
        if settings.standby and not stores.are_in_databases(data):
            message = t("whoever takes over needs journal and stores: give --journal and --keys")
            raise _bad("--standby", message)
        (data / "log").mkdir(mode=0o700, exist_ok=True)
        if stores.are_in_databases(data):
            _agree(settings)
        admin_token(settings.admin_token)
    except FileExistsError as error:
        raise _bad("--data", t("{folder} is not a folder", folder=error.filename)) from error
    except OSError as error:
        message = t("{folder} cannot be used: {error}", folder=data, error=error.strerror or error)
        raise _bad("--data", message) from error
    except ValueError as error:
        raise _bad("--data", str(error)) from error


def _settle(settings: Settings, urls: Urls) -> None:
    """Note where the journal is, and the stores, if that is said."""
    try:
        if urls.journal is not None:
            place.settle(settings.journal, urls.journal)
        journal = place.url_of(settings.journal)
    except JournalUnusable as error:
        raise _bad("--journal", str(error)) from error
    keys = urls.keys or stores.url_of(settings.data / stores.KEYS)
    if keys is None:
        return
    if journal is None:
        raise _bad("--keys", t("the stores are in a database only if the journal is; give --journal, too"))
    try:
        stores.settle(settings.data, journal, keys)
    except stores.StoresElsewhere as error:
        raise _bad("--keys", str(error)) from error


def _agree(settings: Settings) -> None:
    """This machine has what others of this control plane have, and makes what none has yet."""
    try:
        _check_apart(settings)
        agreement = Agreement(settings.data)
        files = {path.name: path for path in (settings.admin_token, settings.master_key)}
        agreement.check_there(files)
        admin_token(settings.admin_token)
        if not settings.master_key.exists():
            make_master(settings.master_key)
        agreement.check_alike(files)
    except Disagreement as error:
        raise _bad("--data", str(error)) from error
    except (StoreAway, PermissionError) as error:
        raise CannotStart(str(error), FAILED) from error


def _check_apart(settings: Settings) -> None:
    from leitstand.stores.server import archived_together

    journal, keys = (stores.url_of(settings.data / name) for name in (stores.STORES, stores.KEYS))
    assert journal is not None
    assert keys is not None
    if archived_together(journal, keys):
        raise _bad(
            "--keys",
            t(
                "this database is of the server of the journal, which archives its log: keys that an erasure destroys "
                "would lie on there; name one of another server"
            ),
        )


def await_lock(path: Path, deadline: float) -> None:
    """Return once nobody holds the lock file `path` of a data folder; CannotStart (4) at the deadline, with the
    holder's process id."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = t("{folder} cannot be used: {error}", folder=path, error=error.strerror)
        raise _bad("--data", message) from error
    try:
        if not locked(file, deadline):
            message = t(
                "{folder} is in use by another control plane (process {pid}). Stop that one, or name another "
                "folder with --data.",
                folder=path.parent,
                pid=holder(file),
            )
            raise CannotStart(message, LOCKED)
    finally:
        os.close(file)


def await_port(settings: Settings, deadline: float) -> None:
    """Return once the address can be bound; CannotStart (3) if it is still busy at the deadline."""
    try:
        found = addresses(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        raise _no_address(settings) from error
    for family, address in found:
        while True:
            try:
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    probe.bind(address)
                break
            except PermissionError as error:
                message = t("port {port} needs privileges; take one from 1024 on", port=settings.port)
                raise _bad("--port", message) from error
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise _no_address(settings) from error
                if time.monotonic() > deadline:
                    message = t(
                        "port {port} of {host} is in use by another program; choose another with --port.",
                        port=settings.port,
                        host=settings.host,
                    )
                    raise CannotStart(message, BUSY) from error
                time.sleep(POLL_S)
