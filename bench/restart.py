# SPDX-License-Identifier: Apache-2.0
"""Restart after kill -9 with a journal of 1,000,000 facts: `leitstand up` until it is healthy.

The latest snapshot is as old as it can be in operation (one snapshot interval), so both processes have that much to
fold. The journal is made by the real core and loop over a simulated engine. The very first start, which has to build
the views from all facts, is given too.
"""

import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.support.plant import free_port
from leitstand.app.chores import SNAPSHOT_FACTS
from leitstand.app.settings import Settings
from leitstand.core.cycle import Core
from leitstand.core.facts import (
    NodeAdded,
    Observation,
    Resources,
    RulesSet,
    SiteAdded,
    SubmitJob,
    TenantAdded,
)
from leitstand.core.rules import Rules
from leitstand.core.units import DAY_US, MINUTE_US
from leitstand.engines.simulated import SimulatedEngine
from leitstand.journal import snapshots
from leitstand.journal.sqlite import SqliteJournal
from leitstand.runtime.clock import VirtualClock
from leitstand.runtime.loop import Loop
from leitstand.runtime.ports import Head

FACTS = 1_000_000
RESTARTS = 3
PATIENCE_S = 120.0


def measure() -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder) / "data", port=free_port())
        settings.data.mkdir(mode=0o700)
        made = make(settings)
        first_s = start_and_kill(settings)
        keep_only_oldest_snapshot(settings)
        seconds = []
        for _ in range(RESTARTS):
            seconds.append(start_and_kill(settings))
    median = statistics.median(seconds)
    return {
        "restart.ready_with_1000000_facts": {
            "value": round(median, 2),
            "unit": "s",
            "target": "<= 5",
            "ok": median <= 5,
            "facts": made,
            "all_s": [round(second, 2) for second in seconds],
            "first_start_with_views_to_build_s": round(first_s, 2),
        }
    }


class Arrivals:
    """One job every few seconds of a month that ended yesterday, until the journal is long enough."""

    def __init__(self, journal: SqliteJournal, start: int) -> None:
        self.journal = journal
        self.due = start
        self.count = 0

    def next_time(self) -> int | None:
        return None if self.journal.head.seq >= FACTS else self.due

    def take(self, now: int) -> Sequence[Observation]:
        if self.next_time() is None or now < self.due:
            return []
        self.count += 1
        self.due = now + 10_000_000
        shape = Resources((1, 1, 2, 4, 8)[self.count % 5])
        return [SubmitJob("operator", "default", shape, expected_us=(1 + self.count % 60) * MINUTE_US)]


class Snapshooting(SqliteJournal):
    """Takes one snapshot, a full interval before the end."""

    core: Core
    folder: Path
    taken = False

    def append(self, head: Head, at: int, facts: Any) -> Head:
        after = super().append(head, at, facts)
        if not self.taken and after.seq >= FACTS - SNAPSHOT_FACTS:
            self.taken = True
            snapshots.write(self.folder, self.core.state, after)
        return after


def make(settings: Settings) -> int:
    journal = Snapshooting(settings.journal, commit_every=20_000)
    core = Core()
    journal.core, journal.folder = core, settings.snapshots
    settings.snapshots.mkdir()
    start = time.time_ns() // 1000 - 40 * DAY_US
    opening: list[Observation] = [RulesSet(Rules(), ""), TenantAdded("operator", "public")]
    opening += [SiteAdded("bench", "simulated"), *(NodeAdded(f"b{i}", "bench", 8, 0, 0) for i in range(1250))]
    journal.append(journal.head, start, core.cycle(start, opening))
    Loop(core, journal, VirtualClock(), SimulatedEngine(), [Arrivals(journal, start)]).run()
    journal.close()
    return journal.head.seq


def keep_only_oldest_snapshot(settings: Settings) -> None:
    files = sorted(settings.snapshots.iterdir(), key=lambda path: path.name)
    for path in files[1:]:
        path.unlink()


def start_and_kill(settings: Settings) -> float:
    """Seconds from the command to the first healthy answer."""
    argv = [
        sys.executable,
        "-m",
        "leitstand",
        "up",
        "--data",
        str(settings.data),
        "--port",
        str(settings.port),
        "--gpus",
        "2",
    ]
    start = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while not healthy(settings.port) and process.poll() is None:
            if time.perf_counter() - start > PATIENCE_S:
                raise TimeoutError("the control plane did not become healthy")
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        process.send_signal(signal.SIGKILL)
    while healthy(settings.port):  # its children follow it
        time.sleep(0.05)
    return seconds


def healthy(port: int) -> bool:
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer,
    ):
        return bool(answer.status == 200)
    return False
