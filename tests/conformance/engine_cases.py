# SPDX-License-Identifier: Apache-2.0
"""Engines under test, each behind the same few verbs, so that real and virtual time look alike to a test."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from leitstand.core.facts import Observation, Resources, RunEnded, RunQueued, RunStarted, SiteAdded, Task
from leitstand.engines.local.engine import Limits, LocalEngine
from leitstand.engines.local.folder import RunFolders
from leitstand.engines.local.gpus import LocalNode, LocalSite
from leitstand.engines.local.orders import Surroundings as LocalSurroundings
from leitstand.engines.local.tenants import Tenants
from leitstand.engines.simulated import SimulatedEngine
from leitstand.engines.slurm.engine import SlurmEngine
from leitstand.engines.slurm.live import Pace
from leitstand.engines.slurm.site import DELEGATED, DIRECTED, Place, Quota, SlurmSite
from leitstand.engines.surroundings import Surroundings
from leitstand.runtime.ports import ResizeRun, StartRun, StopRun
from leitstand.runtime.spec import RunSpec
from tests.slurm import PARTITION, Cluster

PATIENCE_S = 60.0
SECOND = 1_000_000
SITE = LocalSite(
    logical=True,
    gpu_type="logical",
    nodes=tuple(LocalNode(f"node-{rank}", ("0", "1", "2", "3"), 4000, 4096) for rank in (1, 2)),
)

Value = TypeVar("Value")


def eventually(look: Callable[[], Value | None], what: str) -> Value:
    """What `look` gives as soon as it is truthy; fails after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := look()):
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain: {what}"
        time.sleep(0.005)
    return value


