# SPDX-License-Identifier: Apache-2.0
"""The TLS certificate of a control plane: examined before anything listens, taken anew when its files change.

Called by `leitstand.app.preflight`, by `up` for what it says of a certificate that runs out, and by the faces' chore
`renew`. Renewal needs no restart: new connections get the new certificate, those that are open keep theirs.
"""

import os
import ssl
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from leitstand.cli.text import t, why

SOON: Final = timedelta(days=14)  # before its end a certificate is warned of
FILE_BYTES_MAX: Final = 1024 * 1024

Stamp = tuple[tuple[int, int, int], ...]


class CertificateWrong(Exception):
    """The files cannot serve; one line that names the file and what helps."""


class Pair(NamedTuple):
    """The files of a certificate chain and of its key, both PEM."""

    cert: Path
    key: Path

    def stamp(self) -> Stamp:
        """Changes when either file is replaced or written; OSError if one cannot be looked at. Links are followed:
        ACME clients change what a link names."""
        found = (os.stat(self.cert), os.stat(self.key))
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)


class Times(NamedTuple):
    """From when until when a certificate may be used."""

    begins: datetime
    ends: datetime


def examine(pair: Pair) -> Times:
    """The times of the first certificate; CertificateWrong if a file cannot be read or used, or they do not belong
    together. Nothing is asked of a terminal: a key with a pass phrase is refused."""
    from cryptography import x509

    chain = _content(pair.cert)
    _content(pair.key)
    try:
        first = x509.load_pem_x509_certificates(chain)[0]
    except (ValueError, IndexError) as error:
        raise CertificateWrong(
            t("{file} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", file=pair.cert)
        ) from error
    load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)
    return Times(first.not_valid_before_utc, first.not_valid_after_utc)


def load(context: ssl.SSLContext, pair: Pair) -> None:
    """Let `context` show this certificate to whom connects from now on; CertificateWrong as `examine`."""
    try:
        context.load_cert_chain(pair.cert, pair.key, password=_no_pass_phrase)
    except _PassPhrase as error:
        raise CertificateWrong(
            t(
                "{file} is locked with a pass phrase, and nobody is there to type it; write it without one, "
                "readable by its owner alone: openssl pkey -in {file} -out NEW.key",
                file=pair.key,
            )
        ) from error
    except ssl.SSLError as error:
        raise CertificateWrong(_said(pair, error)) from error
    except OSError as error:
        raise CertificateWrong(f"{pair.cert}, {pair.key}: {why(error)}") from error


def warning(pair: Pair, times: Times, now: datetime) -> str:
    """What the operator has to know of its times; '' if all is well."""
    if now < times.begins:
        return t(
            "the certificate {file} is valid only from {time} UTC on", file=pair.cert, time=_day(times.begins)
        )
    if now >= times.ends:
        return t(
            "the certificate {file} expired on {time} UTC: clients refuse it; renew it, it is taken without a restart",
            file=pair.cert,
            time=_day(times.ends),
        )
    if times.ends - now < SOON:
        return t(
            "the certificate {file} expires on {time} UTC; renew it, it is taken without a restart",
            file=pair.cert,
            time=_day(times.ends),
        )
    return ""


class Renewal:
    """Takes the files anew into `context` whenever they change. `context` serves while this is asked."""

    def __init__(self, context: ssl.SSLContext, pair: Pair) -> None:
        """CertificateWrong if they cannot serve; OSError if they went away meanwhile."""
        self._context = context
        self._pair = pair
        self._taken = pair.stamp()  # before they are read: what changes while they are is taken again
        self._refused: Stamp | None = None  # is not examined again until it changes
        self._warned: date | None = None
        self._times = examine(pair)
        load(context, pair)

    def take_changed(self) -> Times | None:
        """The times of the certificate that was taken, None if nothing changed. CertificateWrong, once for each
        change, if the files cannot serve: what was taken before goes on. A key that was replaced a moment before its
        certificate is such a change, and the next call takes both."""
        try:
            stamp, missing = self._pair.stamp(), None
        except OSError as error:
            stamp, missing = (), error
        if stamp in (self._taken, self._refused):
            return None
        self._refused = stamp
        if missing is not None:
            raise CertificateWrong(f"{missing.filename}: {why(missing)}") from missing
        times = examine(self._pair)
        load(self._context, self._pair)
        self._times, self._taken, self._refused = times, stamp, None
        self._warned = None
        return times

    def due_warning(self, now: datetime) -> str:
        """`warning`, once a day; '' if there is none, or it was told today."""
        said = warning(self._pair, self._times, now)
        if not said or self._warned == now.date():
            return ""
        self._warned = now.date()
        return said


# ── below: why not ────────────────────────────────────────────────────────────────────────────────────────────────
class _PassPhrase(Exception):
    pass


def _no_pass_phrase() -> str:
    raise _PassPhrase


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise CertificateWrong(f"{path}: {why(error)}") from error


def _said(pair: Pair, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return t(
            "{key} is not the key of {cert}; the first certificate of that file has to be the one of this key",
            key=pair.key,
            cert=pair.cert,
        )
    if error.reason is None or error.reason in ("NO_START_LINE", "PEM_LIB"):
        return t("{file} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)", file=pair.key)
    return f"{pair.cert}, {pair.key}: {error.reason.lower().replace('_', ' ')}"


def now() -> datetime:
    """Wall clock."""
    return datetime.now(UTC)


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
