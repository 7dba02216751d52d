# SPDX-License-Identifier: Apache-2.0
"""What the engine hands to a supervisor: the commands and environments of a run's tasks.

The order file is marshalled, not JSON, because the supervisor can read that without importing anything, and because
environments and commands need not be valid text. It is private to the user of the control plane (0600).
"""

import marshal
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from leitstand.core.facts import Task
from leitstand.engines.local import record
from leitstand.engines.local.gpus import SITE, LocalSite
from leitstand.engines.local.spawn import CannotStart
from leitstand.runtime.ports import StartRun
from leitstand.runtime.spec import RunSpec

MASTER_ADDR: Final = "127.0.0.1"
# What a task inherits of the control plane's own environment; nothing else, since that may hold secrets.
INHERITED: Final = ("LD_LIBRARY_PATH", "LOGNAME", "SSL_CERT_FILE", "TZ", "USER")
_AFTER_SETUP: Final = 'bash "$0" || exit; exec "$@"'


class NotYet(Exception):
    """The run cannot start now, which is no verdict on it: a line that says why."""


class Surroundings(msgspec.Struct, frozen=True):
    """What the engine asks of the writer. `read_spec(name)` and `open_blob(sha256)` give None for what is not there;
    `read_spec` raises ValueError for a record that is damaged, OSError if it cannot be read now. `wake()` says that
    `take` has something. All are called from the engine's thread. `journal`: the id of the journal that places."""

    read_spec: Callable[[str], RunSpec | None]
    open_blob: Callable[[str], Path | None]
    wake: Callable[[], None]
    journal: str


class Execution(msgspec.Struct, frozen=True):
    """Everything that is known about a run when it is handed over. `journal`: its id; `port`: `MASTER_PORT`;
    `workdir`: the archive; `wake`: the FIFO by which the supervisor calls the engine."""

    order: StartRun
    journal: str
    spec: RunSpec
    site: LocalSite
    folder: Path
    port: int
    workdir: Path | None
    wake: Path
    log_bytes_max: int
    grace_us: int


def gather(order: StartRun, around: Surroundings, site: LocalSite) -> tuple[RunSpec, Path | None]:
    """The command of a run and the archive of its working directory. Raises CannotStart, NotYet."""
    try:
        spec = around.read_spec(order.spec)
    except OSError as error:
        raise NotYet(f"the record with its command cannot be read now ({error})") from error
    except ValueError as error:
        raise CannotStart(
            "record_unreadable", f"the record with its command cannot be read ({error})"
        ) from error
    if spec is None:
        raise CannotStart("record_missing", "the record with its command is no longer there")
    if not (spec.argv or spec.script):
        raise CannotStart("command_not_found", "the job names no command")
    workdir = around.open_blob(spec.workdir) if spec.workdir else None
    if spec.workdir and workdir is None:
        raise CannotStart(
            "workdir_missing", f"the archive {spec.workdir} of its working directory is no longer there"
        )
    for task in order.tasks:
        gpus = task.gpus
        if gpus and gpus[-1] >= len(site.devices(task.node)):
            raise CannotStart(
                "gpus_missing", f"this machine no longer offers GPUs {list(gpus)} of {task.node}"
            )
    return spec, workdir


def write(execution: Execution) -> None:
    """Writes scripts and order file into the run folder; OSError when the disk refuses."""
    folder, spec = execution.folder, execution.spec
    for name, script in ((record.SETUP, spec.setup), (record.SCRIPT, spec.script)):
        if script:
            _write_private(folder / name, script.encode(errors="surrogateescape"))
    order = {
        "run": execution.order.run,
        "journal": execution.journal,
        "placed_us": execution.order.placed_us,
        "tasks": [
            {"argv": _argv(execution), "env": environment(execution, rank)}
            for rank in range(len(execution.order.tasks))
        ],
        "workdir": str(execution.workdir or ""),
        "max_duration_us": execution.order.max_duration_us,
        "grace_us": execution.grace_us,
        "log_bytes_max": execution.log_bytes_max,
        "port": execution.port,
        "wake": str(execution.wake),
    }
    part = folder / f"{record.ORDER}.part"
    _write_private(part, marshal.dumps(order))
    part.rename(folder / record.ORDER)


def environment(execution: Execution, rank: int) -> dict[str, str]:
    """The environment of one task: a small base, the job's own variables, then ours, which win."""
    work = str(execution.folder / record.work_name(rank))
    path = os.environ.get("PATH", os.defpath)
    base = {
        "PATH": f"{os.path.dirname(sys.executable)}:{path}",  # so that `python` is the one of this installation
        "HOME": work,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # a log that is followed should not come in blocks
        "TMPDIR": str(execution.folder / "tmp"),
    }
    return {**inherited(), **base, **execution.spec.envs, "PWD": work, **_ours(execution, rank)}


def inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def marker(folder: Path) -> str:
    """The variable that tells a run's processes from all others on this machine."""
    return f"LEITSTAND_RUN_DIR={folder}"


def _ours(execution: Execution, rank: int) -> dict[str, str]:
    order, task = execution.order, execution.order.tasks[rank]
    tasks = str(len(order.tasks))
    name, _, folder = marker(execution.folder).partition("=")
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # NVML counts that way
        "CUDA_VISIBLE_DEVICES": ",".join(_devices(execution.site, task)),
        "MASTER_ADDR": MASTER_ADDR,
        "MASTER_PORT": str(execution.port),
        "WORLD_SIZE": tasks,  # one process per task
        "RANK": str(rank),
        "NODE_RANK": str(rank),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "LEITSTAND_JOB_ID": order.job,
        "LEITSTAND_RUN_ID": order.run,
        "LEITSTAND_TENANT": order.tenant,
        "LEITSTAND_PROJECT": order.project,
        "LEITSTAND_NUM_NODES": tasks,
        "LEITSTAND_NODE_RANK": str(rank),
        "LEITSTAND_NODE_IPS": "\n".join([MASTER_ADDR] * len(order.tasks)),
        "LEITSTAND_GPUS_PER_NODE": str(len(task.gpus)),
        "LEITSTAND_GPUS_LOGICAL": "1" if execution.site.logical else "0",
        "LEITSTAND_NODE": task.node,
        "LEITSTAND_SITE": SITE,
        name: folder,
    }


def _devices(site: LocalSite, task: Task) -> list[str]:
    devices = site.devices(task.node)
    return [devices[gpu] for gpu in task.gpus]


def _argv(execution: Execution) -> list[str]:
    spec, folder = execution.spec, execution.folder
    argv = ["bash", str(folder / record.SCRIPT)] if spec.script else list(spec.argv)
    return ["bash", "-c", _AFTER_SETUP, str(folder / record.SETUP), *argv] if spec.setup else argv


def _write_private(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