class Case:
    """What both kinds share: what was seen, and orders of a length."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def starts(self, run: str) -> list[RunStarted]:
        return [seen for seen in self.seen if isinstance(seen, RunStarted) and seen.run == run]

    def ends(self, run: str) -> list[RunEnded]:
        return [seen for seen in self.seen if isinstance(seen, RunEnded) and seen.run == run]

    def end(self, run: str) -> RunEnded:
        """Waits for the end of a run."""
        self.until(lambda: bool(self.ends(run)), f"the end of {run}")
        return self.ends(run)[0]

    def start(self, run: str) -> RunStarted:
        """Waits for the start of a run."""
        self.until(lambda: bool(self.starts(run)), f"the start of {run}")
        return self.starts(run)[0]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        raise NotImplementedError


class SimulatedCase(Case):
    """Virtual time: waiting jumps to the next time that the engine names."""

    def __init__(self) -> None:
        super().__init__()
        self.now = SECOND
        self.engine = SimulatedEngine()

    def order(self, run: str, length_us: int, limit_us: int = 3600 * SECOND) -> StartRun:
        return StartRun(
            run, "job", "acme", "p", (Task("node-1"),), Resources(), "", limit_us, self.now, length_us
        )

    def send(self, *orders: StartRun | StopRun | ResizeRun) -> None:
        self.engine.send(orders)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        self.seen.extend(self.engine.take(self.now))
        while not condition():
            due = self.engine.next_time()
            assert due is not None, f"nothing more will happen: {what}"
            self.now = max(self.now, due)
            self.seen.extend(self.engine.take(self.now))

    def restart(self, *runs: StartRun) -> None:
        self.engine.close()
        self.seen.clear()
        self.engine = SimulatedEngine()
        self.engine.resume(runs)

    def close(self) -> None:
        self.engine.close()


class LoggingCase(Case):
    """An engine that executes and keeps logs."""

    def log(self, run: str, task: int = 0) -> str:
        raise NotImplementedError

    def says(self, run: str, text: str, task: int = 0) -> str:
        """Waits until the log of a task holds `text`; the log."""

        def look() -> str:
            try:
                log = self.log(run, task)
            except KeyError:
                return ""
            return log if text in log else ""

        return eventually(look, f"{text!r} in the log of {run}, task {task}")


class LocalCase(LoggingCase):
    """Real processes; a run of a length is a `sleep`. Orders are of the journal `journal`, placed at `placed_us`;
    `fault`: what the next tries to read a record or a secret raise. `secrets`: by tenant, project and name."""

    def __init__(self, folder: Path, limits: Limits | None = None, tenants: Tenants | None = None) -> None:
        super().__init__()
        self.tenants = tenants
        self.secrets: dict[tuple[str, str, str], str] = {}
        self.limits = limits or Limits(grace_us=10 * SECOND)
        self.folders = RunFolders(folder / "runs")
        self.specs: dict[str, RunSpec] = {}
        self.blobs: dict[str, Path] = {}
        self.journal = "journal-1"
        self.placed_us = SECOND
        self.fault: Exception | None = None
        self.woken = threading.Event()
        self.engine = self._open()

    def _open(self) -> LocalEngine:
        around = LocalSurroundings(
            read_spec=self._read_spec,
            open_blob=lambda tenant, digest: self.blobs.get(digest),
            wake=self.woken.set,
            journal=self.journal,
            read_secret=self._read_secret,
            tenants=self.tenants,
        )
        return LocalEngine(self.folders.path, SITE, around, self.limits)

    def _read_spec(self, name: str) -> RunSpec | None:
        if self.fault is not None:
            raise self.fault
        return self.specs.get(name)

    def _read_secret(self, *name: str) -> str | None:
        if self.fault is not None:
            raise self.fault
        return self.secrets.get((name[0], name[1], name[2]))

    def order(self, run: str, length_us: int, limit_us: int = 3600 * SECOND) -> StartRun:
        return self.execution(run, RunSpec(argv=("sleep", str(length_us / SECOND))), limit_us=limit_us)

    def execution(self, run: str, spec: RunSpec, tasks: int = 1, limit_us: int = 3600 * SECOND) -> StartRun:
        """An order to execute `spec` on node-1, rank r of the gang with GPU r."""
        self.specs[f"spec of {run}"] = spec
        placed = tuple(Task.of("node-1", (rank,)) for rank in range(tasks))
        job, placed_us = run.rsplit(".", 1)[0], self.placed_us
        return StartRun(run, job, "acme", "p", placed, Resources(), f"spec of {run}", limit_us, placed_us)

    def script(self, run: str, script: str, tasks: int = 1, limit_us: int = 3600 * SECOND) -> StartRun:
        """Sends an order to run a bash script; the order."""
        order = self.execution(run, RunSpec(script=script), tasks, limit_us)
        self.send(order)
        return order

    def send(self, *orders: StartRun | StopRun) -> None:
        self.engine.send(orders)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.woken.clear()
            self.seen.extend(self.engine.take(0))
            if condition():
                return
            assert self.woken.wait(deadline - time.monotonic()), f"waited {PATIENCE_S} s in vain: {what}"

    def restart(self, *runs: StartRun) -> None:
        """Another engine on the same folder, as after a crash of the control plane."""
        self.engine.close()
        self.seen.clear()
        self.engine = self._open()
        self.engine.resume(runs)

    def runs_for(self, tenant: str, run: str, script: str) -> StartRun:
        """Sends an order to run a bash script for a tenant; the order."""
        order = msgspec.structs.replace(self.execution(run, RunSpec(script=script)), tenant=tenant)
        self.send(order)
        return order

    def log(self, run: str, task: int = 0) -> str:
        return self.folders.read_log(run, task, 0, 1 << 20).decode()

    def processes(self, run: str) -> list[int]:
        """Pids of the run's processes, those that hide their environment, the supervisor and zombies left out. Looked
        up here and not by the engine's own means."""
        needle = os.fsencode(self.folders.of(run))
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _names(int(pid), needle)]

    def close(self) -> None:
        """Lets go, and leaves no process behind."""
        self.engine.close()
        for run in self.folders.live():
            for pid in self.processes(run):
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    continue


