# SPDX-License-Identifier: Apache-2.0
"""The core at the size of the cloud: memory of the writer with 10,000 GPUs and 50,000 live jobs, and what a cycle
costs there."""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.support.plant import Plant, cpu_s, rss_bytes
from leitstand.app.settings import Settings
from leitstand.core.facts import Resources, SubmitJob
from leitstand.core.units import HOUR_US
from leitstand.journal import snapshots
from leitstand.journal.sqlite import SqliteReader
from leitstand.runtime.wire import Ask, Settled, pack, unpack

JOBS = 50_000
WINDOW = 512  # requests in flight


def measure() -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder))
        plan = msgspec.json.encode(Plant()).decode()
        argv = [sys.executable, "-m", "bench.support.plant", settings.to_json(), plan]
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdin=pipe, stdout=pipe, cwd=Path(__file__).parents[1]) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            before_s, wall = cpu_s(writer.pid), time.perf_counter()
            submit_all(settings)
            wall = time.perf_counter() - wall
            used_s, peak = cpu_s(writer.pid) - before_s, rss_bytes(writer.pid)
            assert writer.stdin is not None
            writer.stdin.close()
        with SqliteReader(settings.journal) as journal:
            state, _ = snapshots.restore(journal, settings.snapshots)
        assert len(state.jobs) == JOBS, f"{len(state.jobs)} of {JOBS} jobs are live"
    return {
        "core.writer_memory_50000_live_jobs_10000_gpus": {
            "value": round(peak / 1e6, 1),
            "unit": "MB",
            "target": "<= 500",
            "ok": peak <= 500e6,
        },
        "core.inbox_submissions_per_writer_cpu_s": {
            "value": round(JOBS / used_s),
            "unit": "1/s",
            "target": "",
            "ok": True,
            "wall_s": round(wall, 2),
        },
    }


def submit_all(settings: Settings) -> None:
    """50,000 jobs of mixed shapes that run for hours: the fleet fills, the rest waits."""
    shapes = [Resources(gpus) for gpus in (1, 1, 1, 2, 4, 8)]
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(settings.inbox))
        sent = settled = 0
        buffer = bytearray()
        while settled < JOBS:
            frames = b""
            while sent < JOBS and sent - settled < WINDOW:
                shape = shapes[sent % len(shapes)]
                job = SubmitJob(
                    "operator", "default", shape, expected_us=9 * HOUR_US, request=f"bench-{sent}"
                )
                frames += pack(Ask(sent, "bench", job))
                sent += 1
            client.sendall(frames)
            buffer += client.recv(1 << 18)
            for message in unpack(buffer):
                if isinstance(message, Settled):
                    assert not message.refused, message
                    settled += 1
