# SPDX-License-Identifier: Apache-2.0
"""What the processes of a control plane have in common: how they end and say why, whom they lock out, what they log.

Called by `leitstand.app.writer`, `faces` and `snapshot`; `up` knows their exit codes and checks the same before.
"""

import contextlib
import fcntl
import ipaddress
import logging
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from leitstand.app.settings import Settings
from leitstand.journal.codec import JournalUnusable
from leitstand.runtime.disk import is_full
from leitstand.runtime.ports import JournalAway, JournalFull, StaleHead
from leitstand.stores.records import NewerRecords
from leitstand.stores.tables import StoreAway

EXIT_CODES: Final = {
    "failed": 1, "insecure": 2, "busy": 3, "locked": 4, "unusable": 5, "fenced": 6, "full": 7, "clock": 8, "away": 9,
    "lost": 10,
}  # fmt: skip
ALERT: Final = "CRITICAL"  # a line on standard error that begins so is for the operator: the parent shows it
LOCK_POLL_S: Final = 0.05
DISK_LOOK_S: Final = 0.25  # how often the free disk is looked at, at most

Addresses = list[tuple[socket.AddressFamily, Any]]


class CannotServe(Exception):
    """Why a process does not start or go on: the name of its exit code, and one line."""

    def __init__(self, code: str, line: str) -> None:
        super().__init__(line)
        self.code = EXIT_CODES[code]


@contextlib.contextmanager
def saying_why(settings: Settings, *, leads: bool = False) -> Iterator[None]:
    """What the process cannot go on from ends it: one line on standard error and a code of EXIT_CODES. `leads`: it has
    a lease to lose, and may be started again at once."""
    logging.basicConfig(format="%(levelname)s %(asctime)s %(name)s: %(message)s")  # to standard error
    try:
        yield
    except CannotServe as reason:
        _end(reason.code, str(reason))
    except (JournalUnusable, NewerRecords) as error:
        _end(EXIT_CODES["unusable"], str(error))
    except StaleHead:
        code = "lost" if leads else "fenced"
        _end(EXIT_CODES[code], f"another writer took over the journal of {settings.data}; this one ends")
    except (JournalAway, StoreAway) as error:
        code = "lost" if leads and isinstance(error, JournalAway) else "away"
        _end(EXIT_CODES[code], f"{error}; it goes on when the server is back")
    except (JournalFull, OSError, sqlite3.Error) as error:
        if isinstance(error, JournalFull) or is_full(error):
            _end(EXIT_CODES["full"], f"no room in {settings.data} ({error}); free some disk, then it goes on")
        _end(EXIT_CODES["failed"], f"the data folder {settings.data} cannot be used: {error}")


def _end(code: int, line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    sys.exit(code)


# ── whom it locks out ─────────────────────────────────────────────────────────────────────────────────────────────
@contextlib.contextmanager
def lock(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path` of a data folder, which goes with the process; CannotServe names who still holds it
    after `wait_s`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not locked(descriptor, time.monotonic() + wait_s):
            raise CannotServe(
                "locked",
                f"data folder {path.parent} is in use by another control plane (process {holder(descriptor)}); "
                "stop that one, or start this one with another --data",
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def locked(descriptor: int, deadline: float) -> bool:
    """Whether the open file could be locked until `deadline` (of `time.monotonic`)."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOCK_POLL_S)


def holder(descriptor: int) -> str:
    """The process id that holds the lock: what stands in the file, else what the kernel says, else `?`."""
    written = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    if written.isdigit():
        return written
    inode = str(os.fstat(descriptor).st_ino)
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode:
                return fields[4]
    return "?"


# ── who may listen ──────────────────────────────────────────────────────────────────────────────
def is_open(settings: Settings) -> bool:
    """Whether tokens would travel in clear from other machines; OSError or UnicodeError for a host that is none."""
    encrypted = settings.behind_proxy or (settings.tls_cert and settings.tls_key)
    return not encrypted and not is_loopback(settings.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to `host`; errors as `is_open`."""
    return all(ipaddress.ip_address(address[0]).is_loopback for _, address in addresses(host, 0))


def addresses(host: str, port: int) -> Addresses:
    """Where to listen for TCP; errors as `is_open`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(family, address) for family, _, _, _, address in found]


# ── how much disk is left ─────────────────────────────────────────────────────────────────────────────────────────
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
