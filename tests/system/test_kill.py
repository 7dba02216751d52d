# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the writer, the faces or both, at random moments under load: nothing acknowledged is lost, nothing runs
twice, and what is metered is what the engine measured.

Real processes started by `leitstand up`; real runs that each leave a mark. `make soak` plays 50 rounds.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand.core import facts as f
from leitstand.journal.sqlite import SqliteReader
from leitstand.journal.verify import verify
from leitstand.twin.retelling import retell

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

GPUS = 8
CLIENTS = 3
PATIENCE_S = 60.0


class Plane:
    """`leitstand up` on a folder and a free port."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        argv = [sys.executable, "-m", "leitstand", "up", "--data", str(folder), "--port", str(self.port)]
        argv += ["--gpus", str(GPUS), *more]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.await_ready()
        token = (folder / "admin.token").read_text().strip()
        self.headers = {"Authorization": f"Bearer {token}"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def await_ready(self) -> None:
        until(self.healthy, "the control plane is healthy")

    def healthy(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/healthz", timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False

    def child(self, name: str) -> int | None:
        """The process of `leitstand.app.NAME`, if it lives."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # the thread, or its child, has ended meanwhile
                for pid in (task / "children").read_text().split():
                    if f"leitstand.app.{name}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                        return int(pid)
        return None

    def kill(self, *names: str) -> None:
        for name in names:
            pid = self.child(name)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


class Client(threading.Thread):
    """Submits jobs one after another, each until it is acknowledged; a retry carries the same key."""

    def __init__(self, plane: Plane, number: int, marks: Path) -> None:
        super().__init__(daemon=True)
        self.plane = plane
        self.number = number
        self.marks = marks
        self.acknowledged: dict[str, str] = {}  # key -> job
        self.unexpected: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        count = 0
        while not self.done.is_set():
            count += 1
            self._submit(f"client-{self.number}-{count}")

    def _submit(self, key: str) -> None:
        body = {
            "resources": {"gpus": 1 + self.number % 2},
            "run": ["sh", "-c", f'echo "$LEITSTAND_RUN_ID" >> {self.marks}; sleep 0.05'],
        }
        headers = self.plane.headers | {"Idempotency-Key": key}
        while not self.done.is_set():
            try:
                answer = httpx2.post(f"{self.plane.url}/v1/jobs", json=body, headers=headers, timeout=5)
            except httpx2.HTTPError:
                self.done.wait(0.02)
                continue
            if answer.status_code == 201:
                self.acknowledged[key] = answer.json()["id"]
                return
            if answer.status_code not in (429, 503):
                self.unexpected.append(answer.text)
                return
            self.done.wait(0.02)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    plane = Plane(tmp_path / "data")
    yield plane
    plane.stop()


def until(condition: Any, what: str, patience_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, f"waited {patience_s} s in vain until {what}"
        time.sleep(0.02)


def play(plane: Plane, marks: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    clients = [Client(plane, number, marks) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for _ in range(rounds):
        time.sleep(chance.uniform(0.05, 0.8))  # the random moment itself, not a synchronisation
        plane.kill(*chance.choice([("writer",), ("faces",), ("writer", "faces")]))
        plane.await_ready()
    for client in clients:
        client.done.set()
        client.join()
    assert [line for client in clients for line in client.unexpected] == []
    acknowledged = {job for client in clients for job in client.acknowledged.values()}
    assert len(acknowledged) == sum(len(client.acknowledged) for client in clients)
    assert len(acknowledged) > rounds
    until(lambda: not live_jobs(plane), "all jobs have ended", 120)
    plane.stop()
    check(plane.folder, marks, acknowledged)


def live_jobs(plane: Plane) -> list[Any]:
    states = ("pending", "starting", "running", "stopping")
    found = []
    for state in states:
        answer = httpx2.get(
            f"{plane.url}/v1/jobs", params={"state": state}, headers=plane.headers, timeout=10
        )
        answer.raise_for_status()
        found += answer.json()["items"]
    return found


def check(folder: Path, marks: Path, acknowledged: set[str]) -> None:
    report = verify(folder / "journal.db")
    assert report.bad is None
    with SqliteReader(folder / "journal.db") as journal:
        facts = [entry.fact for entry in journal.read(0)]
    submitted = [fact.job for fact in facts if isinstance(fact, f.JobSubmitted)]
    assert acknowledged <= set(submitted)
    requests = Counter(fact.request for fact in facts if isinstance(fact, f.JobSubmitted))
    assert max(requests.values()) == 1
    ends = Counter(fact.job for fact in facts if isinstance(fact, f.JobEnded))
    assert ends == Counter(submitted)
    assert {fact.state for fact in facts if isinstance(fact, f.JobEnded)} == {"succeeded"}
    placed = [fact.run for fact in facts if isinstance(fact, f.RunPlaced)]
    assert Counter(marks.read_text().split()) == Counter(placed), "a run left no mark, or two"
    check_metering(folder, facts)
    with SqliteReader(folder / "journal.db") as journal:
        assert retell(journal.read(0)).difference is None, "every writer decided as one that was never killed"


def check_metering(folder: Path, facts: list[f.Fact]) -> None:
    """Every run's metered time equals what its supervisor recorded on disk, to the microsecond."""
    tasks = {fact.run: fact.tasks for fact in facts if isinstance(fact, f.RunPlaced)}
    metered = {fact.run: fact for fact in facts if isinstance(fact, f.UsageMetered)}
    assert set(metered) == set(tasks)
    for run, usage in metered.items():
        ended = json.loads((folder / "runs" / run / "ended.json").read_text())
        wall_us = ended["ended_us"] - ended["started_us"]
        assert usage.wall_us == wall_us, run
        assert usage.gpu_us == wall_us * sum(len(task.gpus) for task in tasks[run])


def test_a_few_kills_under_load_lose_nothing_and_run_nothing_twice(plane: Plane, tmp_path: Path) -> None:
    play(plane, tmp_path / "marks", rounds=6, seed=1)


@pytest.mark.soak
def test_fifty_kills_under_load_lose_nothing_and_run_nothing_twice(plane: Plane, tmp_path: Path) -> None:
    rounds = int(os.environ.get("LEITSTAND_SOAK_ROUNDS", "50"))
    play(plane, tmp_path / "marks", rounds, seed=int(os.environ.get("LEITSTAND_SEED", "2")))