class SlurmCase(LoggingCase):
    """A real Slurm, each run a job of it; runs of a length are a `sleep` on one of its nodes in turn."""

    mode = DIRECTED
    pace = Pace(jobs=0.1, nodes=1.0, launch=60.0)

    def __init__(
        self, cluster: Cluster, folder: Path, parts: tuple[str, ...] = (), token_file: Path | None = None
    ) -> None:
        super().__init__()
        self.cluster = cluster
        self.parts = parts
        self.token_file = token_file
        self.queued: list[RunQueued] = []
        self.site_added: SiteAdded | None = None
        self.folder = folder / "runs"
        self.specs: dict[str, RunSpec] = {}
        self.secrets: dict[tuple[str, str, str], str] = {}  # by tenant, project and name
        self.journal = str(folder)
        self.site = "aachen"
        self.nodes = self.places()
        self.orders = 0
        self.patience_s = PATIENCE_S
        self.woken = threading.Event()
        self.engine = self._open()
        self.engine.resume([])

    def places(self) -> list[str]:
        """The ids of its nodes."""
        return [f"{self.site}.{name}" for name in self.cluster.names()]

    def _open(self) -> SlurmEngine:
        around = Surroundings(
            read_spec=self.specs.get,
            open_blob=lambda tenant, digest: None,
            wake=self.woken.set,
            journal=self.journal,
            read_secret=lambda *name: self.secrets.get(name),
        )
        slurm = SlurmSite(
            conf=self.cluster.conf,
            rest=self.cluster.rest,
            folder=self.folder,
            partition=PARTITION,
            parts=self.parts,
            token_file=self.token_file,
        )
        place = Place(
            self.site, self.mode, slurm, around, grace_us=2 * SECOND, quota=Quota(nodes=len(self.nodes))
        )
        return SlurmEngine(place, self.pace)

    def order(self, run: str, length_us: int, limit_us: int = 3600 * SECOND) -> StartRun:
        return self.execution(run, RunSpec(argv=("sleep", str(length_us / SECOND))), limit_us=limit_us)

    def execution(self, run: str, spec: RunSpec, tasks: int = 1, limit_us: int = 3600 * SECOND) -> StartRun:
        """An order to execute `spec`, each task on the next node, without GPUs."""
        self.specs[f"spec of {run}"] = spec
        placed = tuple(Task(self.nodes[(self.orders + rank) % len(self.nodes)]) for rank in range(tasks))
        self.orders += tasks
        job, asked = run.rsplit(".", 1)[0], Resources(nodes=tasks)
        return StartRun(run, job, "acme", "p", placed, asked, f"spec of {run}", limit_us, SECOND)

    def script(self, run: str, script: str, tasks: int = 1, limit_us: int = 3600 * SECOND) -> StartRun:
        """Sends an order to run a bash script; the order."""
        order = self.execution(run, RunSpec(script=script), tasks, limit_us)
        self.send(order)
        return order

    def send(self, *orders: StartRun | StopRun) -> None:
        self.engine.send(orders)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.patience_s
        while True:
            self.woken.clear()
            for one in self.engine.take(0):
                if isinstance(one, RunStarted | RunEnded):
                    self.seen.append(one)
                elif isinstance(one, SiteAdded):
                    self.site_added = one
                elif isinstance(one, RunQueued):
                    self.queued.append(one)
            if condition():
                return
            assert self.woken.wait(deadline - time.monotonic()), (
                f"waited {self.patience_s} s in vain: {what}; {self.engine.health}"
            )

    def restart(self, *runs: StartRun) -> None:
        """Another engine on the same cluster, as after a crash of the control plane."""
        self.engine.close()
        self.seen.clear()
        self.engine = self._open()
        self.engine.resume(runs)

    def log(self, run: str, task: int = 0) -> str:
        return self.engine.read_log(run, task, 0, 1 << 20).decode()

    def jobs(self) -> list[str]:
        """The names of all jobs that Slurm lists."""
        return self.cluster.ask("squeue", "-h", "-o", "%j").split()

    def close(self) -> None:
        """Lets go, and leaves no job behind."""
        self.engine.close()
        self.cluster.ask("scancel", "-u", "root", "--signal=KILL", "--full")
        self.cluster.ask("scancel", "-u", "root")
        eventually(lambda: not self.jobs(), "the cluster is empty")


class DelegatedCase(SlurmCase):
    """The same cluster as a site with a queue of its own: where its jobs go Slurm decides."""

    mode = DELEGATED

    def places(self) -> list[str]:
        return [f"{self.site}.slot-{number:04}" for number in range(1, len(self.cluster.names()) + 1)]


def alive(pid: int) -> bool:
    """Whether a process with this pid exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _names(pid: int, needle: bytes) -> bool:
    try:
        return needle in Path(f"/proc/{pid}/environ").read_bytes() and alive(pid)
    except OSError:
        return False
