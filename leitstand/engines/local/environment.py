# SPDX-License-Identifier: Apache-2.0
"""The environment of one task: a small base, the job's own variables, then ours, which win. Called by `orders`."""

import os
import re
import sys
from pathlib import Path
from typing import Final

import msgspec

from leitstand.engines.local import record
from leitstand.engines.local.gpus import SITE, LocalSite
from leitstand.engines.local.packages import Environment
from leitstand.engines.local.tenants import Identity
from leitstand.runtime.ports import StartRun
from leitstand.runtime.spec import RunSpec

MASTER_ADDR: Final = "127.0.0.1"
# What a task inherits of the control plane's own environment; nothing else, since that may hold secrets.
INHERITED: Final = ("LD_LIBRARY_PATH", "LOGNAME", "SSL_CERT_FILE", "TZ", "USER")
EVERYBODYS: Final = {"/bin", "/usr/bin", "/usr/local/bin"}
ARRAY_MIN: Final = "SLURM_ARRAY_TASK_MIN"
ARRAY_STEP: Final = "SLURM_ARRAY_TASK_STEP"
COMPAT: Final = "LEITSTAND_COMPAT"  # the job's own variable: whose names it also wants, `skypilot`, `slurm`


class Described(msgspec.Struct, frozen=True):
    """One task of a run: `rank` in its gang; the rest as in `orders.Execution`."""

    order: StartRun
    spec: RunSpec
    identity: Identity | None
    python: Environment
    site: LocalSite
    folder: Path
    port: int
    checkpoint: Path | None
    rank: int


def of(task: Described) -> dict[str, str]:
    """The whole environment of one task, its secrets left out."""
    work, identity = _work(task), task.identity
    home = str(identity.home) if identity else work
    base = {
        "PATH": ":".join([f"{task.python.path}/bin", f"{home}/.local/bin", *_programs(task)]),
        "VIRTUAL_ENV": str(task.python.path),
        "HOME": home,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # a log that is followed should not come in blocks
        "TMPDIR": str(task.folder / record.TMP),
    }
    if identity:
        base |= {"USER": identity.tenant, "LOGNAME": identity.tenant}
    return {**inherited(), **base, **_compat(task), **task.spec.envs, "PWD": work, **ours(task)}


def _programs(task: Described) -> list[str]:
    """Folders of PATH behind the tenant's own: those of the control plane's, but for those of its own installation,
    into which no job is to install by chance; and of its user's home, if that is somebody else's than the job's."""
    home = str(Path.home()).rstrip("/") if task.identity else ""
    tools = task.python.made_from.parent
    kept = [] if _ours(tools) else [str(tools)]
    for folder in os.environ.get("PATH", os.defpath).split(":"):
        theirs = bool(home) and f"{folder}/".startswith(f"{home}/")
        if os.path.isabs(folder) and not theirs and not _ours(Path(folder)):
            kept.append(folder)
    return list(dict.fromkeys(kept)) or os.defpath.split(":")


def _ours(programs: Path) -> bool:
    """Whether a folder of programs is that of this installation, and not everybody's."""
    own = {os.path.join(prefix, "bin") for prefix in (sys.prefix, sys.base_prefix)}
    return str(programs) in own - EVERYBODYS


def inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def marker(folder: Path) -> str:
    """The variable that tells a run's processes from all others on this machine."""
    return f"LEITSTAND_RUN_DIR={folder}"


def _work(task: Described) -> str:
    return str(task.folder / record.work_name(task.rank))


def ours(task: Described) -> dict[str, str]:
    """The variables that neither job nor secret can set."""
    order, placed = task.order, task.order.tasks[task.rank]
    tasks = str(len(order.tasks))
    name, _, folder = marker(task.folder).partition("=")
    ours = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # NVML counts that way
        "CUDA_VISIBLE_DEVICES": ",".join(task.site.visible(placed)),
        "MASTER_ADDR": MASTER_ADDR,
        "MASTER_PORT": str(task.port),
        "WORLD_SIZE": tasks,  # one process per task
        "RANK": str(task.rank),
        "NODE_RANK": str(task.rank),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "LEITSTAND_JOB_ID": order.job,
        "LEITSTAND_RUN_ID": order.run,
        "LEITSTAND_RUN_ATTEMPT": order.run.rpartition(".")[2],
        "LEITSTAND_TENANT": order.tenant,
        "LEITSTAND_PROJECT": order.project,
        "LEITSTAND_NUM_NODES": tasks,
        "LEITSTAND_NODE_RANK": str(task.rank),
        "LEITSTAND_NODE_IPS": _addresses(task, "\n"),
        "LEITSTAND_GPUS_PER_NODE": str(len(placed.gpus)),
        "LEITSTAND_GPUS_LOGICAL": "1" if task.site.logical else "0",
        "LEITSTAND_NODE": placed.node,
        "LEITSTAND_SITE": SITE,
        name: folder,
    }
    if order.array:
        ours |= {
            "LEITSTAND_ARRAY_JOB": order.array,
            "LEITSTAND_ARRAY_INDEX": str(order.index),
            "LEITSTAND_ARRAY_COUNT": str(order.size),
        }
    if task.spec.checkpoint is not None:
        ours["LEITSTAND_CHECKPOINT_DIR"] = checkpoint_path(task)
    return ours


