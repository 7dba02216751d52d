# SPDX-License-Identifier: Apache-2.0
"""Two real control planes that take turns on one PostgreSQL journal, a Slurm cluster where their runs are, and clients
that submit to whichever leads. Used by system tests and by bench."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.plane import LEITSTAND, Plane
from tests.postgres import Server
from tests.slurm import PARTITION, Cluster

PATIENCE_S = 60.0
UP = (LEITSTAND, "up", "--standby", "--discipline", "fair", "--forecast-cpu", "0%")


class Pair:
    """Both in `folder`, with a shared folder between them."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        self.marks = folder / "marks"
        self.marks.touch()
        (folder / "shared").mkdir()
        self.planes = [self._plane(name) for name in ("one", "two")]

    def _plane(self, name: str) -> Plane:
        plane = Plane(self.folder / name, gpus=None, command=UP)
        urls = ("--journal", self.server.url, "--keys", self.server.url_of("keys"))
        plane.command += (*urls, "--shared", str(self.folder / "shared"))
        return plane

    # ── their lives ───────────────────────────────────────────────────────────────────────────────────────────────
    def start(self) -> None:
        """The first leads, the second stands by with copies of what no database holds."""
        first, second = self.planes
        self.begin(first)
        (second.data / "keys").mkdir(parents=True)
        for name in ("admin.token", "keys/secrets.key"):
            shutil.copy(first.data / name, second.data / name)
        self.begin(second)

    def begin(self, plane: Plane) -> None:
        """Up, as leader or standby."""
        with plane.output.open("ab") as output:
            before = output.tell()
            plane.process = subprocess.Popen(
                plane.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self.until(lambda: plane.says_ready(before), f"{plane.data.name} is ready")

    def add_site(self, cluster: Cluster) -> None:
        """All nodes of the cluster, by the leader."""
        file = self.folder / "site.yaml"
        given = {"conf": cluster.conf, "rest": cluster.rest, "partition": PARTITION}
        given["folder"] = self.folder / "runs"
        lines = ["name: aachen", "engine: slurm", "mode: directed", "slurm:"]
        file.write_text("\n".join([*lines, *(f"  {key}: {value}" for key, value in given.items())]) + "\n")
        done = self.leader().cli("sites", "add", str(file))
        assert done.returncode == 0, done.stdout + done.stderr

    def leader(self) -> Plane:
        """Who leads, once somebody does."""
        return self.until(lambda: next((one for one in self.planes if is_leading(one)), None), "one leads")

    def standby(self) -> Plane:
        """The other one."""
        leader = self.leader()
        return next(one for one in self.planes if one is not leader)

    def close(self) -> None:
        for plane in self.planes:
            if plane.process is not None and plane.process.poll() is None:
                plane.stop()

    def until(self, look: Any, what: str) -> Any:
        """What `look` gives as soon as it is truthy."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := look()):
            assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain: {what}\n{self.logs()}"
            time.sleep(0.05)
        return found

    def logs(self) -> str:
        """What both said, the ends of it."""
        files = [file for one in self.planes for file in (one.output, *(one.data / "log").glob("*.log"))]
        return "\n".join(f"── {file}\n{file.read_text()[-2000:]}" for file in files if file.exists())


def is_leading(plane: Plane) -> bool:
    """Whether it takes submissions."""
    try:
        return httpx2.get(f"{plane.url}/healthz", timeout=1).status_code == 200
    except httpx2.HTTPError:
        return False


def tree(pid: int) -> list[int]:
    """The process and all below it, the topmost first."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def send(plane: Plane, number: int) -> None:
    """A signal to all processes of a control plane, the parent first."""
    assert plane.process is not None
    for pid in tree(plane.process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill(plane: Plane) -> float:
    """kill -9 of all of them at once, as of a machine that is gone; when, of `time.monotonic`."""
    assert plane.process is not None
    send(plane, signal.SIGSTOP)  # none of them gets to do anything about the death of another
    send(plane, signal.SIGKILL)
    at_s = time.monotonic()
    plane.process.wait()
    return at_s


class Client(threading.Thread):
    """Submits jobs one after another, each until it is acknowledged, to whichever of both takes it, as through a proxy;
    a retry carries the same key. A job leaves a mark for each start."""

    def __init__(self, pair: Pair, name: str, pause_s: float = 0.0) -> None:
        super().__init__(daemon=True)
        self.pair = pair
        self.called = name
        self.pause_s = pause_s
        self.acknowledged: dict[str, str] = {}  # key → job
        self.answers: list[
            tuple[float, float]
        ] = []  # of acknowledgements: when (monotonic), how long it took
        self.unexpected: list[str] = []
        self.done = threading.Event()
        token = pair.planes[0].token
        self._http = [
            httpx2.Client(base_url=one.url, headers={"Authorization": f"Bearer {token}"}, timeout=5)
            for one in pair.planes
        ]

    def run(self) -> None:
        count = 0
        while not self.done.wait(self.pause_s):
            count += 1
            self._submit(f"{self.called}-{count}")

    def stop(self) -> None:
        self.done.set()
        self.join()

    def _submit(self, key: str) -> None:
        body = {
            "name": key,
            "resources": {"gpus": 1, "sites": ["aachen"]},
            "run": ["sh", "-c", f'echo "$LEITSTAND_RUN_ID" >> {self.pair.marks}'],
            "max_duration": 3600,
        }
        began, at = time.monotonic(), 0
        while not self.done.is_set():
            try:
                answer = self._http[0].post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
            except httpx2.HTTPError:
                answer = None
            if answer is not None and answer.status_code in (200, 201):
                self.acknowledged[key] = answer.json()["id"]
                self.answers.append((time.monotonic(), time.monotonic() - began))
                return
            if answer is not None and answer.status_code not in (429, 503):
                self.unexpected.append(answer.text)
            self._http.reverse()
            at += 1
            self.done.wait(0.02)
