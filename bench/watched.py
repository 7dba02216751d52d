# SPDX-License-Identifier: Apache-2.0
"""What a simulated cloud that people watch takes (`leitstand up --twin`). Run by name by bench/run.py.

A real control plane with the synthetic workload, twice on one data folder: as fast as the machine can from an empty
cloud to the evening of its first day, measured from noon on; then at a thousand times the speed of the world for a
minute. CPU seconds are those of writer and faces with all their threads, for an hour of the twin; nobody looks.
"""

import os
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.plane import LEITSTAND, Plane

SIZES: Final = (512, 10_412)
FASTEST: Final = "100000x"
SPEED: Final = 1000
MINUTE_S: Final = 60.0
NOON_H, EVENING_H = 12.0, 20.0
WITHIN_S: Final = 1500.0
_SCENARIO: Final = "cluster: {{gpus: {gpus}}}\nworkload: {{synthetic: {{days: 7, load: 0.95, seed: 1}}}}\n"


class Moment(NamedTuple):
    """`at_h`: hours of the twin since its beginning; CPU seconds so far; entries of the journal."""

    at_h: float
    wall_s: float
    writer_s: float
    faces_s: float
    seq: int


def measure() -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    for gpus in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            scenario = Path(folder) / "cloud.yaml"
            scenario.write_text(_SCENARIO.format(gpus=gpus))
            name = f"watched.gpus_{gpus}"
            with _plane(scenario, FASTEST) as plane:
                noon, evening = _until(plane, NOON_H), _until(plane, EVENING_H)
            figures |= _figures(f"{name}.fastest", noon, evening)
            with _plane(scenario, f"{SPEED}x") as plane:
                time.sleep(5)  # until caches are warm
                begin = _moment(plane)
                time.sleep(MINUTE_S)
                end = _moment(plane)
            figures |= _figures(f"{name}.at_{SPEED}x", begin, end)
    return figures


def _plane(scenario: Path, speed: str) -> Plane:
    command = (LEITSTAND, "up", "--twin", str(scenario), "--speed", speed)
    return Plane(scenario.parent / "data", gpus=None, command=command)


def _until(plane: Plane, hour: float) -> Moment:
    deadline = time.monotonic() + WITHIN_S
    while (moment := _moment(plane)).at_h < hour:
        assert time.monotonic() < deadline, f"hour {hour:g} was not reached within {WITHIN_S:g} s"
        time.sleep(0.5)
    return moment


def _moment(plane: Plane) -> Moment:
    health = plane.http("GET", "/healthz")[1]
    now = datetime.fromisoformat(health["twin"]["now"])
    at_h = (now - datetime.fromisoformat("2026-01-05T00:00:00Z")).total_seconds() / 3600
    return Moment(
        at_h, time.monotonic(), _cpu_s(plane, "writer.lock"), _cpu_s(plane, "faces.lock"), health["seq"]
    )


def _cpu_s(plane: Plane, lock: str) -> float:
    """User and system time of the process that holds the lock."""
    pid = int((plane.data / lock).read_text())
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _figures(name: str, begin: Moment, end: Moment) -> dict[str, dict[str, Any]]:
    hours, wall_s = end.at_h - begin.at_h, end.wall_s - begin.wall_s
    return {
        f"{name}.writer_cpu": _figure((end.writer_s - begin.writer_s) / hours, "CPU s per hour of the twin"),
        f"{name}.faces_cpu": _figure((end.faces_s - begin.faces_s) / hours, "CPU s per hour of the twin"),
        f"{name}.reached": _figure(hours * 3600 / wall_s, "×"),
        f"{name}.facts": _figure((end.seq - begin.seq) / hours, "per hour of the twin"),
    }


def _figure(value: float, unit: str) -> dict[str, Any]:
    return {"value": round(value, 4), "unit": unit, "target": "", "ok": True}