def checkpoint_path(task: Described) -> str:
    """Where the job keeps its checkpoints: below the folder that its runs share, unless it says it all itself."""
    assert task.spec.checkpoint is not None, "only a job with a checkpoint has a place for it"
    assert task.checkpoint is not None, "the folder is there before the run is"
    path = task.spec.checkpoint.path
    if path.startswith("~/"):
        home = task.identity.home if task.identity else Path.home()
        return str(home / path[2:])
    return os.path.normpath(os.path.join(task.checkpoint, path))


def _compat(task: Described) -> dict[str, str]:
    """The names that other platforms have for the same things, as far as the job wants them."""
    wanted = re.split(r"[\s,]+", task.spec.envs.get(COMPAT, ""))
    found: dict[str, str] = {}
    if "skypilot" in wanted:
        found |= _skypilot(task)
    if "slurm" in wanted:
        found |= _slurm(task)
    return found


def _skypilot(task: Described) -> dict[str, str]:
    return {
        "SKYPILOT_NUM_NODES": str(len(task.order.tasks)),
        "SKYPILOT_NODE_RANK": str(task.rank),
        "SKYPILOT_NODE_IPS": _addresses(task, "\n"),
        "SKYPILOT_NUM_GPUS_PER_NODE": str(len(task.order.tasks[task.rank].gpus)),
        "SKYPILOT_TASK_ID": task.order.job,  # the same for all runs of the job
    }


def _slurm(task: Described) -> dict[str, str]:
    """`SLURM_JOB_ID` is the job's number: scripts expect digits. Nodes are addresses, so that they can be reached."""
    order, tasks = task.order, len(task.order.tasks)
    cpus = str(max(1, order.resources.cpus_milli // (1000 * tasks)))
    return {
        "SLURM_JOB_ID": order.job.rpartition("-")[2],
        "SLURM_JOB_NAME": task.spec.name or order.job,
        "SLURM_NNODES": str(tasks),
        "SLURM_JOB_NUM_NODES": str(tasks),
        "SLURM_NODEID": str(task.rank),
        "SLURM_PROCID": str(task.rank),
        "SLURM_LOCALID": "0",
        "SLURM_NTASKS": str(tasks),
        "SLURM_CPUS_PER_TASK": cpus,
        "SLURM_CPUS_ON_NODE": cpus,
        "SLURM_GPUS_ON_NODE": str(len(order.tasks[task.rank].gpus)),
        "SLURM_SUBMIT_DIR": _work(task),
        "SLURM_JOB_NODELIST": _addresses(task, ","),
        **_slurm_array(task),
    }


def _slurm_array(task: Described) -> dict[str, str]:
    """Slurm counts the tasks of an array from where, and in steps of what, `#SBATCH --array` says; else from 0."""
    order = task.order
    if not order.array:
        return {}
    first, step = _number(task, ARRAY_MIN, 0), _number(task, ARRAY_STEP, 1)
    return {
        "SLURM_ARRAY_JOB_ID": order.array.rpartition("-")[2],
        "SLURM_ARRAY_TASK_ID": str(first + order.index * step),
        "SLURM_ARRAY_TASK_COUNT": str(order.size),
        ARRAY_MIN: str(first),
        "SLURM_ARRAY_TASK_MAX": str(first + (order.size - 1) * step),
        ARRAY_STEP: str(step),
    }


def _number(task: Described, name: str, default: int) -> int:
    """A variable of the job, if it is a number."""
    given = task.spec.envs.get(name, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) <= 9 else default


def _addresses(task: Described, between: str) -> str:
    return between.join([MASTER_ADDR] * len(task.order.tasks))
