# SPDX-License-Identifier: Apache-2.0
"""How long a user waits before anything happens: the CLI's own cost, the control plane's start. Run by bench/run.py."""

import resource
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from tests.plane import LEITSTAND, Plane

ROUNDS = 7
STARTS = 5
JOBS = 20


def measure() -> dict[str, dict[str, Any]]:
    """CPU seconds (user + system) of two commands, wall seconds from `leitstand up` to the first healthy answer."""
    version_s = median(cpu_s([LEITSTAND, "--version"], None) for _ in range(ROUNDS))
    with tempfile.TemporaryDirectory() as folder:
        fresh = [ready_s(Plane(Path(folder) / f"fresh-{number}")) for number in range(STARTS)]
        plane = Plane(Path(folder) / "listed")
        with plane:
            for number in range(JOBS):
                status, answer = plane.http("POST", "/v1/jobs", {"name": f"job-{number}", "run": ["true"]})
                assert status == 201, answer
            jobs_s = median(cpu_s([LEITSTAND, "jobs"], plane.environment) for _ in range(ROUNDS))
        again = [ready_s(plane) for _ in range(STARTS)]
    return {
        "start.version_cpu": figure(version_s, 0.15, "CPU-s"),
        "start.jobs_cpu": figure(jobs_s, 0.45, "CPU-s"),
        "start.ready_new_folder": figure(median(fresh), 3.0),
        "start.ready_again": figure(median(again), 3.0),
    }


def figure(seconds: float, target: float, unit: str = "s") -> dict[str, Any]:
    return {"value": round(seconds, 4), "unit": unit, "target": f"<= {target:g}", "ok": seconds <= target}


def cpu_s(command: list[str], environment: dict[str, str] | None) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def ready_s(plane: Plane) -> float:
    took = plane.start()
    plane.stop()
    return took
