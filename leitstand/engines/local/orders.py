# SPDX-License-Identifier: Apache-2.0
"""What the engine hands to a supervisor: the commands and environments of a run's tasks.

The order file is marshalled, not JSON, because the supervisor can read that without importing anything, and because
environments and commands need not be valid text. It is private to the user of the control plane (0600).
"""

import marshal
import os
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

from leitstand.core.units import SECOND_US
from leitstand.engines import surroundings as around
from leitstand.engines.local import environment, record
from leitstand.engines.local.gpus import LocalSite
from leitstand.engines.local.packages import Environment
from leitstand.engines.local.tenants import Identity, Tenants
from leitstand.engines.refused import CannotStart
from leitstand.runtime.ports import StartRun
from leitstand.runtime.spec import RunSpec

GRACE_MAX_US: Final = 3_600 * SECOND_US  # that a job may ask for between its signal and KILL
_AFTER_SETUP: Final = 'bash "$0" || exit; exec "$@"'


class Surroundings(around.Surroundings, frozen=True):
    """What the engine asks of the writer. `tenants`: who runs as whom; None: everybody as the control plane's own user.
    `python`: from which the environments of those are made who run as that user."""

    tenants: Tenants | None = None
    python: Path = Path(sys.executable)


class Gathered(around.Work, frozen=True):
    """What a run executes, and as whom."""

    identity: Identity | None


class Execution(msgspec.Struct, frozen=True):
    """Everything that is known about a run when it is handed over. `journal`: its id; `python`: the tenant's
    environment; `port`: `MASTER_PORT`; `checkpoint`: the folder for it that all runs of the job share; `wake`: the FIFO
    by which the supervisor calls the engine."""

    order: StartRun
    journal: str
    gathered: Gathered
    python: Environment
    site: LocalSite
    folder: Path
    port: int
    checkpoint: Path | None
    wake: Path
    log_bytes_max: int
    grace_us: int


def gather(order: StartRun, surroundings: Surroundings, site: LocalSite) -> Gathered:
    """What the run executes. Raises CannotStart, NotYet; OSError."""
    work = around.work_of(order, surroundings)
    for task in order.tasks:
        try:
            site.visible(task)
        except LookupError:
            what = f"GPUs {list(task.gpus)}" if not task.slot else f"the MIG instance {task.mask}"
            raise CannotStart(
                "gpus_missing", f"this machine no longer offers {what} of {task.node}"
            ) from None
    identity = surroundings.tenants.identity(order.tenant) if surroundings.tenants else None
    return Gathered(work.spec, work.workdir, work.secrets, identity)


def write(execution: Execution) -> None:
    """Writes scripts and order file into the run folder; OSError when the disk refuses. No secret is among it."""
    folder, spec, identity = execution.folder, execution.gathered.spec, execution.gathered.identity
    for name, script in ((record.SETUP, spec.setup), (record.SCRIPT, spec.script)):
        if script:
            _write_private(folder / name, script.encode(errors="surrogateescape"), identity)
    order = {
        "run": execution.order.run,
        "journal": execution.journal,
        "placed_us": execution.order.placed_us,
        "tasks": [
            {"argv": _argv(execution), "env": environment.of(_described(execution, rank))}
            for rank in range(len(execution.order.tasks))
        ],
        "workdir": str(execution.gathered.workdir or ""),
        "max_duration_us": execution.order.max_duration_us,
        "grace_us": execution.grace_us,
        **_ending(spec, execution.grace_us),
        "log_bytes_max": execution.log_bytes_max,
        "port": execution.port,
        "wake": str(execution.wake),
        "identity": identity and _identity(execution, identity),
        "python": _missing(execution.python, identity.uid if identity else os.geteuid()),
    }
    part = folder / f"{record.ORDER}.part"
    _write_private(part, marshal.dumps(order))
    part.rename(folder / record.ORDER)


def secrets(execution: Execution) -> bytes:
    """What the supervisor gets on its standard input: secrets by variable, but for variables that are ours."""
    taken = environment.ours(_described(execution, 0))
    values = {name: value for name, value in execution.gathered.secrets.items() if name not in taken}
    return marshal.dumps(values) if values else b""


def _ending(spec: RunSpec, grace_us: int) -> dict[str, int]:
    """How the run is told that its time is over: which signal, and how long before KILL (µs)."""
    if spec.checkpoint is None:
        return {"signal": int(signal.SIGTERM), "stop_grace_us": grace_us}
    try:
        number = int(signal.Signals[spec.checkpoint.signal])
    except KeyError:
        raise CannotStart(
            "record_unreadable", f"{spec.checkpoint.signal!r}, for its last checkpoint, is no signal"
        ) from None
    wanted_us = spec.checkpoint.grace_s * SECOND_US
    return {"signal": number, "stop_grace_us": min(wanted_us, GRACE_MAX_US) or grace_us}


def _identity(execution: Execution, identity: Identity) -> dict[str, object]:
    """As `confine.Who` reads it."""
    own = [execution.folder, identity.home, *filter(None, [execution.checkpoint])]
    return {
        "tenant": identity.tenant,
        "uid": identity.uid,
        "namespaces": identity.namespaces,
        "data": str(identity.data),
        "shown": {str(path): True for path in own} | dict.fromkeys(identity.programs, False),
    }


def _missing(python: Environment, uid: int) -> dict[str, object] | None:
    """What `lay` is to make, None: nothing. Looked at here, so that a supervisor need not."""
    if python.is_whole(uid):
        return None
    return {"path": str(python.path), "links": python.links, "files": python.files}


def _described(execution: Execution, rank: int) -> environment.Described:
    return environment.Described(
        order=execution.order,
        spec=execution.gathered.spec,
        identity=execution.gathered.identity,
        python=execution.python,
        site=execution.site,
        folder=execution.folder,
        port=execution.port,
        checkpoint=execution.checkpoint,
        rank=rank,
    )


def _argv(execution: Execution) -> list[str]:
    spec, folder = execution.gathered.spec, execution.folder
    argv = ["bash", str(folder / record.SCRIPT)] if spec.script else list(spec.argv)
    return ["bash", "-c", _AFTER_SETUP, str(folder / record.SETUP), *argv] if spec.setup else argv


def _write_private(path: Path, data: bytes, identity: Identity | None = None) -> None:
    """A file for us alone, or that the tenant may read, too."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        if identity is not None:
            os.fchown(fd, 0, identity.uid)
            os.fchmod(fd, 0o640)
        file.write(data)
