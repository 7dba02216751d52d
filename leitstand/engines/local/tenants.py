# SPDX-License-Identifier: Apache-2.0
"""Who runs as whom: each tenant's user id and home. Made by the writer at its start, asked by the local engine.

A tenant keeps its user id for ever and no other tenant gets it, since files outlive both: the table is written whole
and flushed before an id is used. The tenant `operator` is the control plane's own user.
"""

import logging
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

import leitstand
from leitstand.engines.local import record
from leitstand.engines.refused import CannotStart
from leitstand.runtime.spec import OPERATOR

UIDS: Final = "uids.json"
SUBUIDS: Final = Path("/etc/subuid")  # which local users may take on in containers, subuid(5)
HOMES: Final = "homes"
CHECKPOINTS: Final = "checkpoints"
PASSABLE: Final = 0o711  # the mode of a folder that others pass through and cannot list
PROBE_S: Final = 30.0
# All that a tenant's user id must be able to pass through where a run has no view of its own.
OPEN: Final = (HOMES, "runs", CHECKPOINTS)
_PROBE: Final = (
    "import sys; sys.path.append(sys.argv[1]); from leitstand.engines.local.confine import probe; probe()"
)

_log = logging.getLogger(__name__)


class Identity(msgspec.Struct, frozen=True):
    """As whom a run of a tenant executes. `uid`: its user and group id; `python`: the interpreter its environment is
    made from; `programs`: folders outside of its reach that it may read all the same, those of that interpreter.
    `data`: the data folder. `namespaces`: whether the run has processes and files of its own, too."""

    tenant: str
    uid: int
    home: Path
    data: Path
    python: Path
    programs: tuple[str, ...]
    namespaces: bool


class Tenants:
    """The user ids of one data folder, from `uids`. For a control plane that is root alone.

    `python`: what environments are made from, None: the control plane's own. `namespaces` as `namespaces_here` says.
    OSError, ValueError if the table cannot be read."""

    def __init__(self, data: Path, uids: range, *, namespaces: bool, python: Path | None = None) -> None:
        self._data = data
        self._uids = uids
        self._namespaces = namespaces
        self._python = (python or Path(sys.executable)).absolute()
        own = dict.fromkeys(os.path.abspath(prefix) for prefix in (sys.prefix, sys.base_prefix))
        self._programs = () if python else tuple(prefix for prefix in own if prefix != "/")
        self._path = data / UIDS
        self._given: dict[str, int] = {}
        if self._path.exists():
            self._given = msgspec.json.decode(self._path.read_bytes(), type=dict[str, int])
        (data / HOMES).mkdir(mode=0o700, exist_ok=True)
        if not namespaces:
            _let_pass(data)

    def identity(self, tenant: str) -> Identity | None:
        """As whom this tenant's runs execute, None: as ourselves. Its first run makes its home. CannotStart: the range
        is used up; OSError: the disk refuses."""
        if tenant == OPERATOR:
            return None
        uid = self._given.get(tenant) or self._give(tenant)
        home = self._data / HOMES / tenant
        home.mkdir(mode=0o700, exist_ok=True)
        if home.stat().st_uid != uid:
            os.chown(home, uid, uid)
        return Identity(tenant, uid, home, self._data, self._python, self._programs, self._namespaces)

    def _give(self, tenant: str) -> int:
        taken = {*self._given.values(), *(user.pw_uid for user in pwd.getpwall())}
        subuids = _subuids()
        uid = next(
            (uid for uid in self._uids if uid not in taken and not any(uid in one for one in subuids)), 0
        )
        if not uid:
            raise CannotStart(
                "uids_exhausted",
                f"no user id is left for tenant {tenant}: {len(self._given)} tenants have one and the range is "
                f"{self._uids.start}-{self._uids.stop - 1}; the operator can give more with --uids",
            )
        table = {**self._given, tenant: uid}
        record.write_durably(str(self._data), UIDS, msgspec.json.encode(table).decode())
        self._given = table
        _log.info("runs of tenant %s have the user id %d", tenant, uid)
        return uid


def namespaces_here() -> bool:
    """Whether the operating system lets us give a run processes and files of its own: tried out, in a process."""
    package = str(Path(leitstand.__file__).resolve().parent.parent)
    command = [sys.executable, "-I", "-S", "-c", _PROBE, package]
    try:
        return subprocess.run(command, capture_output=True, timeout=PROBE_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _subuids() -> list[range]:
    try:
        lines = SUBUIDS.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    parts = [line.split(":") for line in lines]
    return [
        range(int(one[1]), int(one[1]) + int(one[2]))
        for one in parts
        if len(one) == 3 and one[1].isdecimal() and one[2].isdecimal()
    ]


def _let_pass(data: Path) -> None:
    """Where a run has no view of its own its user id passes through the data folder: nothing else there is open."""
    for name in os.listdir(data):
        found = os.lstat(data / name)
        if name not in OPEN and not stat.S_ISLNK(found.st_mode):
            os.chmod(data / name, stat.S_IMODE(found.st_mode) & ~0o077)
    for name in OPEN:
        (data / name).mkdir(mode=PASSABLE, exist_ok=True)
        os.chmod(data / name, PASSABLE)
    os.chmod(data, PASSABLE)
